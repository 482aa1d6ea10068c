"""Defines `PositionTracker`: which tokens of a forward are steered.

A block sees hidden states and nothing else, so the modules around it that take `input_ids` are watched: they say which
tokens these are, how many came before (the cache), and which are padding. What belongs to the prompt:

- a forward that begins a sequence (nothing cached) is the prompt, all of it; a plain forward over a text is one too;
- single tokens that continue it with the cache are generated;
- without a cache (``use_cache=False``) a forward over the same tokens and one more continues the sequence;
- anything else (several tokens at once on top of a cache, a cache filled elsewhere) is ambiguous: unless all tokens are
  steered, the caller has to give the length of the prompt, and an error asks for it.
"""

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.steering import Positions
from saewidgets.errors import SAEWidgetsError
from saewidgets.lm import find_blocks


class SteeringError(SAEWidgetsError):
    """A steered model would have run without being steered as asked; it was stopped instead."""


@dataclass(eq=False)
class _ForwardStep:
    """One forward of the model: `length` new tokens per row, on top of `past` cached ones."""

    outer: nn.Module
    batch: int
    length: int
    past: int
    ids: Tensor | None
    padding_mask: Tensor | None  # [batch, past + length], nonzero where there is a token
    use_cache: Any
    steered: set[str] = field(default_factory=set)  # hook names that were reached


