"""Defines `compile_blocks`, torch.compile for the blocks of a model, beside hooks, early ends and splices, and
`compiled_until`, the variant for jobs.

A hook that is set after a module was compiled is not noticed inside of it. So only what holds no hook point of the run
is compiled (`regions`): whole blocks where the run reads between blocks; where it reads inside a block, the attention
or MLP that it does not look into. Everything around, and every hook, is the model's own Python. A call that is
another than the one that was tried (another shape, a cache, gradients, or a hook inside from elsewhere) runs as if
nothing were compiled, so nothing is ever compiled in the middle of a run.

The compiled code is tried before it is used: each region must give what it gave before, up to rounding. Where the
compiler is missing, fails or computes something else, the model stays as it is, and a message says why.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.base import CompileMode
from saewidgets.events import LogLine
from saewidgets.lm.forward import input_device
from saewidgets.lm.hookpoints import resolve_hook
from saewidgets.lm.hooks import OtherForward, capture
from saewidgets.lm.loading import LoadedModel
from saewidgets.lm.model_config import text_config
from saewidgets.lm.sites import find_blocks, sites_of

log = logging.getLogger(__name__)

_GRAPHS = frozenset({"reduce-overhead", "max-autotune"})  # of these results lie in memory that is used again
_TRIALS = 3  # calls until a CUDA graph is recorded and played
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the norm of the result
_HALF_TOLERANCE = 5e-2  # bfloat16 and float16, whose products a fused kernel rounds in other places


class CompiledModel:
    """The compiled parts of a model. `problem`: why nothing is, or not any more."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.problem: str | None = None
        self._tell = tell
        self._regions: list[_Region] = []
        self._lock = threading.Lock()

    @property
    def regions(self) -> int:
        return len(self._regions)

    def add(self, module: nn.Module, compiled: Any, *, copies: bool) -> None:
        self._regions.append(_Region(module, compiled, self, copies))

    def undo(self) -> None:
        """Leave the model as it was: others may have it, too."""
        with self._lock:
            for region in self._regions:
                region.remove()
            self._regions = []

    def fail(self, error: BaseException, *, tell: bool = True) -> None:
        first, self.problem = self.problem is None, self.problem or _reason(error)
        self.undo()
        if first and tell:
            self._tell(f"Compiled code failed and is no longer used ({self.problem}). The model runs as it is.")


def compile_blocks(
    model: nn.Module,
    hook_names: Sequence[str],
    mode: CompileMode,
    shape: tuple[int, int],
    *,
    tell: Callable[[str], None] = log.warning,
    backend: str | Callable[..., Any] = "inductor",
) -> CompiledModel:
    """Compile `model` in place for forwards of one `shape` (contexts, tokens of each), and try it. Returns what undoes
    it; if it failed that is done already, and `problem` says why. `tell` is called if compiled code fails later
    on."""
    found = CompiledModel(tell)
    modules = regions(model, hook_names)
    if any(hasattr(module, "_hf_hook") for module in model.modules()):  # of accelerate
        found.problem = "it is on several devices, or its weights are offloaded"
    elif not modules:
        found.problem = "it is read inside every module"
    if found.problem is not None:
        return found
    settings: dict[str, Any] = {"backend": backend, "dynamic": False}
    if backend == "inductor":
        settings["mode"] = mode
    shared: dict[type[nn.Module], Any] = {}
    last = len(find_blocks(model)) - 1
    ids = torch.arange(shape[0] * shape[1], device=input_device(model)) % int(text_config(model).vocab_size)
    try:
        for module in modules:
            if type(module) not in shared:
                # Blocks of a class share their compiled code, which torch keeps with the code object of a function: it
                # gets one of its own, so that nothing is left of it when the run is over.
                own = FunctionType(_call.__code__.replace(), globals())
                shared[type(module)] = torch.compile(own, **settings)
            found.add(module, shared[type(module)], copies=mode in _GRAPHS)
        _here.trying = True
        capture(model, [f"blocks.{last}.hook_resid_post"], ids.view(shape))
    except Exception as error:  # noqa: BLE001 - a compiler fails in many ways, and the model does without it
        found.fail(error, tell=False)
    except BaseException:
        found.undo()
        raise
    finally:
        _here.trying = False
    return found


