"""Checkpoints: whole or not at all, damage is recognised, the latest and the best stay."""

import errno
import json
import os
import shutil
from collections import namedtuple

import pytest
import torch

from saewidgets.durable import sealed
from saewidgets.errors import FormatError, NotFoundError, StorageError
from saewidgets.training import checkpoint as module
from saewidgets.training.checkpoint import (
    clean_leftovers,
    list_checkpoints,
    newest_whole,
    read_checkpoint,
    write_checkpoint,
)


def _tensors(seed: int = 0) -> tuple[dict, dict]:
    generator = torch.Generator().manual_seed(seed)
    weights = {"W_enc": torch.randn(4, 8, generator=generator).t(), "b": torch.randn(4, generator=generator)}
    return weights, {"b.step": torch.tensor(3.0), "dead": torch.arange(4)}


def _write(folder, step=20, kinds=("latest",), seed=0):
    weights, optimizer = _tensors(seed)
    return write_checkpoint(folder, step, weights, optimizer, {"tokens": step * 10, "kinds": kinds, "scale": 0.1})


def test_written_checkpoints_can_be_read(tmp_path):
    _write(tmp_path)
    read = read_checkpoint(tmp_path / "step_00000020")
    weights, optimizer = _tensors()
    assert read.step == 20
    assert read.kinds == ("latest",)
    assert read.state["scale"] == 0.1
    assert {k: torch.equal(v, weights[k]) for k, v in read.weights().items()} == {"W_enc": True, "b": True}
    assert {k: torch.equal(v, optimizer[k]) for k, v in read.optimizer().items()} == {"b.step": True, "dead": True}
    assert sorted(p.name for p in read.path.iterdir()) == ["optimizer.safetensors", "state.json", "weights.safetensors"]
    assert read.size_bytes == sum(p.stat().st_size for p in read.path.iterdir())


def test_newest_first_and_foreign_folders_ignored(tmp_path):
    for step in (5, 123_456_789, 40):
        _write(tmp_path, step)
    (tmp_path / "step_7").mkdir()
    (tmp_path / ".tmp-abc").mkdir()
    assert [c.step for c in list_checkpoints(tmp_path)] == [123_456_789, 40, 5]
    assert list_checkpoints(tmp_path / "nowhere") == []


def _cut(path):
    path.write_bytes(path.read_bytes()[:-8])


def _change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_checkpoint_under_the_name_of_another_step_is_not_whole(tmp_path):
    _write(tmp_path, 10)
    (tmp_path / "step_00000010").rename(tmp_path / "step_00000040")
    with pytest.raises(FormatError, match=r"state of step 10, not of step_00000040"):
        read_checkpoint(tmp_path / "step_00000040")


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("weights.safetensors", _cut, "bytes"),
        ("weights.safetensors", _flip, "SHA-256"),
        ("optimizer.safetensors", _flip, "SHA-256"),
        ("optimizer.safetensors", os.unlink, "cannot be read"),
        ("state.json", _cut, "not what was written"),
        ("state.json", os.unlink, "missing"),
        ("state.json", lambda p: p.write_text("{}"), "not what was written"),
        ("state.json", lambda p: p.write_text(json.dumps(sealed({"format": 2, "step": 30}))), "Format 2"),
        ("state.json", lambda p: _change(p, step=1_000_000), "not what was written"),
        ("state.json", lambda p: _change(p, scale="x"), "not what was written"),
        ("state.json", lambda p: _change(p, tokens=-1), "not what was written"),
    ],
)
def test_damage_names_the_file_and_the_newest_whole_one(tmp_path, file, damage, says):
    _write(tmp_path, 10)
    _write(tmp_path, 20)
    _write(tmp_path, 30)
    damage(tmp_path / "step_00000030" / file)
    with pytest.raises(FormatError) as caught:
        read_checkpoint(tmp_path / "step_00000030")
    assert says in caught.value.what
    assert caught.value.where == str(tmp_path / "step_00000030" / file)
    assert str(tmp_path / "step_00000020") in caught.value.hint
    found, problems = newest_whole(tmp_path)
    assert found.step == 20
    assert [p.where for p in problems] == [caught.value.where]


def test_no_whole_checkpoint_at_all(tmp_path):
    _write(tmp_path, 10)
    _flip(tmp_path / "step_00000010" / "weights.safetensors")
    found, problems = newest_whole(tmp_path)
    assert found is None
    assert "retry the run" in problems[0].hint
    with pytest.raises(NotFoundError):
        read_checkpoint(tmp_path / "step_00000011")


def test_a_damaged_one_of_the_same_step_is_replaced(tmp_path):
    _write(tmp_path, 10, seed=1)
    _flip(tmp_path / "step_00000010" / "weights.safetensors")
    _write(tmp_path, 10, seed=2)
    assert torch.equal(read_checkpoint(tmp_path / "step_00000010").weights()["b"], _tensors(2)[0]["b"])
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000010"]


def test_disk_check_comes_before_writing(tmp_path, monkeypatch):
    _write(tmp_path, 10)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1234, 1234))
    with pytest.raises(StorageError) as caught:
        _write(tmp_path, 20)
    assert caught.value.where == str(tmp_path)
    assert "1,234 are free" in caught.value.what
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000010"]


@pytest.mark.parametrize("failing_call", [0, 1, 2, 3])
def test_a_full_disk_while_writing_leaves_nothing(tmp_path, monkeypatch, failing_call):
    _write(tmp_path, 10)
    calls = iter(range(100))
    real = os.fsync

    def _fsync(handle):
        if next(calls) == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", _fsync)
    with pytest.raises(StorageError, match="No space left"):
        _write(tmp_path, 20)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000010"]
    assert read_checkpoint(tmp_path / "step_00000010").step == 10


@pytest.mark.parametrize("crash_at", range(5))
def test_a_crash_at_any_flush_leaves_the_old_one_whole(tmp_path, monkeypatch, crash_at):
    """A killed process cleans nothing up: leftovers stay, are never read, and the next owner removes them."""
    _write(tmp_path, 10)
    calls = iter(range(100))

    def _die(handle):
        if next(calls) == crash_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", _die)
    monkeypatch.setattr(module, "clean_leftovers", lambda folder: [])
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, 20)
    monkeypatch.undo()
    renamed = crash_at == 4  # the last flush, of the parent, comes after the rename
    assert newest_whole(tmp_path)[0].step == (20 if renamed else 10)
    clean_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000010"] + ["step_00000020"] * renamed


def test_an_unwritable_folder_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        _write(tmp_path / "file" / "checkpoints")


def test_state_refuses_nan(tmp_path):
    weights, optimizer = _tensors()
    with pytest.raises(ValueError, match="JSON"):
        write_checkpoint(tmp_path, 1, weights, optimizer, {"tokens": 1, "kinds": (), "scale": float("nan")})
    assert list(tmp_path.iterdir()) == []