class PositionTracker:
    """Follows the forwards of one model in the thread that attached it. `skip` is the id of the token that is left
    alone (BOS), unless its number is chosen; `prompt_tokens` None finds the length of the prompt out; every forward has
    to reach the hooks `expected`. `elsewhere` counts forwards of other threads."""

    def __init__(
        self, model: nn.Module, positions: Positions, skip: int | None, prompt_tokens: int | None, expected: set[str]
    ) -> None:
        self._positions, self._skip, self._explicit, self._expected = positions, skip, prompt_tokens, expected
        self._entries = _entries(model)
        self._step: _ForwardStep | None = None
        self._prompt: int | None = None
        self._total = -1  # tokens of the sequence so far
        self._uncached: Tensor | None = None  # tokens of a sequence that is computed anew in every forward
        self.forwards = 0
        self.elsewhere = 0

    @contextmanager
    def attached(self) -> Iterator[None]:
        owner = threading.get_ident()

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if threading.get_ident() == owner:
                self._end(module, finished=output is not None)  # there is none where it raised

        with ExitStack() as stack:
            for module, names in self._entries.items():
                before = partial(self._before, owner, names)
                stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(after, always_call=True).remove)
            yield
        self._step = None

    def _before(
        self, owner: int, names: tuple[str, ...], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if threading.get_ident() == owner:
            self._begin(module, dict(zip(names, args, strict=False)) | kwargs)
        else:
            self.elsewhere += 1

    def _begin(self, module: nn.Module, given: Mapping[str, Any]) -> None:
        ids, embeddings = given.get("input_ids"), given.get("inputs_embeds")
        mask = given.get("attention_mask")
        mask = mask if isinstance(mask, Tensor) and mask.dim() == 2 else None
        step = self._step
        if step is not None and step.outer is not module:  # a part of the same forward; it may know more
            step.ids = ids if step.ids is None and isinstance(ids, Tensor) else step.ids
            step.padding_mask = mask if step.padding_mask is None else step.padding_mask
            return
        source = ids if isinstance(ids, Tensor) else embeddings
        if not isinstance(source, Tensor) or source.dim() < 2:
            raise SteeringError(
                f"{type(module).__name__} got no input_ids [batch, tokens], so what to steer is not known.",
                where="input_ids", hint="Call the model with input_ids=….",
            )
        self.forwards += 1
        self._step = _ForwardStep(
            module, source.shape[0], source.shape[1], _cached(given), ids if isinstance(ids, Tensor) else None, mask,
            given.get("use_cache"),
        )
        self._follow(self._step)

    def _end(self, module: nn.Module, finished: bool) -> None:
        step = self._step
        if step is None or step.outer is not module:
            return
        self._step = None
        if finished and (missed := sorted(self._expected - step.steered)):
            raise SteeringError(
                f"The model ran, but {', '.join(missed)} was not reached, so nothing was steered there.",
                where="hook_name", hint="A compiled model cannot be steered; use the model as it was loaded.",
            )

    def may_steer(self) -> bool:
        """Whether any token of this forward can be steered; saves the work where none is."""
        step = self._current()
        if self._positions == "all":
            return True
        prompt = self._prompt_length()
        return step.past + step.length > prompt if self._positions == "generated" else step.past < prompt

    def mask(self, shape: torch.Size, device: torch.device, hook_name: str) -> Tensor:
        """Bool ``[batch, tokens]`` on `device`: which tokens of this forward are steered. `hook_name` counts as
        reached."""
        step = self._current()
        if tuple(shape[:2]) != (step.batch, step.length):
            raise SteeringError(
                f"{hook_name} has {shape[0]} × {shape[1]} tokens, but the model was called with {step.batch} × "
                f"{step.length}.",
                where="positions", hint="Virtual tokens (of prompt tuning or of images) cannot be steered.",
            )
        step.steered.add(hook_name)
        wanted = torch.ones(step.batch, step.length, dtype=torch.bool, device=device)
        place = torch.arange(step.past, step.past + step.length, device=device)  # padding counts here
        tokens = self._tokens(step, device)
        if tokens is not None:
            wanted &= tokens[:, step.past :]
        if self._positions == "generated":
            wanted &= place >= self._prompt_length()
        elif self._positions != "all":
            wanted &= place < self._prompt_length()
        if isinstance(self._positions, tuple):
            return wanted & self._chosen(step, tokens, device)
        if self._skip is not None:
            if step.ids is None:
                raise SteeringError(
                    "The model was given embeddings instead of tokens, so the position of BOS is not known.",
                    where="steer_bos", hint="Call it with input_ids, or pass steer_bos=True.",
                )
            wanted &= (step.ids != self._skip).to(device)
        return wanted

    def _chosen(self, step: _ForwardStep, tokens: Tensor | None, device: torch.device) -> Tensor:
        """Where the chosen numbers are, padding not counted. All of them have to exist."""
        assert isinstance(self._positions, tuple)
        end = step.past + step.length
        if tokens is None:
            tokens = torch.ones(step.batch, end, dtype=torch.bool, device=device)
        number = tokens.cumsum(1) - 1
        prompt = self._prompt_length()
        if end >= prompt:  # the whole prompt is known
            shortest = int(tokens[:, :prompt].sum(1).min())
            if self._positions[-1] >= shortest:
                raise SteeringError(
                    f"Token {self._positions[-1]} is to be steered, but the prompt has {shortest} tokens.",
                    where="positions", hint=f"Choose from 0 to {shortest - 1}.",
                )
        return torch.isin(number[:, step.past :], torch.tensor(self._positions, device=device))

    def _tokens(self, step: _ForwardStep, device: torch.device) -> Tensor | None:
        """Bool ``[batch, past + length]``: what is not padding. None: nothing is."""
        mask = step.padding_mask
        if mask is None:
            return None
        if mask.shape != (step.batch, step.past + step.length):
            raise SteeringError(
                f"The attention mask is of shape {tuple(mask.shape)}, expected {step.batch} × "
                f"{step.past + step.length}.",
                where="attention_mask", hint="Give one entry per token, those in the cache included.",
            )
        return (mask != 0).to(device)

    def _current(self) -> _ForwardStep:
        if self._step is None:
            raise SteeringError(
                "A steered block ran outside of the model, so which tokens these are is not known.",
                where="model", hint="Call the model itself.",
            )
        return self._step

    def _prompt_length(self) -> int:
        if self._prompt is None:
            raise SteeringError(
                "Cannot tell which of these tokens belong to the prompt: several came at once on top of a cache, or "
                "the cache was filled elsewhere.",
                where="positions", hint='Pass prompt_tokens=…, or use positions="all".',
            )
        return self._prompt

    def _follow(self, step: _ForwardStep) -> None:
        end = step.past + step.length
        if self._explicit is not None:
            self._prompt = self._explicit
        elif step.past == 0:
            if not self._extends(step):
                self._prompt = step.length
        elif step.past != self._total or step.length != 1:
            self._prompt = None
        self._total = end
        self._uncached = step.ids if step.past == 0 and step.use_cache is False else None

    def _extends(self, step: _ForwardStep) -> bool:
        old, new = self._uncached, step.ids
        return (
            old is not None and new is not None and step.use_cache is False
            and new.shape == (old.shape[0], old.shape[1] + 1) and torch.equal(new[:, :-1], old)
        )


def _entries(model: nn.Module) -> dict[nn.Module, tuple[str, ...]]:
    """The modules around the blocks that take `input_ids`, outermost first, with their parameters' names."""
    blocks = find_blocks(model)
    found = {}
    for module in model.modules():
        names = tuple(inspect.signature(module.forward).parameters)
        if "input_ids" in names and any(part is blocks for part in module.modules()):
            found[module] = names
    if not found:
        raise SteeringError(
            f"No part of {type(model).__name__} takes input_ids.", where="model",
            hint="Use a model that AutoModelForCausalLM loads.",
        )
    return found


def _cached(given: Mapping[str, Any]) -> int:
    place = given.get("cache_position")
    if isinstance(place, Tensor) and place.numel():
        return int(place[0])
    cache = given.get("past_key_values")
    if cache is None:
        return 0
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    if isinstance(cache, tuple | list) and cache and isinstance(cache[0][0], Tensor):
        return int(cache[0][0].shape[-2])
    raise SteeringError(
        f"How many tokens a {type(cache).__name__} holds is not known.", where="past_key_values",
        hint="Use one of transformers' caches.",
    )
