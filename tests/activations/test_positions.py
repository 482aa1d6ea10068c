"""Positions and tokens that are left out: of the stream, of long text, and of stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.activations import ActivationStream, PackedTokens, counted_positions, pack, packing, positions_needed
from saewidgets.activations.store import StoredActivations
from saewidgets.activations.store_stream import StoredStream
from saewidgets.activations.store_write import CaptureSettings, capture_store
from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, capture
from saewidgets.lm.token_mask import TokenMask
from tests.activations.test_growing import Long

HOOK = "blocks.0.hook_resid_post"


def config(**activations: Any) -> TrainingConfig:
    return TrainingConfig.from_data({
        "hook_name": HOOK, "context_size": 16, "batch_size": 10, "tokens": 400,
        "activations": {"model_batch_size": 3, "shuffle_tokens": 40, "norm_tokens": 256, **activations},
    })  # fmt: skip


def expected_mask(ids: np.ndarray, special: list[int], activations: dict[str, Any]) -> np.ndarray:
    """Which positions count, one at a time."""
    out = special if activations.get("exclude_special_tokens", True) is True else []
    left_out = {*out, *(activations.get("exclude_token_ids") or ())}
    if isinstance(listed := activations.get("exclude_special_tokens"), list):
        left_out |= set(listed)
    chosen = list(range(ids.shape[1]))[slice(*(activations.get("seqpos_slice") or (None,)))]
    return np.array([
        [position in chosen and token not in left_out for position, token in enumerate(row)] for row in ids
    ])  # fmt: skip


def some_id(packed: PackedTokens) -> int:
    """The most frequent token that is not special."""
    ids, counts = np.unique(packed.contexts(packed.train), return_counts=True)
    return int(ids[np.argsort(-counts)][2])


def cases(common: int) -> list[dict[str, Any]]:
    return [
        {"seqpos_slice": (5, -5)}, {"seqpos_slice": (None, None, 3)}, {"seqpos_slice": (-4, None)},
        {"seqpos_slice": (0, 8), "exclude_special_tokens": False}, {"exclude_special_tokens": [common]},
        {"exclude_token_ids": [common], "seqpos_slice": (2, None)},
    ]  # fmt: skip


def by_row(rows: np.ndarray) -> np.ndarray:
    """Rows in an order of their own, so that two sets of them can be compared."""
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("number", [0, 3, 5])
def test_the_stream_has_exactly_the_rows_that_are_kept(lm: LoadedModel, packed: PackedTokens, number: int) -> None:
    given = cases(some_id(packed))[number]
    stream = ActivationStream(lm, packed, config(**given), 3)
    ids = packed.contexts(packed.train)
    mask = expected_mask(ids, lm.tokenizer.all_special_ids, given)
    assert stream.tokens_per_epoch == mask.sum() < mask.size
    rows = capture(lm.model, [HOOK], torch.from_numpy(ids))[HOOK].numpy()[mask]
    order = stream.windows._order
    windows = stream.tokens_per_epoch // 40
    iterator = stream.batches()
    found = torch.cat([next(iterator) for _ in range(windows * 4)]).numpy()
    read, left = [], windows * 40
    for context in order.epoch(0)[0]:  # in reading order, until the windows are full
        at = np.flatnonzero(packed.train == context)[0]
        start = int(mask[:at].sum())
        read.append(rows[start : start + min(left, int(mask[at].sum()))])
        left -= len(read[-1])
    np.testing.assert_allclose(by_row(found), by_row(np.concatenate(read)), rtol=1e-4, atol=1e-5)


def test_the_layout_says_what_is_left_out(lm: LoadedModel, packed: PackedTokens) -> None:
    usual = ActivationStream(lm, packed, config(), 0).layout
    assert not {"seqpos_slice", "exclude_token_ids"} & usual.keys(), "as before there was any"
    layout = ActivationStream(lm, packed, config(seqpos_slice="5:-5", exclude_token_ids="3"), 0).layout
    assert (layout["seqpos_slice"], layout["exclude_token_ids"]) == ([5, -5], [3])


def test_a_slice_without_any_token_is_refused(lm: LoadedModel, packed: PackedTokens) -> None:
    with pytest.raises(ConfigError, match="0 training tokens") as caught:
        ActivationStream(lm, packed, config(seqpos_slice="0:1"))  # BOS alone
    assert "Positions" in str(caught.value)


def test_long_text_is_read_until_enough_positions_count(lm: LoadedModel, tmp_path: Path) -> None:
    wanted = config(seqpos_slice="12:")
    settings: dict[str, Any] = {
        "folder": tmp_path, "context_size": 16, "validation_share": 0.1, "wanted": positions_needed(wanted),
    }
    less = pack(Long(), lm.tokenizer, **settings)
    more = pack(Long(), lm.tokenizer, rule=counted_positions(wanted), **settings)
    assert less.kept_counts(less.train, counted_positions(wanted)).sum() < settings["wanted"]
    counts = more.kept_counts(more.train, counted_positions(wanted))
    assert counts.sum() >= settings["wanted"] > counts[:-1].sum()
    stream = ActivationStream(lm, more, wanted)
    assert stream.tokens_per_epoch >= wanted.tokens, "nothing is repeated"


def test_long_text_in_which_nothing_counts_is_not_read_for_ever(
    lm: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_HOPELESS", 50)
    corpus = Long(10**6)
    rule = TokenMask(seqpos_slice=(0, 1))
    with pytest.raises(ConfigError, match="a position to train on") as caught:
        pack(corpus, lm.tokenizer, folder=tmp_path, context_size=16, validation_share=0.1, wanted=400, rule=rule)
    assert caught.value.where == "activations.seqpos_slice"
    assert max(corpus.given) < 1000


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_store_gives_the_same_rows(lm: LoadedModel, packed: PackedTokens, tmp_path: Path, number: int) -> None:
    given = cases(some_id(packed))[number]
    capture_store(lm, packed, CaptureSettings((HOOK,), tokens=10**9, model_batch_size=4), tmp_path / "store")
    store = StoredActivations(tmp_path / "store")
    numbers = np.arange(store.facts.n_contexts, dtype=np.int64)
    mask = expected_mask(store.contexts(numbers), lm.tokenizer.all_special_ids, given)
    assert np.array_equal(store.kept(numbers, TokenMask.of(config(**given).activations)), mask)
    stream = StoredStream(store, config(**given), 3)
    assert stream.tokens_per_epoch == mask[stream.windows.train].sum()
    first = [batch for _, batch in zip(range(9), stream.batches(), strict=False)]
    again = next(iter(StoredStream(store, config(**given), 3).batches(7)))
    assert torch.equal(first[7], again)
    held = torch.cat([part[0] for part in stream.held_out(10**6)])
    pool = stream.windows.validation if len(stream.windows.validation) else stream.windows.train
    assert len(held) == mask[pool].sum()