def compiled_until(
    until: ExitStack, lm: LoadedModel, hook_names: Sequence[str], mode: CompileMode, shape: tuple[int, int],
    emit: Callable[[LogLine], object],
) -> CompileMode | None:
    """Compile the blocks of `lm` until `until` is closed. Returns the mode; None where the model runs as it is, and
    `emit` is called with the reason."""
    def warn(message: str) -> None:
        emit(LogLine(message, "warning"))

    begin = time.perf_counter()
    found = compile_blocks(lm.model, hook_names, mode, shape, tell=warn)
    until.callback(found.undo)
    if found.problem is not None:
        warn(f"{lm.name} is not compiled: {found.problem}. The run goes on with the model as it is.")
        return None
    emit(LogLine(f"{lm.name}: {found.regions} modules compiled in {time.perf_counter() - begin:.0f} s."))
    return mode


def regions(model: nn.Module, hook_names: Sequence[str]) -> list[nn.Module]:
    """The largest modules of the blocks that hold none of the hook points inside; single layers gain nothing."""
    sites_of(model)  # runs the model once, which must not meet compiled code
    read = {resolve_hook(model, name).module for name in hook_names}
    return [module for block in find_blocks(model) for module in _largest(block, read)]


def _largest(module: nn.Module, read: set[nn.Module]) -> Iterator[nn.Module]:
    children = list(module.children())
    inside = set(module.modules()) - {module}
    if not children:
        return
    if inside & read or isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child in children:
            yield from _largest(child, read)
    else:
        yield module


def _call(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return forward(*args, **kwargs)


class _MismatchError(Exception):
    """Compiled code computes something else."""


_here = threading.local()  # .trying: regions that this thread calls are compiled, and compared with what they were


class _Region:
    """One module with a `forward` that chooses between the compiled code and its own."""

    def __init__(self, module: nn.Module, compiled: Any, owner: CompiledModel, copies: bool) -> None:
        self._compiled, self._owner, self._copies = compiled, owner, copies
        self._name, self._plain = type(module).__name__, module.forward
        self._inside = [each for each in module.modules() if each is not module]
        self._wanted: Any = None  # what a call has to look like
        self._put = OtherForward(module, lambda plain, *args, **kwargs: self._run(args, kwargs))

    def remove(self) -> None:
        self._wanted = None  # where it stays, it computes as ever
        self._put.remove()

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if torch.compiler.is_compiling():  # the whole model is being compiled
            return self._plain(*args, **kwargs)
        if getattr(_here, "trying", False):
            expected = self._plain(*_copied(args), **_copied(kwargs))
            for _ in range(_TRIALS if self._copies else 1):
                _compare(self._result(_copied(args), _copied(kwargs)), expected, self._name)
            self._wanted = _looks(args, kwargs)
            return expected
        if self._wanted is None or self._wanted != _looks(args, kwargs):
            return self._plain(*args, **kwargs)
        if any(each._forward_hooks or each._forward_pre_hooks for each in self._inside):
            return self._plain(*args, **kwargs)
        try:
            return self._result(args, kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is computed without
            self._owner.fail(error)
            return self._plain(*args, **kwargs)

    def _result(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = self._compiled(self._plain, args, kwargs)
        return _copied(found) if self._copies else found


def _looks(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What must be the same for compiled code to replace a call."""
    grad = torch.is_grad_enabled()
    return grad, _look(args), tuple((name, _look(kwargs[name])) for name in sorted(kwargs))


def _look(value: Any) -> Any:
    if isinstance(value, Tensor):
        autocast = torch.is_autocast_enabled(value.device.type)
        return tuple(value.shape), value.dtype, value.device, value.requires_grad, autocast
    if isinstance(value, tuple | list):
        return tuple(_look(each) for each in value)
    return value if value is None or isinstance(value, bool | int | float | str) else type(value)


def _copied(value: Any) -> Any:
    """With tensors of its own: a graph writes its next results where it wrote the last."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return type(value)(_copied(each) for each in value) if type(value) in (tuple, list) else value


def _compare(found: Any, expected: Any, name: str) -> None:
    if isinstance(expected, tuple | list):
        for one, other in zip(found, expected, strict=True):
            _compare(one, other, name)
    elif isinstance(expected, Tensor):
        error, norm = float((found.double() - expected.double()).norm()), float(expected.double().norm())
        if not error <= _TOLERANCE.get(expected.dtype, _HALF_TOLERANCE) * norm:
            raise _MismatchError(f"compiled, {name} is {error / norm if norm else error:.2g} off")


def _reason(error: BaseException) -> str:
    """A compiler's message in one line."""
    inner = getattr(error, "inner_exception", None) or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    if isinstance(inner, _MismatchError):
        return str(inner)
    return f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__
