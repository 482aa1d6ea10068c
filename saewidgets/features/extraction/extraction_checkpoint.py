"""Checkpoints of an extraction: all it has gathered so far, written whole or not at all, read only when whole.

    <folder>/checkpoint/contexts_00001234/
        tables.safetensors   `Accumulator.tensors`
        state.json           contexts read, counters, what they belong to, size and SHA-256 of the file above

Nothing is pickled.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saewidgets.durable import read_sealed, require_space, sealed, sha256_of, storage_errors, whole_folder
from saewidgets.errors import ConfigError, FormatError
from saewidgets.sae import SAE

FORMAT = 1
TABLES, STATE = "tables.safetensors", "state.json"

_NAME = re.compile(r"contexts_\d{8,}")


def write_checkpoint(folder: Path, done: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> int:
    """Write the checkpoint after `done` contexts, then remove the one before it. Returns its size in bytes.

    Where the disk refuses (`StorageError`), the checkpoint before is still there.
    """
    target = folder / _name(done)
    need = sum(t.numel() * t.element_size() for t in tensors.values()) + 2**16
    with storage_errors("The checkpoint cannot be written", folder, "Check that the folder is writable, then resume."):
        folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, need, "a checkpoint", "Free some space, then resume.")
    with whole_folder(target, (TABLES, STATE), need) as draft:  # one that is there is a damaged one
        tables = draft / TABLES
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, tables)
        size = tables.stat().st_size
        file = {"size": size, "sha256": sha256_of(tables)}
        whole = sealed({"format": FORMAT, **state, "done": done, "file": file})
        (draft / STATE).write_text(json.dumps(whole, indent=1, allow_nan=False), encoding="utf-8")
    for other in folder.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)  # what cannot be deleted now is met again next time
    return size


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """(state, tensors) of the newest checkpoint that is whole; None where there is none.

    Raises:
        FormatError: there are checkpoints, and all are damaged; `where` is the newest one's file.
    """
    problem: FormatError | None = None
    for path in sorted(checkpoints(folder), key=lambda path: int(path.name.rpartition("_")[2]), reverse=True):
        try:
            return _read(path)
        except FormatError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def remove_checkpoints(folder: Path) -> None:
    """Delete all of them. What cannot be deleted is harmless."""
    shutil.rmtree(folder, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """All of them, damaged or not."""
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    file = path / STATE
    try:
        state = read_sealed(file)
        if state is None or state.get("format") != FORMAT:
            raise ValueError("it differs from what was written")
        if path.name != _name(state["done"]):
            raise ValueError(f"it is that of {state['done']:,} contexts")
        file = path / TABLES
        if file.stat().st_size != state["file"]["size"] or sha256_of(file) != state["file"]["sha256"]:
            raise ValueError("it differs from what was written")
        return state, load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise FormatError(
            f"The checkpoint is damaged: {error}.", where=str(file), hint="Start the extraction again."
        ) from error


def _name(done: int) -> str:
    return f"contexts_{done:08d}"


_SAMPLED = 128  # values of every tensor in an SAE's fingerprint


def compare(state: Mapping[str, Any], belongs: Mapping[str, Any], around: Mapping[str, Any]) -> str | None:
    """Why continuing from `state` will not be bit-identical; None when it will be.

    Raises `ConfigError` where the checkpoint belongs to another extraction.
    """
    before = state["identity"]
    for name, value in belongs.items():
        if before.get(name) != value:
            raise ConfigError(
                f"The extraction was begun with {before.get(name)!r}, not {value!r}.", where=name,
                hint="Start a new extraction instead of resuming this one.",
            )
    told = [
        f"{name} was {state['environment'].get(name)} and is {value}"
        for name, value in around.items() if state["environment"].get(name) != value
    ]
    return f"The continuation will not be bit-identical: {'; '.join(told)}." if told else None


def sae_fingerprint(sae: SAE) -> str:
    """A short hash that differs when the weights do: names, shapes and some values of every tensor."""
    digest = hashlib.sha256(f"{sae.architecture} {sae.cfg.model_dump_json()}".encode())
    for name, tensor in sorted(sae.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            flat = tensor.detach().reshape(-1)
            chosen = torch.linspace(0, flat.numel() - 1, min(_SAMPLED, flat.numel()), dtype=torch.float64).long()
            digest.update(flat[chosen.to(flat.device)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
