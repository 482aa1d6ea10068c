"""Pipelines: captured once, trained layer by layer, taken up again, checked."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config import HubCorpus, TrainingConfig
from saewidgets.config.group import PipelineConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.events import JobStatus
from saewidgets.features.labels import read_interpretations
from saewidgets.formats import load_sae
from saewidgets.lm import model_facts
from saewidgets.records import ErrorInfo
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.activations import Capture
from saewidgets.workspace.pipeline import Pipeline
from saewidgets.workspace.training.advice import report
from saewidgets.workspace.training.checkpoints import reconcile
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed, wait_for_step

TOKENS = 1024


def made(ws: Workspace, config: TrainingConfig, **settings: Any) -> Pipeline:
    return ws.pipeline(config, **{"num_tokens": TOKENS, **settings})


def finished(pipeline: Pipeline) -> Pipeline:
    """Everything captured and trained."""
    assert pipeline.extract().wait(PATIENCE) is JobStatus.COMPLETED
    for run in pipeline.train().values():
        assert run.wait(PATIENCE) is JobStatus.COMPLETED, run.error
    return pipeline


def only_store(pipeline: Pipeline) -> Capture:
    """The one that holds all its layers."""
    stores = pipeline.stores()
    assert list(stores) == list(pipeline.layers)
    assert len({store.id for store in stores.values()}) == 1
    return stores[pipeline.layers[0]]


@pytest.mark.parametrize(
    ("typed", "meant"), [("all", "all"), (" All ", "all"), ("0,6, 11", (0, 6, 11)), (3, (3,)), ([1, 2], (1, 2))]
)
def test_layers_as_they_are_typed(typed: Any, meant: Any) -> None:
    assert PipelineConfig(layers=typed).layers == meant


@pytest.mark.parametrize("typed", ["", "a", "1;2", "-1", [-1], [], "1,1", "0.5", True])
def test_rejects_an_invalid_list_of_layers(typed: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineConfig(layers=typed)
    assert "layers" in str(caught.value)


def test_all_layers_from_one_capture(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    pipeline = finished(made(ws, config.replace(hook_name="blocks.0.hook_mlp_out")))
    layers = pipeline.layers
    assert layers == tuple(range(len(layers)))
    store = only_store(pipeline)
    assert store.record.hook_names == tuple(f"blocks.{layer}.hook_mlp_out" for layer in layers)
    runs = pipeline.runs()
    assert list(runs) == list(layers)
    assert len({run.record.group_id for run in runs.values()}) == 1
    assert len({run.record.job_id for run in runs.values()}) == 1

    written = pipeline.save(tmp_path / "out")
    assert [files.layer for files in written] == list(layers)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    wanted = [f"sae_layer_{layer}_mlp_out_{what}" for layer in layers for what in ("best", "final", "history.json")]
    assert names == sorted(wanted)
    for files in written:
        final, best = load_sae(files.final), load_sae(files.best)
        assert torch.equal(final.W_dec, runs[files.layer].sae().W_dec)
        assert best.W_dec.shape == final.W_dec.shape
        history = json.loads(files.history.read_text())
        assert history["layer"] == files.layer
        assert history["training_id"] == runs[files.layer].id
        assert history["metrics"]["loss"]["step"][-1] == 12
        assert len(history["metrics"]["loss"]["value"]) == len(history["metrics"]["loss"]["step"])
        checkpoint = next(c for c in runs[files.layer].checkpoints() if "best" in c.kinds)
        assert history["best_step"] == checkpoint.step

    reports = pipeline.validate()
    assert [report.layer for report in reports] == list(layers)
    assert [check.name for check in reports[0].checks] == [
        "reconstruction", "active per token", "dead share", "convergence",
    ]  # fmt: skip
    row = reports[0].to_dict()
    assert row["training_id"] == runs[0].id
    assert row["active_per_token"] == pytest.approx(runs[0].record.latest["val_l0"])
    assert reports[0].passed == (not reports[0].advice)

    ws.trainings.delete(runs[1].id)  # and is trained alone
    assert list(pipeline.runs()) == [0]
    again = pipeline.train()
    assert (again[0].id, again[1].record.group_id) == (runs[0].id, None)
    assert again[1].wait(PATIENCE) is JobStatus.COMPLETED
    assert len(ws.trainings.list()) == 2


def test_the_best_is_an_earlier_checkpoint(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    """With far too high a rate the last weights are worse than those half-way."""
    worse = config.replace(**{
        "optimizer": {"lr": 1.0, "lr_warm_up_steps": 0, "lr_decay_steps": 0, "grad_clip": None,
                      "sparsity_warm_up_steps": 0, "normalize_decoder_every": 1},
        "evaluation.every_steps": 1, "checkpoints.every_steps": 4,
    })  # fmt: skip
    pipeline = finished(made(ws, worse, layers=[0]))
    (files,) = pipeline.save(tmp_path)
    assert json.loads(files.history.read_text())["best_step"] < 12
    assert not torch.equal(load_sae(files.best).W_dec, load_sae(files.final).W_dec)


def test_what_was_done_is_not_done_again(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    first = finished(made(ws, config, layers=[0]))
    again = made(ws, config, layers="0")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TINY_TEXT))
    (place,) = first.interpret(tmp_path, text).values()
    assert place == tmp_path / "interpretations" / "layer_0_interpretations.json"
    assert read_interpretations(place).keys() == set(range(64))
    assert again.interpret(tmp_path, text) == {0: place}
    (record,) = ws.extractions.list()
    assert [report.checks[4].passed for report in (*first.validate({0: place}), *first.validate({}))] == [True, False]
    os.utime(text, (record.created_at + 9,) * 2)  # it was changed: what was read of it does not count
    place.write_text("mine")
    with pytest.raises(FormatError):
        again.interpret(tmp_path, text)
    assert (len(ws.extractions.list()), place.read_text()) == (2, "mine")
    store = only_store(first)
    assert again.extract().id == store.id
    assert [run.id for run in again.train().values()] == [run.id for run in first.runs().values()]
    assert len(ws.activations.list()) == len(ws.trainings.list()) == 1
    other = made(ws, config.replace(**{"sae.k": 5}), layers=[0])
    assert other.extract().id == store.id  # the activations are the same
    assert other.runs() == {}
    # recorded before there were some of the settings: what was done then is what their defaults do
    old = {name: value for name, value in store.record.config.items() if name not in ("join_documents", "separator")}
    ws.catalog.activations.update(store.id, config=old)
    run = first.runs()[0].record
    activations = {k: v for k, v in run.config["activations"].items() if k != "join_documents"}
    ws.catalog.trainings.update(run.id, config={**run.config, "activations": activations})
    assert [run.id for run in again.runs().values()] == [run.id]
    assert made(ws, config, layers=[0], num_tokens=512).stores() == {}
    assert made(ws, config.replace(context_size=8), layers=[0]).stores() == {}


def test_of_more_layers_only_those_are_captured_and_trained_that_were_not(
    ws: Workspace, config: TrainingConfig, tmp_path: Path
) -> None:
    first = finished(made(ws, config, layers=[1]))
    wider = made(ws, config, layers=[0, 1])
    assert list(wider.stores()) == list(wider.runs()) == [1]
    with pytest.raises(NotFoundError, match="no activations of layer 0 yet"):
        wider.train()
    capture = wider.extract()
    assert capture.record.hook_names == ("blocks.0.hook_resid_post",)
    assert wider.extract().id == capture.id  # it is on its way
    assert capture.wait(PATIENCE) is JobStatus.COMPLETED
    assert [store.id for store in wider.stores().values()] == [capture.id, only_store(first).id]
    runs = wider.train()
    assert runs[0].wait(PATIENCE) is JobStatus.COMPLETED
    assert runs[1].id == first.runs()[1].id
    assert len(ws.trainings.list()) == 2
    assert [files.layer for files in wider.save(tmp_path)] == [0, 1]
    assert [report.layer for report in wider.validate()] == [0, 1]
    assert wider.extract().id == capture.id  # nothing is left to do

    other = made(ws, config.replace(**{"sae.k": 5}), layers=[0, 1])  # of two stores: two jobs
    runs = other.train()
    assert [run.wait(PATIENCE) for run in runs.values()] == [JobStatus.COMPLETED] * 2
    assert len({run.record.job_id for run in runs.values()}) == 2


def test_unfinished_runs_continue_from_their_checkpoints(ws: Workspace, config: TrainingConfig) -> None:
    pipeline = made(ws, config.replace(tokens=300 * 64, **{"checkpoints.every_steps": 30}), layers=[0, 1])
    assert pipeline.extract().wait(PATIENCE) is JobStatus.COMPLETED
    runs = pipeline.train()
    for run in runs.values():
        wait_for_step(ws, run, 31)
    runs[0].pause()  # long before it has made its three hundred steps
    assert runs[0].wait(PATIENCE) is JobStatus.PAUSED
    job = runs[0].job.id

    error = ErrorInfo("No space left.", hint="Free some space, then resume.")
    ws.catalog.jobs.change(job, {"status": JobStatus.FAILED, "error": error}, when={JobStatus.PAUSED})
    for run in runs.values():
        for checkpoint in run.checkpoints():
            ws.catalog.checkpoints.delete(checkpoint.id)
    assert pipeline.runs() == {}  # without a checkpoint what has failed cannot go on
    for run in runs.values():
        assert reconcile(ws.catalog, run.id, run.folder)

    # As the row of a process that was killed reads.
    ws.catalog.jobs.change(job, {"status": JobStatus.QUEUED, "owner": "gone@nowhere"}, when={JobStatus.FAILED})
    assert ws.catalog.jobs.interrupt(job, "gone@nowhere", note="The process that ran it ended.") is not None
    assert runs[0].status is JobStatus.INTERRUPTED
    assert [run.id for run in pipeline.train().values()] == [run.id for run in runs.values()]
    assert [run.wait(PATIENCE) for run in runs.values()] == [JobStatus.COMPLETED] * 2


def test_states_that_a_script_has_saved(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    pipeline = made(ws, config, layers=[0, 1])
    assert pipeline.import_states(tmp_path) is None
    folder = tmp_path / "hidden_states"
    folder.mkdir()
    width = model_facts(config.model).d_model
    generator = torch.Generator().manual_seed(0)
    for layer in (0, 1):
        states = torch.randn(1200, width, generator=generator)
        torch.save({"hidden_states": states, "layer_idx": layer}, folder / f"layer_{layer}_states.pt")
        if layer == 0:
            with pytest.raises(NotFoundError, match="layer_1_states"):
                pipeline.import_states(tmp_path)
    imported = pipeline.import_states(tmp_path)
    assert imported is not None
    assert imported.wait(PATIENCE) is JobStatus.COMPLETED, imported.error
    assert only_store(pipeline).id == imported.id
    assert pipeline.stores(imported=False) == {}
    silent = ws.pipeline(config, layers=[0, 1])
    assert silent.as_captured() is silent
    assert made(ws, config, layers=[1]).extract().wait(PATIENCE) is JobStatus.COMPLETED
    assert silent.as_captured() is silent
    assert made(ws, config, layers=[0, 1]).extract().wait(PATIENCE) is JobStatus.COMPLETED
    found = silent.as_captured()  # what was captured of all layers comes first
    assert found.config.num_tokens == TOKENS
    assert imported.id not in {store.id for store in found.stores().values()}
    for run in pipeline.train().values():
        assert run.wait(PATIENCE) is JobStatus.COMPLETED, run.error


def test_other_files_stay(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    pipeline = finished(made(ws, config, layers=[0]))
    out = tmp_path / "out"
    (out / "sae_layer_0_final").mkdir(parents=True)
    (out / "sae_layer_0_final" / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="Other files have the names of layer 0"):
        pipeline.save(out)
    assert (out / "sae_layer_0_final" / "mine.txt").read_text() == "mine"
    assert not (out / "sae_layer_0_history.json").exists()
    other = tmp_path / "other"
    pipeline.save(other)
    pipeline.save(other)  # its own files are replaced
    assert sorted(path.name for path in other.iterdir()) == [
        "sae_layer_0_best", "sae_layer_0_final", "sae_layer_0_history.json",
    ]  # fmt: skip


def test_what_cannot_work(ws: Workspace, config: TrainingConfig) -> None:
    with pytest.raises(ConfigError, match="captures its own"):
        made(ws, config.replace(corpus={"kind": "activations", "store_id": "acts_" + "0" * 26}))
    with pytest.raises(ConfigError, match="num_tokens"):
        made(ws, config, num_tokens=0)


def test_goals(run: Run) -> None:
    record = run.record
    good = {"val_fvu": 0.05, "val_l0": 4.0, "dead": 0.01, "fvu": 0.9, "l0": 900.0}
    curve: dict[str, list[float]] = {"step": list(range(20)), "loss": [1.0] * 20, "fvu": []}

    def judged(**latest: float) -> dict[str, bool]:
        found = report(0, replace(record, latest={**good, **latest}), curve)
        return {check.name: check.passed for check in found.checks}

    assert all(judged().values())
    assert not judged(val_fvu=0.3)["reconstruction"]
    assert not judged(val_l0=7.0)["active per token"]  # k is 4
    assert not judged(dead=0.1)["dead share"]
    young = {name: value for name, value in good.items() if name != "dead"}  # it ended before its dead window
    for share, passes in ((0.01, True), (0.3, False)):
        assert report(0, replace(record, latest={**young, "val_dead": share}), curve).checks[2].passed is passes
    short = report(0, replace(record, latest=good), {name: values[:19] for name, values in curve.items()})
    assert (short.checks[3].value, short.checks[3].passed) == ("too short to say", False)
    assert any("Train on more tokens" in piece for piece in short.advice)
    missed = report(0, replace(record, latest={**good, "val_fvu": 0.3}), curve)
    assert any("raise latents" in piece.lower() for piece in missed.advice)
    assert report(0, replace(record, latest=good), curve).advice == ()
    config_with_goals = {**record.config, "targets": {"fvu": 0.01, "l0_min": 5.0, "l0_max": None}}
    strict = report(0, replace(record, latest=good, config=config_with_goals), curve)
    assert [check.passed for check in strict.checks] == [False, False, True, True]
    assert [check.goal for check in strict.checks][:2] == ["FVU at most 0.01", "L0 at least 5"]
    by_loss = replace(record, config={**record.config, "targets": {"mse": 2.0}})
    for loss, reached in ((1.5, True), (2.5, False)):  # the loss of a training batch, in other units, does not count
        check = report(0, replace(by_loss, latest={**good, "val_mse": loss, "mse": 0.1}), curve).checks[0]
        assert (check.passed, check.goal) == (reached, "reconstruction loss at most 2")
    both = replace(by_loss, config={**record.config, "targets": {"mse": 2.0, "fvu": 0.1}})
    check = report(0, replace(both, latest={**good, "val_mse": 2.5}), curve).checks[0]
    assert (check.passed, check.value) == (False, "FVU 0.050, reconstruction loss 2.5")
    assert check.goal == "FVU at most 0.1, reconstruction loss at most 2"
    unmeasured = report(0, replace(record, latest={}), curve)
    assert [check.value for check in unmeasured.checks][:3] == ["not measured"] * 3
    assert not unmeasured.passed
    window = f"{record.config['dead_window_tokens']:,}"
    assert any(f"not known before {window} tokens" in piece for piece in unmeasured.advice)


def test_layers_are_of_one_model(ws: Workspace, config: TrainingConfig) -> None:
    """Weights that changed in their folder are seen when they are loaded: the layers from before are captured anew."""
    first = only_store(finished(made(ws, config, layers=[0])))
    ws.catalog.activations.update(first.id, facts={**first.record.facts, "model_fingerprint": "of other weights"})
    wider = made(ws, config, layers=[0, 1])
    for layer in (1, 0):
        capture = wider.extract()
        assert capture.record.hook_names == (f"blocks.{layer}.hook_resid_post",)
        assert capture.wait(PATIENCE) is JobStatus.COMPLETED
    assert first.id not in {store.id for store in wider.stores().values()}
    assert wider.runs() == {}


def test_more_layers_are_of_the_revision_of_the_first(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = completed(made(ws, config, layers=[0]).extract())
    exact = HubCorpus("owner/name", revision="a" * 40)
    ws.catalog.activations.update(captured.id, config={**captured.record.config, "corpus": exact.to_data()})
    asked: list[Any] = []
    monkeypatch.setattr(ws.activations, "capture", lambda **given: asked.append((given["corpus"], given["hook_names"])))
    made(ws, config.replace(corpus=HubCorpus("owner/name")), layers=[0, 1]).extract()
    assert asked == [(exact, ["blocks.1.hook_resid_post"])]
