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


def test_nothing_is_dead_before_the_window_is_full():
    latents = DeadLatents(3, window=100)
    for _ in range(9):
        latents.update(torch.zeros(3, dtype=torch.bool), 11)
    assert latents.mask(99) is None
    assert latents.share(99) is None
    latents.update(torch.zeros(3, dtype=torch.bool), 11)
    assert latents.mask(110).all()
    assert latents.share(110).item() == 1.0


def test_a_revived_latent_is_alive_again():
    latents = DeadLatents(2, window=10)
    latents.update(torch.tensor([False, False]), 20)
    latents.update(torch.tensor([True, False]), 1)
    assert latents.mask(21).tolist() == [False, True]


def test_loading_copies_the_counter():
    source, target = DeadLatents(4, 10), DeadLatents(4, 10)
    source.update(torch.tensor([True, False, True, False]), 12)
    target.load(source.tokens_since_fired)
    source.update(torch.tensor([True] * 4), 1)
    assert target.tokens_since_fired.tolist() == [0, 12, 0, 12]
