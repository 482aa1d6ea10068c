"""Creating, steering, finding and removing runs; runs that ended early, at epochs or at targets."""

import re
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import CatalogError, ConfigError, NotFoundError, SAEWidgetsError, StateError, StorageError
from saewidgets.events import JobStatus, Progress
from saewidgets.events import JobStatus as S
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.training.checkpoints import no_checkpoint, no_sae
from saewidgets.workspace.training.run_tables import OF_EVERY_RUN
from saewidgets.workspace.trainings import demo_config
from tests.widgets.seeded_runs import make_record
from tests.workspace.conftest import ENDLESS, PATIENCE, small_config, wait_for_step

Usage = namedtuple("Usage", "total used free")


def test_a_run_that_has_completed_leaves_everything(run: Run) -> None:
    record = run.record
    assert (record.step, record.tokens_done, record.d_in) == (12, 768, 32)
    assert set(record.latest) <= {*OF_EVERY_RUN, "aux"}
    assert {row.path for row in run.checkpoints()} == {str(path) for path in (run.folder / "checkpoints").iterdir()}
    sae = run.sae()
    assert (sae.d_in, sae.d_sae) == (32, 64)
    lines = run.log()
    assert any("Completed" in line for line in lines)
    assert run.log(2) == lines[-2:]


def test_metrics_by_name_page_and_time_long_and_wide(ws: Workspace, run: Run) -> None:
    metrics = run.metrics(["loss", "l0", "fvu"])
    assert set(metrics["name"]) == {"loss", "l0", "fvu"}
    assert metrics["step"].is_monotonic_increasing
    assert (metrics.loc[metrics["name"] == "l0", "value"] <= 4).all()
    assert {"val_fvu", "ce_loss_score"} <= set(run.metrics()["name"])
    everything = run.metrics("loss")
    pages = [run.metrics(["loss"], limit=3, offset=offset) for offset in range(0, len(everything), 3)]
    assert [step for page in pages for step in page["step"]] == everything["step"].tolist()
    middle = everything["time"].iloc[2].timestamp() - 1e-5  # just before the third
    assert run.metrics(["loss"], since=middle)["step"].tolist() == everything["step"].tolist()[2:]
    assert run.metrics(["loss"], until=middle)["step"].tolist() == everything["step"].tolist()[:2]
    columns = ws.trainings.metric_columns(run.id, ["loss", "val_fvu"])
    assert columns["step"].tolist() == sorted(columns["step"].tolist())
    assert columns["loss"].shape == columns["val_fvu"].shape == columns["step"].shape

    frame = run.history(["loss", "val_fvu"])
    assert list(frame.columns) == ["step", "tokens", "time", "loss", "val_fvu"]
    assert frame["step"].is_unique
    merged = frame.dropna(subset=["loss"])
    assert merged["loss"].tolist() == everything["value"].tolist()
    assert merged["step"].tolist() == everything["step"].tolist()
    assert set(run.metrics()["name"]) == set(run.history().columns) - {"step", "tokens", "time"}

    for ask in (run.metrics, run.history):
        with pytest.raises(NotFoundError, match=r"no metric 'nope'\. This run has aux, .*val_mse"):
            ask(["loss", "nope"])
    assert run.metrics("dead").empty, "it may be measured yet"
    assert run.history(["loss", "dead"])["dead"].isna().all()
    bad: list[tuple[str, Any]] = [
        ("since", "2020-01-01"), ("limit", -1), ("offset", -1), ("names", 3), ("names", ["loss", 3]),
    ]  # fmt: skip
    for field, value in bad:
        with pytest.raises(ConfigError) as caught:
            run.metrics(**{field: value})
        assert caught.value.where == field


def test_blank_names(config: TrainingConfig) -> None:
    assert config.replace(name="  ").name is None
    assert config.replace(name=" a\nb ").name == "a b"
    assert config.replace(name="a\u202eb\u0007").name == "ab"
    with pytest.raises(ConfigError, match="The model is missing"):
        config.replace(model="  ")


