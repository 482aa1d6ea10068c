"""``.npz`` archives: stored and deflated, shapes without data, nothing but plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.errors import FormatError
from saewidgets.formats.tensors import read_tensors
from saewidgets.formats.zips import read_npz_header


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "W_enc": generator.random((40, 300), dtype=np.float32), "b": generator.random(300), "half": np.float16([1, 2]),
        "count": np.int64([3, 4]), "scalar": np.float32(0.5), "empty": np.zeros((0, 3), np.float32),
        "column": np.asfortranarray(np.ones((5, 1), np.float32)),
        "turned": np.asfortranarray(generator.random((4, 3))), "cube": np.asfortranarray(generator.random((4, 3, 2))),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_they_were(save: object, tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    save(path, **arrays())  # type: ignore[operator]
    header, found = read_npz_header(path), read_tensors(path, read_npz_header(path))
    for name, array in arrays().items():
        assert header.tensors[name].shape == array.shape
        assert found[name].dtype == torch.from_numpy(np.atleast_1d(array)).dtype
        assert np.array_equal(found[name].numpy(), array)
        assert found[name].is_contiguous()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_found(save: object, tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    save(path, W=np.random.default_rng(0).random((300, 400), dtype=np.float32), b=np.zeros(3))  # type: ignore[operator]
    raw = bytearray(path.read_bytes())
    raw[200_000] ^= 1  # in the last digits of a weight
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"W.*(Bad CRC-32|Error -3)"):
        read_tensors(path, read_npz_header(path))
    assert read_tensors(path, read_npz_header(path), ["b"])["b"].tolist() == [0, 0, 0]


def test_a_large_deflated_array(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 7, (700, 900)).astype(np.float32)  # several blocks of both sizes
    np.savez_compressed(tmp_path / "a.npz", W=array)
    assert np.array_equal(read_tensors(tmp_path / "a.npz", read_npz_header(tmp_path / "a.npz"))["W"].numpy(), array)
