"""`ws.saes`: finding, changing, deleting, files that went away, and every format."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError, StorageError
from saewidgets.formats import load_sae
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.folders import sweep_trash
from saewidgets.workspace.library.sae_files import NOTES
from tests.formats.samples import D_IN, D_SAE, SAMPLES, rand
from tests.workspace.library.saes import contents, saelens


@pytest.fixture
def sae(ws: Workspace, tmp_path: Path) -> SAERecord:
    return ws.saes.add_local(saelens(tmp_path / "one"))


def test_find(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    for wanted in (sae.id, "one", sae.id[:9]):
        assert ws.saes.find(wanted) == sae
    for wanted in ("sae_", sae.id[:6], "two", "o"):
        with pytest.raises(NotFoundError, match="There is no SAE"):
            ws.saes.find(wanted)
    with pytest.raises(ConfigError, match="empty"):
        ws.saes.find(" ")
    ws.saes.update(ws.saes.add_local(tmp_path / "one").id, name="one")
    with pytest.raises(NotFoundError, match="2 SAEs match"):
        ws.saes.find("one")


def test_update(ws: Workspace, sae: SAERecord) -> None:
    changed = ws.saes.update(sae.id, name=" new  name ", notes="seen\ntwice", tags=["Good", "good", " to  read "])
    assert (changed.name, changed.notes, changed.tags) == ("new name", "seen\ntwice", ("Good", "to read"))
    assert ws.saes.update(sae.id) == ws.saes.get(sae.id)
    with pytest.raises(ConfigError, match="notes: This holds a null character"):
        ws.saes.update(sae.id, notes="a\0b")
    assert ws.saes.update(sae.id, tags=[], notes="").tags == ()
    for wrong in ({"name": ""}, {"name": "x" * 121}, {"tags": [""]}, {"tags": ["x" * 41]}, {"tags": "word"},
                  {"notes": "x" * 20_001}):  # fmt: skip
        with pytest.raises(ConfigError):
            ws.saes.update(sae.id, **wrong)  # type: ignore[arg-type]


def test_missing_and_changed_files_are_shown(ws: Workspace, sae: SAERecord) -> None:
    weights = Path(sae.path) / "sae_weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data + b"x")
    (listed,) = ws.saes.list()
    assert listed.state == "changed"
    assert listed.state_note == "sae_weights.safetensors was written to after it was added."
    weights.unlink()
    (listed,) = ws.saes.list()
    assert (listed.state, listed.state_note) == ("missing", "sae_weights.safetensors is no longer in its folder.")
    for read in (ws.saes.load, ws.saes.statistics):
        with pytest.raises(NotFoundError, match=r"no longer in its folder.*locate"):
            read(sae.id)
    assert "saewidgets" in ws.saes.load_code(sae.id)
    shutil.rmtree(sae.path)
    assert ws.saes.list()[0].state_note == "Its folder is gone."
    with pytest.raises(NotFoundError, match=r"not here.*locate"):
        ws.saes.load(sae.id)
    assert ws.saes.delete(sae.id) == 0


@pytest.mark.parametrize("damage", ["gone", "cut short", "not safetensors", "a value of the configuration"])
def test_the_configuration_is_read_without_the_weights(damage: str, ws: Workspace, sae: SAERecord) -> None:
    weights, config = Path(sae.path) / "sae_weights.safetensors", Path(sae.path) / "cfg.json"
    whole = ws.saes.config(sae.id)
    if damage == "gone":
        weights.unlink()
    elif damage == "a value of the configuration":
        whole |= {"k": True}
        config.write_text(json.dumps(whole))
    else:
        weights.write_bytes(weights.read_bytes()[:100] if damage == "cut short" else b"no weights")
    with pytest.raises((NotFoundError, FormatError)):
        ws.saes.load(sae.id)
    assert ws.saes.config(sae.id) == whole


def test_locate(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    ws.saes.statistics(sae.id)
    moved = shutil.move(sae.path, tmp_path / "moved")
    assert ws.saes.get(sae.id).state == "missing"
    with pytest.raises(FormatError, match=r"d_sae 16; one has 32"):
        ws.saes.locate(sae.id, saelens(tmp_path / "narrow", d_sae=16))
    with pytest.raises(NotFoundError):
        ws.saes.locate(sae.id, tmp_path / "nowhere")
    assert ws.saes.get(sae.id).state == "missing"
    found = ws.saes.locate(sae.id, moved)
    assert (found.state, found.path, found.id, found.name, found.statistics) == ("ok", str(moved), sae.id, "one", {})
    assert ws.saes.load(sae.id).d_sae == 32
    (Path(moved) / "notes of mine.txt").write_text("not the library's")
    assert ws.saes.list()[0].state == "ok"
    assert ws.saes.delete(sae.id) == 0
    assert Path(moved).is_dir(), "not the library's own"


def test_locate_refuses_another_sae_and_the_folder_of_one(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    before = contents(Path(sae.path))
    for other in (saelens(tmp_path / "relu", architecture="standard"), saelens(tmp_path / "seed", seed=7)):
        with pytest.raises(FormatError, match="a different one"):
            ws.saes.locate(sae.id, other)
    assert contents(Path(sae.path)) == before
    assert ws.saes.get(sae.id).state == "ok"
    listed = ws.saes.add_local(tmp_path / "seed")
    for _ in ("there", "gone"):
        with pytest.raises(ConfigError, match="belongs to the library"):
            ws.saes.locate(sae.id, listed.path)
        shutil.rmtree(sae.path, ignore_errors=True)
    assert ws.saes.get(listed.id).path == listed.path


def test_locate_and_delete_wait_for_jobs(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    copy = shutil.copytree(sae.path, tmp_path / "copy")
    ws.catalog.jobs.add("job_1", kind="extraction", lane="box/cpu", payload={"sae_id": sae.id}, owner="somebody@far")
    with pytest.raises(StateError, match="in use"):
        ws.saes.locate(sae.id, copy)
    with pytest.raises(StateError, match=r"one is in use.*Cancel that first"):
        ws.saes.delete(sae.id)
    assert Path(sae.path).is_dir()
    assert not list((ws.folder / NOTES).glob("*")), "a refused deletion leaves no note"
    ws.catalog.jobs.delete("job_1")
    other = ws.saes.add_local(copy)
    assert ws.saes.delete(other.id) == other.size_bytes
    assert not Path(other.path).exists()
    with pytest.raises(NotFoundError):
        ws.saes.delete(other.id)
    assert ws.saes.locate(sae.id, copy).path == str(copy)
    assert not Path(sae.path).exists(), "nothing lists the library's own files any more"


def test_export(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    assert contents(ws.saes.export(sae.id, tmp_path / "out")) == contents(Path(sae.path))
    ws.saes.convert(sae.id, "saelens", tmp_path / "out")  # again: it replaces what it wrote
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(StorageError, match="holds"):
        ws.saes.export(sae.id, tmp_path / "out")
    with pytest.raises(StorageError, match="inside the workspace"):
        ws.saes.export(sae.id, ws.folder / "saes" / "copy")
    with pytest.raises(ConfigError, match="no format"):
        ws.saes.export(sae.id, tmp_path / "other", "floppy")
    assert not (tmp_path / "other").exists()


def test_load_code_runs(ws: Workspace, sae: SAERecord) -> None:
    code = ws.saes.load_code(sae.id)
    space: dict[str, object] = {}
    exec(code["saewidgets"], space)
    assert space["sae"].d_sae == 32  # type: ignore[attr-defined]
    assert f'load_from_disk("{sae.path}")' in code["sae_lens"]


def test_all_subscribers_are_called(ws: Workspace, tmp_path: Path) -> None:
    told: list[str | None] = []

    def broken(changed: str | None) -> None:
        raise RuntimeError("a view with a bug")

    ends = [ws.subscribe_saes(broken), ws.subscribe_saes(told.append)]
    sae = ws.saes.add_local(saelens(tmp_path / "one"))
    ws.saes.update(sae.id, notes="x")
    ws.saes.delete(sae.id)
    assert told == [sae.id] * 3
    for end in ends:
        end()
    ws.saes.add_local(tmp_path / "one")
    assert len(told) == 3


def test_what_a_crash_left_is_swept(ws: Workspace) -> None:
    import os
    import time

    folder = ws.folder / "saes"
    old, young = folder / ".incoming-old", folder / ".incoming-young"
    for each in (old, young):
        each.mkdir(parents=True)
    os.utime(old, (time.time() - 3 * 86_400,) * 2)
    sweep_trash(ws.folder)
    assert [path.name for path in folder.iterdir()] == [".incoming-young"]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_it_computes_the_same_in_the_library(ws: Workspace, tmp_path: Path, name: str) -> None:
    path = SAMPLES[name](tmp_path)
    record = ws.saes.add_local(path)
    before, after = load_sae(path), ws.saes.load(record.id)
    x = torch.randn(2, 4, D_IN, generator=torch.Generator().manual_seed(0))  # some read whole contexts
    assert type(after) is type(before)
    assert torch.allclose(after(x), before(x), rtol=1e-6, atol=1e-6)
    assert torch.allclose(after.encode(x), before.encode(x), rtol=1e-6, atol=1e-6)
    assert (record.metadata["origin"]["format"], record.state) == (name, "ok")
    assert (record.d_in, record.d_sae) == (before.d_in, before.d_sae)
    assert (record.format == "saelens") == ("kept" not in record.metadata["origin"])
    assert isinstance(ws.saes.config(record.id), dict)
    found = ws.saes.statistics(record.id)
    assert sum(found["decoder_norms"]["counts"]) == record.d_sae
    json.dumps(found, allow_nan=False)


def _skip_transcoder(folder: Path) -> Path:
    """What sparsify trains and SAELens has no class for: top-k and a linear path beside it."""
    folder.mkdir(parents=True)
    config = {"activation": "topk", "expansion_factor": 2, "num_latents": 0, "k": 4, "d_in": D_IN, "transcode": True,
              "skip_connection": True}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    tensors = {"encoder.weight": rand(D_SAE, D_IN), "encoder.bias": rand(D_SAE), "W_dec": rand(D_SAE, D_IN),
               "b_dec": rand(D_IN), "W_skip": rand(D_IN, D_IN)}  # fmt: skip
    save_file(tensors, folder / "sae.safetensors")
    return folder


def test_what_saelens_cannot_express_is_kept_as_it_came(ws: Workspace, tmp_path: Path) -> None:
    folder = _skip_transcoder(tmp_path / "layers.3.mlp")
    record = ws.saes.add_local(folder)
    assert (record.format, record.architecture) == ("sparsify", "topk_skip_transcoder")
    assert "SAELens has no architecture" in record.metadata["origin"]["kept"]
    assert contents(Path(record.path)) == contents(folder)
    x = torch.randn(4, D_IN)
    assert torch.equal(ws.saes.load(record.id)(x), load_sae(folder)(x))
    assert ws.saes.load_code(record.id)["sae_lens"] == ""
    with pytest.raises(FormatError, match="no architecture"):
        ws.saes.export(record.id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert contents(ws.saes.export(record.id, tmp_path / "same", "sparsify")) == contents(folder)
    assert [r.id for r in ws.saes.list(format="sparsify")] == [record.id]


def test_files_kept_unchanged_bring_their_configuration(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise FormatError("SAELens cannot say this.")

    path = SAMPLES["circuit_tracer"](tmp_path)
    (path.parent / "layer_4.safetensors").write_bytes(b"another")
    monkeypatch.setattr("saewidgets.formats.save_sae", refuse)
    record = ws.saes.add_local(path)
    assert (record.format, record.metadata["origin"]["kept"]) == ("circuit_tracer", "SAELens cannot say this.")
    assert sorted(contents(Path(record.path))) == ["config.yaml", "layer_3.safetensors"]
    assert ws.saes.load(record.id).metadata["hook_name_out"] == "blocks.3.hook_mlp_out"
    assert record.state == "ok"


def test_a_damaged_sae_is_not_exported(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    weights = Path(sae.path) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(FormatError, match="damaged and was not exported"):
        ws.saes.export(sae.id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
