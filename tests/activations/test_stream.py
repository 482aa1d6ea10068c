"""The stream is a pure function of (configuration, seed, batch number), positions and tokens left out included."""

import itertools
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saewidgets.activations import (
    ActivationStream,
    PackedTokens,
    Windows,
    counted_positions,
    pack,
    packing,
    positions_needed,
)
from saewidgets.activations.store import StoredActivations
from saewidgets.activations.store_stream import StoredStream
from saewidgets.activations.store_write import CaptureSettings, capture_store
from saewidgets.errors import ConfigError
from saewidgets.events import Interruption, Request
from saewidgets.lm import LoadedModel, capture, wrap_model
from saewidgets.lm.tokens import TokenMask
from tests.activations.conftest import HOOK, altered, stream_config, take
from tests.activations.test_growing import Long
from tests.lm.models import build


def stream_of(lm: LoadedModel, packed: PackedTokens, seed: int = 0, **changes: Any) -> ActivationStream:
    return ActivationStream(lm, packed, stream_config(**changes), seed)


def _permuted(count: int, *entropy: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).permutation(count)


def _reference_rows(lm: LoadedModel, packed: PackedTokens, seed: int, model_batch: int, epochs: int) -> np.ndarray:
    """Every kept row of the first epochs in reading order, computed plainly."""
    order = np.concatenate([packed.train[_permuted(len(packed.train), seed, 1, e)] for e in range(epochs)])
    order = order[: len(order) // model_batch * model_batch]
    rows = []
    for at in range(0, len(order), model_batch):
        ids = packed.contexts(order[at : at + model_batch])
        found = capture(lm.model, [HOOK], torch.from_numpy(ids))[HOOK].numpy()
        special = np.isin(ids, lm.tokenizer.all_special_ids)
        rows.append(found[~special])
    return np.concatenate(rows)


def test_any_start_gives_the_same_batches_bit_for_bit(lm: LoadedModel, packed: PackedTokens) -> None:
    count = 110
    whole = take(stream_of(lm, packed, 7), 0, count)
    assert count * 20 > 2 * stream_of(lm, packed, 7).tokens_per_epoch  # epochs end inside
    for start in (*range(12), 23, 47, 49, 50, 51, 98, 100, 108):
        for offset, batch in enumerate(take(stream_of(lm, packed, 7), start, min(3, count - start))):
            assert torch.equal(batch, whole[start + offset]), (start, offset)


@pytest.mark.parametrize("model_batch", [1, 3, 64])
def test_windows_hold_exactly_the_rows_of_the_text(lm: LoadedModel, packed: PackedTokens, model_batch: int) -> None:
    config = stream_config(model_batch_size=model_batch)
    stream = ActivationStream(lm, packed, config, 3)
    assert stream.window == 80  # a multiple of the batch size
    rows = _reference_rows(lm, packed, 3, model_batch, epochs=3)
    iterator = stream.batches()
    for window in range(len(rows) // 80):
        batches = torch.cat([next(iterator) for _ in range(4)]).numpy()
        expected = rows[80 * window : 80 * (window + 1)]
        np.testing.assert_allclose(batches, expected[_permuted(80, 3, 2, window)], rtol=1e-5, atol=1e-6)


def test_batches_are_float32_tensors_of_their_own_that_autograd_takes(lm: LoadedModel, packed: PackedTokens) -> None:
    batches = stream_of(lm, packed).batches()
    first = next(batches)
    copy = first.clone()
    weight = torch.ones(32, requires_grad=True)
    (first * weight).sum().backward()
    first.zero_()  # the consumer may do what it likes
    for _ in range(6):
        next(batches)
    assert torch.equal(next(stream_of(lm, packed).batches()), copy)
    assert weight.grad is not None
    assert first.dtype == torch.float32
    assert first.shape == (20, 32)
    assert not first.is_inference()
    assert not first.requires_grad


def test_check_runs_between_model_batches_and_can_end_it(lm: LoadedModel, packed: PackedTokens) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Interruption(Request.PAUSE)

    stream = stream_of(lm, packed)
    batches = stream.batches(0, check)
    first = next(batches)
    with pytest.raises(Interruption):
        list(itertools.islice(batches, 8))
    assert calls == 3
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    assert torch.equal(next(stream.batches()), first)


def test_global_generators_are_not_touched(lm: LoadedModel, packed: PackedTokens) -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    stream = stream_of(lm, packed)
    stream.estimate_scale()
    take(stream, 0, 5)
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert torch.is_grad_enabled()


def test_two_threads_read_the_same_model_undisturbed(lm: LoadedModel, packed: PackedTokens) -> None:
    expected = take(stream_of(lm, packed), 0, 12)
    found: dict[int, list[Tensor]] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: take(stream_of(lm, packed), 0, 12)}))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for n in range(3):
        assert all(torch.equal(a, b) for a, b in zip(expected, found[n], strict=True))