def test_a_paused_cancelled_or_stopped_run_keeps_its_weights_and_can_continue(
    ws: Workspace, tiny_model_folder: Path
) -> None:
    run = ws.trainings.create(small_config(tiny_model_folder, **ENDLESS))

    def paused_after(step: int) -> int:
        wait_for_step(ws, run, step)
        run.pause()
        assert run.wait(PATIENCE) is JobStatus.PAUSED
        return run.record.step

    step = paused_after(2)
    with pytest.raises(StateError, match=r"is paused, so far without an SAE.*export_checkpoint\(\).*Resume it"):
        run.sae()
    run.cancel()
    with pytest.raises(StateError, match=r"was cancelled without an SAE.*run\.export_checkpoint\(\)"):
        run.sae()
    run.export_checkpoint()
    assert run.sae().d_sae == 64
    run.resume()
    step = paused_after(step + 2)
    newest = run.checkpoints()[-1]
    ws.catalog.checkpoints.delete(newest.id)  # as if it had been killed before it wrote the row
    run.stop()  # exports the checkpoint
    assert run.status is JobStatus.STOPPED
    assert (run.record.last_checkpoint_step, newest.step) == (step, step)
    assert run.sae().metadata["training_tokens"] == newest.tokens
    assert ws.evaluate(run, tokens=256)["l0"] <= 4
    run.resume()
    wait_for_step(ws, run, step + 2)
    run.checkpoint_now()
    run.stop()
    assert run.wait(PATIENCE) is JobStatus.STOPPED
    assert run.sae().metadata["training_tokens"] > newest.tokens
    assert run.import_to_saes().training_id == run.id
    run.resume()
    assert run.status in {JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING}
    run.cancel()
    assert run.wait(PATIENCE) is JobStatus.CANCELLED


def test_cancel_of_a_queued_run_and_delete(ws: Workspace, tiny_model_folder: Path) -> None:
    first = ws.trainings.create(small_config(tiny_model_folder, **ENDLESS))
    second = ws.trainings.create(small_config(tiny_model_folder))
    while first.status is JobStatus.QUEUED:  # the manager claims it from a thread of its own
        assert first.wait(0.05) is not JobStatus.FAILED, first.error
    assert second.record.queue_position == 1
    assert second.progress == Progress(0, 768, phase="queued")
    with pytest.raises(StateError, match="Stop it"):
        ws.trainings.delete(first.id)
    folder = second.folder
    ws.trainings.delete(second.id)
    assert not folder.exists()
    with pytest.raises(NotFoundError):
        ws.trainings.get(second.id)
    first.cancel()
    assert first.wait(PATIENCE) is JobStatus.CANCELLED


def test_delete_removes_rows_and_files_but_not_the_imported_sae(ws: Workspace, run: Run) -> None:
    sae = run.import_to_saes()
    assert run.import_to_saes().id == sae.id
    folder = run.folder
    assert run.record.sae_id == sae.id
    assert ws.trainings.delete(run.id) > 0
    assert not folder.exists()
    assert [record.id for record in ws.saes.list()] == [sae.id]
    assert ws.saes.load(sae.id).d_sae == 64
    ws.saes.delete(sae.id)
    assert not ws.saes.list()
    assert not Path(sae.path).exists()


def test_a_retry_can_have_other_settings_and_each_has_a_name_of_its_own(
    ws: Workspace, config: TrainingConfig
) -> None:
    config = config.replace(tokens=10_000 * 64)  # none of them ends before it is cancelled
    first = ws.trainings.create(config.replace(name="layer-4"))
    second = first.retry()
    third = second.retry()
    edited = ws.trainings.retry(first.id, config.replace(seed=5, name=ws.trainings.retry_name(third.id)))
    runs = [first, second, third, edited]
    assert [run.record.name for run in runs] == ["layer-4", "layer-4-2", "layer-4-3", "layer-4-4"]
    assert [run.record.retry_of for run in runs] == [None, first.id, second.id, first.id]
    assert (edited.config.seed, first.config.seed) == (5, config.seed)
    second.rename("other-7")
    assert ws.trainings.retry_name(second.id) == "other-7-2"  # its number is no longer one of retries
    with pytest.raises(ConfigError, match="seed"):
        ws.trainings.retry(first.id, {"seed": -1})
    default = config.default_name
    runs += [ws.trainings.create(config), ws.trainings.create(config)]
    assert [run.record.name for run in runs[4:]] == [default, f"{default}-2"]  # the number is not of a retry
    runs += [runs[5].retry(), ws.trainings.create(config.replace(name="mine-7"))]
    assert [run.record.name for run in runs[6:]] == [f"{default}-3", "mine-7"]
    assert ws.trainings.retry_name(runs[7].id) == "mine-7-2"  # nor is this one
    for run in reversed(runs):
        run.cancel()


