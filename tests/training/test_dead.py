"""The dead-latent window against a brute-force record of every step."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.training.dead_latents import DeadLatents


@given(
    fired=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=30),
    tokens=st.integers(1, 7),
    window=st.integers(1, 60),
)
def test_dead_means_silent_in_the_last_window_tokens(fired, tokens, window):
    latents = DeadLatents(5, window)
    for row in fired:
        latents.update(torch.tensor(row), tokens)
    seen = tokens * len(fired)
    for index in range(5):
        last = max((step for step, row in enumerate(fired) if row[index]), default=-1)
        silent = tokens * (len(fired) - 1 - last)
        mask = latents.mask(seen)
        is_dead = bool(mask[index]) if mask is not None else False
        assert is_dead == (silent >= window)
    expected = sum(
        tokens * (len(fired) - 1 - max((s for s, row in enumerate(fired) if row[i]), default=-1)) >= window
        for i in range(5)
    )
    share = latents.share(seen)
    assert (share is None) == (seen < window)
    if share is not None:
        assert share.item() == torch.tensor(expected / 5, dtype=torch.float32).item()