def test_the_scale_brings_the_mean_norm_to_root_d(lm: LoadedModel, packed: PackedTokens) -> None:
    stream = stream_of(lm, packed, 3)
    rows = _reference_rows(lm, packed, 3, 3, epochs=1)[:256]
    expected = np.sqrt(32) / np.linalg.norm(rows.astype(np.float64), axis=1).mean()
    assert stream.estimate_scale() == pytest.approx(expected, rel=1e-6)
    next(stream.batches(9))
    assert stream.estimate_scale() == stream_of(lm, packed, 3).estimate_scale()


def test_evaluation_contexts_are_held_out(lm: LoadedModel, packed: PackedTokens) -> None:
    found = stream_of(lm, packed).evaluation_contexts(40)
    assert found.shape == (3, 16)
    assert found.dtype == torch.int64
    held_out = {tuple(row) for row in packed.contexts(packed.validation)}
    assert {tuple(row) for row in found.tolist()} <= held_out
    assert torch.equal(found, stream_of(lm, packed, 99).evaluation_contexts(40))


def test_a_foreign_tokenizer_is_refused(packed: PackedTokens) -> None:
    small = wrap_model(build("gpt2"), object())  # 64 tokens; the text has ids up to 299
    with pytest.raises(ConfigError, match=r"token id \d+, but .* knows 64 tokens") as caught:
        ActivationStream(small, packed, stream_config(), 0)
    assert caught.value.where == "tokenizer"


def test_activations_that_are_not_numbers_are_refused(lm: LoadedModel, packed: PackedTokens) -> None:
    broken = altered(lm, lambda model: next(model.parameters()).fill_(float("nan")))
    with pytest.raises(ConfigError, match=r"at blocks\.0\.hook_resid_post is nan"):
        ActivationStream(broken, packed, stream_config(), 0).estimate_scale()


SEVERAL = ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post", "blocks.0.hook_resid_post", "blocks.1.mlp.hook_in")


def _counted(lm: LoadedModel) -> list[int]:
    """The forwards of the model from now on, one entry each."""
    forwards: list[int] = []
    lm.model.get_input_embeddings().register_forward_hook(lambda *_: forwards.append(1))
    return forwards


@pytest.mark.parametrize("norm_tokens", [256, 300, 320, 450])
def test_the_first_window_begins_with_what_the_scale_was_measured_on(
    lm: LoadedModel, packed: PackedTokens, norm_tokens: int
) -> None:
    lm = altered(lm, lambda model: None)
    forwards = _counted(lm)
    config = stream_config(shuffle_tokens=320, norm_tokens=norm_tokens)
    expected = take(ActivationStream(lm, packed, config, 5), 0, 30)
    plain = len(forwards)
    stream = ActivationStream(lm, packed, config, 5)
    stream.estimate_scale()
    for each, found in zip(expected, take(stream, 0, 30), strict=True):
        assert torch.equal(each, found)
    assert len(forwards) - 2 * plain <= (norm_tokens > 320) * 5
    forwards.clear()
    stream.estimate_covariance()
    assert torch.equal(take(stream, 11, 1)[0], expected[11])