def test_a_run_is_found_by_name_or_prefix_and_deleted_by_name_or_id(
    ws: Workspace, run: Run, config: TrainingConfig
) -> None:
    other = ws.trainings.create(config.replace(name="second"))
    other.cancel()
    assert ws.trainings.get("first").id == run.id
    differs = next(i for i, (a, b) in enumerate(zip(run.id, other.id, strict=True)) if a != b)
    assert ws.trainings.get(run.id[: differs + 1]).id == run.id
    assert {record.name for record in ws.trainings.list(search="first")} == {"first"}
    assert len(ws.trainings.list().to_df()) == 2
    with pytest.raises(NotFoundError, match="2 trainings match"):
        ws.trainings.get(run.id[: len("train_") + 4])
    with pytest.raises(NotFoundError, match="no training 'nothing'"):
        ws.trainings.get("nothing")
    for wanted in ("", " ", "t", "train_", "train_01"):
        for action in (ws.trainings.get, ws.trainings.delete):
            with pytest.raises((ConfigError, NotFoundError), match=r"empty|There is no training|trainings match"):
                action(wanted)
    with pytest.raises(NotFoundError, match="whole id"):
        ws.trainings.delete(run.id[: differs + 1])
    run.rename(" renamed ")
    assert run.record.name == "renamed"
    with pytest.raises(ConfigError):
        run.rename("   ")
    assert other.wait(PATIENCE) is JobStatus.CANCELLED
    ws.trainings.delete("renamed")
    ws.trainings.delete(other.id)
    assert not ws.trainings.list()


def test_a_status_that_does_not_exist(ws: Workspace) -> None:
    for status in ("bogus", ["running", "bogus"]):
        for listed in (ws.trainings.list, ws.jobs.list):
            with pytest.raises(ConfigError, match=r"'bogus' is not a status.*queued, starting, running"):
                listed(status=status)
    assert not ws.trainings.list(status="running")
    assert not ws.jobs.list(status=["running", JobStatus.QUEUED])


