"""Records as cards, notes and rows."""

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo
from saewidgets.render import runs_html
from saewidgets.widgets.messages.training import CheckpointData
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.model import place_of
from saewidgets.widgets.training_panel.state import card_of, checkpoint_rows
from saewidgets.widgets.values import number, settings_of, show_value
from tests.widgets.seeded_runs import make_record

HALF = {"tokens_done": 500, "tokens_total": 1000}
READS = Progress(500, 1000, "tokens", 250.0, 2.0, "training")
WILD = Progress(500, 1000, "tokens", math.inf, math.nan)
NAN = ErrorInfo("Loss became NaN at step 449.", "Lower the learning rate.", "optimizer.lr", kind="nan")
USELESS = ErrorInfo("Loss diverged by step 76.", kind="diverged", step=76, resumes=False)
GOOD = ErrorInfo("Loss diverged by step 76.", kind="diverged", step=76, resumes=True)
FAST = TrainingConfig(optimizer={"lr": 1.0})
STORED = {"corpus": {"kind": "activations", "store_id": "acts_1"}, "hook_name_out": "blocks.1.hook_mlp_out"}


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ({**HALF, "progress": READS}, {"fraction": 0.5, "rate": 250.0, "eta_seconds": 2.0}),
        ({**HALF, "progress": READS, "status": JobStatus.PAUSED}, {"rate": None, "eta_seconds": None, "phase": None}),
        ({**HALF, "progress": WILD}, {"rate": None, "eta_seconds": None}),
        ({}, {"hook_name_out": None, "stored": False, "note": None, "lr": TrainingConfig().learning_rate}),
        ({"config": FAST.to_data()}, {"lr": 1.0}),
        ({"config": {**TrainingConfig().to_data(), **STORED}},
         {"hook_name_out": "blocks.1.hook_mlp_out", "stored": True}),
        ({"error": NAN}, {"note": Note(what=NAN.what, where="optimizer.lr", hint=NAN.hint, kind="nan")}),
        ({"note": "Resumed on another device."}, {"note": Note(what="Resumed on another device.", kind="info")}),
        # checkpoints that are no good: what to retry with
        ({"config": FAST.to_data(), "status": JobStatus.FAILED, "error": USELESS}, {"retry": {"optimizer.lr": 7.3e-4}}),
        ({"config": FAST.to_data(), "status": JobStatus.FAILED, "error": GOOD}, {"retry": None}),
        ({"status": JobStatus.COMPLETED, "tokens_done": 10_000_000, "step": 2441, "latest": {"dead": 0.61}},
         {"advice": "Dead latents 61 % after 10M tokens."}),
    ],
)  # fmt: skip
def test_what_a_card_says(record: dict[str, Any], shown: dict[str, Any]) -> None:
    running = make_record("t", TrainingConfig(), status=JobStatus.RUNNING)
    card = card_of(dataclasses.replace(running, **record))
    assert {name: getattr(card, name) for name in shown} == shown


@pytest.mark.parametrize(
    ("is_shared", "user", "host", "words"),
    [
        (True, "me", "here", ()),
        (True, None, "here", ()),  # from before it was recorded
        (True, "ada", "here", ("by ada",)),
        (True, "me", "gpu-box", ("on gpu-box",)),
        (True, "ada", "gpu-box", ("by ada on gpu-box",)),
        (False, "me", "renamed since", ()),
    ],
)
def test_it_says_whose_it_is_and_where_unless_mine_and_here(
    is_shared: bool, user: str | None, host: str, words: tuple[str, ...]
) -> None:
    path, settings = None if is_shared else "catalog.sqlite", SimpleNamespace(user="me", host="here")
    storage = SimpleNamespace(url=None, has=lambda folder: False)
    catalog = SimpleNamespace(path=path)
    workspace: Any = SimpleNamespace(settings=settings, catalog=catalog, storage=storage, folder=Path("/home"))
    record = make_record("t", TrainingConfig(), started_by=user, host=host, folder="/")
    assert card_of(record, **place_of(workspace, record)).place == words


