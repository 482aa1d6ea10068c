"""Forwards that go on from a hook point: the bits of whole ones, without the blocks before it."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saewidgets.lm import forward, hook_points, hooked, note_points, resolve_hook, resumable, resumed
from tests.lm.models import ENCODERS, FAMILIES, LAYERS, build, family, token_ids

CAUSAL = [name for name in FAMILIES if name not in ENCODERS]


def _changed(x: Tensor) -> Tensor:
    return 0.3 * x.flip(-1) + 0.1


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = forward(model, ids).logits
    return logits


def _state(model: nn.Module) -> list[Any]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return [*hooks, *("forward" in m.__dict__ for m in model.modules())]


@pytest.mark.parametrize("name", CAUSAL)
def test_a_resumed_forward_gives_the_bits_of_a_whole_one(name: str) -> None:
    """At every hook point of every family, from one forward that reached all of them."""
    model, ids = family(name), token_ids()
    before = _state(model)
    points = [resolve_hook(model, each) for each in hook_points(model, published=True)]
    clean = _logits(model, ids)
    reached = note_points(model, points, lambda: _logits(model, ids), whole=name in CAUSAL[::2])
    assert set(reached.found) == {point.name for point in points}
    for point in points:
        with hooked(point, _changed):
            expected = _logits(model, ids)
        assert not torch.equal(expected, clean)
        with resumed(model, point, reached), hooked(point, _changed):
            assert torch.equal(_logits(model, ids), expected), point.name
    with resumed(model, points[-1], reached):
        assert torch.equal(_logits(model, ids), clean)
    assert all(resumable(model, point) for point in points[-2:])
    assert _state(model) == before


@pytest.mark.parametrize(
    ("site", "ran"), [("resid_pre", [1, 2]), ("attn_out", [1, 2]), ("mlp_out", [1, 2]), ("resid_post", [2])]
)
def test_blocks_before_the_point_do_not_run(site: str, ran: list[int]) -> None:
    model, ids = build("gpt2"), token_ids()
    point = resolve_hook(model, f"blocks.1.hook_{site}")
    reached = note_points(model, [point], lambda: _logits(model, ids), whole=False)
    calls: list[int] = []
    blocks: Any = model.transformer.h
    for number, block in enumerate(blocks):
        block.attn.register_forward_pre_hook(lambda m, a, number=number: calls.append(number))
    with resumed(model, point, reached):
        _logits(model, ids)
    assert calls == ran
    calls.clear()
    note_points(model, [point], lambda: _logits(model, ids), whole=False)
    assert calls == ([0] if site == "resid_pre" else [0, 1])
    calls.clear()
    note_points(model, [point], lambda: _logits(model, ids), whole=True)
    assert calls == list(range(LAYERS))


def test_other_threads_run_the_whole_model_meanwhile() -> None:
    model, ids = build("llama"), token_ids()
    points = [resolve_hook(model, f"blocks.{layer}.hook_resid_post") for layer in (0, 1)]
    other = ids.flip(1)
    clean, expected = _logits(model, other), _logits(model, ids)
    reached = note_points(model, points, lambda: _logits(model, ids), whole=False)
    inside, leave, found = threading.Event(), threading.Event(), {}

    def resume() -> None:
        with resumed(model, points[1], reached):
            inside.set()
            found["first"] = _logits(model, ids)
            assert leave.wait(20)
            found["second"] = _logits(model, ids)

    thread = threading.Thread(target=resume)
    with resumed(model, points[0], reached):  # opened first and closed first: the other still needs its blocks
        thread.start()
        assert inside.wait(20)
        assert torch.equal(_logits(model, ids), expected)
    assert torch.equal(_logits(model, other), clean)
    leave.set()
    thread.join(20)
    assert torch.equal(found["first"], expected)
    assert torch.equal(found["second"], expected)
    assert not any("forward" in m.__dict__ for m in model.modules())


def test_a_forward_that_was_put_on_a_block_is_kept() -> None:
    """As accelerate does for models that are spread over devices."""
    model, ids = build("gpt2"), token_ids()
    block: Any = model.transformer.h[0]
    inner, calls = block.forward, []

    def own(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return inner(*args, **kwargs)

    block.forward = own
    point = resolve_hook(model, "blocks.0.hook_resid_post")
    reached = note_points(model, [point], lambda: _logits(model, ids), whole=False)
    calls.clear()
    with resumed(model, point, reached):
        _logits(model, ids)
        assert not calls
    assert block.forward is own
    with pytest.raises(KeyError), resumed(model, point, reached):
        raise KeyError
    assert block.forward is own
    _logits(model, ids)
    assert calls


def test_a_model_whose_blocks_share_more_than_their_output_is_run_as_a_whole() -> None:
    model = build("gpt2")
    blocks: Any = model.transformer.h
    seen: dict[str, Tensor] = {}
    blocks[0].mlp.register_forward_hook(lambda m, a, out: seen.update(first=out))
    blocks[2].mlp.register_forward_hook(lambda m, a, out: out + seen.pop("first"))
    point = resolve_hook(model, "blocks.1.hook_resid_post")
    assert not resumable(model, point)  # raises KeyError without its first block
    blocks[2].mlp.register_forward_hook(lambda m, a, out: out + 0 * out)
    assert not any("forward" in m.__dict__ for m in model.modules())

    other = build("gpt2")
    blocks = other.transformer.h
    total = [0.0]
    blocks[0].register_forward_hook(lambda m, a, out: total.__setitem__(0, float(out.sum())))
    blocks[0].register_forward_pre_hook(lambda m, a: total.__setitem__(0, 0.0))
    blocks[2].mlp.register_forward_hook(lambda m, a, out: out + total[0])
    assert resumable(other, resolve_hook(other, "blocks.0.hook_mlp_out"))
    # What block 0 hands on now is what block 1 returned: other bits.
    assert not resumable(other, resolve_hook(other, "blocks.1.hook_resid_post"))
