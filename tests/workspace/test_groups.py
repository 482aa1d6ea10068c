"""Groups of trainings: one job, rows of their own, verbs for all and for one."""

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

import saewidgets.training
from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import TrainingGroup, Workspace
from tests.jobs.conftest import wait_until
from tests.workspace.conftest import ENDLESS, PATIENCE, completed, same_weights, small_config, wait_for_step

HOOK = "blocks.0.hook_resid_post"
OVER = {"hook_name": ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"], "sae.k": [4, 8]}


def test_runs_of_one_job(ws: Workspace, pair: TrainingGroup) -> None:
    assert len(pair) == 2
    assert pair.name == "pair"
    records = pair.records
    assert {(r.job_id, r.group_id, r.status) for r in records} == {(pair.job.id, pair.id, JobStatus.COMPLETED)}
    assert [r.config["sae"]["k"] for r in records] == [4, 8]
    assert [(r.step, r.tokens_done) for r in records] == [(12, 768)] * 2
    assert len({r.folder for r in records}) == 2
    for run in pair:
        assert {"loss", "val_fvu", "ce_loss_score"} <= set(run.metrics()["name"])
        assert [c.step for c in run.checkpoints()][-1] == 12
        assert run.wait(PATIENCE) is JobStatus.COMPLETED
        assert run.result().sae_path == str(run.sae_path)
        assert run.group is not None
        assert run.group.id == pair.id
        assert any("Completed at step 12" in line for line in run.log())
        assert sum("Completed" in line for line in run.log()) == 1  # its own, not the other's
    assert pair[1].import_to_saes().training_id == pair[1].id

    frame = pair.to_df()
    assert frame["sae.k"].tolist() == [4, 8]
    assert {"id", "name", "status", "tokens", "val_fvu"} <= set(frame.columns)
    assert {"optimizer.lr", "hook_name"}.isdisjoint(frame.columns)
    assert records[1].name in pair._repr_html_()
    assert "pair" in repr(pair)
    assert ws.trainings.group(pair.id).id == pair.id


def test_a_group_is_repeated_renamed_and_deleted(ws: Workspace, pair: TrainingGroup) -> None:
    records = pair.records
    again = pair.retry()
    assert [r.retry_of for r in again.records] == [r.id for r in records]
    assert [r.config for r in again.records] == [{**r.config} for r in records]
    third = again.retry()
    assert [pair.name, again.name, third.name] == ["pair", "pair-2", "pair-3"]
    for number, group in ((2, again), (3, third)):
        assert [r.name for r in group.records] == [f"{r.name}-{number}" for r in records]
        with contextlib.suppress(StateError):  # the first may have ended by now
            group.cancel()
    again.rename("  repeated ")
    assert (again.name, again.records[1].group_name, again[0].name) == ("repeated", "repeated", f"{records[0].name}-2")
    with pytest.raises(ConfigError, match="A name has 1 to"):
        again.rename(" ")
    assert pair.delete() > 0
    for gone in (lambda: ws.trainings.group(pair.id), lambda: pair.rename("gone")):
        with pytest.raises(NotFoundError, match="no group"):
            gone()


def test_pause_and_resume_in_another_process_end_in_the_same_bits(tmp_path: Path, tiny_model_folder: Path) -> None:
    config = small_config(tiny_model_folder, tokens=64 * 60, **{"evaluation.every_steps": 1000})
    over = {"hook_name": OVER["hook_name"]}
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as ws:
        straight = ws.trainings.create_many(config, over)
        straight.wait(PATIENCE)
        paused = ws.trainings.create_many(config, over)
        wait_for_step(ws, paused[1], 3)
        paused.pause()
        assert paused.wait(PATIENCE) is JobStatus.PAUSED  # sixty steps of two do not pass meanwhile
        for run in paused:
            record = run.record
            assert record.status is JobStatus.PAUSED
            assert record.last_checkpoint_step == record.step
        ids = (straight.id, paused.id)
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as ws:
        straight, paused = (ws.trainings.group(each) for each in ids)
        paused.resume()
        assert paused.wait(PATIENCE) is JobStatus.COMPLETED, paused.error
        assert all(same_weights(a, b) for a, b in zip(straight, paused, strict=True))


def test_a_group_in_two_jobs_learns_the_same_and_is_one(ws: Workspace, tiny_model_folder: Path) -> None:
    config, over = small_config(tiny_model_folder, name="three"), {"sae.k": [2, 4, 8]}
    together = completed(ws.trainings.create_many(config, over))
    group = completed(ws.trainings.create_many(config.replace(name=None), over, spread=2))
    assert [len({run.record.job_id for run in each}) for each in (together, group)] == [1, 2]
    assert all(map(same_weights, together, group))
    assert [result.status for result in group.result()[1].results] == [JobStatus.COMPLETED] * 2
    assert group.progress is not None
    assert group.progress.done == group.progress.total
    group.rename("spread")
    assert {record.group_name for record in group.records} == {"spread"}
    again = group.retry()
    assert (len(again), len(again.jobs)) == (3, 2)
    completed(again)
    with pytest.raises(ConfigError, match="have one worker each"):
        ws.trainings.create_many(config.replace(parallel={"data": 2}), over)
    with pytest.raises(ConfigError) as caught:
        ws.trainings.create_many(config, over, spread=-1)
    assert caught.value.where == "spread"


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_two_jobs_are_paused_and_stopped_as_one(tmp_path: Path, tiny_model_folder: Path, runner: str) -> None:
    with Workspace(tmp_path / "ws", runner=runner) as ws:
        config = small_config(tiny_model_folder, **ENDLESS)
        group = ws.trainings.create_many(config, {"sae.k": [2, 4, 8]}, spread=2)
        wait_until(lambda: group.status is JobStatus.RUNNING, PATIENCE)
        group.pause()
        assert group.wait(PATIENCE) is JobStatus.PAUSED
        assert [job.status for job in group.jobs] == [JobStatus.PAUSED] * 2
        group.resume()
        wait_until(lambda: group.status is JobStatus.RUNNING, PATIENCE)
        group.stop()
        assert group.wait(PATIENCE) is JobStatus.STOPPED
        assert [run.status for run in group] == [JobStatus.STOPPED] * 3
        group.delete()
        assert not ws.trainings.list()


def test_each_is_stopped_or_cancelled_alone(ws: Workspace, tiny_model_folder: Path) -> None:
    group = ws.trainings.create_many(small_config(tiny_model_folder, **ENDLESS), {"sae.k": [2, 4, 8, 16, 32]})
    first, second, third, fourth, fifth = group
    wait_for_step(ws, fifth, 2)
    first.stop()
    second.cancel()
    assert first.wait(PATIENCE) is JobStatus.STOPPED
    assert second.wait(PATIENCE) is JobStatus.CANCELLED
    assert group.status is JobStatus.RUNNING
    assert first.sae().d_sae == 64
    assert first.result().status is JobStatus.STOPPED
    with pytest.raises(StateError, match="no result"):
        second.result()
    with pytest.raises(StateError, match="pause or stop it"):
        first.delete()
    first.stop()  # it has
    wait_for_step(ws, third, third.record.step + 2)

    group.pause()
    assert group.wait(PATIENCE) is JobStatus.PAUSED
    third.stop()  # of a group that is paused: at once
    assert third.sae().d_sae == 64
    assert [run.status.value for run in group] == ["stopped", "cancelled", "stopped", "paused", "paused"]
    assert first.record.step < third.record.step
    group.resume()  # those that have ended stay as they are
    done = first.record.step
    wait_for_step(ws, fifth, fifth.record.step + 2)
    assert first.record.step == done
    fourth.stop()
    assert fourth.wait(PATIENCE) is JobStatus.STOPPED
    fifth.stop()  # the last one: the job ends with it
    assert group.wait(PATIENCE) is JobStatus.STOPPED
    assert fifth.sae().d_sae == 64
    first.delete()
    assert [run.id for run in group] == [run.id for run in (second, third, fourth, fifth)]

    again = group.retry()
    wait_for_step(ws, again[0], 2)
    again.pause()
    assert again.wait(PATIENCE) is JobStatus.PAUSED
    again.stop()  # all of them at once
    assert {run.status for run in again} == {again.status} == {JobStatus.STOPPED}
    assert again[1].sae().d_sae == 64


def test_one_that_diverges_fails_alone(ws: Workspace, config: TrainingConfig) -> None:
    over = {"optimizer.lr": [3e-4, 1.0], "optimizer.grad_clip": [None]}
    hot = config.replace(
        tokens=64 * 60, sae={"architecture": "standard", "d_sae": 64, "l1_coefficient": 1e6}, log_every_steps=1,
    )  # fmt: skip
    group = completed(ws.trainings.create_many(hot.replace(**{"optimizer.lr_warm_up_steps": 0}), over))
    good, bad = group
    assert [good.status, bad.status] == [JobStatus.COMPLETED, JobStatus.FAILED], [bad.record.latest]
    assert good.error is None
    assert bad.error is not None
    assert "Loss" in bad.error.what
    assert bad.error.kind in ("nan", "diverged")
    assert [advice.kind for advice in bad.advice()] == ["nan"]  # what failed gets the advice that goes with it
    assert bad.record.finished_at is not None
    with pytest.raises(SAEWidgetsError, match="Loss"):
        bad.result()
    assert {r.id for r in ws.trainings.list(status="failed")} == {bad.id}
    assert bad.error.what in group._repr_html_()
    again = bad.retry()
    assert again.group is None
    again.cancel()
    again.wait(PATIENCE)


def test_a_group_that_waits_can_be_cancelled(ws: Workspace, tiny_model_folder: Path) -> None:
    first = ws.trainings.create(small_config(tiny_model_folder, **ENDLESS))
    group = ws.trainings.create_many(small_config(tiny_model_folder), {"sae.k": [2, 4]})
    second = ws.trainings.create_many(small_config(tiny_model_folder), {"sae.k": [2, 4]})
    assert second.name == f"{group.name}-2"  # two cards of one name could not be told apart
    second.stop()
    assert [run.status for run in second] == [JobStatus.STOPPED] * 2
    wait_for_step(ws, first, 1)
    assert [r.queue_position for r in group.records] == [1, 1]
    with pytest.raises(StateError, match="is queued"):
        group[0].delete()
    group[0].cancel()
    assert [run.status.value for run in group] == ["cancelled", "queued"]
    group.cancel()
    assert group.wait(PATIENCE) is JobStatus.CANCELLED
    first.cancel()
    first.wait(PATIENCE)


def test_a_model_of_the_user_feeds_all(ws: Workspace, given: dict[str, Any]) -> None:
    group = completed(ws.trainings.create_many(small_config("mine", device="auto"), {"sae.k": [2, 4]}, **given))
    assert {r.model for r in group.records} == {"mine"}
    assert all(ws.trainings.held(run.id) is not None for run in group)


def test_what_cannot_be_a_group_leaves_nothing(ws: Workspace, config: TrainingConfig) -> None:
    with pytest.raises(ConfigError, match="group for each value of seed"):
        ws.trainings.create_many(config, {"seed": [0, 1]})
    with pytest.raises(ConfigError, match="hook_name: Layer 2 does not exist"):
        ws.trainings.create_many(config, {"hook_name": [HOOK, "blocks.2.hook_resid_post"]})
    assert not ws.trainings.list()
    assert not list((ws.folder / "trainings").glob("*"))


def test_a_form_is_checked_for_all_of_them(ws: Workspace, config: TrainingConfig) -> None:
    data = {**config.to_data(), "name": "sweep"}
    alone, four = ws.trainings.validate(data), ws.trainings.validate(data, over=OVER)
    assert not alone["fields"]
    assert "trainings" not in alone
    assert four["trainings"][0] == "sweep-l0-resid_post-k4"
    sizes = [{part["label"]: part["bytes"] for part in each["estimate"]["memory"]} for each in (alone, four)]
    assert sizes[1]["SAE"] == 4 * sizes[0]["SAE"]
    assert sizes[0]["Activations"] < sizes[1]["Activations"] < 2 * sizes[0]["Activations"]  # two hook points
    for over, field in (({"seed": [1]}, "over"), ({"hook_name": ["blocks.7.hook_resid_post", HOOK]}, "hook_name")):
        found = ws.trainings.validate(data, over=over)
        assert field in found["fields"]
        assert "estimate" not in found


def test_transcoders_of_pairs_from_plain_data(ws: Workspace, config: TrainingConfig) -> None:
    """The base has no output hook name; the pairs may come one by one."""
    data = {**config.to_data(), "sae": {"architecture": "transcoder", "d_sae": 32}}
    pairs = [[f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out"] for layer in (0, 1)]
    form = ws.trainings.validate(data, {"hook_name, hook_name_out": pairs})
    assert form["fields"] == {}
    assert len(form["trainings"]) == 2
    group = completed(ws.trainings.create_many(data, {"hook_name, hook_name_out": iter(pairs)}))
    assert [[r.config["hook_name"], r.config["hook_name_out"]] for r in group.records] == pairs


def test_the_last_to_end_is_waited_for_until_the_job_has_ended(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_to_close(*args: Any, **options: Any) -> Any:
        result = run_group(*args, **options)
        time.sleep(0.3)  # for this long every run has ended, and their job has not
        return result

    run_group = saewidgets.training.run_group
    monkeypatch.setattr(saewidgets.training, "run_group", slow_to_close)
    told: list[str | None] = []
    end = ws.subscribe(told.append)
    group = ws.trainings.create_many(config, {"sae.k": [4, 8]})
    assert group.progress is not None
    assert [run.wait(PATIENCE) for run in group] == [JobStatus.COMPLETED] * 2
    assert group.status is JobStatus.COMPLETED
    assert [result.step for result in group.result().results] == [12] * 2
    end()
    assert {run.id for run in group} <= set(told)
    group.delete()
    assert len(ws.trainings.list()) == 0


def test_all_are_evaluated_in_one_table(
    ws: Workspace, pair: TrainingGroup, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import saewidgets.lm

    loads: list[str] = []
    load = saewidgets.lm.load_model
    monkeypatch.setattr(saewidgets.lm, "load_model", lambda *a, **b: loads.append(a[0]) or load(*a, **b))
    reports = ws.evaluate_many(pair, tokens=256, progress=False)
    assert loads == [str(tiny_model_folder)]
    frame = reports.to_df()
    assert frame["l0"].tolist() == pytest.approx([4, 8], abs=0.1)
    assert frame["ce_loss_score_mean_ablation"].isna().all()
    assert list(frame.columns)[:3] == ["name", "architecture", "d_sae"]
    again = ws.evaluate_many([run.id for run in pair.runs], tokens=256, progress=False)
    assert [dict(one) for one in again] == [dict(one) for one in reports]
    assert "<table" in reports._repr_html_()
    for wrong in (pair.runs[0].id, [], {}, 5, None):
        with pytest.raises(ConfigError, match="a list of SAEs") as caught:
            ws.evaluate_many(wrong)
        assert caught.value.where == "what"
    with pytest.raises(ConfigError, match="token: There is no such setting"):
        ws.evaluate_many(pair, token=5)
