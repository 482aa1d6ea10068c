"""Defines `Checkpoint`: one folder per step, written whole or not at all, read only when whole.

    checkpoints/step_00001234/
        weights.safetensors     the SAE's parameters and buffers
        optimizer.safetensors   Adam's moments by parameter name, the dead-latent counter, a whitening's matrices
        state.json              step, tokens, configuration, scale, …, size + SHA-256 of the two files above, and the
                                SHA-256 of everything else it says

`durable.whole_folder` writes it into `.step_…`: `step_…` exists only when it is complete. Readers know nothing but
`step_…`; what a killed process left behind is removed by `clean_leftovers`. Nothing is pickled.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saewidgets.durable import read_sealed, require_space, sealed, sha256_of, storage_errors, whole_folder, write_json
from saewidgets.errors import FormatError, NotFoundError
from saewidgets.sae.scaler import Scaler, Whitening

FORMAT = 1
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
WHITENING = "whitening."  # before the names of its matrices: measured again, an eigenvector may have another sign
MEASURED = "measured.safetensors"
"""Name of the file in a run's folder that keeps what is measured, until a checkpoint does."""
_NAME = re.compile(r"step_(\d{8,})")
_DRAFTS = (".step_*", ".tmp-*")  # of a kill; the last is of earlier versions


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk: its place and the content of its state.json."""

    path: Path
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Why it was written: "latest", "best", "every", "final"."""
        return tuple(self.state["kinds"])

    @property
    def size_bytes(self) -> int:
        return sum(item.stat().st_size for item in self.path.iterdir())

    def weights(self) -> dict[str, Tensor]:
        return self._tensors(WEIGHTS)

    def optimizer(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
        """Adam's moments and the dead-latent counter by name, on the CPU; those that are `wanted`."""
        return self._tensors(OPTIMIZER, wanted)

    def scaler(self) -> Scaler:
        """What the SAE saw of the activations."""
        if not self.state.get("whitened", False):
            scale_out = self.state.get("scale_out")
            return Scaler(float(self.state["scale"]), None if scale_out is None else float(scale_out))
        kept = self.optimizer(lambda name: name.startswith(WHITENING))
        try:
            return Scaler(whitening=Whitening.of_tensors({k.removeprefix(WHITENING): v for k, v in kept.items()}))
        except KeyError as error:
            raise FormatError(
                f"The run whitens its inputs, but the whitening has no {error}.", where=str(self.path / OPTIMIZER),
                hint="Resume from another checkpoint, or retry the run.",
            ) from error

    def _tensors(self, file: str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
        try:
            with safe_open(self.path / file, framework="pt") as found:
                return {name: found.get_tensor(name) for name in found.keys() if wanted(name)}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise FormatError(f"The file cannot be read ({error}).", where=str(self.path / file)) from error


def write_checkpoint(
    folder: Path, step: int, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Checkpoint:
    """Write `folder/step_XXXXXXXX` whole or not at all, replacing one of the same step. `state` is JSON data with at
    least ``step``, ``tokens`` and ``kinds``; sizes and checksums are added."""
    target = folder / _name(step)
    need = sum(t.numel() * t.element_size() for t in (*weights.values(), *optimizer.values())) + 2**16
    hint = "Free some space or check that the folder is writable, then resume."
    with storage_errors("The checkpoint could not be written", folder, hint):
        folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, need, "a checkpoint", "Free some space or delete checkpoints, then resume.")
    remove_checkpoint(target)  # only ever a damaged one: a whole checkpoint of this step would not be written again
    with whole_folder(target, (), need) as draft:
        files = {}
        for name, tensors in ((WEIGHTS, weights), (OPTIMIZER, optimizer)):
            path = draft / name
            save_file({key: tensor.detach().to("cpu").contiguous() for key, tensor in tensors.items()}, path)
            files[name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
        whole = sealed({"format": FORMAT, **state, "step": step, "files": files})
        (draft / STATE).write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return Checkpoint(target, whole)


def update_state(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    """Rewrite the state.json of a checkpoint with some values changed, atomically."""
    state = sealed({**checkpoint.state, **changes})
    with storage_errors("The checkpoint is not there", checkpoint.path, "Was it moved or deleted?"):
        checkpoint.path.stat()  # a folder that is gone stays gone
    write_json(checkpoint.path / STATE, state)
    return Checkpoint(checkpoint.path, state)


def read_checkpoint(path: Path, *, verify: bool = True) -> Checkpoint:
    """The checkpoint in folder `path`; with `verify`, its files are compared with their SHA-256. The hint of what is
    raised where it is damaged names the newest intact checkpoint beside it."""
    if not path.is_dir():
        raise NotFoundError("There is no checkpoint there.", where=str(path))
    found = _examined(path, verify)
    if isinstance(found, Checkpoint):
        return found
    others = (other for other in _step_folders(path.parent) if other.name != path.name)
    newest = next((other for other in others if isinstance(_examined(other, verify=True), Checkpoint)), None)
    if newest:
        hint = f"The newest intact checkpoint is {newest}."
    else:
        hint = "There is no other intact checkpoint: retry the run, which starts it from the beginning."
    raise FormatError(found.what, where=found.where, hint=hint)


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Checkpoints in `folder` with a readable state and files of the right size, newest first."""
    examined = (_examined(path, verify=False) for path in _step_folders(folder))
    return [found for found in examined if isinstance(found, Checkpoint)]


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[FormatError]]:
    """The newest checkpoint that passes every check, and what is wrong with each newer one."""
    problems: list[FormatError] = []
    for path in _step_folders(folder):
        try:
            return read_checkpoint(path), problems
        except FormatError as error:
            problems.append(error)
    return None, problems


def clean_leftovers(folder: Path) -> None:
    """Remove what an interrupted write left behind. Only the owner of the run may call it."""
    for path in [path for draft in _DRAFTS for path in folder.glob(draft)]:
        remove_checkpoint(path)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint's folder. A reader that races with it sees a damaged checkpoint, never a wrong one."""
    shutil.rmtree(path, ignore_errors=True)  # what cannot be deleted now is harmless and met again at the next clean-up


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _step_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _examined(path: Path, verify: bool) -> Checkpoint | FormatError:
    """The checkpoint, or what is wrong with its first file that is not what was written."""
    file, state = path / STATE, read_sealed(path / STATE)
    if state is None:
        return FormatError("The file is missing, or is not what was written.", where=str(file))
    try:
        found, step = state.get("format"), int(state["step"])
        _require(found == FORMAT, f"Format {found!r} is not known, expected {FORMAT}.")
        _require(path.name == _name(step), f"It is the state of step {step:,}, not of {path.name}.")
        for name in (WEIGHTS, OPTIMIZER):
            file, recorded = path / name, state["files"][name]
            size = file.stat().st_size
            _require(size == recorded["size"], f"The file has {size:,} bytes, {recorded['size']:,} were written.")
            is_same = not verify or sha256_of(file) == recorded["sha256"]
            _require(is_same, "The file was changed after it was written: its SHA-256 is not the recorded one.")
    except OSError as error:
        return FormatError(f"The file cannot be read ({error.strerror}).", where=str(file))
    except (ValueError, KeyError, TypeError) as error:
        return FormatError(str(error), where=str(file))
    return Checkpoint(path, state)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


LOWER_IS_BETTER = {"fvu": True, "mse": True, "loss": True, "ce_loss_score": False}
EVALUATED = {"fvu": "val_fvu", "l0": "val_l0", "mse": "val_mse", "ce_loss_score": "ce_loss_score"}
"""The metrics of an evaluation that training shows, and what they are called in charts."""
SAMPLES = {"n_tokens": "val_tokens", "ce_tokens": "ce_tokens"}
"""The numbers of tokens that these are measured on, in the same way: ``val_…``, and ``ce_loss_score``."""


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether `value` of this metric is better than the best so far (None: there is none yet)."""
    if best is None:
        return True
    return value < best if LOWER_IS_BETTER[metric] else value > best


def best_left(checkpoints: Sequence[Checkpoint], metric: str) -> tuple[Checkpoint, float] | None:
    """The best of these by `metric`, with its value, as the run itself would have chosen; None: none can be compared.

    A run that is evaluated compares what an evaluation at the very step measured, others the training metrics. What
    was written before there was a best one does not count: it is of the warm-up.
    """
    evaluated = any(c.state.get("evaluated_at", -1) >= 0 for c in checkpoints)
    found: tuple[Checkpoint, float] | None = None
    for checkpoint in sorted(checkpoints, key=lambda c: c.step):
        state = checkpoint.state
        counts = state.get("best") is not None and (not evaluated or state["evaluated_at"] == checkpoint.step)
        value = state.get("metrics", {}).get(EVALUATED.get(metric, metric) if evaluated else metric)
        if counts and value is not None and is_better(metric, value, found and found[1]):
            found = checkpoint, value
    return found


def superseded(checkpoints: Sequence[Checkpoint], keep_every: bool) -> list[Checkpoint]:
    """The superfluous ones of checkpoints, newest first: not the newest, not the newest best, not one to keep or
    that was requested."""
    best = next((c for c in checkpoints if "best" in c.kinds), None)
    kept = {"manual", "every"} if keep_every else {"manual"}
    return [c for c in checkpoints[1:] if c is not best and not kept.intersection(c.kinds)]


def rotate(folder: Path, keep_every: bool) -> list[Path]:
    """Delete the superseded checkpoints in `folder`, once the newest one is whole. Returns their paths."""
    gone = [c.path for c in superseded(list_checkpoints(folder), keep_every)]
    for path in gone:
        remove_checkpoint(path)
    return gone
