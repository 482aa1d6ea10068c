"""Schedules and lengths of runs against an independent formulation."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.config import OptimizerConfig
from saewidgets.errors import ConfigError
from saewidgets.training.schedules import (
    Schedules,
    checkpoint_interval,
    evaluation_interval,
    evaluations_left,
    with_epochs,
)
from tests.training.fakes import BATCH, make_config

SAELENS = Path(__file__).parents[1] / "golden" / "saelens" / "schedules.json"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, (0, 0, 0)),
        (19, (0, 3, 0)),
        (20, (1, 4, 1)),
        (1_000, (50, 200, 50)),
        (100_000, (1_000, 20_000, 5_000)),
        (1_000_000, (1_000, 200_000, 10_000)),
    ],
)
def test_defaults_are_shares_with_a_ceiling(steps, expected):
    schedules = Schedules.resolve(OptimizerConfig(), steps)
    assert (schedules.lr_warm_up, schedules.lr_decay, schedules.sparsity_warm_up) == expected


def test_losses_are_compared_once_a_steered_l0_is_led_down():
    assert Schedules.resolve(OptimizerConfig(), 1_000).settled == 50
    assert Schedules.resolve(OptimizerConfig(), 1_000, is_steered=True).settled == 500
    assert Schedules.resolve(OptimizerConfig(lr_warm_up_steps=800), 1_000, is_steered=True).settled == 800


def test_empty_settings_go_by_latents_and_steps():
    config = make_config(steps=600, **{"sae.d_sae": 1024, "optimizer.lr": None, "dead_window_tokens": None})
    assert (config.learning_rate, config.dead_window) == (4e-3, 600 * BATCH // 20)
    assert config.replace(**{"sae.d_sae": 4096}).learning_rate == 2e-3
    assert config.replace(tokens=BATCH).dead_window == BATCH
    assert (config.replace(tokens=10**9).learning_rate, config.replace(tokens=10**9).dead_window) == (3.5e-4, 10**6)
    with pytest.raises(ConfigError, match="The learning rate to fall from is empty"):
        config.replace(**{"optimizer.lr_schedule": "cosine", "optimizer.lr_end": 1e-5})


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
@given(steps=st.integers(1, 200), warm=st.integers(0, 300), decay=st.integers(0, 300))
def test_multipliers_are_positive_and_at_most_one_even_when_phases_overlap(shape, steps, warm, decay):
    config = OptimizerConfig(
        lr_schedule=shape, lr_warm_up_steps=warm, lr_decay_steps=decay, sparsity_warm_up_steps=warm
    )
    schedules = Schedules.resolve(config, steps)
    for step in range(steps):
        assert 0 < schedules.lr(step) <= 1
        assert 0 < schedules.sparsity(step) <= 1


def test_sparsity_grows_linearly_then_stays():
    schedules = Schedules.resolve(OptimizerConfig(sparsity_warm_up_steps=4), 10)
    assert [schedules.sparsity(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert schedules.settled == 4


@pytest.mark.parametrize("case", json.loads(SAELENS.read_text()), ids=lambda case: f"{case['name']}-{case['cycles']}")
def test_schedules_equal_those_of_saelens(case):
    names = {"cosineannealing": "cosine", "cosineannealingwarmrestarts": "cosine_restarts"}
    config = OptimizerConfig(
        lr=case["lr"], lr_end=case["lr_end"], lr_schedule=names.get(case["name"], case["name"]),
        lr_cycles=case["cycles"], lr_warm_up_steps=case["warm_up"], lr_decay_steps=case["decay"],
    )
    schedules = Schedules.resolve(config, case["steps"])
    np.testing.assert_allclose(
        [schedules.lr(step) for step in range(case["steps"])], case["expected"], rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.5, 1, 1, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.05]),  # to a tenth of the peak, then to nothing
        ({"lr_end": 4e-4, "lr_decay_steps": 0}, [0.5, 1, 1, *(1 - 0.6 * n / 8 for n in range(1, 8))]),
    ],
)
def test_a_linear_schedule_falls_between_warm_up_and_decay(changes, expected):
    config = OptimizerConfig(lr=1e-3, lr_schedule="linear", lr_warm_up_steps=2, **{"lr_decay_steps": 2, **changes})
    assert [Schedules.resolve(config, 10).lr(step) for step in range(10)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lr_end": 1e-2}, "lr_end"), ({"lr_schedule": "cosine", "lr_end": 0.0}, "lr_end")],
)
def test_schedules_that_rise_or_waste_steps_are_refused(changes, field):
    with pytest.raises(ConfigError) as caught:
        OptimizerConfig(**changes)
    assert caught.value.where == field
    assert OptimizerConfig(lr_schedule="cosine", lr_end=0.0, lr_decay_steps=0).lr_end == 0


def test_epochs_are_passes_over_the_training_text():
    config = make_config(epochs=2.5)
    found = with_epochs(config, 1_000)
    assert (found.tokens, found.steps) == (2_500, 2_500 // BATCH)
    assert found.epochs == 2.5
    assert with_epochs(make_config(), 1_000) == make_config()


@pytest.mark.parametrize(("epochs", "tokens"), [(0.01, 1_000), (1e6, 2**52)])
def test_a_length_that_cannot_be_is_refused(epochs, tokens):
    with pytest.raises(ConfigError) as caught:
        with_epochs(make_config(epochs=epochs), tokens)
    assert caught.value.where == "epochs"


def test_evaluations_of_a_short_run_of_before_read_no_more_than_it_does():
    def intervals(steps, **changes):
        config = make_config(steps=steps, **{"checkpoints.every_steps": None, **changes})
        return evaluation_interval(config), checkpoint_interval(config)

    read = {"evaluation.tokens": 256}
    assert intervals(1000, **read) == (100, 100)
    assert intervals(19, **read) == (256 // BATCH, 2)
    assert intervals(1, **read) == (256 // BATCH, 1)
    assert intervals(19, **read, **{"evaluation.every_steps": 3, "checkpoints.every_steps": 5}) == (3, 5)


@pytest.mark.parametrize("every", [None, 1, 7, 10, 1000])
def test_evaluations_are_at_the_multiples_of_the_interval_and_at_the_end(every):
    config = make_config(tokens=100 * BATCH, **{"evaluation.every_steps": every, "evaluation.tokens": 256})
    between = every or 10
    steps = {*range(between, 100, between), 100}
    assert [evaluations_left(config, step) for step in range(102)] == [
        sum(each > step for each in steps) for step in range(102)
    ]
