"""The loss effect of a feature at a token of an example, or of a text that somebody has typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saewidgets.errors import ConfigError
from saewidgets.lm import special_tokens
from saewidgets.steering import SteeringSource
from saewidgets.steering.loss_effect import LossEffect, loss_effect
from saewidgets.workspace.live import Opened
from saewidgets.workspace.reading.text import prepare
from saewidgets.workspace.reading.views import place_in

if TYPE_CHECKING:
    from saewidgets.workspace.reading.live import LiveFeatures
    from saewidgets.workspace.reading.views import View


def at_position(features: LiveFeatures, view: View, index: int, position: int) -> LossEffect:
    """At a stream position of the text that an extraction has read."""
    store = view.store
    assert store is not None  # the view of an extraction has one
    row, at = place_in(store, position)
    return _effect(features, features.open_live(view), index, np.asarray(store.context(row)), at)


def in_text(
    features: LiveFeatures, view: View, index: int, text: str, token: int, prepend_bos: bool
) -> LossEffect:
    """At a token of a text, counted without BOS."""
    opened = features.open_live(view)
    prompt = prepare(opened.model, text, opened.sae.d_sae, prepend_bos)
    if not isinstance(token, int) or not 0 <= token < len(prompt.ids):
        raise ConfigError(f"The text has no token {token!r}.", where="token", hint="Choose one of its tokens.")
    head = [] if prompt.bos is None else [prompt.bos]
    return _effect(features, opened, index, np.concatenate([head, prompt.ids]).astype(np.int64), token + len(head))


def _effect(features: LiveFeatures, opened: Opened, index: int, ids: Any, at: int) -> LossEffect:
    lm = opened.model.lm
    special = special_tokens(lm.tokenizer).all
    if at + 1 < len(ids) and int(ids[at + 1]) in special:
        raise ConfigError(
            "The text ends here: what follows is a special token, which no loss counts.", where="position",
            hint="Choose a token before the last one.",
        )
    place = opened.subject
    out = opened.sae.metadata.get("hook_name_out")
    source = SteeringSource(opened.sae, opened.hook_name, out, name=place.name)

    def compute() -> LossEffect:
        return loss_effect(lm, source, index, torch.from_numpy(np.array(ids)), at, opened.model.losses)

    return features.live.run(opened, compute)
