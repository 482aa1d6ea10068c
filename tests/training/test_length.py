"""Epochs become tokens once the text is packed."""

import pytest

from saewidgets.errors import ConfigError
from saewidgets.training.length import with_epochs
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