def test_streams_that_share_windows_read_what_they_would_alone(lm: LoadedModel, packed: PackedTokens) -> None:
    lm = altered(lm, lambda model: None)
    forwards = _counted(lm)
    configs = [stream_config(hook_name=name) for name in SEVERAL]
    alone = [ActivationStream(lm, packed, config, 5) for config in configs]
    scales = [stream.estimate_scale() for stream in alone]
    expected = [take(stream, 3, 12) for stream in alone]
    per_stream = len(forwards) // len(SEVERAL)
    forwards.clear()

    windows = Windows(lm, packed, configs[0], [*SEVERAL, SEVERAL[0]], 5)
    shared = [ActivationStream(lm, packed, config, windows=windows) for config in configs]
    assert [stream.estimate_scale() for stream in shared] == scales
    readers = [stream.batches(3) for stream in shared]
    for number in range(12):
        for mine, reader in zip(expected, readers, strict=True):
            assert torch.equal(next(reader), mine[number])
    assert len(forwards) == per_stream
    assert [stream.layout for stream in shared] == [stream.layout for stream in alone]
    for reader in readers:
        assert windows._buffers
        reader.close()
    assert not windows._buffers


def test_a_transcoder_reads_pairs_of_the_same_rows(lm: LoadedModel, packed: PackedTokens) -> None:
    config = stream_config(hook_name="blocks.1.mlp.hook_in")
    config = config.model_copy(update={"hook_name_out": "blocks.1.hook_mlp_out"})
    stream = ActivationStream(lm, packed, config, 5)
    assert (stream.d_in, stream.d_out) == (32, 32)
    pairs = take(stream, 2, 6)
    for at, name in enumerate(config.hook_names):
        single = stream_of(lm, packed, 5, hook_name=name)
        assert all(torch.equal(pair[at], x) for pair, x in zip(pairs, take(single, 2, 6), strict=True))
        assert (stream.estimate_scale(), stream.estimate_scale_out())[at] == single.estimate_scale()
    assert stream_of(lm, packed, 5).estimate_scale_out() is None
    assert stream.layout["hook_name_out"] == "blocks.1.hook_mlp_out"


config = partial(stream_config, batch_size=10, tokens=400, shuffle_tokens=40)


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


def test_the_layout_tells_runs_apart(lm: LoadedModel, packed: PackedTokens) -> None:
    """What a resumed run is compared with: other weights are another run. What is not left out is not said, as before
    anything could be."""
    changed = altered(lm, lambda model: next(model.parameters()).mul_(1.5))
    fewer = ActivationStream(lm, packed, config(seqpos_slice="5:-5", exclude_token_ids="3"), 0).layout
    assert (fewer["seqpos_slice"], fewer["exclude_token_ids"]) == ([5, -5], [3])
    layout = stream_of(lm, packed).layout
    assert layout == stream_of(lm, packed).layout
    assert not {"seqpos_slice", "exclude_token_ids"} & layout.keys()
    assert (layout["threads"], layout["torch"]) == (torch.get_num_threads(), torch.__version__)
    for other in (
        stream_of(lm, packed, 1), stream_of(lm, packed, 0, batch_size=25),
        ActivationStream(changed, packed, stream_config(), 0),
    ):
        assert other.layout != layout


def test_half_precision_models_give_float32(lm: LoadedModel, packed: PackedTokens) -> None:
    half = altered(lm, lambda model: model.to(torch.bfloat16))
    stream = ActivationStream(half, packed, stream_config(), 0)
    batch = next(stream.batches())
    assert (batch.dtype, stream.layout["model_dtype"]) == (torch.float32, "bfloat16")
    full = next(stream_of(lm, packed).batches())
    assert torch.nn.functional.cosine_similarity(batch, full).min() > 0.99
