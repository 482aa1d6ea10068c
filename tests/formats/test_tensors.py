"""Reading tensors block by block, finding NaN and infinity on the way; and ``.pt`` and ``.npz``: what torch and NumPy
write reads right, and nothing but tensors and plain values is let in."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from saewidgets import create_sae, load_sae, save_sae
from saewidgets.errors import FormatError
from saewidgets.formats import tensors
from saewidgets.formats.archives import PickledDict, read_npz_header, read_pickled
from saewidgets.formats.tensors import check_block, check_finite, read_header, read_tensors

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


def test_a_system_that_cannot_make_memory_ready_still_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_POPULATE_WRITE", 9_999)  # an advice that no system knows
    path = tmp_path / "a.safetensors"
    weights = torch.rand(700, 601)
    save_file({"W": weights}, path)
    assert torch.equal(read_tensors(path, read_header(path))["W"], weights)


GOLDEN = Path(__file__).parents[1] / "golden"


def saved(tmp_path: Path, value: Any) -> tuple[Path, PickledDict]:
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
    assert torch.equal(read_tensors(path, inner.header(besides=["k"]))["W"], torch.ones(2))
    with pytest.raises(FormatError, match="outer"):
        found.within("outer")


@pytest.mark.parametrize("protocol", [3, 5])
def test_other_protocols_are_refused(protocol: int, tmp_path: Path) -> None:
    torch.save({"W": torch.arange(6.0)}, tmp_path / "file.pt", pickle_protocol=protocol)
    with pytest.raises(FormatError, match=f"pickle protocol {protocol}.*Save it again"):
        read_pickled(tmp_path / "file.pt")


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


def test_constant_vectors_of_a_compressed_archive_are_read(tmp_path: Path) -> None:
    """They compress a thousandfold, which is no bomb beside the matrices of their length."""
    folder = tmp_path / "layer_1" / "width_300k" / "average_l0_20"
    folder.mkdir(parents=True)
    w, n = {name: np.random.default_rng(0).standard_normal(300_000, np.float32) for name in ("W_enc", "W_dec")}, 300_000
    w = {"W_enc": w["W_enc"][None], "W_dec": w["W_dec"][:, None], "b_enc": np.zeros(n, np.float32),
         "b_dec": np.zeros(1, np.float32), "threshold": np.full(n, 0.01, np.float32)}  # fmt: skip
    np.savez_compressed(folder / "params.npz", **w)
    assert load_sae(folder).d_sae == n


def test_flipped_bits_of_a_file_that_was_written_here_are_found(tmp_path: Path) -> None:
    sae = create_sae("topk", d_in=8, d_sae=16, k=2)
    path = save_sae(sae, tmp_path / "sae") / "sae_weights.safetensors"
    raw, start = path.read_bytes(), read_header(path).tensors["W_enc"].start
    for at in (start, start + 77, len(raw) - 4):  # low bits, which stay finite
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        for dtype in (None, torch.bfloat16):
            with pytest.raises(FormatError, match=r"sae_weights.*checksum does not match.*export the SAE again"):
                load_sae(path.parent, dtype=dtype)
    save_file(load_file(path), path)  # another program's file has no checksums
    load_sae(path.parent)
