"""Compiled blocks beside hooks, early ends, splices and resumed forwards; compilers that are missing or wrong."""

import functools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saewidgets.lm import capture, find_blocks, forward, hooked, note_points, resolve_hook, resumed, spliced
from saewidgets.lm.compiling import CompiledModel, compile_blocks, regions
from tests.lm.models import LAYERS, build, token_ids

IDS = token_ids()
SHAPE = (IDS.shape[0], IDS.shape[1])
PLACES = ["resid_pre", "resid_post", "mlp_out", "attn_out"]


class Counting:
    """A backend of torch.compile that needs no compiler, and counts."""

    def __init__(self, change: Callable[[Any], Any] = lambda found: found) -> None:
        self.graphs = self.calls = 0
        self.change = change

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1

        def run(*args: Any) -> Any:
            self.calls += 1
            return self.change(graph(*args))

        return run


@pytest.fixture
def undoing() -> Iterator[Callable[..., CompiledModel]]:
    made: list[CompiledModel] = []

    def compiled(model: nn.Module, names: list[str], backend: Any, **more: Any) -> CompiledModel:
        made.append(compile_blocks(model, names, "default", SHAPE, backend=backend, **more))
        return made[-1]

    yield compiled
    for each in made:
        each.undo()


def names_of(*layers: int) -> list[str]:
    return [f"blocks.{layer}.hook_{place}" for layer in layers for place in PLACES]


def is_plain(model: nn.Module) -> bool:
    return not any("forward" in module.__dict__ for module in model.modules())


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "falcon", "opt"])
def test_numbers_stay_the_same_for_any_hook_point(name: str, undoing: Callable[..., CompiledModel]) -> None:
    model = build(name)
    points = ["blocks.0.hook_resid_post", f"blocks.{LAYERS - 1}.hook_mlp_out"]
    before = capture(model, names_of(0, LAYERS - 1), IDS)
    logits = forward(model, IDS).logits

    def halved() -> list[Tensor]:
        found = []
        for point in points:
            with spliced(model, point, lambda x: 0.5 * x):
                found.append(forward(model, IDS).logits)
        return found

    replaced, backend = halved(), Counting()
    compiled = undoing(model, points, backend)
    assert compiled.problem is None
    assert backend.graphs < compiled.regions  # blocks share their code
    calls = backend.calls
    for hook, value in capture(model, names_of(0, LAYERS - 1), IDS).items():
        close(value, before[hook])
    close(forward(model, IDS).logits, logits)
    for found, expected in zip(halved(), replaced, strict=True):
        close(found, expected)
    assert backend.calls > calls
    compiled.undo()
    assert is_plain(model)


def test_compiled_parts_hold_no_hook_point_of_the_run() -> None:
    model = build("llama")
    blocks = list(find_blocks(model))
    assert regions(model, ["blocks.0.hook_resid_post", "blocks.2.hook_resid_pre"]) == blocks
    inside = regions(model, ["blocks.1.hook_mlp_out"])
    assert inside == [blocks[0], blocks[1].self_attn, blocks[1].mlp, *blocks[2:]]
    assert regions(model, ["blocks.1.attn.hook_z"]) == [blocks[0], blocks[1].mlp, *blocks[2:]]


def test_a_forward_still_ends_early_and_goes_on_from_a_hook(undoing: Callable[..., CompiledModel]) -> None:
    model, hook = build("gpt2"), "blocks.1.hook_resid_post"
    expected, backend = forward(model, IDS).logits, Counting()
    undoing(model, [hook], backend)
    calls = backend.calls
    capture(model, [hook], IDS)
    assert backend.calls == calls + 2  # blocks 0 and 1 of three
    point = resolve_hook(model, hook)
    reached = note_points(model, [point], lambda: forward(model, IDS), whole=True)
    calls = backend.calls
    with resumed(model, point, reached):
        close(forward(model, IDS).logits, expected)
    assert backend.calls == calls + 1


