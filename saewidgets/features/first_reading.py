"""A first reading: what every latent of an SAE fires on, from one pass over some text."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import torch
from torch import Tensor

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.features.snippets import Naming, Snippet, distinct, make_snippet, name_examples
from saewidgets.lm import LoadedModel, TokenText, capture, evaluating, resolve_hook, special_tokens
from saewidgets.sae import SAE


# Statistics and examples of all latents in one pass, in bounded memory.
#
# For every latent the `n` largest activations are kept, exactly, with where they occurred, and a uniform sample of the
# places where it fired at all; in both at most one (or `per_context`) from any context, so that one passage does not
# fill the list.
class _Table:
    """The entries with the largest keys per latent: key, value, context, position, each ``[d_sae, n]``."""

    def __init__(self, d_sae: int, n: int, device: torch.device | str) -> None:
        self.keys = torch.zeros(d_sae, n, device=device)
        self.values = torch.zeros(d_sae, n, device=device)
        self.contexts = torch.full((d_sae, n), -1, dtype=torch.int64, device=device)
        self.positions = torch.full((d_sae, n), -1, dtype=torch.int32, device=device)

    def merge(self, keys: Tensor, values: Tensor, contexts: Tensor, positions: Tensor) -> None:
        """Take in candidates ``[batch, k, d_sae]`` of contexts ``[batch]``; those with key 0 do not exist."""
        batch, k, d_sae = keys.shape

        def candidates(t: Tensor) -> Tensor:
            return t.permute(2, 0, 1).reshape(d_sae, batch * k)

        numbers = contexts.to(keys.device)[:, None, None].expand(batch, k, d_sae)
        n = self.keys.shape[1]
        self.keys, chosen = torch.cat([self.keys, candidates(keys)], dim=1).topk(n, dim=1)
        empty = self.keys <= 0

        def pick(old: Tensor, new: Tensor, nothing: int) -> Tensor:
            merged = torch.cat([old, candidates(new).to(old.dtype)], dim=1)
            return merged.gather(1, chosen).masked_fill_(empty, nothing)

        self.values = pick(self.values, values, 0)
        self.contexts = pick(self.contexts, numbers, -1)
        self.positions = pick(self.positions, positions, -1)


class TopExamples:
    """Running statistics per latent.

    Args:
        d_sae: number of latents.
        n: largest activations kept per latent.
        per_context: at most so many of them from one context.
        n_random: size of the random sample per latent (one per context at most).
        seed: of that sample.
        device: where the tables live (that of the latents passed to `update`).

    Attributes:
        n_tokens: positions seen (masked ones not counted).
        firing_counts: ``[d_sae]`` int64, positions where the latent was above zero.
        context_counts: ``[d_sae]`` int64, contexts in which it fired at least once.
        sums: ``[d_sae]`` float64, sum of its activations.
    """

    def __init__(
        self,
        d_sae: int,
        n: int = 20,
        per_context: int = 1,
        n_random: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if n < 1 or per_context < 1:
            raise ConfigError(
                f"{n} examples, {per_context} per context.", where="examples", hint="Both have to be at least 1."
            )
        self.per_context = per_context
        self.n_tokens = 0
        self.firing_counts = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self.context_counts = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self.sums = torch.zeros(d_sae, dtype=torch.float64, device=device)
        self._top = _Table(d_sae, n, device)
        self._random = _Table(d_sae, n_random, device) if n_random else None
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def update(self, latents: Tensor, contexts: Tensor, mask: Tensor | None = None) -> None:
        """Add the latents of some contexts.

        Args:
            latents: ``[batch, context, d_sae]``, not negative.
            contexts: int64 ``[batch]``, the number of each context; a context is passed once.
            mask: bool ``[batch, context]``; positions that do not count are False.
        """
        batch, length, _ = latents.shape
        if mask is not None:
            latents = latents.masked_fill(~mask[..., None].to(latents.device), 0)
        self.n_tokens += batch * length if mask is None else int(mask.sum())
        firing = latents > 0
        fired = firing.sum(1)
        self.firing_counts += fired.sum(0)
        self.context_counts += (fired > 0).sum(0)
        self.sums += latents.sum((0, 1), dtype=torch.float64)

        k = min(self.per_context, length)
        # The best k positions of every context, [batch, k, d_sae]: for one, max is much faster than topk.
        best, at = (t[:, None] for t in latents.max(dim=1)) if k == 1 else latents.topk(k, dim=1)
        self._top.merge(best.float(), best, contexts, at)
        if self._random is not None:
            # One random number per position, the same for all latents: each latent's sample is still uniform over the
            # contexts in which it fired and over its places there.
            draw = torch.rand(batch, length, 1, generator=self._generator).clamp_min_(1e-9).to(latents.device)
            key, at = (firing * draw).max(dim=1)
            value = latents.gather(1, at[:, None])
            self._random.merge(key[:, None], value, contexts, at[:, None])

    def top(self, latent: int) -> list[tuple[float, int, int]]:
        """(activation, context, position) of the largest activations, descending."""
        return _entries(self._top, latent)

    def random(self, latent: int) -> list[tuple[float, int, int]]:
        """(activation, context, position) of the random sample, in no order."""
        return _entries(self._random, latent) if self._random is not None else []

    @property
    def values(self) -> Tensor:
        """The largest activations, ``[d_sae, n]`` float32, descending; 0 where there are fewer."""
        return self._top.values

    @property
    def contexts(self) -> Tensor:
        """Their contexts, ``[d_sae, n]`` int64; −1 where there are fewer."""
        return self._top.contexts

    @property
    def positions(self) -> Tensor:
        """Their positions, ``[d_sae, n]`` int32; −1 where there are fewer."""
        return self._top.positions

    @property
    def density(self) -> Tensor:
        """Share of the positions on which each latent fired, ``[d_sae]`` float64."""
        return self.firing_counts.double() / max(1, self.n_tokens)

    @property
    def mean(self) -> Tensor:
        """Mean activation over the positions where the latent fired, ``[d_sae]`` float64; 0 for a dead one."""
        return self.sums / self.firing_counts.clamp_min(1)

    @property
    def max(self) -> Tensor:
        """Largest activation, ``[d_sae]`` float32."""
        return self._top.values[:, 0]


def _entries(table: _Table, latent: int) -> list[tuple[float, int, int]]:
    rows = zip(
        table.values[latent].tolist(), table.contexts[latent].tolist(), table.positions[latent].tolist(), strict=True
    )
    return [row for row in rows if row[1] >= 0]


LATENT_BYTES = 1 << 27  # most memory for latents at once

_LEAST_EXAMPLES = 10  # fewer say too little about a latent
_DENSE = 0.01  # a latent that fires on more than this share of all tokens rarely has a plain meaning
_PLAIN = {"word": 1.0, "number": 1.0, "stem": 0.7, "previous": 0.9, "following": 0.85, "words": 0.6}
_SAME_KIND = 0.95  # each latent already chosen for the same kind of reason makes the next such one less wanted


@dataclass(frozen=True, slots=True)
class Feature:
    """One latent with what it fires on.

    Attributes:
        index: number of the latent.
        density: share of the tokens on which it fires.
        max, mean: largest activation, and mean over the tokens where it fires.
        examples: top-activating snippets, descending; at most one per context, none with the same near surroundings.
        naming: what they have in common, if there is something plain to say.
    """

    index: int
    density: float
    max: float
    mean: float
    examples: tuple[Snippet, ...]
    naming: Naming | None

    @property
    def label(self) -> str:
        """A short description, or "" without one."""
        return self.naming.label if self.naming else ""

    def __str__(self) -> str:
        head = f"latent {self.index}  {self.label}  (fires on {_percent(self.density)} of tokens, max {self.max:.2f})"
        return "\n".join([head, *(f"  {s.value:6.2f}  {s}" for s in self.examples)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:right">{s.value:.2f}</td><td style="text-align:left">{s.to_html()}</td></tr>'
            for s in self.examples
        )
        return (
            f"<div><b>latent {self.index}</b> {html.escape(self.label)} "
            f"<small>fires on {_percent(self.density)} of tokens, max {self.max:.2f}</small>"
            f"<table>{rows}</table></div>"
        )


class Features(Sequence[Feature]):
    """Some latents, readable as text and in a notebook."""

    def __init__(self, items: Sequence[Feature]) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> Feature: ...
    @overload
    def __getitem__(self, index: slice) -> Features: ...
    def __getitem__(self, index: int | slice) -> Feature | Features:
        return Features(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def to_text(self) -> str:
        """Plain text: a line per latent, below it its snippets with the firing token marked «so»."""
        return "\n\n".join(map(str, self._items)) or "no latents"

    __str__ = to_text
    __repr__ = to_text

    def to_data(self) -> list[dict[str, Any]]:
        """Plain JSON data, one entry per latent."""
        return [asdict(item) | {"label": item.label} for item in self._items]

    def _repr_html_(self) -> str:
        return "".join(item._repr_html_() for item in self._items) or "<p>no latents</p>"


class FeatureReading:
    """What `read_features` found.

    Attributes:
        stats: densities, maxima and examples of all latents.
        contexts: ``[n, context]``, the text that was read; example contexts are its rows.
        model, hook_name: where the activations are from.
    """

    def __init__(self, stats: TopExamples, contexts: Tensor, text: TokenText, model: str, hook_name: str) -> None:
        self.stats = stats
        self.contexts = contexts
        self.model, self.hook_name = model, hook_name
        self._text = text

    @property
    def n_latents(self) -> int:
        """Number of latents, dead ones included."""
        return len(self.stats.firing_counts)

    def __repr__(self) -> str:
        alive = int((self.stats.firing_counts > 0).sum())
        return (
            f"<FeatureReading of {self.model} {self.hook_name}: {alive:,} of {self.n_latents:,} latents fired on "
            f"{self.stats.n_tokens:,} tokens>"
        )

    def feature(self, index: int, examples: int | None = None) -> Feature:
        """One latent with up to `examples` snippets (all that were kept, if left out). A dead one has none.

        Raises:
            NotFoundError: there is no such latent.
        """
        if not 0 <= index < self.n_latents:
            raise NotFoundError(
                f"There is no latent {index}.", where="index", hint=f"Choose one from 0 to {self.n_latents - 1}."
            )
        stats = self.stats
        top = distinct(self._snippets(stats.top(index)))
        return Feature(
            index=index, density=float(stats.density[index]),
            max=float(stats.max[index]), mean=float(stats.mean[index]),
            examples=tuple(top[:examples]), naming=name_examples(top, self._snippets(stats.random(index))),
        )

    def clearest(self, n: int = 10, examples: int = 5) -> Features:
        """The `n` latents whose examples have the plainest thing in common, no two for the same words.

        A candidate fires in at least ten contexts and on at most 1 % of the tokens, and has `examples` different
        ones. Its score is the share of its top examples that the description holds for, times (half one, half the
        share of random firings that it holds for), times factors that prefer rare latents over common ones, long
        words over short ones, and one word over a choice of several. Latents named by the same kind of reason (the
        word itself, the word before it, …) make each other less wanted, so that the kinds mix.
        """
        stats = self.stats
        fitting = (stats.context_counts >= _LEAST_EXAMPLES) & (stats.density <= _DENSE)
        scored: list[tuple[float, Feature]] = []
        for index in torch.nonzero(fitting).flatten().tolist():
            feature = self.feature(index)
            if feature.naming is not None and len(feature.examples) >= examples:
                scored.append((_clarity(feature, feature.naming), feature))
        scored.sort(key=lambda pair: (-pair[0], pair[1].index))
        chosen: list[Feature] = []
        kinds: Counter[str] = Counter()
        used: set[str] = set()
        while scored and len(chosen) < n:
            score, feature = max(scored, key=lambda pair: pair[0] * _SAME_KIND ** kinds[_kind(pair[1])])
            scored.remove((score, feature))
            assert feature.naming is not None
            stems = {word[:4] for word in feature.naming.words}
            if used & stems:
                continue
            used |= stems
            kinds[_kind(feature)] += 1
            chosen.append(self.feature(feature.index, examples))
        return Features(chosen)

    def _snippets(self, entries: Sequence[tuple[float, int, int]]) -> list[Snippet]:
        return [
            make_snippet(self.contexts[context].tolist(), position, value, context, self._text)
            for value, context, position in entries
        ]

    def __iter__(self) -> Iterator[Feature]:
        return (self.feature(index) for index in range(self.n_latents))


def _kind(feature: Feature) -> str:
    assert feature.naming is not None
    return feature.naming.kind


def _clarity(feature: Feature, naming: Naming) -> float:
    word = naming.words[0]
    length = sum(c.isalpha() for c in word) if naming.kind != "number" else 4
    # 1 for what fires on one token in a thousand or less, 0.3 for one in a hundred.
    rare = min(1.0, 1 - 0.7 * max(0.0, 3 + math.log10(feature.density)))
    holds = naming.share * (0.5 + 0.5 * naming.random_share)
    return holds * rare * min(1.0, 0.5 + 0.1 * length) * _PLAIN[naming.kind]


def read_features(
    sae: SAE,
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    exclude_special_tokens: bool = True,
    examples: int = 20,
    per_context: int = 1,
    random_examples: int = 20,
    seed: int = 0,
    batch_size: int = 16,
    check: Callable[[], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> FeatureReading:
    """Read all latents of `sae` in one pass over `contexts`.

    Args:
        sae: the autoencoder, on raw activations (scale folded in); left as it was.
        lm: the language model; left as it was.
        contexts: ``[n, context]`` token ids.
        hook_name: where the SAE belongs.
        exclude_special_tokens: special tokens do not count as places where a latent fires.
        examples: top examples kept per latent; at most `per_context` of them from one context.
        random_examples: size of a random sample of firings per latent, which says what it does besides its peaks.
        seed: of that sample.
        batch_size: contexts per forward of the language model.
        check: called before every forward; what it raises ends the reading.
        on_progress: called with the number of contexts read so far.

    Raises:
        HookError: the model has no such hook point.
        ConfigError: the SAE has another width.
    """
    point = resolve_hook(lm.model, hook_name)
    if sae.d_in != point.width:
        raise ConfigError(
            f"The SAE's d_in is {sae.d_in:,}, but activations at {hook_name} have width {point.width:,}.", where="d_in",
            hint="Choose the SAE's own model and hook_name.",
        )
    device = next(sae.parameters()).device
    special = torch.tensor(special_tokens(lm.tokenizer).all if exclude_special_tokens else (), dtype=contexts.dtype)
    stats = TopExamples(sae.d_sae, examples, per_context, random_examples, seed, device)
    rows = max(1, LATENT_BYTES // (4 * sae.d_sae * contexts.shape[1]))
    numbers = torch.arange(len(contexts))
    with evaluating(sae), torch.no_grad():
        for start in range(0, len(contexts), batch_size):
            if check is not None:
                check()
            ids = contexts[start : start + batch_size]
            x = capture(lm.model, [hook_name], ids)[hook_name].to(device, torch.float32)
            kept = ~torch.isin(ids, special)
            number = numbers[start : start + batch_size]
            for part, mask, which in zip(x.split(rows), kept.split(rows), number.split(rows), strict=True):
                stats.update(sae.encode(part), which, mask)
            if on_progress is not None:
                on_progress(start + len(ids))
    return FeatureReading(stats, contexts, TokenText(lm.tokenizer), lm.name, hook_name)


def _percent(share: float) -> str:
    """A share with enough digits to be told from zero: 1.2 %, 0.012 %."""
    return f"{100 * share:.2g} %"