def test_numbers_that_json_cannot_carry_become_words() -> None:
    assert [number(v) for v in (None, 1, math.nan, math.inf, -math.inf)] == [None, 1.0, "NaN", "Infinity", "-Infinity"]
    card = card_of(make_record("t", TrainingConfig(), latest={"loss": math.nan}))
    json.dumps(card.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize(("error", "loss"), [(NAN, "NaN"), (GOOD, 0.5)])
def test_the_tile_shows_a_loss_that_became_nan(error: ErrorInfo, loss: float | str) -> None:
    record = make_record("t", TrainingConfig(), error=error, latest={"loss": 0.5, "l0": 32.0})  # of the window before
    tiles = card_of(record).tiles
    assert (tiles.loss, tiles.l0, tiles.fvu) == (loss, 32.0, None)
    assert (">NaN<" in runs_html([record])) == (loss == "NaN")


NEVER: dict[str, list[float]] = {
    "step": [], "val_fvu": [], "val_mse": [], "ce_loss_score": [], "val_tokens": [],
}  # fmt: skip


def test_checkpoint_rows() -> None:
    def row(*kinds: str, metric: str = "fvu", **metrics: float) -> CheckpointData:
        record = CheckpointRecord("c", "t", 1000, 4_096_000, "/x", kinds, 5, metrics, 0.0)
        return checkpoint_rows([record], metric, NEVER)[0]

    assert row("latest", "best").label == "latest, best FVU"
    assert row("best", metric="ce_loss_score").label == "best CE recovered"
    assert row("every").label == row().label == "step 1,000"
    assert row("latest", fvu=math.nan).fvu is None


def test_checkpoints_show_the_metric_that_chooses_the_best() -> None:
    def record(step: int, **metrics: float) -> CheckpointRecord:
        return CheckpointRecord(f"c{step}", "t", step, step, "/x", ("best",), 5, metrics, 0.0)

    nan = math.nan
    columns = {
        "step": [10.0, 20.0], "val_fvu": [0.3, nan], "val_mse": [0.7, nan], "ce_loss_score": [0.9, nan],
        "val_tokens": [8192.0, nan],
    }  # fmt: skip
    # What the second says of held-out text was measured before its step.
    records = [record(10, fvu=0.2, mse=0.5, loss=1.5), record(15, fvu=0.1, val_fvu=0.3, mse=0.4, loss=1.4)]

    def shown(metric: str, columns: dict[str, list[float]] = columns) -> list[tuple[object, ...]]:
        rows = checkpoint_rows(records, metric, columns)
        return [(row.step, row.fvu, row.val_fvu, row.best_by) for row in rows]

    assert [row.val_tokens for row in checkpoint_rows(records, "fvu", columns)] == [None, 8192]
    assert shown("fvu") == [(15, 0.1, None, None), (10, 0.2, 0.3, None)]
    assert [row[3] for row in shown("ce_loss_score")] == [None, 0.9]
    assert [row[3] for row in shown("mse")] == [None, 0.7]
    assert [row[3] for row in shown("loss")] == [1.4, 1.5]
    never = {name: [nan] for name in columns} | {"step": [10.0]}
    assert shown("mse", never) == [(15, 0.1, None, 0.4), (10, 0.2, None, 0.5)]


def test_settings_are_flat_and_readable() -> None:
    rows = {row.name: row.value for row in settings_of(TrainingConfig().replace(**{"optimizer.lr": 3e-4}).to_data())}
    assert rows["sae.d_sae"] == "16,384"
    assert rows["optimizer.lr"] == "3e-4"
    assert rows["checkpoints.keep_every"] == "no"
    assert rows["name"] == "–"
    assert show_value(["a"] * 7) == "a, a, a, a, a, …"
    assert len(show_value("x" * 5000)) == 200
