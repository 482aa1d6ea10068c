"""What a damage to files is, and the damages that tensors of any format can have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FREE_TENSORS = {"stats_last_nonzero", "step", "k"}  # not weights: their values may be anything


@dataclass(frozen=True)
class Case:
    """One damage: `apply` changes the files in a folder. `must` says that loading has to fail."""

    name: str
    apply: Callable[[Path], None]
    must: bool = True


class Evil:
    """Unpickled, this runs code; the test looks for the file that it would leave."""

    def __init__(self, function: Callable[..., Any] = os.mkdir, *arguments: Any) -> None:
        self.call = (function, arguments or ("owned",))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def put(name: str, raw: bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(raw) and None


def replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / name).unlink()
        make(root / name)

    return apply


def bad_tensors(tensors: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`tensors` with one of them damaged."""
    for key, tensor in tensors.items():
        if key in FREE_TENSORS or not isinstance(tensor, torch.Tensor) or tensor.numel() < 2:
            continue
        rest = {other: value for other, value in tensors.items() if other != key}
        for value in (float("nan"), float("inf"), float("-inf")):
            changed = tensor.clone()
            changed.view(-1)[-1] = value
            yield f"{key} holds {value}", rest | {key: changed}
        yield f"{key} is missing", rest
        yield f"{key} is renamed", rest | {f"{key}x": tensor}
        yield f"{key} is whole numbers", rest | {key: tensor.to(torch.int32)}
        yield f"{key} is booleans", rest | {key: tensor > 0}
        yield f"{key} is short", rest | {key: tensor[:-1].contiguous()}
        yield f"{key} has one dimension more", rest | {key: tensor[None].contiguous()}
        yield f"{key} is empty", rest | {key: tensor[:0].contiguous()}
        if tensor.dim() == 2:
            yield f"{key} is transposed", rest | {key: tensor.T.contiguous()}
            yield f"{key} is flat", rest | {key: tensor.reshape(-1)}
