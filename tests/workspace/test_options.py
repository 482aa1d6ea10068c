"""Options that decide how long a run is, from the form's data to the row: epochs, and targets that end it."""

from __future__ import annotations

from saewidgets.config import TrainingConfig
from saewidgets.workspace import Workspace
from tests.workspace.conftest import PATIENCE


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


def test_a_run_that_reaches_its_targets_ends_with_its_sae(ws: Workspace, config: TrainingConfig) -> None:
    changes = {"targets.l0_max": 64.0, "targets.action": "stop", "evaluation.every_steps": 3}
    run = ws.trainings.create(config.replace(**changes))
    run.wait(PATIENCE)
    record = run.record
    assert (record.status, record.step) == ("completed", 3)
    assert run.sae().d_sae == 64
    assert any("The targets are reached at step 3: " in line for line in run.log())


def test_training_longer_goes_past_epochs_and_targets(ws: Workspace, config: TrainingConfig) -> None:
    changes = {"targets.l0_max": 64.0, "targets.action": "stop", "evaluation.every_steps": 3}
    run = ws.trainings.create(config.replace(epochs=1.0, **changes))
    run.wait(PATIENCE)
    assert (run.record.status, run.record.step) == ("completed", 3)
    more = run.train_longer(tokens=10 * config.batch_size)
    more.wait(PATIENCE)
    assert (more.record.status, more.record.step) == ("completed", 10), more.error
