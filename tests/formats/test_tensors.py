"""Reading tensors block by block, and finding NaN and infinity on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import tensors
from saewidgets.formats.tensors import allocate, check_block, check_finite, read_header, read_tensors

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [*((dtype, None) for dtype in FLOATS), (torch.float32, torch.bfloat16), (torch.float64, torch.float32),
     (torch.float16, torch.bfloat16), (torch.bfloat16, torch.float64)],
)
def test_several_blocks_and_every_dtype(dtype: torch.dtype, wanted: torch.dtype | None, tmp_path: Path) -> None:
    tensors = {"W": torch.randn(300, 1003).to(dtype), "b": torch.randn(5).to(dtype), "k": torch.tensor(3)}
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    found = read_tensors(path, read_header(path), dtype=wanted)
    assert found.keys() == tensors.keys()
    for name in ("W", "b"):
        assert torch.equal(found[name], tensors[name].to(wanted or dtype))
    assert found["k"].dtype == torch.int64
    assert list(read_tensors(path, read_header(path), ["b"])) == ["b"]


@pytest.mark.parametrize(
    ("dtype", "value", "at"),
    [
        (torch.float32, float("nan"), 0), (torch.float32, float("inf"), 200_000), (torch.float64, float("-inf"), -1),
        (torch.bfloat16, -float("nan"), 200_000), (torch.bfloat16, float("inf"), -1), (torch.float16, float("nan"), -1),
    ],
)
def test_one_bad_value_anywhere_is_found(dtype: torch.dtype, value: float, at: int, tmp_path: Path) -> None:
    tensor = torch.ones(300_000).to(dtype)  # several blocks
    tensor[at] = value
    path = tmp_path / "a.safetensors"
    save_file({"W": tensor}, path)
    with pytest.raises(FormatError, match="W: It contains NaN or infinity"):
        read_tensors(path, read_header(path))
    with pytest.raises(FormatError, match="file: W: It contains NaN or infinity"):
        check_finite("file", {"W": tensor})
    with pytest.raises(FormatError, match="NaN"):
        check_finite("file", {"W": tensor[None].expand(2, -1).T})
    assert len(read_tensors(path, read_header(path), checked=False)) == 1
    if torch.isinf(tensor[at]):
        assert len(read_tensors(path, read_header(path), infinite=frozenset({"W"}))) == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_large_values_are_not_taken_for_infinity(dtype: torch.dtype) -> None:
    check_block(torch.full((5000,), torch.finfo(dtype).max, dtype=dtype), "W")
    check_block(torch.zeros(0, dtype=dtype), "W")
    check_block(torch.arange(3), "W")


def test_values_that_a_shorter_format_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"W": torch.tensor([1e6])}, path)
    with pytest.raises(FormatError, match="W: It contains NaN or infinity"):
        read_tensors(path, read_header(path), dtype=torch.float16)


def test_a_file_that_shrinks_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"W": torch.ones(1000)}, path)
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="W: The file ended early"):
        read_tensors(path, header)
    path.unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        read_tensors(path, header)


def test_tensors_do_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"W": torch.ones(1000)}, path)
    found = read_tensors(path, read_header(path))
    path.write_bytes(b"")
    assert found["W"].sum() == 1000


def test_more_than_there_is_is_not_allocated() -> None:
    with pytest.raises(FormatError, match="W: The tensor takes 4,503,600 GB"):
        allocate((1 << 50,), torch.float32, "W")


def test_memory_is_made_ready_block_by_block() -> None:
    dtype = torch.bfloat16
    tensor, touch = allocate((3, 200_001), dtype, "W")
    touch(4_097, 100_000)
    touch(tensor.nbytes - 5, 5)
    assert tensor.shape == (3, 200_001)
    assert tensor.dtype == dtype
    assert tensor.is_contiguous()
    tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape) % 7)
    assert torch.equal(tensor.view(-1)[:8].to(torch.int64), torch.arange(8) % 7)


def test_a_system_that_cannot_make_memory_ready_still_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_POPULATE_WRITE", 9_999)  # an advice that no system knows
    path = tmp_path / "a.safetensors"
    weights = torch.rand(700, 601)
    save_file({"W": weights}, path)
    assert torch.equal(read_tensors(path, read_header(path))["W"], weights)
