"""Defines `capture`, `spliced` and `hooked`: reading and replacing activations while a model runs.

Hooks act only on forwards of the thread that set them, so that a model the user also calls from a cell is not
disturbed there. They are removed when the block ends, whatever happened inside.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from saewidgets.lm.forward import first_tensor, forward, input_of, with_first, with_input
from saewidgets.lm.hookpoints import HookPoint, resolve_hook
from saewidgets.lm.norms import gain_and_bias
from saewidgets.lm.sites import HookError


class ForwardStopped(BaseException):
    """Unwinds a forward once everything asked for was seen. A BaseException: no handler in a model may catch it."""


class OtherForward:
    """Another `forward` on a module until it is removed: ``run(plain, *args, **kwargs)``, with the one it had."""

    def __init__(self, module: nn.Module, run: Callable[..., Any]) -> None:
        self._module = module
        self._own = module.__dict__.get("forward")  # beside that of its class (accelerate sets one)
        plain = module.forward
        self._ours = module.forward = functools.wraps(plain)(functools.partial(run, plain))

    def remove(self) -> None:
        """Restore the module. If others have wrapped ours meanwhile, it stays."""
        if self._module.__dict__.get("forward") is not self._ours:
            return
        if self._own is None:
            del self._module.forward
        else:
            self._module.forward = self._own


@contextmanager
def hooked(point: HookPoint, fn: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """While open, `fn` sees the activation at `point`, ``[batch, context, width]``, and may return a replacement; at
    one head it sees a view of that head. Only forwards in the calling thread are affected. Such a forward raises
    `HookError` if the activation has another shape."""
    owner = threading.get_ident()
    entered: list[Tensor] = []  # what the block read last

    def before_block(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == owner:
            entered[:] = [input_of(args, kwargs)]

    def shaped(x: Tensor) -> Tensor:
        """Some blocks (OPT's MLP) flatten batch and context for a while."""
        stream = entered[0].shape if entered else x.shape  # embeddings come before the first block
        if len(stream) != 3 or x.numel() != stream[0] * stream[1] * x.shape[-1]:
            raise HookError(
                f"The activation has the shape {list(x.shape)}, not [batch, context, width].", where=point.name,
                hint="This architecture is not supported at this hook point; use another one.",
            )
        return x if x.dim() == 3 else x.view(*stream[:-1], x.shape[-1])

    def changed(x: Tensor) -> Tensor | None:
        whole = shaped(x)
        new = fn(point.part_of(whole))
        return None if new is None else point.put_into(whole, new).view(x.shape)

    def on_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != owner:
            return None
        new = changed(input_of(args, kwargs))
        return None if new is None else with_input(args, kwargs, new)

    def on_output(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if threading.get_ident() != owner:
            return None
        y = first_tensor(output)
        if point.kind == "sum":
            stream = entered[0].view(y.shape)
            new = changed(stream + y)
            return None if new is None else with_first(output, new - stream)
        if point.norm is not None:
            new = changed(point.norm.normalize(input_of(args, kwargs)))
            if new is None:
                return None
            gain, bias, _ = gain_and_bias(module, point.width, y.device, y.dtype)
            return with_first(output, (new * gain + bias).to(y.dtype))
        new = changed(y)
        return None if new is None else with_first(output, new)

    with point.block.register_forward_pre_hook(before_block, with_kwargs=True):
        if point.kind == "input":
            own = point.module.register_forward_pre_hook(on_input, with_kwargs=True)
        else:
            own = point.module.register_forward_hook(on_output, with_kwargs=True)
        with own:
            yield


@contextmanager
def spliced(model: nn.Module, hook_name: str, fn: Callable[[Tensor], Tensor]) -> Iterator[HookPoint]:
    """Replace the activation at `hook_name` by ``fn(activation)``, ``[batch, context, width]`` → the same shape, in
    every forward inside the block. Gradients flow through it. Raises `HookError`."""
    point = resolve_hook(model, hook_name)
    with hooked(point, fn):
        yield point


def before_head(model: nn.Module, head: nn.Module, input_ids: Tensor) -> Tensor:
    """The hidden states that go into the output layer `head`, ``[batch, context, width]``; the layer is not run."""
    owner = threading.get_ident()
    found: list[Tensor] = []

    def catch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == owner:
            found.append(first_tensor(args[0] if args else next(iter(kwargs.values()))).detach())
            raise ForwardStopped

    with head.register_forward_pre_hook(catch, with_kwargs=True), suppress(ForwardStopped):
        forward(model, input_ids)
    return found[0]


def capture(
    model: nn.Module,
    hook_names: Sequence[str],
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    stop_early: bool = True,
) -> dict[str, Tensor]:
    """The activations at `hook_names` for one batch.

    Args:
        model: a transformers language model; it runs in evaluation mode and is left as it was.
        hook_names: which activations, of any layers: one forward gives them all. Heads that are wanted beside all of
            them together, or last, are views of these.
        input_ids: ``[batch, context]`` token ids.
        attention_mask: ``[batch, context]``, only needed when the batch is padded.
        stop_early: leave the forward at the last activation needed, so that later layers and the vocabulary are
            never computed.

    Returns:
        hook name → ``[batch, context, width]`` in the model's number format, no gradient, on the device of its layer (a
        model may be spread over several).

    Raises:
        HookError: there is no such hook point.
    """
    found: dict[str, Tensor] = {}
    places: dict[str, list[HookPoint]] = {}  # all heads that are wanted of one place are noted at once
    for name in dict.fromkeys(hook_names):
        point = resolve_hook(model, name)
        places.setdefault(point.place.name, []).append(point)
    wanted = sum(map(len, places.values()))

    def recorder(points: list[HookPoint]) -> Callable[[Tensor], None]:
        together = any(point.head is None for point in points)

        def record(activation: Tensor) -> None:
            activation = activation.detach()
            last = len(found.keys() | {point.name for point in points}) == wanted and stop_early
            # What the model computes next may overwrite this tensor in place (Falcon's parallel residual does).
            if together and not last:
                activation = activation.clone()
            for point in points:
                part = point.part_of(activation)
                found[point.name] = part if together or last else part.clone()
            if last:
                raise ForwardStopped

        return record

    with ExitStack() as stack:
        for points in places.values():
            stack.enter_context(hooked(points[0].place, recorder(points)))
        with suppress(ForwardStopped):
            forward(model, input_ids, attention_mask)
    return found
