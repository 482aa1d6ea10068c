"""What every format supplies, and what is known of an SAE before its weights are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats.source import Source
from saewidgets.sae import SAE

ANSWER = "apply_b_dec_to_input"
Part = bytes | Mapping[str, Tensor] | None

@dataclass(frozen=True, slots=True)
class Description:
    """An SAE as its configuration and the headers of its files describe it; no weight was read.

    Attributes:
        format: name of the format.
        architecture: what `load_sae` makes of it; None where only the weights tell (pickled files).
        d_in, d_sae, d_out: widths; None where only the weights tell.
        dtype: number format of the stored weights, ``"float32"``.
        files: the files it consists of, relative to the folder.
        size_bytes: their size.
        model, hook_name: what it was trained on, as far as the files (or their path) say.
        settings: ``k``, ``normalize_activations``, ``apply_b_dec_to_input`` and what else decides the maths.
        config: the source's own configuration, as JSON data.
        notes: sentences a person should read: what is not known, what was corrected.
    """

    format: str
    architecture: str | None
    d_in: int | None
    d_sae: int | None
    d_out: int | None
    dtype: str | None
    files: tuple[str, ...]
    size_bytes: int
    model: str | None = None
    hook_name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def answered(said: bool | None, answer: bool | None, where: str) -> bool | None:
    """`apply_b_dec_to_input` as the files say it, else as a person does. Raises `ConfigError` where the two differ."""
    if said is not None and answer is not None and said != answer:
        raise ConfigError(f"The file says {str(said).lower()}.", where=f"{where}: {ANSWER}", hint="Leave it out.")
    return answer if said is None else said


@dataclass(frozen=True, slots=True)
class Saved:
    """An SAE that is to be written.

    Attributes:
        title: of the format.
        sae: as it was given; `frozen` as it is used for inference.
        folder: where it goes.
    """

    title: str
    sae: SAE
    frozen: SAE
    folder: Path

    @property
    def trained(self) -> bool:
        """Whether it can be trained on, rather than having been loaded for inference."""
        return self.sae.training or any(parameter.requires_grad for parameter in self.sae.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """Its weights by SAELens' names, where a library can write them from."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.frozen.inference_tensors().items()}

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error of a format in which this SAE cannot be written."""
        raise FormatError(
            f"{self.title} cannot express this SAE: {reason}.", where=str(self.folder), hint='Save it as "saelens".'
        )


@dataclass(frozen=True, slots=True)
class Format:
    """One on-disk format.

    Attributes:
        name: what `detect_format` returns and `save_sae` takes.
        title: what a person reads.
        matches: whether a folder holds it, by the names of its files first and by keys of its configuration only where
            names do not decide. Reads no weights.
        describe: everything known before the weights.
        load: the SAE, frozen, for inference; checks every shape against the headers before memory is taken. Takes the
            folder (the file itself where a format is of single files), `device` and `dtype`.
        save: what is written of an SAE: file → its bytes, or the tensors in it, or None for one that is replaced and
            not written. Raises `FormatError` where the format cannot express it. None: this format is only read.
        single_file: one file is an SAE (``layer3.sae.pt``), and a folder may hold many of them. `matches`, `describe`
            and `load` are then given one file; `matches` answers for a folder too: whether such files are in it.
        beside: for single files: the name of one → the names of configurations that may lie beside it. Where they do
            they say model and hook point, and go wherever the file goes.
        config_file: the file of a folder that holds `Description.config`, where there is one: it can be read though the
            weights cannot.
        leaves_open: its files may not say whether b_dec is subtracted from the input; `describe` and `load` take
            `apply_b_dec_to_input` for that.
    """

    name: str
    title: str
    matches: Callable[[Source], bool]
    describe: Callable[..., Description]
    load: Callable[..., SAE]
    save: Callable[[Saved], dict[str, Part]] | None = None
    single_file: bool = False
    beside: Callable[[str], tuple[str, ...]] = lambda _: ()
    config_file: str | None = None
    leaves_open: bool = False

    def answers(self, apply_b_dec_to_input: bool | None) -> dict[str, bool]:
        """What a person says of files of this format, as further arguments of `describe` and `load`.

        Raises:
            ConfigError: the format leaves nothing open; or it is neither True nor False.
        """
        if apply_b_dec_to_input is None:
            return {}
        arguments.truth(apply_b_dec_to_input, ANSWER, "whether b_dec is subtracted from the input")
        if not self.leaves_open:
            raise ConfigError(f"{self.name!r} files say it themselves.", where=ANSWER, hint="Leave it out.")
        return {ANSWER: apply_b_dec_to_input}
