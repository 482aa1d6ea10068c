"""Workspaces that are given as a URL: two machines, each with a disk of its own, on one storage and one catalog."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFileSystem

from saewidgets.activations.store_write import CapturedRows
from saewidgets.durable import sealed
from saewidgets.errors import ConfigError, FormatError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings, error_info
from saewidgets.settings import Settings
from saewidgets.training.loop import Trainer
from saewidgets.workspace import Workspace
from saewidgets.workspace.storage import Storage
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, STORED, completed, of_store, same_weights, small_config

Machine = Callable[..., Workspace]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty place in fsspec's file system in memory, or in that of the disk."""
    yield f"{request.param}://{tmp_path}/storage"
    MemoryFileSystem().store.clear()


@pytest.fixture
def machine(tmp_path: Path, url: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    opened, database = [], f"sqlite:///{tmp_path}/catalog.sqlite"
    if url.startswith("file"):
        database = request.getfixturevalue("postgresql").catalog()

    def open_on(name: str, **changes: Any) -> Workspace:
        settings = Settings(home=tmp_path, cache=tmp_path / name, host=name, user=f"{name} user", **changes)
        opened.append(Workspace(url, catalog_url=database, settings=settings, jobs=JobSettings(poll=0.05)))
        return opened[-1]

    yield open_on
    for workspace in opened:
        workspace.close()


def test_what_one_machine_made_is_there_for_the_other(machine: Machine, tiny_model_folder: Path) -> None:
    here, there = machine("here"), machine("there")
    run = completed(here.trainings.create(small_config(tiny_model_folder)))
    sae = run.import_to_saes()
    completed(here.extractions.create(sae_id=sae.id, config={"tokens": 256, "examples": 4}))
    seen = there.trainings.get(run.id)
    assert same_weights(run, seen)
    assert not (seen.folder / "checkpoints").exists()  # what nobody has asked for stays where it is
    assert (there.saes.get(sae.id).state, there.saes.load(sae.id).cfg) == ("ok", here.saes.load(sae.id).cfg)
    ours, theirs = here.features.list(sae_id=sae.id), there.features.list(sae_id=sae.id)
    assert list(theirs) == list(ours)
    assert any(feature.top_tokens for feature in theirs)  # places in a text, which came along
    there.trainings.delete(run.id)
    there.saes.delete(sae.id)
    fs, root = url_to_fs(here.storage.url)
    assert not fs.find(root)


def test_a_run_goes_on_elsewhere_and_comes_back(
    machine: Machine, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"kind": "text", "strings": [*TINY_TEXT, "a long text, which is a file of the run" * 2_000]}
    config = small_config(tiny_model_folder, tokens=64 * 24, corpus=text, **{"checkpoints.every_steps": 8})
    here, there = machine("here"), machine("there")
    whole = completed(there.trainings.create(config))
    save = Trainer.save

    def save_and_pause(trainer: Trainer, *kinds: str) -> Any:
        if trainer.step in (8, 16):
            here.manager.request(run.record.job_id or "", "pause")
        return save(trainer, *kinds)

    monkeypatch.setattr(Trainer, "save", save_and_pause)
    run = again = here.trainings.create(config)
    for workspace in (there, here):
        assert again.wait(PATIENCE) is JobStatus.PAUSED, run.error
        again = workspace.trainings.get(run.id)
        again.resume()
        assert again.record.host == workspace.settings.host
    completed(again)
    assert same_weights(again, whole)
    assert same_weights(there.trainings.get(run.id), whole)
    kept = [Path(each.path).name for each in whole.checkpoints()]
    assert [Path(each.path).name for each in again.checkpoints()] == kept
    assert sorted(each.name for each in (again.folder / "checkpoints").iterdir()) == kept


def test_an_upload_that_fails_costs_no_run_and_shows_nobody_a_part(
    machine: Machine, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine("here"), machine("there")
    calls = itertools.count()

    def cut_off(fs: Any, source: str, target: str) -> None:
        fs.pipe_file(target, Path(source).read_bytes()[: next(calls) % 2 * 5])
        raise ConnectionError("no route")

    fs = type(url_to_fs(here.storage.url)[0])
    with monkeypatch.context() as broken:
        broken.setattr(fs, "put_file", cut_off)
        run = here.trainings.create(small_config(tiny_model_folder))
        assert run.wait(PATIENCE) is JobStatus.FAILED
        assert "was not uploaded (ConnectionError: no route)" in str(run.error)
        assert any("The checkpoint is on this machine only." in line for line in run.log())
    assert run.sae() is not None
    elsewhere = there.trainings.get(run.id)
    with pytest.raises(StateError, match="are on here"):
        elsewhere.resume()
    run.resume()
    completed(run)
    here.storage.publish(here.folder / "saes" / "none")  # looks after what was left, too
    assert same_weights(elsewhere, run)
    record = run.folder / "run.json"
    for killed, seen in ((True, record.read_text()), (False, "{}")):  # between the files and their manifest
        record.write_text("{}")
        with monkeypatch.context() as broken:
            broken.setattr(fs, "mv", None) if killed else None
            here.storage.offer(run.folder)
        assert (there.storage.fetch(elsewhere.folder, fresh=True) / "run.json").read_text() == seen


def test_copies_take_no_more_than_their_room(machine: Machine, tiny_model_folder: Path) -> None:
    here = machine("here")
    trained = completed(here.trainings.create(small_config(tiny_model_folder))).sae_path
    saes = [here.saes.add_local(trained) for _ in range(3)]
    room = int(1.5 * saes[0].size_bytes)
    there = machine("there", cache_gb=room / 1e9)
    for each in [*saes, *saes]:
        assert there.saes.load(each.id).d_sae == 64
        assert 0 < sum(path.stat().st_size for path in (there.folder / "saes").rglob("*") if path.is_file()) <= room
    assert {each.state for each in there.saes.list()} == {"ok"}


def test_a_capture_whose_machine_is_lost_goes_on_elsewhere(
    machine: Machine, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.activations.store.SHARD_BYTES", 1 << 16)
    monkeypatch.setattr("saewidgets.activations.store_write.SHARD_SECONDS", 0.0)
    here, there = machine("here"), machine("there")
    asked = (str(tiny_model_folder), {"kind": "text", "strings": TINY_TEXT}, STORED, 4_000)
    whole = completed(there.activations.capture(*asked, context_size=16)).record
    begun, pieces = [], CapturedRows.pieces

    def lost(*args: Any) -> Iterator[Any]:
        begun.append(args[-2])
        for rows in pieces(*args):
            yield rows
            if len(begun) == 1 and len(here.storage._fs.find(f"{here.storage._root}/activations/{store.id}")) > 5:
                raise RuntimeError("lost")

    monkeypatch.setattr(CapturedRows, "pieces", lost)
    store = here.activations.capture(*asked, context_size=16)
    assert store.wait(PATIENCE) is JobStatus.FAILED
    again = there.activations.get(store.id)
    again.resume()
    assert completed(again).record.fingerprint == whole.fingerprint
    assert begun[1] > 0


@pytest.mark.parametrize("share", [0.3, 3.0])
def test_a_store_larger_than_the_room_is_read_by_ranges(
    machine: Machine, tiny_model_folder: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.activations.store.SHARD_BYTES", 1 << 16)
    here, text = machine("here"), {"kind": "text", "strings": TINY_TEXT}
    store = completed(here.activations.capture(str(tiny_model_folder), text, STORED, 4_000, context_size=16))
    room = share * store.record.size_bytes
    there = machine("there", cache_gb=room / 1e9)
    assert there.activations.get(store.id).record.state == "ok"
    run = completed(there.trainings.create(of_store(there.activations.get(store.id).corpus)))
    assert same_weights(run, completed(here.trainings.create(of_store(store.corpus))))
    theirs, ours = there.activations.open(store.id), store.open()
    assert len([*theirs.folder.glob("*/*.bin")]) == (0 if share < 1 else len([*ours.folder.glob("*/*.bin")]))
    theirs.verify()
    assert (theirs.rows(STORED[0]) == ours.rows(STORED[0])).all()
    assert (theirs.contexts([0, 3]) == ours.contexts([0, 3])).all()
    assert sum(path.stat().st_size for path in theirs.folder.rglob("*") if path.is_file()) <= max(room, 1 << 17)


def _storage(folder: Path, url: str) -> Storage:
    folder.mkdir(exist_ok=True)
    return Storage(folder, url, 1e9, set)


def test_a_late_upload_spoils_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: tmp_path / name / "saes" / "sae_1" for name in ("one", "two", "three")}
    one, two, three = (_storage(tmp_path / name, url) for name in rows)
    rows["one"].mkdir(parents=True)
    (rows["one"] / "a").write_text("first")
    one.publish(rows["one"])
    (rows["one"] / "a").write_text("late")
    with monkeypatch.context() as broken:
        broken.setattr(type(url_to_fs(url)[0]), "mv", None)
        one.offer(rows["one"])
    two.fetch(rows["two"])
    (rows["two"] / "a").write_text("other")
    two.publish(rows["two"])
    one.publish(tmp_path / "one" / "saes" / "sae_2")
    for name, storage in zip(rows, (one, two, three), strict=True):
        assert (storage.fetch(rows[name], fresh=True) / "a").read_text() == "other"


def test_a_short_upload_is_tried_again_and_so_is_a_removal(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, rows = _storage(tmp_path / "one", url), [tmp_path / "one" / "saes" / name for name in ("sae_1", "sae_2")]
    fs, root = url_to_fs(url)
    for row in rows:
        row.mkdir(parents=True)
        (row / "a").write_text("12345678")
    with monkeypatch.context() as broken:
        broken.setattr(type(fs), "put_file", lambda fs, source, target: fs.pipe_file(target, b"123"))
        with pytest.raises(StorageError, match=r"was not uploaded .*3 of the 8 bytes of a arrived"):
            one.publish(rows[0])
    one.publish(rows[1])
    assert (_storage(tmp_path / "two", url).fetch(tmp_path / "two" / "saes" / "sae_1") / "a").read_text() == "12345678"
    with monkeypatch.context() as broken:
        broken.setattr(type(fs), "rm", None)
        one.remove(rows[0])
    assert fs.find(f"{root}/saes/sae_1")
    _storage(tmp_path / "one", url).publish(rows[1])
    assert [Path(each).parts[-2] for each in fs.find(root)] == ["saes", "sae_2"]


def test_what_is_there_is_trusted_with_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sae := tmp_path / "one" / "saes" / "sae_1").mkdir(parents=True)
    (sae / "cfg.json").write_text("12345678")
    _storage(tmp_path / "one", url).publish(sae)
    fs, root = url_to_fs(url)
    manifest, theirs = f"{root}/manifests/saes/sae_1.json", tmp_path / "two" / "saes" / "sae_1"
    good = json.loads(fs.cat_file(manifest))
    size, digest, when = good["files"]["cfg.json"]
    bad = [{"../x": [size, digest, when]}, {"/x": [size, digest, when]}, {"a": [size, "../..", when]}, {"a": [-1]}, []]
    for content in [*(json.dumps(sealed({"format": 1, "files": files})) for files in bad), "{}", "[]", "{", "11111"]:
        fs.pipe_file(manifest, content.encode())
        with pytest.raises(FormatError, match="manifest of saes/sae_1 is none"):
            _storage(tmp_path / "two", url).fetch(theirs)
    fs.pipe_file(manifest, json.dumps(good).encode())
    for content, what in (("87654321", "was changed after it was uploaded"), ("123456789", "has 9 bytes, not 8")):
        fs.pipe_file(f"{root}/saes/sae_1/cfg.json.{digest[:16]}", content.encode())
        with pytest.raises(FormatError, match=what):
            _storage(tmp_path / "two", url).fetch(theirs)
        monkeypatch.setattr(type(fs), "get_file", None)  # nothing is read of what has another size
    assert not theirs.exists()


def test_no_password_is_shown_and_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "memory://ada:s3cret@host/lab?token=t0ken"
    (tmp_path / "saes" / "sae_1").mkdir(parents=True)
    storage = _storage(tmp_path, url)
    monkeypatch.setattr(storage, "_fs", None)
    monkeypatch.setattr(storage, "_manifest", lambda row: (_ for _ in ()).throw(OSError(f"{url} is away")))
    with pytest.raises(StorageError, match=r"OSError: memory://host/lab is away") as caught:
        storage.publish(tmp_path / "saes" / "sae_1")
    for shown in (str(error_info(caught.value)), storage.name, repr(Settings(home=tmp_path).at(url))):
        assert not any(secret in shown for secret in ("s3cret", "t0ken"))
    with pytest.raises(ConfigError, match=r"pip install 'fsspec\[oss\]'"):
        _storage(tmp_path, "oss://bucket")


def test_the_environment_names_a_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "memory://lab", "CACHE": str(tmp_path), "CACHE_GB": "2"}.items():
        monkeypatch.setenv(f"SAEWIDGETS_{name}", value)
    with Workspace() as ws, Workspace("memory://lab/") as same:
        assert (ws.folder, ws.folder.parent, ws.place) == (same.folder, tmp_path, "memory://lab")
        assert ws.settings.child_environment()["SAEWIDGETS_HOME"] == "memory://lab"
    monkeypatch.setenv("SAEWIDGETS_CACHE_GB", "much")
    with pytest.raises(ConfigError, match="SAEWIDGETS_CACHE_GB"):
        Settings.from_environment()
