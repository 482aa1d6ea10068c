"""Defines `Format`, the reader that all formats share, and `ReadPlan`, the description that it reads by: an SAE's
settings, the names and orientation of its tensors, and what is to be done with them. It checks the shapes and reads the
weights."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats.archives import read_pickled
from saewidgets.formats.source import FolderSource, Source, checked, listed, read_json
from saewidgets.formats.tensors import Header, read_tensors
from saewidgets.render.labels import FORMATS, name_of
from saewidgets.sae import SAE
from saewidgets.sae.architectures import inference_sae

Width = Annotated[int, Field(ge=1, le=2**24)]
OTHERS = "the other tensors"
SAME = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias"}
MATRICES = ("W_enc", "W_dec")  # of torch's linear layers, which lie [outputs, inputs]
ANSWER = "apply_b_dec_to_input"
RAW = {ANSWER: False}
Part = bytes | Mapping[str, Tensor] | None


class FileSettings(BaseModel):
    """A table of a configuration. Fields decide what is computed; `ignored` names settings that cannot (None: the whole
    table only describes). Other settings are refused, except null, which sets nothing."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    ignored: ClassVar[frozenset[str] | None] = frozenset()

    @model_validator(mode="after")
    def _refuse_unknown(self) -> Self:
        known = self.ignored
        for key, value in (self.model_extra or {}).items():
            if known is not None and key not in known and value is not None:
                raise ConfigError(
                    "This setting is not known here, and it could change what the SAE computes.", where=key[:100],
                    hint="Load the SAE in the package that wrote it; if the setting only describes the SAE, remove it.",
                )
        return self


File = TypeVar("File", bound=FileSettings)


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


@dataclass(kw_only=True)
class ReadPlan:
    """The description of an SAE before its weights are read. With a header, the tensors' shapes are checked."""

    files: tuple[str, ...]
    header: Header | None  # None where the file with the weights is not on this machine
    names: Mapping[str, str]  # our name of a tensor → the file's
    architecture: str | None
    transposed: Collection[str] = ()  # our names of matrices that lie the other way in the file
    d_in: int | None = None  # None: as the header has it
    d_sae: int | None = None
    d_out: int | None = None  # None: of transcoders as the header has it, else d_in
    said_by: str = OTHERS  # what says the widths, in errors
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by our name, where widths do not tell
    scalars: Mapping[str, str] = field(default_factory=dict)  # read with the tensors: a name for `fold` → the file's
    unused: Collection[str] = ()  # names of the file's tensors that do not belong to the SAE
    weights: str = ""  # the file with the weights; empty: the last one
    dtype: str | None = None  # number format of the weights; None: that of W_dec, or of W_enc where there is no W_dec
    read_as: torch.dtype | None = None  # into which floats are read, before anything is folded; None: as stored
    infinite: frozenset[str] = frozenset()  # names of the file whose values may be infinite
    model: str | None = None
    hook_name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)  # settings that only training used
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: Iterable[str] = ()
    metadata: dict[str, Any] = field(default_factory=dict)  # what the loaded SAE carries; with `bare` alone
    bare: bool = False
    # Turns what was read into our tensors, in place; returns further notes, and may add metadata.
    fold: Callable[[dict[str, Tensor]], Iterable[str] | None] | None = None
    refusal: FormatError | None = None  # why it cannot be loaded, though it can be described

    def __post_init__(self) -> None:
        transcoder = "transcoder" in (self.architecture or "")
        if self.header is not None and not (self.d_in and self.d_sae and (self.d_out or not transcoder)):
            d_in, d_sae, d_out = widths(self.header, self.names, self.transposed)
            self.d_in, self.d_sae, self.d_out = self.d_in or d_in, self.d_sae or d_sae, self.d_out or d_out
        self.d_out = self.d_out if transcoder else self.d_in
        if self.header is None:
            return
        known: dict[str, Any] = {
            "W_enc": (self.d_in, self.d_sae), "W_dec": (self.d_sae, self.d_out), "b_dec": (self.d_out,),
            "W_skip": (self.d_out, self.d_in), **self.shapes,
        }
        expected = {}
        for name, stored in self.names.items():
            shape = known.get(name, (self.d_sae,))
            expected[stored] = shape[::-1] if name in self.transposed else shape
        for stored in self.scalars.values():
            self.header.shape(stored, 0)
        besides = {*self.scalars.values(), *self.unused}
        rest = {name: info for name, info in self.header.tensors.items() if name not in besides}
        replace(self.header, tensors=rest).require(expected, source=self.said_by)
        if self.dtype is None:
            name = self.names.get("W_dec") or self.names["W_enc"]
            self.dtype = str(self.header.tensors[name].torch_dtype).removeprefix("torch.")

    def describe(self, format: str, source: Source) -> Description:
        return Description(
            format=format, architecture=self.architecture, d_in=self.d_in, d_sae=self.d_sae, d_out=self.d_out,
            dtype=self.dtype, files=self.files, size_bytes=sum(source.files().get(name, 0) for name in self.files),
            model=self.model, hook_name=self.hook_name, settings=self.settings, config=self.config,
            notes=tuple(self.notes),
        )