def test_a_run_that_cannot_be_kept_leaves_nothing(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no space; the row is written, and then something goes wrong; the folder cannot be made."""

    def refused(kind: type[Exception], words: str) -> None:
        with pytest.raises(kind, match=words):
            ws.trainings.create(config)
        assert not ws.trainings.list()
        assert not ws.jobs.list()
        assert not list(ws.folder.glob("trainings/*"))

    def failing(*given: Any) -> None:
        insert(*given)
        raise CatalogError("The catalog is busy.")

    insert = ws.catalog.trainings.create_all
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
        refused(StorageError, "Not enough disk space")
    with monkeypatch.context() as patch:
        patch.setattr(ws.catalog.trainings, "create_all", failing)
        refused(CatalogError, "busy")
    shutil.rmtree(ws.folder / "trainings", ignore_errors=True)
    (ws.folder / "trainings").write_text("in the way")
    refused(StorageError, r"folder of the training cannot be made.*Check that the workspace")


def test_what_only_the_run_can_find_out_fails_with_a_reason(
    ws: Workspace, config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("")
    empty = str(tmp_path / "empty.txt")
    for changes, words in (({"model": "no/such-model"}, "no/such-model"), ({"corpus": empty}, "corpus.*no text")):
        run = ws.trainings.create(config.replace(**changes))
        assert run.wait(PATIENCE) is JobStatus.FAILED
        error = run.error
        assert error is not None
        assert re.search(words, f"{error.where} {error.what} {error.hint}")
        assert not (run.folder / "sae").exists()
        with pytest.raises(SAEWidgetsError, match=words):
            run.result()


def test_a_run_that_was_stopped_before_its_first_step(
    ws: Workspace, config: TrainingConfig, tiny_model_folder: Path, tmp_path: Path
) -> None:
    first = ws.trainings.create(small_config(tiny_model_folder, **ENDLESS))
    run = ws.trainings.create(config.replace(name="mine"))  # waits for the first
    run.stop()
    assert run.status is S.STOPPED
    for use in (run.sae, run.import_to_saes, run.evaluate):
        with pytest.raises(StateError, match=r"mine was stopped without an SAE\. Resume it"):
            use()
    for go_on in (run.train_longer, run.continue_from, run.export_checkpoint):
        with pytest.raises(NotFoundError, match=r"no checkpoint to go on from\. Resume it"):
            go_on()
    with pytest.warns(UserWarning, match="mine was stopped without an SAE") as told:
        folder = run.export(tmp_path / "out")
    assert told[0].filename == __file__
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "log.txt", "metrics.csv"]
    run.resume()
    first.cancel()
    assert run.wait(PATIENCE) is S.COMPLETED, run.error
    assert run.sae().d_sae == 64


@pytest.mark.parametrize(
    ("status", "alone", "so_far", "hint"),
    [
        (S.RUNNING, False, "is running, so far", "Wait until it has ended, or stop it"),
        (S.FAILED, False, "failed", "Its error says why. Resume it, or start it again"),
        (S.STOPPED, True, "was stopped", "Start it again"),
        (S.COMPLETED, False, "has completed", "Start it again"),
    ],
)
def test_the_hint_fits_the_status(status: S, alone: bool, so_far: str, hint: str) -> None:
    record = make_record("train_mine", TrainingConfig(name="mine"), status=status, ended_alone=alone)
    assert f"mine {so_far} without an SAE. {hint}" in str(no_sae(record))
    assert f"mine has no checkpoint to go on from. {hint}" in str(no_checkpoint(record))


def test_epochs_decide_how_many_tokens(ws: Workspace, config: TrainingConfig) -> None:
    run = ws.trainings.create(config.replace(epochs=1.5, tokens=10**9))
    run.wait(PATIENCE)
    record = run.record
    assert record.status == "completed", record.error
    per_epoch = record.facts["tokens_per_epoch"]
    steps = round(1.5 * per_epoch) // config.batch_size
    assert (record.step, record.tokens_total, record.tokens_done) == (steps, steps * 64, steps * 64)
    assert run.config.epochs == 1.5
    assert ws.trainings.validate(config.replace(epochs=1.5).to_data())["hints"]["tokens"] == "Epochs decide"


def test_training_longer_goes_past_epochs_and_targets(ws: Workspace, config: TrainingConfig) -> None:
    changes = {"targets.l0_max": 64.0, "targets.action": "stop", "evaluation.every_steps": 3}
    run = ws.trainings.create(config.replace(epochs=1.0, **changes))
    run.wait(PATIENCE)
    assert (run.record.status, run.record.step) == ("completed", 3)
    assert run.sae().d_sae == 64
    assert any("The targets are reached at step 3: " in line for line in run.log())
    more = run.train_longer(tokens=10 * config.batch_size)
    more.wait(PATIENCE)
    assert (more.record.status, more.record.step) == ("completed", 10), more.error


def test_latents_that_do_not_fit_the_free_memory_are_refused_before_the_start(
    ws: Workspace, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.training.member.free_memory", lambda: 1_000)
    with pytest.raises(ConfigError, match=r"cpu has free 0\.0 GB") as caught:
        ws.trainings.create(small_config(tiny_model_folder))
    assert caught.value.where == "sae.d_sae"
    assert not ws.trainings.list()


def test_a_workspace_that_was_deleted_while_open_says_so_at_the_next_write(tmp_path: Path) -> None:
    with Workspace(tmp_path / "gone") as ws:
        ws.templates.save("one", demo_config())
        (tmp_path / "gone").rename(tmp_path / "elsewhere")
        with pytest.raises(CatalogError, match="deleted or moved while it was open"):
            ws.templates.save("two", demo_config())
        (tmp_path / "elsewhere").rename(tmp_path / "gone")
        assert ws.templates.save("two", demo_config()).name == "two"
