"""Long text that was handed in as strings: kept once beside the run, not in its row."""

import json
from pathlib import Path

import pytest

from saewidgets.activations import open_corpus
from saewidgets.config import TextCorpus, TrainingConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from saewidgets.workspace.corpora import FILE, LARGE, from_row, to_rows
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed, same_weights, small_config

TEXT = ["\n".join([*TINY_TEXT * 40, "Ünïcödé\u2028 and 😀."]), "short", *TINY_TEXT]


@pytest.fixture
def long(tiny_model_folder: Path) -> TrainingConfig:
    return small_config(tiny_model_folder, corpus=TextCorpus(strings=TEXT))


def test_a_long_text_is_not_in_the_row(ws: Workspace, long: TrainingConfig) -> None:
    assert sum(map(len, TEXT)) > LARGE
    run = completed(ws.trainings.create(long))
    row = run.record.config
    assert row["corpus"]["strings"].startswith("sha256:")
    assert len(json.dumps(row)) < 4000
    assert run.config == long
    assert open_corpus(run.config.corpus).fingerprint() == open_corpus(long.corpus).fingerprint()
    assert ws.evaluate(run, tokens=256)["l0"] <= 4
    ws.trainings.validate(long.to_data())  # which looks at earlier runs
    with pytest.raises(ConfigError, match=r"run.config"):
        ws.trainings.create(row)
    folder = run.folder
    ws.trainings.delete(run.id)
    assert not (folder / FILE).exists()


def test_resumed_and_retried_elsewhere(ws: Workspace, long: TrainingConfig) -> None:
    whole = completed(ws.trainings.create(long))
    endless = ws.trainings.create(long.replace(tokens=64 * 100_000))
    waiting = ws.trainings.create(long)
    waiting.pause()
    endless.cancel()
    with Workspace(ws.folder, jobs=JobSettings(poll=0.05)) as other:
        resumed, retried = other.trainings.get(waiting.id), other.trainings.get(whole.id).retry()
        resumed.resume()
        for run in (resumed, retried):
            assert run.wait(PATIENCE) is JobStatus.COMPLETED, run.error
            assert run.config == long
            assert same_weights(whole, run)
        other.trainings.delete(whole.id)
        assert retried.config == long, "it has a copy of its own"


def test_a_group_keeps_it_once(ws: Workspace, long: TrainingConfig) -> None:
    """Deleting a run leaves the others whole; the last one takes the text along."""
    group = completed(ws.trainings.create_many(long, {"sae.k": [2, 4, 8]}))
    files = [run.folder / FILE for run in group]
    assert len({file.stat().st_ino for file in files}) == 1
    assert files[0].stat().st_nlink == 3
    size = files[0].stat().st_size
    assert [run.config.corpus for run in group] == [long.corpus] * 3
    first, second, third = group
    freed = ws.trainings.delete(first.id)
    assert [run.config.corpus for run in group] == [long.corpus] * 2
    assert ws.evaluate(second, tokens=256)["l0"] <= 4
    again = completed(second.retry())
    assert again.config == second.config
    second.delete()
    assert third.config.corpus == long.corpus
    last = ws.trainings.delete(third.id)
    assert last - freed == pytest.approx(size, abs=5_000)  # logs and records differ by a few bytes
    more = completed(ws.trainings.create_many(long, {"sae.k": [2, 4]}))
    assert more.retry().wait(PATIENCE) is JobStatus.COMPLETED


def test_a_text_that_was_changed_or_is_gone(long: TrainingConfig, tmp_path: Path) -> None:
    (row,), path = to_rows([long], [tmp_path]), tmp_path / FILE
    path.write_text(path.read_text().replace("king", "knig", 1))
    with pytest.raises(FormatError, match="was changed"):
        from_row(row, tmp_path)
    path.write_text("not JSON")
    with pytest.raises(FormatError, match="not the text of a run"):
        from_row(row, tmp_path)
    path.unlink()
    with pytest.raises(NotFoundError, match="not here"):
        from_row(row, tmp_path)
    path.mkdir()
    for action in (lambda: from_row(row, tmp_path), lambda: to_rows([long], [tmp_path])):
        with pytest.raises(StorageError, match="cannot be"):
            action()
