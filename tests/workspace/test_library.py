"""Importing what runs learned, once each; measuring it when its run is gone."""

import errno
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TextCorpus, TrainingConfig
from saewidgets.errors import NotFoundError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.records import SAERecord
from saewidgets.workspace import Run, Workspace
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed, small_config, wait_for_step


def _folders(ws: Workspace) -> list[str]:
    return [str(path) for path in (ws.folder / "saes").iterdir()]


def test_a_model_is_listed_under_its_one_name(ws: Workspace, run: Run, given: dict[str, Any]) -> None:
    assert run.import_to_saes().model == run.config.model, "a folder has no other name"
    named = completed(ws.trainings.create(small_config("gpt2-small", name="named"), **given))
    sae = named.import_to_saes()
    assert (sae.model, sae.metadata["origin"]) == ("openai-community/gpt2", {"model": "gpt2-small"})
    assert [one.id for one in ws.saes.list(model="gpt2")] == [sae.id]


def test_a_run_stands_for_its_sae(ws: Workspace, run: Run) -> None:
    assert ws.trainings.not_imported() == {run.id: "first"}
    for read in (ws.saes.get, ws.saes.load, ws.saes.config, ws.saes.find):
        with pytest.raises(NotFoundError, match="The SAE of the training first is not in the library") as missing:
            read(run.id)
        assert f"ws.trainings.get({run.id!r}).import_to_saes()" in str(missing.value.hint)
    with pytest.raises(NotFoundError, match="There is no training 'train_gone'"):
        ws.saes.get("train_gone")
    sae = run.import_to_saes()
    assert ws.trainings.not_imported() == {}
    assert ws.saes.get(run.id) == ws.saes.find(run.id) == sae
    assert ws.saes.update(run.id, notes="read").id == sae.id
    assert ws.saes.load(run.id).cfg.d_sae == sae.d_sae
    ws.saes.delete(run.id)
    assert ws.trainings.not_imported() == {run.id: "first"}


def test_runs_that_are_not_in_the_library_are_one_query(ws: Workspace, run: Run) -> None:
    """With a thousand of them it is still found in the time of a click."""
    row = {"config": {}, "model": "gpt2", "corpus": "demo", "hook_name": "h", "architecture": "topk", "d_sae": 8,
           "device": "cpu", "lane": "here/cpu", "tokens_total": 1, "job_id": run.record.job_id}  # fmt: skip
    ws.catalog.trainings.create_all([
        {"id": f"train_{i:04}", "name": f"run {i}", "folder": ws.folder / str(i), "sae_path": str(i), **row}
        for i in range(1000)
    ])  # fmt: skip
    began = time.perf_counter()
    assert len(ws.trainings.not_imported()) == 1001
    assert time.perf_counter() - began < 0.5


def test_a_run_that_has_learned_more_renews_its_record(ws: Workspace, tiny_model_folder: Path) -> None:
    changes = {"tokens": 64 * 100_000, "evaluation.every_steps": 100_000, "checkpoints.every_steps": 100_000}
    run = ws.trainings.create(small_config(tiny_model_folder, **changes))

    def stopped_after(step: int) -> SAERecord:
        wait_for_step(ws, run, step)
        run.stop()
        assert run.wait(PATIENCE) is JobStatus.STOPPED
        return run.import_to_saes()

    first = stopped_after(4)
    assert run.import_to_saes() == first
    ws.catalog.saes.update(first.id, name="renamed")
    run.resume()
    second = stopped_after(run.record.step + 2)
    assert (second.id, second.name, second.created_at) == (first.id, "renamed", first.created_at)
    assert second.metadata["tokens"] == ws.saes.load(second.id).metadata["training_tokens"] == run.record.tokens_done
    assert second.metadata["tokens"] > first.metadata["tokens"]
    assert _folders(ws) == [second.path]
    assert run.import_to_saes() == second
    shutil.rmtree(run.folder / "sae")  # nothing to compare with: the library's copy stays
    assert run.import_to_saes() == second


def test_a_copy_that_fails_is_altered_or_was_made_twice(
    ws: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(StorageError, match=r"No space left on device.*Free some space"):
            run.import_to_saes()
    assert not ws.saes.list()
    assert not _folders(ws)

    first = run.import_to_saes()
    assert (first.state, first.d_out, first.dtype, first.training_name) == ("ok", first.d_in, "float32", "first")
    (Path(first.path) / "sae_weights.safetensors").write_bytes(b"")
    assert ws.saes.get(first.id).state == "changed"
    again = run.import_to_saes()
    assert (again.id, again.state) == (first.id, "ok")
    assert _folders(ws) == [again.path]
    assert ws.saes.load(again.id).d_sae == 64

    found = [None, again]  # it looked before the other one had written its row
    monkeypatch.setattr(ws.catalog.saes, "by_training", lambda training_id: found.pop(0))
    assert run.import_to_saes().id == again.id
    assert _folders(ws) == [again.path], "the slower of two takes its copy back"


def test_an_sae_is_measured_without_its_training(ws: Workspace, run: Run) -> None:
    sae = run.import_to_saes()
    text = TextCorpus(strings=TINY_TEXT)
    by_run, by_sae = ws.evaluate(run, text, tokens=256), ws.evaluate(sae.id, text, tokens=256)
    assert by_run == by_sae
    ws.trainings.delete(run.id)
    assert ws.saes.get(sae.id).training_id is None
    assert ws.evaluate(sae.id, text, tokens=256) == by_run
    assert isinstance(ws.read_features(sae.id, text, n=3, tokens=256).to_text(), str)
    with pytest.raises(StateError, match="Give a corpus"):  # its own was held in memory
        ws.evaluate(sae.id)
    shutil.rmtree(sae.path)
    with pytest.raises(NotFoundError, match="not here"):
        ws.evaluate(sae.id, text)


def test_it_remembers_files_it_was_trained_on(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(TINY_TEXT))
    run = ws.trainings.create(config.replace(corpus=str(tmp_path / "text.txt")))
    run.wait(PATIENCE)
    sae, before = run.import_to_saes(), ws.evaluate(run, tokens=256)
    ws.trainings.delete(run.id)
    assert ws.evaluate(sae.id, tokens=256) == before


def test_a_run_from_a_machine_with_other_devices_is_measured_here(ws: Workspace, run: Run) -> None:
    here = ws.evaluate(run, tokens=256)
    ws.catalog.trainings.update(run.id, config={**run.record.config, "device": "cuda:9"})
    assert ws.evaluate(run, tokens=256) == here