@dataclass(frozen=True, slots=True)
class SAEExport:
    """An SAE that is to be written into `folder`, as it was given and, `frozen`, as it is used for inference."""

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

    def refuse(self, *reasons: tuple[bool, str]) -> None:
        """Raise the error of a format in which this SAE cannot be written for the first reason that applies."""
        for applies, reason in reasons:
            if applies:
                what = f"{self.title} cannot express this SAE: {reason}."
                raise FormatError(what, where=str(self.folder), hint='Save it as "saelens".')

    def refuse_changed_activations(self) -> None:
        cfg = self.frozen.cfg
        changed = cfg.normalize_activations != "none" or cfg.reshape_activations != "none"
        self.refuse((changed, "it normalises or reshapes activations"))


@dataclass(frozen=True, slots=True)
class Format:
    """One on-disk format: `name` is what `detect_format` returns and `save_sae` takes.

    Attributes:
        matches: whether a folder holds it, by the names of its files first and by keys of its configuration only where
            names do not decide. Reads no weights.
        look: what a source holds; takes what a person answers, where there is something to answer.
        save: what is written of an SAE: file → its bytes, or the tensors in it, or None for one that is replaced and
            not written. Raises `FormatError` where the format cannot express it. None: this format is only read.
        single_file: one file is an SAE (``layer3.sae.pt``), and a folder may hold many of them. `look` and `load` are
            then given one file; `matches` answers for a folder too: whether such files are in it.
        beside: for single files: the name of one → the names of configurations that may lie beside it. Where they do
            they say model and hook point, and go wherever the file goes.
        config_file: the file of a folder that holds `Description.config`, and can be read though the weights cannot.
        leaves_open: its files may not say whether b_dec is subtracted from the input; `describe` and `load` take
            `apply_b_dec_to_input` for that.
    """

    name: str
    matches: Callable[[Source], bool]
    look: Callable[..., ReadPlan]
    save: Callable[[SAEExport], dict[str, Part]] | None = None
    single_file: bool = False
    beside: Callable[[str], tuple[str, ...]] = lambda _: ()
    config_file: str | None = None
    leaves_open: bool = False

    @property
    def title(self) -> str:
        """What a person reads."""
        return name_of(FORMATS, self.name)

    def describe(self, source: Source, **answers: bool) -> Description:
        return self.look(source, **answers).describe(self.name, source)

    def load(self, folder: Path, *, device: torch.device, dtype: torch.dtype | None = None, **answers: bool) -> SAE:
        """The SAE, frozen, for inference; every shape is checked against the headers before memory is taken. All
        weights get `dtype`, or the number format of W_dec."""
        source = FolderSource(folder)
        found = self.look(source, **answers)
        if found.refusal is not None:
            raise found.refusal
        assert found.header is not None
        where, names = found.header.where, {**found.names, **found.scalars}
        tensors = read_tensors(
            source.path(found.weights or found.files[-1]), found.header, names, transposed=found.transposed,
            device=device, dtype=found.read_as and (dtype or found.read_as), infinite=found.infinite,
        )
        notes = found.fold(tensors) if found.fold is not None else None
        about = found.describe(self.name, source)
        if about.architecture is None or about.d_in is None:
            raise FormatError("The weights do not show what kind of SAE this is.", where=where)
        dtype = dtype or tensors["W_dec"].dtype
        # One after the other, so that only one of them is ever there in both number formats.
        ready = {name: tensors.pop(name).to(device, dtype) for name in list(tensors)}
        settings = {"d_sae": about.d_sae, **about.settings, **found.training}
        settings |= {"d_out": about.d_out} if "transcoder" in about.architecture else {}
        try:
            sae = inference_sae(about.architecture, about.d_in, ready, **settings)
        except ConfigError as error:
            raise FormatError(error.what, where=f"{where}: {error.where}", hint=error.hint) from error
        known = {"model_name": about.model, "hook_name": about.hook_name, "source_format": about.format}
        sae.metadata = dict(found.metadata) if found.bare else {**known, **found.metadata}
        earlier = sae.metadata.get("notes")
        earlier = earlier if isinstance(earlier, list) else []
        if said := list(dict.fromkeys([*earlier, *about.notes, *(notes or ())])):
            sae.metadata["notes"] = said
        return sae

    def answers(self, apply_b_dec_to_input: bool | None) -> dict[str, bool]:
        """A person's answers about files of this format, as further arguments of `describe` and `load`. Raises
        `ConfigError` where the format leaves nothing open."""
        if apply_b_dec_to_input is None:
            return {}
        arguments.truth(apply_b_dec_to_input, ANSWER)
        if not self.leaves_open:
            raise ConfigError(f"{self.name!r} files record it themselves.", where=ANSWER, hint="Leave it out.")
        return {ANSWER: apply_b_dec_to_input}


