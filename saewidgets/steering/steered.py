"""Defines `steered`: a model is steered inside a ``with`` block and unchanged outside of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.steering import Positions, SteeringFeature, as_positions
from saewidgets.errors import ConfigError
from saewidgets.lm import HookPoint, LoadedModel, hooked, special_tokens
from saewidgets.lm.model_config import text_config
from saewidgets.steering.change import LatentChange
from saewidgets.steering.features import Chosen, Sources, SteeringSource, choose
from saewidgets.steering.positions import PositionTracker, SteeringError


@dataclass(eq=False)
class _SteeredPoint:
    """One SAE with the features that are steered, and where that happens."""

    into: HookPoint
    out: HookPoint
    change: LatentChange
    ahead: bool = False  # Δ is computed before anything is changed at `out`: of a transcoder, of heads that overlap
    pending: Tensor | None = None  # Δ that was computed ahead, until `out` is reached


class Steering:
    """What `steered` yields: which features, and how much they changed so far. Arguments as there; `multiplier` is of
    the whole change."""

    def __init__(
        self, model: Any, chosen: Sequence[Chosen], *, positions: Positions = "all", steer_bos: bool = False,
        tokenizer: Any = None, prompt_tokens: int | None = None, multiplier: float = 1.0,
    ) -> None:
        lm = model if isinstance(model, LoadedModel) else None
        self.model: nn.Module = lm.model if lm is not None else model
        tokenizer = tokenizer if tokenizer is not None or lm is None else lm.tokenizer
        if not hasattr(self.model, "config"):
            raise ConfigError(
                f"{type(model).__name__} is not a transformers model.", where="model",
                hint="Pass what AutoModelForCausalLM.from_pretrained returns.",
            )
        if prompt_tokens is not None and prompt_tokens < 0:
            raise ConfigError(f"The prompt has {prompt_tokens} tokens.", where="prompt_tokens", hint="Use 0 or more.")
        self.positions = as_positions(positions)
        self.features: tuple[SteeringFeature, ...] = tuple(feature for _, feature in chosen)
        groups: dict[SteeringSource, list[SteeringFeature]] = {}
        for source, feature in chosen:
            source.points(self.model)  # also of what changes nothing: a mistake shows at strength 0 too
            if multiplier and not feature.changes_nothing:
                groups.setdefault(source, []).append(feature)
        self._places = [
            _SteeredPoint(*source.points(self.model), LatentChange(source.sae, features))
            for source, features in groups.items()
        ]
        names: dict[str, set[str]] = {}  # of all heads together, and of single ones there
        for place in self._places:
            names.setdefault(place.out.place.name, set()).add(place.out.name)
        for place in self._places:
            place.ahead = place.into.name != place.out.name or len(names[place.out.place.name]) > 1
        self._multiplier = multiplier
        self._tracker: PositionTracker | None = None
        if self._places:
            _refuse_compiled(self.model)
            bos = getattr(text_config(self.model), "bos_token_id", None)
            bos = bos if tokenizer is None else special_tokens(tokenizer).bos
            skip = bos if isinstance(bos, int) and not steer_bos else None
            expected = {place.out.name for place in self._places}
            self._tracker = PositionTracker(self.model, self.positions, skip, prompt_tokens, expected)
        self._ratios: dict[str, tuple[float, int]] = {}  # per hook: sum of ‖Δ‖/‖h‖, number of tokens

    @property
    def changes_nothing(self) -> bool:
        """Whether all strengths are such that the model stays exactly what it is."""
        return not self._places

    @property
    def steered_tokens(self) -> int:
        """Tokens whose hidden state was changed so far (at the hook where there were most)."""
        return max((tokens for _, tokens in self._ratios.values()), default=0)

    @property
    def change_ratio(self) -> float | None:
        """Mean over the changed tokens of ‖Δ‖/‖h‖ (at the hook where it is largest); None: no token was changed."""
        return max((total / tokens for total, tokens in self._ratios.values() if tokens), default=None)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Steer while open, in this thread. May be opened again after it was closed; the sequence goes on."""
        if self._tracker is None:
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(self._tracker.attached())
            # Changes at one hook add up: all are computed from what the model put there.
            by_name = {place.out.name: place.out for place in self._places}
            for place in self._places:
                if place.ahead:
                    stack.enter_context(hooked(place.into, self._reader(place)))
            for point in by_name.values():
                stack.enter_context(hooked(point, self._writer(point)))
            yield

    def check_used(self) -> None:
        """After the work: raises `SteeringError` where the model only ran in threads that are not steered."""
        tracker = self._tracker
        if tracker is not None and tracker.elsewhere and not tracker.forwards:
            raise SteeringError(
                "Nothing was steered: the model ran only in other threads, and steering acts in the thread that opened "
                "it.",
                where="steered", hint="Open `with steered(…)` inside the thread that generates.",
            )

    def _reader(self, place: _SteeredPoint) -> Callable[[Tensor], None]:
        def read(x: Tensor) -> None:
            assert self._tracker is not None
            place.pending = place.change(x) if self._tracker.may_steer() else None

        return read

    def _writer(self, point: HookPoint) -> Callable[[Tensor], Tensor | None]:
        places = [place for place in self._places if place.out.name == point.name]

        def write(h: Tensor) -> Tensor | None:
            assert self._tracker is not None
            mask = self._tracker.mask(h.shape, h.device, point.name)
            if not self._tracker.may_steer():
                return None
            total: Tensor | None = None
            for place in places:
                change = _taken(place) if place.ahead else place.change(h)
                change = change.to(h.device)
                total = change if total is None else total + change
            assert total is not None
            return self._changed(point.name, h, total * self._multiplier, mask)

        return write

    def _changed(self, name: str, h: Tensor, change: Tensor, mask: Tensor) -> Tensor:
        """``h + change`` where `mask` is set and the change is not zero; elsewhere the very bits of h."""
        wide = torch.promote_types(h.dtype, change.dtype)
        change = change.to(wide).masked_fill(~mask[..., None], 0.0)
        new = (h.to(wide) + change).to(h.dtype)
        where = (change != 0).any(-1)
        if not bool(torch.isfinite(new[where]).all()):
            raise SteeringError(
                f"The steered hidden state at {name} is not finite.", where="strength",
                hint=f"Use a smaller strength; {h.dtype} cannot hold this change.".replace("torch.", ""),
            )
        with torch.no_grad():
            ratio = change.norm(dim=-1) / h.to(wide).norm(dim=-1).clamp_min(1e-12)
            total, tokens = self._ratios.get(name, (0.0, 0))
            self._ratios[name] = total + float(ratio[where].sum()), tokens + int(where.sum())
        return torch.where(where[..., None], new, h)


