"""Checkpoints put to use, runs that start from an SAE, and what a kill left brought to agree."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError, StorageError
from saewidgets.training.checkpoint import list_checkpoints, read_checkpoint, update_state
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.training.checkpoints import reconcile, take_back
from tests.workspace.conftest import PATIENCE, completed, same_weights, wait_for_step


def test_going_on_from_a_checkpoint_ends_where_the_run_ended(run: Run) -> None:
    (middle,) = [row for row in run.checkpoints() if row.step == 8]
    again = completed(run.continue_from(middle.id))
    record = again.record
    assert (record.name, record.retry_of, record.step, record.note) == ("first-from-8", run.id, 12, None)
    assert record.facts["continued_from"] == {"training_id": run.id, "step": 8, "tokens": middle.tokens}
    assert same_weights(run, again)
    assert again.history("loss")["step"].min() == 8  # it measured nothing before
    assert [row.step for row in run.checkpoints()] == [4, 8, 12]  # the earlier run is as it was


def test_training_longer(ws: Workspace, run: Run) -> None:
    more = completed(run.train_longer())
    record = more.record
    assert (record.name, record.step, record.tokens_done) == ("first-longer", 24, 2 * 768)
    assert record.note is None  # who trains longer has asked for another number of tokens
    assert len(ws.trainings.list()) == 2


def test_what_cannot_be_gone_on_from_starts_nothing(ws: Workspace, run: Run) -> None:
    with pytest.raises(ConfigError, match="has seen 768 tokens, and the run ends at 768") as caught:
        run.continue_from()
    assert caught.value.where == "tokens"
    assert "at least 832" in str(caught.value.hint)
    for use in (run.continue_from, run.import_checkpoint, run.delete_checkpoint):
        with pytest.raises(NotFoundError, match="first has no checkpoint 'nope'"):
            use("nope")
    path = Path(run.checkpoints()[-1].path) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for damaged in (run.train_longer, run.import_checkpoint):
        with pytest.raises(FormatError, match="SHA-256"):
            damaged()
    assert len(ws.trainings.list()) == 1
    assert list((ws.folder / "trainings").iterdir()) == [run.folder]
    assert len(ws.saes.list()) == 0


def test_the_sae_of_a_checkpoint(ws: Workspace, run: Run) -> None:
    first, *_, last = run.checkpoints()
    early, late = run.import_checkpoint(first.id), run.import_checkpoint(last.id)
    assert (early.name, early.hook_name, early.d_sae) == ("first-step-4", run.config.hook_name, 64)
    x = torch.randn(8, 32)
    final = run.sae()
    assert torch.equal(ws.saes.load(late.id)(x), final(x))
    assert not torch.equal(ws.saes.load(early.id)(x), final(x))
    assert sorted(path.name for path in run.folder.iterdir() if path.name.startswith(".")) == []


def test_remaining_checkpoints_take_over_the_kinds_of_a_deleted_one(run: Run) -> None:
    """The newest that is left is the latest; the best that is left, by what was measured on held-out text, the best."""
    for number, row in enumerate(run.checkpoints()):  # the middle one is measured worse than the first
        disk = read_checkpoint(Path(row.path))
        metrics = {**disk.state["metrics"], "val_fvu": (0.3, 0.4, 0.2)[number]}
        update_state(disk, metrics=metrics, evaluated_at=row.step, best=0.2)
    last = run.checkpoints()[-1]
    assert {"latest", "best"} < set(last.kinds)
    assert run.delete_checkpoint(last.id) > 0
    assert not Path(last.path).exists()
    marks = {4: ("every", "best"), 8: ("latest", "every")}
    first, second = run.checkpoints()
    assert [first.kinds, second.kinds] == [marks[4], marks[8]]
    left = list_checkpoints(run.folder / "checkpoints")
    assert {c.step: c.kinds for c in left} == marks
    assert left[0].state["best"] == 0.3  # a run that goes on from here has this to beat
    run.delete_checkpoint(second.id)
    assert [row.kinds for row in run.checkpoints()] == [("latest", "every", "best")]


def test_a_run_that_works_keeps_the_checkpoint_it_goes_on_from(ws: Workspace, config: TrainingConfig) -> None:
    rare = {"evaluation.every_steps": 100_000, "checkpoints.every_steps": 100_000}
    run = ws.trainings.create(config.replace(tokens=64 * 100_000, **rare))
    wait_for_step(ws, run, 4)
    run.pause()
    run.wait(PATIENCE)
    (latest,) = run.checkpoints()
    run.resume()
    wait_for_step(ws, run, latest.step + 2)
    with pytest.raises(StateError, match="would go on from this checkpoint"):
        run.delete_checkpoint(latest.id)
    run.stop(save=False)
    run.wait(PATIENCE)
    assert run.delete_checkpoint(latest.id) > 0


def test_export(ws: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.export(tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "log.txt", "metrics.csv", "sae"]
    assert TrainingConfig.from_data(json.loads((folder / "config.json").read_text("utf-8"))) == run.config
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    frame = run.history()
    assert [int(row["step"]) for row in rows] == frame["step"].tolist()
    assert [float(row["loss"]) for row in rows if row["loss"]] == frame["loss"].dropna().tolist()
    assert "Completed" in (folder / "log.txt").read_text("utf-8")
    assert ws.saes.add_local(folder / "sae").d_sae == 64
    with pytest.raises(StorageError, match="a folder with files already"):
        run.export(folder)
    monkeypatch.setattr(Run, "log", lambda self, limit: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        run.export(tmp_path / "full" / "deep")
    assert list((tmp_path / "full").iterdir()) == []


def test_a_run_starts_from_an_sae_of_the_library(ws: Workspace, run: Run, config: TrainingConfig) -> None:
    sae = run.import_to_saes()
    by_id = ws.trainings.create(config.replace(from_pretrained=sae.id))
    by_id.cancel()
    assert by_id.record.config["from_pretrained"] == sae.id
    wanted = config.replace(from_pretrained=sae.name, seed=3, **{"checkpoints.keep_every": True})
    second = completed(ws.trainings.create(wanted))
    record = second.record
    assert record.config["from_pretrained"] == sae.id, "a name may change, an id does not"
    assert record.started_from == sae.name
    assert record.facts["started_from"] == {"sae": sae.id, "name": sae.name}
    assert f"Starting from the SAE {sae.name}." in "\n".join(second.log())
    assert float(second.history("fvu")["fvu"].iloc[0]) < float(run.history("fvu")["fvu"].iloc[0])
    ws.saes.delete(sae.id)
    again = completed(second.continue_from(second.checkpoints()[0].id))
    assert same_weights(second, again), "its checkpoint is all that it needs"
    with pytest.raises(NotFoundError, match="There is no SAE") as caught:
        second.retry()
    assert caught.value.where == "from_pretrained"


def test_runs_of_a_group_start_from_a_run_and_from_a_folder(
    ws: Workspace, run: Run, config: TrainingConfig
) -> None:
    group = completed(ws.trainings.create_many(config, {"from_pretrained": [None, run.id, str(run.sae_path)]}))
    assert [each.record.config["from_pretrained"] for each in group] == [None, run.id, str(run.sae_path)]
    assert [each.record.started_from for each in group][:2] == [None, "first"]
    fresh, by_run, by_path = group
    assert same_weights(by_run, by_path)
    assert not same_weights(fresh, by_run)


def test_rejects_an_unusable_from_pretrained_before_queuing(
    ws: Workspace, run: Run, config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for named, error in ((str(tmp_path / "empty"), ConfigError), ("nobody", NotFoundError), ("\0", NotFoundError)):
        with pytest.raises(error) as caught:
            ws.trainings.create(config.replace(from_pretrained=named))
        assert caught.value.where == "from_pretrained"
    with pytest.raises(ConfigError, match="d_sae 64, this training 128") as other:
        ws.trainings.create(config.replace(from_pretrained=run.id, **{"sae.d_sae": 128}))
    assert other.value.where == "from_pretrained"
    assert len(ws.trainings.list()) == 1
    data = {**config.to_data(), "from_pretrained": "nobody"}
    assert "no SAE" in ws.trainings.validate(data)["fields"]["from_pretrained"]
    wide = {**config.replace(**{"sae.d_sae": 128}).to_data(), "from_pretrained": run.id}
    assert "this training 128" in ws.trainings.validate(wide)["fields"]["from_pretrained"]
    assert "from_pretrained" not in ws.trainings.validate({**config.to_data(), "from_pretrained": run.id})["fields"]


def test_evaluations_keep_to_the_positions_of_the_run(ws: Workspace, config: TrainingConfig) -> None:
    run = completed(ws.trainings.create(config.replace(**{
        "activations.seqpos_slice": "4:12", "activations.exclude_special_tokens": False,
    })))  # fmt: skip
    contexts = int(run.record.facts["validation_contexts"])
    own = ws.evaluate(run, tokens=10**6)
    assert own["n_tokens"] == 8 * contexts
    assert any("4:12" in note for note in own.notes)
    assert ws.evaluate(run, tokens=10**6, seqpos_slice=":")["n_tokens"] == 16 * contexts
    assert ws.evaluate(run, tokens=10**6, seqpos_slice=(None, None, 4))["n_tokens"] == 4 * contexts
    exported = ws.evaluate(run.sae_path, config.corpus, tokens=256, model=config.model)
    assert any("4:12" in note for note in exported.notes), "its file says so"
    left_out = ws.evaluate(run, tokens=10**6, exclude_special_tokens=[5, 6])
    assert any("2 ids" in note for note in left_out.notes)
    for wrong in ({"seqpos_slice": "x"}, {"seqpos_slice": "90:"}, {"exclude_special_tokens": ["x"]}):
        with pytest.raises(ConfigError) as caught:
            ws.evaluate(run, tokens=256, **wrong)
        assert caught.value.where == next(iter(wrong))


def test_catalog_and_checkpoints_are_brought_to_agree(ws: Workspace, run: Run) -> None:
    folder = run.folder / "checkpoints"

    def agreed() -> int | None:
        return reconcile(ws.catalog, run.id, run.folder)

    # A checkpoint without its row is taken in.
    before = list(run.checkpoints())
    ws.catalog.checkpoints.delete(before[2].id)
    ws.catalog.checkpoints.delete(before[0].id)
    assert agreed() == 12
    after = list(run.checkpoints())
    assert [(c.step, c.path, c.tokens, c.size_bytes) for c in after] == [
        (c.step, c.path, c.tokens, c.size_bytes) for c in before
    ]
    assert [c.step for c in after if "latest" in c.kinds] == [12]
    assert dict(after[-1].metrics) == dict(before[-1].metrics)
    # The newest has the right size and the wrong bytes: the run goes on, and its metrics end, at the one before.
    path = Path(before[2].path, "weights.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert agreed() == 8
    take_back(ws, run.id, run.folder)
    assert max(run.metrics(["loss"])["step"]) <= 8
    assert [c.step for c in run.checkpoints()] == [4, 8]
    assert run.record.last_checkpoint_step == 8
    # A row without its checkpoint is forgotten.
    shutil.rmtree(before[1].path)
    assert agreed() == 4
    assert [c.path for c in run.checkpoints()] == [before[0].path]
    # None is whole; none is there.
    Path(before[0].path, "state.json").write_text("{")
    assert agreed() is None
    assert len(run.checkpoints()) == 1
    shutil.rmtree(folder)
    assert agreed() == 0
    assert not run.checkpoints()
