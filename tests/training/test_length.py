"""Epochs become tokens once the text is packed."""

import pytest

from saewidgets.errors import ConfigError
from saewidgets.training.schedules import checkpoint_interval, evaluation_interval, evaluations_left, with_epochs
from tests.training.fakes import BATCH, make_config


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


def test_evaluations_of_a_short_run_read_no_more_than_it_does():
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