def answered(said: bool | None, answer: bool | None, where: str) -> bool | None:
    """`apply_b_dec_to_input` from the files, else from a person. Raises `ConfigError` if the two differ."""
    if said is not None and answer is not None and said != answer:
        raise ConfigError(f"The file says {str(said).lower()}.", where=f"{where}: {ANSWER}", hint="Leave it out.")
    return answer if said is None else said


# --- files -----------------------------------------------------------------------------------------------------------


def has(*names: str) -> Callable[[Source], bool]:
    """Whether a source has all of these files."""
    return lambda source: all(name in source.files() for name in names)


def told(test: Callable[[], bool], *, otherwise: bool = False) -> bool:
    """The result of `test` on a file; `otherwise` if it cannot be read: loading it will raise the error."""
    try:
        return test()
    except FormatError:
        return otherwise


def named(pattern: re.Pattern[str], *keys: str) -> Callable[[Source], bool]:
    """Whether a file has such a name; or, with `keys`, is a ``.pt`` on this machine whose table has these."""

    def matches(source: Source) -> bool:
        files = list(source.files())
        if any(pattern.fullmatch(name) for name in files):
            return True
        if not (keys and len(files) == 1 and files[0].endswith((".pt", ".pth")) and isinstance(source, FolderSource)):
            return False
        return told(lambda: set(keys) <= set(read_pickled(source, files[0]).value))

    return matches


def only(source: Source, pattern: re.Pattern[str], what: str) -> tuple[str, re.Match[str] | None]:
    """The one file of the folder itself that fits `pattern`, or is alone in it, and how it fits. Raises `FormatError`
    where there are several, which are named, or none."""
    files = [name for name in source.files() if "/" not in name]
    names = sorted(name for name in files if pattern.fullmatch(name)) or (files if len(files) == 1 else [])
    if len(names) == 1:
        return names[0], pattern.fullmatch(names[0])
    held = f"several SAEs: {listed(names, 8)}" if names else f"no {what}"
    raise FormatError(f"The folder holds {held}.", where=source.label, hint="Give the path of one of the files.")


def layered(source: Source, pattern: re.Pattern[str], what: str) -> tuple[str, re.Match[str]]:
    """As `only`, where only the file's name shows the layer."""
    file, match = only(source, pattern, what)
    if match is None:
        raise FormatError(
            "The file's name does not say which layer.", where=f"{source.label}/{file}",
            hint=f"Name it as on the hub, {what}.",
        )
    return file, match


def beside(source: Source, name: str) -> Source | None:
    """The files beside the one file that `source` is, if `name` is among them."""
    around = source.around()
    return around if around is not None and name in around.files() else None


def pt_header(source: Source, file: str) -> Header | None:
    """What a ``.pt`` declares; None where it is not on this machine."""
    return read_pickled(source, file).header() if isinstance(source, FolderSource) else None


def config_of(source: Source, name: str, model: type[File]) -> tuple[File, dict[str, Any], str]:
    """The configuration in the file `name`: checked, as data, and what errors call it."""
    data, where = read_json(source, name), f"{source.label}/{name}"
    return checked(model, data, where), data, where


def widths(header: Header, names: Mapping[str, str], transposed: Collection[str] = ()) -> tuple[int, int, int]:
    """d_in, d_sae and d_out, from the shapes of W_enc and W_dec."""
    encoder, decoder = (header.shape(names[name], 2)[:: -1 if name in transposed else 1] for name in MATRICES)
    return encoder[0], encoder[1], decoder[1]
