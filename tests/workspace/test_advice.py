"""What to change in a run, and runs compared: from records and made-up curves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from saewidgets.config import JumpReLUConfig, StandardConfig, TopKConfig, TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.records import ErrorInfo, TrainingRecord
from saewidgets.workspace.training.advice import Advice, advise, report
from saewidgets.workspace.training.run_tables import pareto_front
from tests.widgets.seeded_runs import make_record

GOOD = {"loss": 0.2, "fvu": 0.1, "l0": 32.0, "dead": 0.02}
RUNNING, COMPLETED, FAILED = JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.FAILED


def record(sae: Any = None, latest: dict[str, float] | None = None, **changes: Any) -> TrainingRecord:
    config = TrainingConfig(sae=sae or TopKConfig(d_sae=4096, k=32))
    values = {"status": RUNNING, "tokens_done": 6_000_000, "d_in": 768, "latest": {**GOOD, **(latest or {})}, **changes}
    return make_record("train_1", config, **values)


def curve(loss: Any) -> dict[str, Any]:
    loss = np.asarray(loss, dtype=np.float64)
    return {"step": np.arange(len(loss)), "loss": loss, "fvu": loss}


def only(found: list[Advice]) -> Advice:
    assert len(found) == 1, found
    return found[0]


FALLING = curve(np.exp(-np.linspace(0, 3, 100)))
FLAT = curve(np.full(100, 0.5))


def test_a_good_run_gets_none() -> None:
    level = curve(0.2 + np.exp(-np.linspace(0, 12, 200)))
    assert advise(record(), level) == []
    assert advise(record(status=COMPLETED), level) == []


def test_many_dead_latents_raise_the_auxiliary_k() -> None:
    found = only(advise(record(TopKConfig(d_sae=4096, k=32, aux_k=64), {"dead": 0.52})))
    assert found.title == "Dead latents 52 % after 6M tokens."
    assert found.text.startswith("Raise Auxiliary k (now 64) to about 384, or lower Learning rate (now 0.0015).")
    assert (found.severity, dict(found.changes)) == ("warning", {"sae.aux_k": 384})


@pytest.mark.parametrize(
    ("sae", "changes"),
    [
        (TopKConfig(d_sae=4096, k=32, aux_coefficient=0), {"sae.aux_coefficient": 0.5}),
        (TopKConfig(d_sae=4096, k=32), {"sae.aux_coefficient": 1.0}),
        (StandardConfig(d_sae=4096, l1_coefficient=5), {"sae.pre_act_coefficient": 0.02}),
        (JumpReLUConfig(d_sae=4096, l0_coefficient=2, pre_act_coefficient=None), {"sae.pre_act_coefficient": 0.01}),
    ],
)
def test_what_revives_latents_depends_on_the_architecture(sae: Any, changes: dict[str, float]) -> None:
    found = only(advise(record(sae, {"dead": 0.6})))
    assert dict(found.changes) == changes
    TrainingConfig(sae=sae).replace(**found.changes)  # they are settings of that architecture


def test_latents_cannot_be_dead_before_a_whole_window() -> None:
    assert advise(record(latest={"dead": 0.9}, tokens_done=499_000)) == []
    assert only(advise(record(latest={"dead": 0.9}, tokens_done=500_000))).kind == "dead"  # of 10M that is a twentieth


@pytest.mark.parametrize(("l0", "is_far"), [(900.0, True), (5.0, True), (0.01, True), (70.0, False), (250.0, False)])
def test_l0_far_from_the_usual_is_to_be_steered(l0: float, is_far: bool) -> None:
    found = advise(record(StandardConfig(d_sae=4096, l1_coefficient=5), {"l0": l0}))
    assert len(found) == is_far
    for advice in found:
        assert advice.text == (
            "Leave Sparsity coefficient (now 5) empty and set Target L0 to 50: training finds the coefficient."
        )
        assert dict(advice.changes) == {"sae.l1_coefficient": None, "sae.target_l0": 50.0}


def test_a_run_too_short_to_steer_is_to_be_longer_as_well() -> None:
    sae, short = StandardConfig(d_sae=4096, l1_coefficient=5), 58 * 4096
    found = only(advise(record(sae, {"l0": 900.0}, tokens_done=short, tokens_total=short)))
    assert found.text.endswith("It takes 100 steps, 409.6K tokens.")
    assert dict(found.changes) == {"sae.l1_coefficient": None, "sae.target_l0": 50.0, "tokens": 409_600}


def test_of_a_steered_run_fvu_is_what_still_falls() -> None:
    sae, level = StandardConfig(d_sae=4096), np.full(100, 0.1)
    steered = {**FALLING, "fvu": level}  # the loss falls with the coefficient
    assert advise(record(sae, {"l0": 50.0}, status=COMPLETED), steered) == []
    found = only(advise(record(sae, {"l0": 50.0}, status=COMPLETED), {**FALLING, "loss": level}))
    assert found.title.startswith("FVU still fell by")


def test_few_latents_of_which_most_are_active_are_not_sparse() -> None:
    sae = JumpReLUConfig(d_sae=256, l0_coefficient=1)
    dense = only(advise(record(sae, {"l0": 248.9}, d_sae=256, status=COMPLETED)))
    assert dense.title == "L0 is 248.9, far above what is sparse among 256 latents."
    assert dense.severity == "warning"
    assert dict(dense.changes) == {"sae.l0_coefficient": None, "sae.target_l0": 32.0}
    assert advise(record(sae, {"l0": 63.0}, d_sae=256)) == []
    assert advise(record(TopKConfig(d_sae=256, k=128), {"l0": 128.0}, d_sae=256)) == []  # that was asked for


@pytest.mark.parametrize(
    ("d_sae", "settings"), [(64, {}), (400, {"sparsity_loss": "quadratic", "target_l0": 20}), (4096, {})]
)
def test_the_goal_of_l0_and_the_advice_on_it_agree(d_sae: int, settings: dict[str, Any]) -> None:
    sae = JumpReLUConfig(d_sae=d_sae, l0_coefficient=1, **settings)
    for l0 in (1.0, 5.0, 15.0, 33.0, 60.0, 90.0, 130.0, 400.0):
        run = record(sae, {"val_l0": l0}, d_sae=d_sae)
        check = report(0, run, {}).checks[1]
        low, high = (float(bound) for bound in check.goal.removeprefix("L0 ").split(" to "))
        for title in [advice.title for advice in advise(run)]:
            assert ("above" in title, "below" in title) == (l0 > high, l0 < low), (title, check.goal)
            assert not check.passed


def test_l0_on_held_out_text_counts_and_k_is_the_target() -> None:
    found = only(advise(record(latest={"l0": 32.0, "val_l0": 64.0})))
    assert found.title == "L0 is 64.0, far above k = 32."
    assert advise(record(latest={"l0": 64.0, "val_l0": 32.0})) == []


def test_a_penalty_with_a_target_is_to_weigh_more_on_both_sides_of_it() -> None:
    sae = JumpReLUConfig(d_sae=4096, sparsity_loss="quadratic", target_l0=32, l0_coefficient=0.5)
    for l0, side in ((90.0, "above"), (9.0, "below")):
        found = only(advise(record(sae, {"l0": l0})))
        assert found.title == f"L0 is {l0}, far {side} its target of 32."
        assert dict(found.changes) == {"sae.l0_coefficient": 1.0}


@pytest.mark.parametrize("sae", [StandardConfig(d_sae=4096), JumpReLUConfig(d_sae=4096, target_l0=50)])
def test_a_steered_run_is_to_be_longer_or_to_aim_nearer(sae: Any) -> None:
    assert advise(record(sae, {"l0": 900.0}, tokens_done=5_000_000)) == []  # L0 is led down over half of the run
    for l0, side in ((900.0, "above"), (9.0, "below")):
        found = only(advise(record(sae, {"l0": l0})))
        assert found.title == f"L0 is {l0}, far {side} its target of 50."
        assert found.text == "Train longer, to about 20M tokens, or choose a Target L0 that is nearer."
        assert dict(found.changes) == {"tokens": 20_000_000}
    assert advise(record(sae, {"l0": 70.0})) == []


def test_the_range_that_the_run_should_reach_counts() -> None:
    run = record(StandardConfig(d_sae=4096, l1_coefficient=2), {"l0": 60.0})
    run = replace(run, config={**run.config, "targets": {"l0_min": 10, "l0_max": 20}})
    found = only(advise(run))
    assert found.title == "L0 is 60.0, far above the 10 to 20 that it should be."
    assert dict(found.changes) == {"sae.l1_coefficient": None, "sae.target_l0": 14.0}
    run = replace(run, config={**run.config, "targets": {"l0_max": 50}})
    assert advise(run) == []
    run = replace(run, config={**run.config, "targets": {"l0_min": 500}})
    assert only(advise(run)).title == "L0 is 60.0, far below the 500 that it should be."


def test_a_flat_loss_with_much_left_to_explain() -> None:
    found = only(advise(record(latest={"fvu": 0.5}), FLAT))
    assert found.title == "The loss is flat at FVU 0.500."
    assert dict(found.changes) == {"sae.d_sae": 8192, "sae.k": 64}
    assert advise(record(latest={"fvu": 0.05}), FLAT) == []  # flat because there is nothing left
    assert advise(record(latest={"fvu": 0.5}), curve(np.full(5, 0.5))) == []  # five points are no curve
    assert advise(record(latest={"fvu": 0.5}, tokens_done=1_000_000), FLAT) == []  # too early


def test_a_loss_that_still_falls_wants_more_tokens() -> None:
    found = only(advise(record(status=COMPLETED), FALLING))
    assert (found.kind, found.severity, dict(found.changes)) == ("longer", "info", {"tokens": 20_000_000})
    assert advise(record(status=RUNNING), FALLING) == []


def test_advice_ignores_nan_and_infinity() -> None:
    noisy = curve([*np.exp(-np.linspace(0, 3, 100)), np.nan, np.inf])
    assert [advice.kind for advice in advise(record(status=COMPLETED), noisy)] == ["longer"]
    assert advise(record(latest={"dead": float("nan"), "l0": float("inf")})) == []


def test_worse_than_the_mean_is_the_learning_rate_and_nothing_else() -> None:
    def slowed(latest: dict[str, float], lr: float, clip: float | None = None, **changes: Any) -> list[Advice]:
        found = record(latest=latest, **changes)
        config = {**found.config, "optimizer": {**found.config["optimizer"], "lr": lr, "grad_clip": clip}}
        return advise(replace(found, config=config), FLAT)

    wild = {"fvu": 1.25, "l0": 0.1, "dead": 0.99}
    found = only(slowed(wild, 1.0))
    assert found.title == "FVU is 1.250: the mean of the activations would explain more."
    assert found.text == "Lower Learning rate from 1 to about 0.0015, and set Gradient clip to 1."
    assert dict(found.changes) == {"optimizer.lr": 0.0015, "optimizer.grad_clip": 1.0}
    assert found.severity == "warning"
    # One near the usual goes down to a third; held-out text counts before batches of training.
    near = only(slowed({**wild, "fvu": 0.9, "val_fvu": 1.1}, 1e-3, clip=0.5))
    assert (near.kind, dict(near.changes)) == ("worse", {"optimizer.lr": 3.3e-4})
    # Without any latent FVU is 1: that is the sparsity, and early it says nothing.
    assert "worse" not in {advice.kind for advice in slowed({**wild, "fvu": 1.001}, 1.0)}
    assert "worse" not in {advice.kind for advice in slowed(wild, 1.0, tokens_done=100_000)}


def test_a_run_of_few_steps_is_advised_to_train_longer() -> None:
    short = record(latest={"fvu": 1.2, "l0": 0.1}, status=COMPLETED, tokens_done=20_480, tokens_total=20_480)
    found = only(advise(short, curve([1.3, 1.2])))
    assert (found.kind, found.title) == ("longer", "FVU is 1.200 after 5 steps.")
    assert found.text == "Train longer, to about 4.1M tokens (1,000 steps)."
    assert dict(found.changes) == {"tokens": 4_096_000}
    # What lies far above where an SAE begins comes of wild steps, however few.
    assert only(advise(replace(short, latest={"fvu": 7.0}), curve([1.3, 7.0]))).kind == "worse"


def test_failures() -> None:
    nan = ErrorInfo("Loss became NaN at step 449.", kind="nan", step=449)
    found = only(advise(record(status=FAILED, error=nan), FLAT))
    assert dict(found.changes) == {"optimizer.lr": 0.0005}
    wild = ErrorInfo("Loss diverged by step 76.", kind="diverged", step=76)
    after = {"l0": 0.01, "dead": 0.9}  # they follow from it
    assert only(advise(record(StandardConfig(d_sae=4096), after, status=FAILED, error=wild), FLAT)).kind == "nan"
    full = ErrorInfo("Out of memory on cuda:0 at 4,096 tokens.", kind="out_of_memory")
    found = only(advise(record(status=FAILED, error=full)))
    assert dict(found.changes) == {"activations.model_batch_size": 8, "gradient_accumulation": 2}


def test_all_that_is_advised_can_be_changed_together() -> None:
    """Of a coefficient one value is named, that which L0 asks for."""
    loose = JumpReLUConfig(d_sae=4096, l0_coefficient=0.1, sparsity_loss="quadratic", target_l0=32)
    tight = StandardConfig(d_sae=4096, l1_coefficient=8)
    for sae, l0, name in ((loose, 200.0, "l0_coefficient"), (tight, 1.0, "l1_coefficient")):
        found = advise(record(sae, {"l0": l0, "dead": 0.6, "fvu": 0.6}), FLAT)
        assert {advice.kind for advice in found} == {"dead", "l0", "flat"}
        assert [advice.kind for advice in found if f"sae.{name}" in advice.changes] == ["l0"]
        assert "Sparsity coefficient" not in "".join(advice.text for advice in found if advice.kind != "l0")


def test_warnings_come_first() -> None:
    found = advise(record(latest={"dead": 0.2, "val_l0": 90.0}, status=COMPLETED), FALLING)
    told = [(advice.kind, advice.severity) for advice in found]
    assert told == [("l0", "warning"), ("dead", "info"), ("longer", "info")]


@pytest.mark.parametrize("higher", [False, True])
def test_the_front_holds_the_undominated_points(higher: bool) -> None:
    rng = np.random.default_rng(0)
    points = [(float(a), float(b)) for a, b in rng.integers(0, 6, (40, 2))]
    l0, y = np.array(points).T
    better = (y[None] >= y[:, None]) if higher else (y[None] <= y[:, None])
    strictly = (y[None] > y[:, None]) if higher else (y[None] < y[:, None])
    dominated = ((l0[None] <= l0[:, None]) & better & ((l0[None] < l0[:, None]) | strictly)).any(1)
    assert pareto_front(points, higher_is_better=higher) == (~dominated).tolist()
