"""What only skip does: the coefficient, fixed or learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saewidgets.config.sae import SkipConfig
from saewidgets.errors import ConfigError
from saewidgets.formats import load_sae, save_sae
from saewidgets.sae import InferenceSkip, SkipSAE, SkipTranscoderSAE
from tests.sae.cases import batch, make, relative


def test_a_fixed_coefficient_is_no_parameter() -> None:
    sae = make("skip")
    assert isinstance(sae, SkipSAE)
    assert sae.skip is None
    x = batch()
    assert relative(sae(x), sae.encode(x) @ sae.W_dec + sae.b_dec + 0.3 * x) < 1e-6


def test_a_learned_coefficient_starts_where_it_is_told_and_stays_in_range() -> None:
    sae = make("skip", learn_skip=True, skip_scale=0.25, skip_max=0.6)
    assert isinstance(sae, SkipSAE)
    assert sae.skip is not None
    sae.reset_parameters(torch.Generator().manual_seed(0))
    assert float(sae.skip.detach()) == 0.25
    optimizer = torch.optim.Adam(sae.param_groups(0.1))
    sae.loss(batch()).total.backward()
    optimizer.step()
    assert 0 < sae.skip < 0.6
    assert sae.skip != 0.25
    for outside, kept in ((3.0, 0.6), (-3.0, 0.0)):
        with torch.no_grad():
            sae.skip.fill_(outside)
        assert sae.to_inference().cfg.skip_scale == pytest.approx(kept)
        sae.loss(batch())
        assert float(sae.skip.detach()) == pytest.approx(kept)


def test_weight_decay_does_not_touch_the_coefficient() -> None:
    sae = make("skip", learn_skip=True)
    weights, own = sae.param_groups(1e-3)
    assert own["params"] == [sae.skip]
    assert own["weight_decay"] == 0
    assert len(weights["params"]) == 4


def test_exported_with_what_was_learned(tmp_path: Path) -> None:
    sae = make("skip", learn_skip=True)
    with torch.no_grad():
        sae.skip.fill_(0.4375)
    frozen = sae.to_inference()
    assert isinstance(frozen, InferenceSkip)
    assert (frozen.cfg.skip_scale, frozen.cfg.learn_skip) == (0.4375, False)
    assert torch.equal(frozen(batch()), sae(batch()))
    again = load_sae(save_sae(sae, tmp_path / "trio", "mistudio"))
    assert isinstance(again, InferenceSkip)
    assert torch.equal(again(batch()), sae(batch()))


@pytest.mark.parametrize("centred", [True, False], ids=["centred", "raw"])
def test_in_saelens_format_it_is_the_skip_transcoder_that_computes_the_same(centred: bool, tmp_path: Path) -> None:
    sae = make("skip", centred=centred)
    sae.metadata = {"hook_name": "blocks.2.hook_resid_post"}
    loaded = load_sae(save_sae(sae, tmp_path / "sae", "saelens"))
    assert isinstance(loaded, SkipTranscoderSAE)
    assert relative(loaded.encode(batch()), sae.encode(batch())) < 1e-5
    assert relative(loaded(batch()), sae(batch())) < 1e-5
    assert loaded.metadata["hook_name_out"] == "blocks.2.hook_resid_post"
    assert loaded.metadata["training_architecture"] == "skip"


@pytest.mark.parametrize("skip_scale", [-0.1, 0.95])
def test_a_learned_coefficient_starts_in_range(skip_scale: float) -> None:
    with pytest.raises(ConfigError, match="skip coefficient starts at") as error:
        SkipConfig(learn_skip=True, skip_scale=skip_scale)
    assert error.value.where == "skip_scale"
    SkipConfig(skip_scale=skip_scale)
