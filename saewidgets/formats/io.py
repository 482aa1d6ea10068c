"""Looking at, loading and saving SAEs in whatever format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError
from saewidgets.formats import registry
from saewidgets.formats.base import Description
from saewidgets.formats.detect import locate
from saewidgets.formats.jsonfile import read_json
from saewidgets.formats.occupied import same_format
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import check_writable
from saewidgets.formats.yamlfile import read_yaml
from saewidgets.sae import SAE


def load_sae(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    apply_b_dec_to_input: bool | None = None,
) -> SAE:
    """The SAE at `path`, frozen and ready for inference.

    Args:
        path: its folder; a file of it; or a folder in which exactly one SAE is.
        device: where the weights go.
        dtype: number format of the weights; None keeps what the file declares.
        apply_b_dec_to_input: whether b_dec is subtracted from the input, where the files leave it open.

    Returns:
        An SAE of the right class. `metadata` says what it was trained on as far as the files do; ``metadata["notes"]``
        lists what a person should know (something was corrected, or is not known).

    Raises:
        NotFoundError: the path does not exist.
        FormatError: the format is unknown, or a file is not what its configuration says. Nothing is unpickled and
            sizes are checked before memory is taken.
        ConfigError: there is no such device, or an argument is of another kind, or says what the files say themselves.
    """
    where = checked_device(device)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        arguments.refuse(dtype, "dtype", "a floating-point number format", "Use torch.float32, for example, or None.")
    found = locate(path)
    return found.format.load(found.path, device=where, dtype=dtype, **found.format.answers(apply_b_dec_to_input))


def checked_device(device: Any) -> torch.device:
    """`device` as torch has it. Raises `ConfigError` if this machine has no such device."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        # torch's own reason begins its message, pages of advice follow
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ConfigError(
            f"There is no device {arguments.shown(device)} here ({reason.rstrip('.')}).", where="device",
            hint='Use "cpu", or an accelerator of this machine: "cuda", "cuda:1", "mps".',
        ) from error
    return found


def save_sae(sae: SAE, path: str | Path, format: str = "saelens") -> Path:
    """Write `sae` as it is used for inference into the folder `path`, whole or not at all; returns the folder.

    An SAE in the same format that is already there is replaced. `sae.metadata` (model_name, hook_name, …) goes into the
    file.

    Raises:
        ConfigError: there is no such format; an argument is of another kind.
        FormatError: the format cannot express this SAE, or is only read; or a tensor, which is named, contains NaN or
            infinity.
        StorageError: the folder holds something else (an SAE in another format, too), or cannot be written.
    """
    if not isinstance(sae, SAE):
        arguments.refuse(sae, "sae", "an SAE", "Load one with load_sae, or take one from create_sae.")
    target = arguments.path(path, "path", "where the SAE goes")
    chosen = registry.get(format)
    if chosen.save is None:
        written = ", ".join(f.name for f in registry.formats() if f.save is not None)
        raise FormatError(
            f"The format {format!r} is only read.", where="format", hint=f"Written are {written}."
        )
    check_writable(sae.state_dict())
    with same_format(target, format):
        return chosen.save(sae, target)


def describe(path: str | Path | Source, *, apply_b_dec_to_input: bool | None = None) -> Description:
    """What the SAE at `path` is, from its configuration and the headers of its files; no weight is read.

    Args:
        path: as for `load_sae`; or a `Source` that holds exactly one SAE.
        apply_b_dec_to_input: as for `load_sae`.

    Raises:
        NotFoundError: the path does not exist.
        FormatError: the format is unknown, or the files contradict each other.
    """
    if hasattr(path, "files"):
        source: Source = cast(Source, path)
        format = registry.find(source)
    else:
        found = locate(path)
        format, source = found.format, found.source()
    return format.describe(source, **format.answers(apply_b_dec_to_input))


def stored_config(folder: Path, format: str) -> Mapping[str, Any]:
    """The configuration in the files of the SAE in `folder`, as JSON data: also where its weights are gone or damaged.

    Args:
        folder: its files.
        format: the format that they were in when they were whole.

    Raises:
        FormatError: the configuration itself cannot be read; or, in a format that keeps it with the weights, these.
    """
    try:
        return describe(folder).config
    except SAEWidgetsError:
        source, name = FolderSource(folder), registry.get(format).config_file
        if name is None or not (folder / name).exists():
            raise
        return read_yaml(source, name) if name.endswith(".yaml") else read_json(source, name)
