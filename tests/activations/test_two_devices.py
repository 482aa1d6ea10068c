"""Windows that are computed ahead, kept elsewhere, and handed over to another device: the same batches."""

import itertools
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from saewidgets.activations import ActivationStream, PackedTokens, Windows, stream
from saewidgets.activations.prefetch import handed_over
from saewidgets.events import Interruption, Request
from saewidgets.lm import LoadedModel
from tests.activations.conftest import HOOK, stream_config

NAMES = [HOOK, "blocks.1.hook_mlp_out"]


def _never() -> None:
    pass


def _take(windows: Windows, start: int, count: int, names: list[str] = NAMES) -> list[tuple[Tensor, ...]]:
    batches = windows.batches(names, start, _never)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def _same(found: list[tuple[Tensor, ...]], expected: list[tuple[Tensor, ...]]) -> bool:
    pairs = zip(itertools.chain(*found), itertools.chain(*expected), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def _threads() -> int:
    return sum("saewidgets-forwards" in thread.name for thread in threading.enumerate())


def test_reading_ahead_changes_nothing_but_when(lm: LoadedModel, packed: PackedTokens) -> None:
    expected = _take(Windows(lm, packed, stream_config(), NAMES), 0, 30)
    ahead = Windows(lm, packed, stream_config(read_ahead="on"), NAMES)
    assert ahead.reads_ahead
    lm.model.train()
    try:
        for start in (0, 3, 4, 17):
            assert _same(_take(ahead, start, 9), expected[start : start + 9]), start
        assert all(module.training for module in lm.model.modules())
    finally:
        lm.model.eval()
    assert _threads() == 0
    front, behind = ahead.batches(NAMES, 8, _never), ahead.batches(NAMES[:1], 0, _never)  # as after a resume
    for number in range(12):
        assert _same([next(front)], [expected[8 + number]])
        assert torch.equal(next(behind)[0], expected[number][0])
    front.close()
    assert _threads() == 1
    behind.close()
    assert _threads() == 0


def test_who_waits_can_be_interrupted_and_hears_what_went_wrong(
    lm: LoadedModel, packed: PackedTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, going = Windows(lm, packed, stream_config(read_ahead="on"), NAMES), threading.Event()
    forward = windows.forward

    def slow(batch: int) -> Any:
        assert going.wait(30)
        return forward(batch)

    def check() -> None:
        if _threads():
            going.set()
            raise Interruption(Request.PAUSE)

    monkeypatch.setattr(windows, "forward", slow)
    with pytest.raises(Interruption):
        next(windows.batches(NAMES, 0, check))
    assert _threads() == 0

    def full(batch: int) -> Any:
        if batch > 1:
            raise torch.OutOfMemoryError("full")
        return forward(batch)

    monkeypatch.setattr(windows, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        _take(windows, 0, 30)
    monkeypatch.setattr(windows, "forward", forward)
    assert _same(_take(windows, 0, 9), _take(Windows(lm, packed, stream_config(), NAMES), 0, 9))


@pytest.mark.parametrize(("kept", "window"), [(None, "meta"), ("cpu", "cpu")])
def test_where_windows_are_and_batches_go(
    kept: str | None, window: str, lm: LoadedModel, packed: PackedTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = []

    def recorded(rows: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
        moves.append((rows.device.type, device.type))
        return handed_over(rows, chosen, device)

    monkeypatch.setattr(stream, "handed_over", recorded)
    config = stream_config(buffer_device=kept)
    windows = Windows(lm, packed, config, [HOOK], device="meta")
    assert windows.reads_ahead  # both devices work
    assert windows.layout["device"] == "cpu"
    read = ActivationStream(lm, packed, config, windows=windows)
    batch = next(iter(read.batches()))
    assert isinstance(batch, Tensor)
    assert (batch.device.type, batch.dtype, batch.shape) == ("meta", torch.float32, (20, 32))
    assert moves == [(window, "meta")]
    assert read.estimate_scale() == ActivationStream(lm, packed, stream_config()).estimate_scale()
    assert not Windows(lm, packed, stream_config(read_ahead="off"), [HOOK], device="meta").reads_ahead


@pytest.mark.gpu
@pytest.mark.parametrize(("kept", "read_ahead"), [(None, "on"), ("cpu", "on"), ("cpu", "off")])
def test_a_gpu_gets_the_same_batches(kept: str | None, read_ahead: str, lm: LoadedModel, packed: PackedTokens) -> None:
    expected = _take(Windows(lm, packed, stream_config(), NAMES), 0, 30)
    config = stream_config(buffer_device=kept, read_ahead=read_ahead)
    found = _take(Windows(lm, packed, config, NAMES, device="cuda:0"), 0, 30)
    assert {each.device for each in found[0]} == {torch.device("cuda:0")}
    assert _same([tuple(each.cpu() for each in batch) for batch in found], expected)
