"""Defines `describe`, `load_sae`, `save_sae`, `convert` and `validate`, for SAEs in whatever format."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from saewidgets.config import arguments
from saewidgets.durable import OccupiedError, whole_folder
from saewidgets.errors import FormatError, SAEWidgetsError, StorageError
from saewidgets.formats import registry, saelens
from saewidgets.formats.format import Description, Format, Part, SAEExport
from saewidgets.formats.registry import locate
from saewidgets.formats.source import FolderSource, read_json, read_yaml
from saewidgets.formats.tensors import CHECKSUMS, check_finite, checksums
from saewidgets.sae import SAE
from saewidgets.settings import torch_device


def load_sae(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    apply_b_dec_to_input: bool | None = None,
) -> SAE:
    """The SAE at `path`, frozen and ready for inference. `saewidgets.load_sae` says the rest."""
    where = torch_device(device)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        arguments.refuse(dtype, "dtype", "a floating-point number format", "Use torch.float32, for example, or None.")
    found = locate(path)
    return found.format.load(found.path, device=where, dtype=dtype, **found.format.answers(apply_b_dec_to_input))


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
    target = arguments.path(path, "path", "a path for the SAE")
    chosen = registry.get(format)
    if chosen.save is None:
        written = ", ".join(f.name for f in registry.formats() if f.save is not None)
        raise FormatError(f"The format {format!r} can only be read.", where="format", hint=f"Use one of: {written}.")
    try:
        check_finite("weights", sae.state_dict())
    except FormatError as error:  # what is written can be read again
        error.hint = "A training that diverged leaves such weights: save an earlier checkpoint. Nothing was written."
        raise
    return _write(sae, target, chosen)


def _write(sae: SAE, folder: Path, format: Format, more: Mapping[str, Part] | None = None) -> Path:
    """Write the files of `sae`, and `more` of them, whole or not at all."""
    assert format.save is not None
    saved = SAEExport(format.title, sae, sae, folder)
    if saved.trained or type(sae).to_inference is not SAE.to_inference:
        saved = replace(saved, frozen=sae.to_inference())
    parts = {**format.save(saved), **(more or {})}
    tensors = (tensor for part in parts.values() if isinstance(part, Mapping) for tensor in part.values())
    needed = sum(tensor.nbytes for tensor in tensors)
    with same_format(folder, format.name), whole_folder(folder, replaceable=tuple(parts), needed=needed) as draft:
        for name, part in parts.items():
            path = draft / name
            if part is None:
                continue
            if not isinstance(part, bytes) and path.suffix == ".safetensors":
                save_file(dict(part), path, {CHECKSUMS: checksums(part)})
                continue
            with path.open("wb") as file:  # a path instead hides why it failed
                if isinstance(part, bytes):
                    file.write(part)
                elif path.suffix == ".npz":
                    np.savez(file, **{key: tensor.numpy() for key, tensor in part.items()})  # type: ignore[arg-type]
                else:
                    torch.save(part, file)
    return folder


def describe(path: str | Path, *, apply_b_dec_to_input: bool | None = None) -> Description:
    """What the SAE at `path` is, from its configuration and the headers of its files; no weight is read. Raises as
    `load_sae`."""
    found = locate(path)
    return found.format.describe(found.source(), **found.format.answers(apply_b_dec_to_input))


def stored_config(folder: Path, format: str) -> Mapping[str, Any]:
    """The configuration in the files of the SAE in `folder`, as JSON data: also where its weights are gone or damaged.

    `format` is that of the files when they were whole. Raises `FormatError` where the configuration cannot be read.
    """
    try:
        return describe(folder).config
    except SAEWidgetsError:
        source, name = FolderSource(folder), registry.get(format).config_file
        if name is None or not (folder / name).exists():
            raise
        return read_yaml(source, name) if name.endswith(".yaml") else read_json(source, name)


def convert(path: str | Path, dest: str | Path, format: str = saelens.NAME) -> Path:
    """Write the SAE at `path` into the folder `dest` in another format; returns the folder.

    Model, hook point and the rest of what its files say about it come along, and so does the density of its latents
    where both formats have it. The number format of the weights stays, unless a shorter one than float32 would round
    what the target needs. Raises as `load_sae` and `save_sae`.
    """
    target = registry.get(format)
    found, dest = locate(path), arguments.path(dest, "dest", "a path for the SAE")
    if dest.resolve() == found.path.resolve() and found.format.name != format:
        raise FormatError("Source and destination are the same folder.", where=str(dest), hint="Choose another folder.")
    sae = load_sae(path)
    sae.metadata.setdefault("converted_from", found.format.name)
    if format != saelens.NAME:
        return save_sae(sae, dest, format)
    density = saelens.read_log_density(found.path)
    if density is None or density.shape != (sae.d_sae,):
        return _write(sae, dest, target)
    return _write(sae, dest, target, {saelens.SPARSITY_FILE: {"sparsity": density}})


def validate(path: str | Path) -> list[str]:
    """Problems of the SAE at `path`, one sentence each with the file and key it concerns; empty if there are none.

    Checked are the format, the configuration, the headers of all files against it, every weight (no NaN, no infinity),
    and that encoding and reconstructing two activations gives numbers. It reads all weights and takes their memory
    meanwhile.

    Raises:
        ConfigError: `path` is not a path.
    """
    arguments.path_text(path, "path", "the path of an SAE")
    try:
        found = locate(path)
        found.format.describe(found.source())
        sae = found.format.load(found.path, device=torch.device("cpu"))
        x = torch.ones(2, 3, sae.d_in, dtype=sae.W_dec.dtype)
        x[1:] = torch.linspace(-1, 1, sae.d_in, dtype=sae.W_dec.dtype)
        with torch.no_grad():
            f = sae.encode(x)
            y = sae(x)
    except SAEWidgetsError as error:
        return [str(error)]
    if f.isfinite().all() and y.isfinite().all():
        return []
    return [f"{found.path}: Its latents or reconstructions are not finite numbers, although its weights are."]


@contextlib.contextmanager
def same_format(path: Path, format: str) -> Iterator[None]:
    """Around the writing of an SAE in `format` into the folder `path`: where that is refused because an SAE in another
    format is there, the error says so. It stays: nobody who converts asked for its end."""
    try:
        yield
    except OccupiedError as error:
        found = _format(path)
        if found is None or found.name == format:
            raise
        raise StorageError(
            f"This folder holds an SAE in the format {found.name}; only one in the same format is replaced, and "
            f"{format} is to be written.",
            where=str(path), hint="Choose a new or empty folder, or delete this one first.",
        ) from error


def own_files(path: Path, format: str) -> tuple[str, ...]:
    """What in the folder `path`, files or folders, belongs to the SAE of `format` that is there and can be read."""
    found = _format(path)
    if found is None or found.name != format:
        return ()
    try:
        return tuple({name.split("/")[0] for name in found.describe(FolderSource(path)).files})
    except FormatError:  # a damaged one: only what has the same names is replaced
        return ()


def _format(path: Path) -> Format | None:
    """The format of the SAE in the folder `path` itself."""
    if not path.is_dir() or path.is_symlink():
        return None
    try:
        return registry.match(FolderSource(path))
    except FormatError:  # a crowded folder
        return None
