"""``.pt`` and ``.npz``: what torch and NumPy write reads right; nothing but tensors and plain values is let in."""

from __future__ import annotations

import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets import load_sae
from saewidgets.errors import FormatError
from saewidgets.formats.archives import Pickled, read_npz_header, read_pickled
from saewidgets.formats.tensors import read_tensors

GOLDEN = Path(__file__).parents[1] / "golden"


def saved(tmp_path: Path, value: Any) -> tuple[Path, Pickled]:
    path = tmp_path / "file.pt"
    torch.save(value, path)
    return path, read_pickled(path)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool],
)
def test_tensors_of_every_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {
        "a": (torch.rand(3, 5) * 9).to(dtype), "scalar": torch.tensor(3).to(dtype),
        "empty": torch.zeros(0, 4, dtype=dtype),
    }
    path, found = saved(tmp_path, tensors)
    shapes = {name: info.shape for name, info in found.header().tensors.items()}
    assert shapes == {"a": (3, 5), "scalar": (), "empty": (0, 4)}
    loaded = read_tensors(path, found.header())
    for name, tensor in tensors.items():
        assert loaded[name].dtype == dtype
        assert torch.equal(loaded[name], tensor)


def test_a_state_dict_with_its_attributes(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 4))
    path, found = saved(tmp_path, module.state_dict())
    loaded = read_tensors(path, found.header())
    assert isinstance(module.state_dict(), OrderedDict)
    for name, tensor in module.state_dict().items():
        assert torch.equal(loaded[name], tensor)


def test_parameters_views_and_shared_storages(tmp_path: Path) -> None:
    base = torch.rand(6, 8)
    tensors = {
        "parameter": torch.nn.Parameter(base), "rows": base[2:4], "transposed": base.T, "flat": base.view(-1),
        "one_row": base[:1].expand(1, 8), "wide": base.double(),
    }
    path, found = saved(tmp_path, tensors)
    loaded = read_tensors(path, found.header())
    assert found.header().tensors["transposed"].shape == (8, 6)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor.detach()), name


@pytest.mark.parametrize(
    "golden", ["dictionary_learning/topk", "saelens_loaders/Goodfire/Llama-3.3-70B-Instruct-SAE-l50"]
)
def test_a_flipped_bit_of_an_sae_is_found(golden: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / golden, tmp_path / Path(golden).name)
    load_sae(folder)
    path = next(folder.glob("*.pt"))
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    raw = bytearray(path.read_bytes())
    raw[largest.header_offset + 128 + largest.file_size // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="Bad CRC-32"):
        load_sae(folder)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    path, found = saved(tmp_path, {"W": torch.rand(30, 40)})
    with zipfile.ZipFile(path) as archive:
        sums = [info.CRC.to_bytes(4, "little") for info in archive.infolist()]
    raw = path.read_bytes()
    for crc in sums:
        raw = raw.replace(crc, bytes(4))
    path.write_bytes(raw)  # as after torch.serialization.set_crc32_options(False)
    assert set(read_tensors(path, read_pickled(path).header())) == set(found.value)


@pytest.mark.parametrize("view", [lambda x: x[:, ::2], lambda x: x[:1].expand(6, 8), lambda x: x[:, :4]])
def test_a_part_of_a_tensor_is_refused(view: Any, tmp_path: Path) -> None:
    torch.save({"part": view(torch.rand(6, 8))}, tmp_path / "file.pt")
    with pytest.raises(FormatError, match="strides"):
        read_pickled(tmp_path / "file.pt")


def test_plain_values_come_along(tmp_path: Path) -> None:
    values = {
        "epoch": 3, "loss": 0.25, "name": "é", "on": True, "nothing": None, "big": 2**40, "negative": -7,
        "history": {"loss": [1.0, 0.5], "steps": (1, 2)}, 7: "by number", "device": torch.device("cpu"),
        "size": torch.Size([2, 3]), "dtype": torch.float32, "W": torch.zeros(2), "inner": {"W": torch.ones(2), "k": 4},
    }
    path, found = saved(tmp_path, values)
    plain = found.plain()
    assert plain["history"] == {"loss": [1.0, 0.5], "steps": [1, 2]}
    assert plain["inner"] == {"k": 4}
    assert (plain["7"], plain["device"], plain["size"], plain["dtype"]) == ("by number", "cpu", [2, 3], "float32")
    assert {key: plain[key] for key in ("epoch", "loss", "name", "on", "nothing", "big", "negative")} == {
        key: values[key] for key in ("epoch", "loss", "name", "on", "nothing", "big", "negative")
    }
    inner = found.within("inner")
    assert torch.equal(read_tensors(path, inner.header())["W"], torch.ones(2))
    with pytest.raises(FormatError, match="outer"):
        found.within("outer")


@pytest.mark.parametrize("protocol", [3, 5])
def test_other_protocols_are_refused(protocol: int, tmp_path: Path) -> None:
    torch.save({"W": torch.arange(6.0)}, tmp_path / "file.pt", pickle_protocol=protocol)
    with pytest.raises(FormatError, match=f"pickle protocol {protocol}.*Save it again"):
        read_pickled(tmp_path / "file.pt")


def test_code_is_named_and_not_run(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(FormatError, match=r"module\.pt.*torch\.nn\.modules\.linear\.Linear, which is code"):
        read_pickled(tmp_path / "module.pt")
    torch.save({"path": tmp_path}, tmp_path / "path.pt")
    with pytest.raises(FormatError, match=r"PosixPath|WindowsPath"):
        read_pickled(tmp_path / "path.pt")


# --- Arrays of .npz --------------------------------------------------------------------------------------------------


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
