"""The largest activation of some latents, against a dense computation."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, capture
from saewidgets.steering import SteeringSource, estimate_max
from tests.steering.toys import toy_sae

AT = "blocks.0.hook_resid_post"


def contexts() -> torch.Tensor:
    ids = torch.randint(2, 300, (7, 20), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 0
    ids[3, 9] = 1
    return ids


def dense(lm: LoadedModel, special: bool) -> np.ndarray:
    sae, ids = toy_sae(), contexts()
    x = capture(lm.model, [AT], ids)[AT].double().numpy()
    W_enc, b_enc, b_dec = (getattr(sae, name).double().numpy() for name in ("W_enc", "b_enc", "b_dec"))
    f = np.maximum((x - b_dec) @ W_enc + b_enc, 0)
    kept = (ids.numpy() > 1) | special
    return f[kept].max(0)


@pytest.mark.parametrize("special", [True, False])
def test_it_is_the_largest(tiny: LoadedModel, special: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.steering.change.LATENT_BYTES", 4 * 24 * 20 * 2)  # two contexts at once
    checks: list[int] = []
    found = estimate_max(
        SteeringSource(toy_sae(), AT), tiny, contexts(), [5, 0, 23], exclude_special_tokens=not special,
        max_norm_ratio=None, batch_size=3, check=lambda: checks.append(1),
    )
    assert list(found) == [5, 0, 23]
    expected = dense(tiny, special)
    np.testing.assert_allclose(list(found.values()), expected[[5, 0, 23]], rtol=1e-4)
    assert len(checks) == 3


def test_attention_sinks_do_not_count(tiny: LoadedModel) -> None:
    lm, ids = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model)), contexts()
    lm.model.get_input_embeddings().weight[ids[2, 4]] = 1e4  # type: ignore[operator]
    sae = SteeringSource(toy_sae(), "blocks.0.hook_resid_pre")
    counted = estimate_max(sae, lm, ids, range(24), max_norm_ratio=None)
    left_out = estimate_max(sae, lm, ids, range(24))
    assert max(counted.values()) > 1e3
    assert max(left_out.values()) < 20


def test_mistakes(tiny: LoadedModel) -> None:
    sae = SteeringSource(toy_sae(), AT)
    with pytest.raises(ConfigError, match="no feature 24"):
        estimate_max(sae, tiny, contexts(), [3, 24])
    with pytest.raises(ConfigError, match="contexts is of shape"):
        estimate_max(sae, tiny, contexts()[0], [3])
