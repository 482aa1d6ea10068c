"""Defines `note_points` and `resumed`: forwards that start after a hook point; the blocks before it run only once.

`note_points` keeps what the last block before each hook point returned. While `resumed` is open, the blocks before the
point return that instead of computing, so that a forward costs what comes behind the point. Everything outside the
blocks (embeddings, masks, the final norm) is the model's own code and runs as ever, which keeps this independent of
the architecture, and the numbers the same to the last bit. Models whose blocks hand on more than their output (keys
and values of an earlier layer, say) cannot be resumed: `resumable` tries it.
"""

import functools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.lm.forward import first_tensor, forward, input_device, with_first
from saewidgets.lm.hookpoints import HookPoint
from saewidgets.lm.hooks import ForwardStopped, OtherForward, hooked
from saewidgets.lm.model_config import text_config
from saewidgets.lm.sites import find_blocks

log = logging.getLogger(__name__)

_TRIED = 8  # tokens with which it is tried whether a model can be resumed


@dataclass(frozen=True, slots=True)
class ForwardTrace:
    """What one forward came upon."""

    found: dict[str, Tensor]  # hook name → activation ``[batch, context, width]``, in the order of computation
    returned: dict[nn.Module, Any]  # block → what it returned, of those behind which a forward may go on

    @property
    def nbytes(self) -> int:
        """Memory of its tensors."""
        tensors = (*self.found.values(), *map(first_tensor, self.returned.values()))
        return sum({store.data_ptr(): store.nbytes() for store in (x.untyped_storage() for x in tensors)}.values())


def note_points(
    model: nn.Module, points: Sequence[HookPoint], run: Callable[[], object], *, whole: bool
) -> ForwardTrace:
    """Note the activations at `points`, and what `resumed` needs at each, while `run` runs the model once in this
    thread: to its end if `whole`, else it is left behind the last of the points."""
    reached = ForwardTrace({}, {})
    wanted = {point.name: point for point in points}
    owner = threading.get_ident()

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if threading.get_ident() == owner:
            reached.returned[module] = _copied(output)

    def record(name: str, activation: Tensor) -> None:
        reached.found[name] = activation.detach().clone()  # what comes next may overwrite it in place
        if not whole and len(reached.found) == len(wanted):
            raise ForwardStopped

    with ExitStack() as stack:
        last = {before[-1] for point in wanted.values() if (before := _before(model, point))}
        for block in last:  # ahead of the hooks that may leave the forward
            stack.callback(block.register_forward_hook(note).remove)
        for name, point in wanted.items():
            stack.enter_context(hooked(point, functools.partial(record, name)))
        with suppress(ForwardStopped):
            run()
    return reached


@contextmanager
def resumed(model: nn.Module, point: HookPoint, reached: ForwardTrace) -> Iterator[None]:
    """Forwards of this thread inside the block skip the blocks before `point`, of which they see what was `reached`.
    They have to read the same tokens."""
    before = _before(model, point)
    if not before:
        yield
        return
    outer = getattr(_here, "skipped", {})
    with ExitStack() as stack:
        for block in before:
            stack.enter_context(_skippable(block))
        # Only what the last one returns is read by what follows; those before it have to return something of its kind.
        _here.skipped = {**outer, **dict.fromkeys(before, reached.returned[before[-1]])}
        try:
            yield
        finally:
            _here.skipped = outer


def resumable(model: nn.Module, point: HookPoint) -> bool:
    """Whether a forward that is resumed at `point` gives the bits of a whole one: tried on a few tokens."""
    if not _before(model, point):
        return True
    ids = torch.arange(min(_TRIED, int(text_config(model).vocab_size)), device=input_device(model))[None]

    def run() -> Any:
        return forward(model, ids).logits

    def changed(x: Tensor) -> Tensor:
        return 0.5 * x.roll(1, -1)

    with hooked(point, changed):
        expected = run()
    reached = note_points(model, [point], run, whole=False)
    forward(model, ids.flip(1))  # so that nothing a model remembers of these tokens can help
    try:
        with resumed(model, point, reached), hooked(point, changed):
            found = run()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a model does without its blocks, it is run as a whole then
        log.info("%s cannot be resumed at %s (%s): it is run as a whole.", type(model).__name__, point.name, error)
        return False
    return bool(torch.equal(expected, found))


def _before(model: nn.Module, point: HookPoint) -> list[nn.Module]:
    """The blocks that are over when the activation at `point` is there."""
    blocks = list(find_blocks(model))
    number = next(n for n, block in enumerate(blocks) if block is point.block)
    own = point.module is point.block and point.kind == "output"
    return blocks[: number + own]


def _copied(returned: Any) -> Any:
    """What a block returned, with hidden states of its own: the next block may write into them."""
    return with_first(returned, first_tensor(returned).detach().clone())


# A module can only be kept from computing by another `forward`. It is put on the block while it is needed, and
# computes as ever for all threads but those that skip the block: the user's cells may run the same model.


_here = threading.local()  # .skipped: block → what it returns in this thread
_put: dict[nn.Module, OtherForward] = {}
_users: Counter[nn.Module] = Counter()
_lock = threading.Lock()


@contextmanager
def _skippable(block: nn.Module) -> Iterator[None]:
    def run(plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        skipped = getattr(_here, "skipped", {})
        return _copied(skipped[block]) if block in skipped else plain(*args, **kwargs)

    with _lock:
        if not _users[block]:
            _put[block] = OtherForward(block, run)
        _users[block] += 1
    try:
        yield
    finally:
        with _lock:
            _users[block] -= 1
            if not _users[block]:
                del _users[block]
                _put.pop(block).remove()
