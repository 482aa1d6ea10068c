"""Sparsity coefficients before and after a run, and the presets that hold some."""

import math
from typing import Any

import pytest

import saewidgets as sw
from saewidgets.config import (
    GatedConfig,
    JumpReLUConfig,
    SkipConfig,
    StandardConfig,
    TopKConfig,
    TrainingConfig,
    TranscoderConfig,
)
from saewidgets.config.sparsity import coefficient_for, coefficient_name, warning_of
from saewidgets.errors import ConfigError, NotFoundError

# L0 at coefficients, of the embedded model (256 wide) and MiniLM (384): the tables of docs/architectures.
MEASURED = {
    ("standard", 256): {0.5: 155.7, 1: 54.9, 2: 17.3, 5: 5.3},
    ("gated", 256): {0.5: 191.7, 1: 73.9, 2: 25.0, 5: 7.0},
    ("jumprelu", 256): {0.1: 153.3, 0.3: 48.5, 1: 21.2, 3: 10.6},
    ("standard", 384): {0.5: 182.8, 2: 26.0, 5: 8.0},
    ("gated", 384): {0.5: 221.2, 2: 34.2, 5: 10.3},
    ("jumprelu", 384): {0.3: 76.0, 1: 29.1, 3: 16.5},
}


def config(sae: Any, **changes: Any) -> TrainingConfig:
    hooks = {"hook_name_out": "blocks.3.hook_mlp_out"} if sae.is_transcoder else {}
    return TrainingConfig(sae=sae, **{**hooks, **changes})


@pytest.mark.parametrize(("architecture", "width"), MEASURED)
def test_the_coefficient_of_a_measured_l0(architecture: str, width: int) -> None:
    """Within a factor of 1.5 of the one that gives it."""
    for coefficient, l0 in MEASURED[architecture, width].items():
        assert abs(math.log(coefficient_for(architecture, l0, width) / coefficient)) < math.log(1.5), coefficient


@pytest.mark.parametrize(
    ("sae", "found"),
    [
        (StandardConfig(l1_coefficient=5),
         "5 is large for a width of 256: expect an L0 of about 3.6. With 0.56 to 1.6"),
        (StandardConfig(d_sae=1024, l1_coefficient=0.01),
         "0.01 is small for a width of 256: expect an L0 of about 1,000. With 0.56 to 1.6"),
        (JumpReLUConfig(l0_coefficient=10),
         "10 is large for a width of 256: expect an L0 of about 3.7. With 0.14 to 1.1"),
    ],
)  # fmt: skip
def test_warns_of_unusable_coefficients(sae: Any, found: str) -> None:
    assert warning_of(config(sae), 256, None) == (
        coefficient_name(sae.to_data()), f"{found} some 100 to 20 are active."
    )  # fmt: skip


@pytest.mark.parametrize(
    "sae", [StandardConfig(), GatedConfig(), SkipConfig(), TranscoderConfig(), JumpReLUConfig(), TopKConfig()]
)
@pytest.mark.parametrize("width", [256, 768, 2304])
def test_defaults_are_usable(sae: Any, width: int) -> None:
    assert warning_of(config(sae), width, None) is None


def test_too_few_steps_for_a_target_are_named() -> None:
    def said(**changes: Any) -> tuple[str, str] | None:
        made = config(StandardConfig(d_sae=1024), batch_size=4096, **changes)
        return warning_of(made, 256, made.steps)

    assert said(tokens=409_600) is None
    name, words = said(tokens=405_000) or ("", "")
    assert name == "target_l0"
    assert words.startswith("Too few steps (98) to bring L0 to 50;")
    assert "409,600 tokens" in words


def test_too_few_steps_for_a_coefficient_are_named() -> None:
    made = config(JumpReLUConfig(d_sae=1024, l0_coefficient=1.0), tokens=390 * 1024, batch_size=1024)
    assert warning_of(made, 256, 390) is None
    assert warning_of(made, 256, None) is None  # epochs that are not counted yet
    name, words = warning_of(made, 256, 389) or ("", "")
    assert name == "l0_coefficient"
    assert words.startswith("Too few steps (389) to bring L0 to the 22 that 1 leads to; 390 (399,360 tokens)")
    assert warning_of(config(JumpReLUConfig(l0_coefficient=1.0, sparsity_loss="quadratic")), 256, 100) is None


def test_a_wider_model_takes_more() -> None:
    """λ/√d is what counts with an L1 penalty, λ/d with an L0 penalty."""
    for sae, name, power in ((StandardConfig, "l1_coefficient", 0.5), (JumpReLUConfig, "l0_coefficient", 1.0)):
        too_much = next(c for c in (1.01**n for n in range(900)) if warning_of(config(sae(**{name: c})), 256, None))
        times = 4**power
        assert warning_of(config(sae(**{name: too_much * times * 0.98})), 1024, None) is None
        assert warning_of(config(sae(**{name: too_much * times * 1.001})), 1024, None) is not None


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


def test_gemma_scope_in_our_units():
    """Inputs of mean squared norm d_in, not 1: lengths grow by √d_in, squares by d_in."""
    sae, d_in = sw.preset("gemma-2-2b-scope").sae, 2304
    assert (sae.bandwidth, sae.initial_threshold) == (0.001 * math.sqrt(d_in), 0.001 * math.sqrt(d_in))
    assert sae.l0_coefficient == pytest.approx(6e-4 * d_in)


def test_changes_and_mistakes():
    assert {"gpt2-small", "pythia-70m", "gemma-2-2b"} <= {each.name for each in sw.presets()}  # those of courses
    assert sw.preset("gpt2-small", tokens=1_310_720, **{"sae.k": 16}).sae.k == 16
    for name in ("pythia-70m", "gemma-2-2b"):
        config = sw.preset(name)
        assert config.optimizer.lr_decay_steps == pytest.approx(0.2 * config.steps, abs=1)
    with pytest.raises(NotFoundError) as caught:
        sw.preset("gpt3")
    assert "gpt2-small" in caught.value.hint
    with pytest.raises(ConfigError):
        sw.preset("gpt2-small", tokens=0)