def test_calls_of_another_kind_run_as_if_nothing_were_compiled(undoing: Callable[..., CompiledModel]) -> None:
    model, hook = build("gpt2"), "blocks.1.hook_resid_post"
    inside, backend, seen = resolve_hook(model, "blocks.0.hook_mlp_out"), Counting(), []
    undoing(model, [hook], backend)
    graphs, calls = backend.graphs, backend.calls
    forward(model, IDS[:1])  # another shape
    mask = torch.ones_like(IDS)
    mask[0, 0] = 0
    forward(model, IDS, mask)
    model.generate(IDS[:, :4], attention_mask=mask[:, :4], max_new_tokens=2, do_sample=False)  # a cache
    assert model(input_ids=IDS).logits.requires_grad  # gradients
    assert (backend.graphs, backend.calls) == (graphs, calls)
    with hooked(inside, lambda x: seen.append(x.shape)):  # somebody looks inside
        forward(model, IDS)
    assert len(seen) == 1
    assert backend.calls == calls + LAYERS - 1


def test_undoing_leaves_forwards_set_by_others(undoing: Callable[..., CompiledModel]) -> None:
    model = build("gpt2")
    first, second = list(find_blocks(model))[:2]
    first.forward = own = first.forward
    compiled = undoing(model, ["blocks.2.hook_resid_post"], Counting())
    second.forward = wrapped = functools.partial(second.forward)
    compiled.undo()
    assert first.__dict__["forward"] is own
    assert second.__dict__["forward"] is wrapped
    assert torch.isfinite(forward(model, IDS).logits).all()


def broken(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no compiler\nmore lines")


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (broken, "RuntimeError: no compiler"), ("no_such_backend", "no_such_backend"),
        (Counting(lambda found: [each * 1.1 for each in found]), "Block is 0.1 off"),
        (Counting(lambda found: [each * torch.nan for each in found]), "Block is nan off"),
    ],
)  # fmt: skip
def test_a_compiler_that_fails_leaves_the_model_as_it_is(
    backend: Any, said: str, undoing: Callable[..., CompiledModel]
) -> None:
    model = build("gpt2")
    expected = forward(model, IDS).logits
    compiled = undoing(model, ["blocks.1.hook_resid_post"], backend)
    assert said in (compiled.problem or "")
    assert "\n" not in (compiled.problem or "")
    assert (compiled.regions, is_plain(model)) == (0, True)
    assert torch.equal(forward(model, IDS).logits, expected)


def test_code_that_fails_later_is_reported_once_and_dropped(undoing: Callable[..., CompiledModel]) -> None:
    model, told = build("gpt2"), []
    expected, backend = forward(model, IDS).logits, Counting()
    compiled = undoing(model, ["blocks.1.hook_resid_post"], backend, tell=told.append)

    def fails(found: Any) -> Any:
        raise RuntimeError("illegal instruction")

    backend.change = fails
    for _ in range(2):
        assert torch.equal(forward(model, IDS).logits, expected)
    assert told == [
        "Compiled code failed and is no longer used (RuntimeError: illegal instruction). The model runs as it is."
    ]
    assert (compiled.problem, is_plain(model)) == ("RuntimeError: illegal instruction", True)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_what_inductor_compiles(undoing: Callable[..., CompiledModel]) -> None:
    model = build("llama")
    before = capture(model, names_of(0, 2), IDS)
    heads = [f"blocks.{layer}.attn.hook_z" for layer in range(LAYERS)]
    compiled = undoing(model, heads, "inductor")  # the MLPs alone: seconds
    assert (compiled.problem, compiled.regions) == (None, LAYERS)
    for hook, value in capture(model, ["blocks.0.hook_mlp_out", "blocks.2.hook_resid_post"], IDS).items():
        close(value, before[hook])


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune-no-cudagraphs"])
def test_compiled_blocks_agree_on_a_gpu(mode: Any) -> None:
    model = build("llama").to("cuda:0")
    hook = "blocks.1.hook_resid_post"
    before = capture(model, [hook], IDS)[hook]
    compiled = compile_blocks(model, [hook], mode, SHAPE)
    assert compiled.problem is None
    kept = [capture(model, [hook], IDS)[hook] for _ in range(4)]  # none is written over by the next
    for each in kept:
        torch.testing.assert_close(each, before, rtol=1e-3, atol=1e-4)
    compiled.undo()