def _taken(place: _SteeredPoint) -> Tensor:
    change, place.pending = place.pending, None
    if change is None:
        raise SteeringError(
            f"{place.out.name} was reached before {place.into.name}, so the transcoder's latents are not known.",
            where="hook_name_out", hint="Check hook_name and hook_name_out of the transcoder.",
        )
    return change


@contextmanager
def steered(
    model: Any,
    features: Sequence[Any],
    *,
    sae: Sources | None = None,
    positions: Positions | Sequence[int] = "all",
    steer_bos: bool = False,
    tokenizer: Any = None,
    prompt_tokens: int | None = None,
) -> Iterator[Steering]:
    """Steer `model` with features of an SAE inside a ``with`` block; ``model.generate(…)`` works as always.

    >>> with steered(model, [SteeringFeature(index=7451, strength=2.0, a_max=41.7)], sae=sae, tokenizer=tokenizer):
    ...     model.generate(**tokenizer("In the morning", return_tensors="pt"))

    Only forwards of the thread that opened it are steered; another thread that uses the model meanwhile gets the model
    itself. Blocks may be nested: the inner one works on what the outer one left. An error in a hook comes out of
    ``generate``; hooks are gone when the block ends, however it ends.

    Args:
        model: a transformers causal language model (with or without adapters), or a `LoadedModel`.
        features: see `choose`. All strengths 0: the model is left alone, bit for bit.
        sae: the features' SAE (with its place in ``metadata``, else a `SteeringSource`), or a mapping from the names
            that they use.
        positions: ``"all"``, ``"prompt"``, ``"generated"``, or numbers of prompt tokens (padding not counted).
            "generated" are the tokens that follow the prompt: the first of them is chosen before it is steered.
        steer_bos: BOS is left alone unless this is set or its number is in `positions`. It is recognised by its id.
        tokenizer: says which token is BOS; None takes that of a `LoadedModel`, else the model's configuration.
        prompt_tokens: length of the prompt, padding included; only needed where several tokens come on top of a cache
            (chunked prefill, assisted decoding, a cache of your own).

    Yields:
        a `Steering`, which counts steered tokens and ‖Δ‖/‖h‖.

    Raises:
        ConfigError, NotFoundError, HookError: at the start, where something does not fit.
        SteeringError: the model would have run unsteered, or to no end.
    """
    steering = Steering(
        model, choose(features, sae), positions=as_positions(positions), steer_bos=steer_bos, tokenizer=tokenizer,
        prompt_tokens=prompt_tokens,
    )
    with steering.attached():
        yield steering
    steering.check_used()


def _refuse_compiled(model: nn.Module) -> None:
    """A compiled forward may not run hooks that were set after it was compiled."""
    compiled = any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules())
    if compiled or hasattr(model, "_orig_mod") or "_compiled_call" in vars(model):
        raise SteeringError(
            f"{type(model).__name__} was compiled, and steering has no effect on compiled models.", where="model",
            hint="Load it again and use it without torch.compile (and without a static cache).",
        )
