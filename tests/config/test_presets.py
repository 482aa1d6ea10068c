"""Presets are valid configurations with sources, and say what the sources say."""

import math

import pytest

import saewidgets as sw
from saewidgets.errors import ConfigError, NotFoundError


@pytest.mark.parametrize("found", sw.presets(), ids=lambda each: each.name)
def test_every_preset_is_whole(found):
    assert sw.preset(found.name) == found.config
    assert found.sources
    assert all(len(source) > 20 for source in found.sources)
    assert found.description.endswith(".")
    assert found.ours.endswith(".")
    assert (found.config.corpus if found.config.corpus.kind == "hub" else found.config.corpus.hub) is not None
    settled = (found.config.optimizer.lr_warm_up_steps or 0) + (found.config.optimizer.lr_decay_steps or 0)
    assert settled < found.config.steps


def test_the_models_that_courses_use_are_there():
    assert {"gpt2-small", "pythia-70m", "gemma-2-2b"} <= {each.name for each in sw.presets()}


def test_gemma_scope_in_our_units():
    """Inputs of mean squared norm d_in, not 1: lengths grow by √d_in, squares by d_in."""
    sae, d_in = sw.preset("gemma-2-2b-scope").sae, 2304
    assert (sae.bandwidth, sae.initial_threshold) == (0.001 * math.sqrt(d_in), 0.001 * math.sqrt(d_in))
    assert sae.l0_coefficient == pytest.approx(6e-4 * d_in)


def test_decay_begins_at_four_fifths():
    for name in ("pythia-70m", "gemma-2-2b"):
        config = sw.preset(name)
        assert config.optimizer.lr_decay_steps == pytest.approx(0.2 * config.steps, abs=1)


def test_changes_and_mistakes():
    assert sw.preset("gpt2-small", tokens=1_310_720, **{"sae.k": 16}).sae.k == 16
    with pytest.raises(NotFoundError) as caught:
        sw.preset("gpt3")
    assert "gpt2-small" in caught.value.hint
    with pytest.raises(ConfigError):
        sw.preset("gpt2-small", tokens=0)
