"""Defines `read_features`, a first reading: what every latent of an SAE fires on, from one pass over some text.

It is an extraction that is kept in memory: the statistics and examples are those of `extraction.accumulate`.
"""

import html
import math
from collections import Counter, UserList
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import NotFoundError
from saewidgets.evaluation.place import fitting_point
from saewidgets.features.extraction.accumulate import Accumulator
from saewidgets.features.extraction.encoding import Encoder, make_chunk
from saewidgets.features.labels.heuristic import FiringSnippet, Naming, distinct, make_snippet, name_examples
from saewidgets.lm import LoadedModel, TokenText, capture, evaluating, special_tokens
from saewidgets.render.numbers import percent
from saewidgets.sae import SAE

_PER_INTERVAL = 2  # examples from each interval of activations: 32 say what a latent does besides its peaks
_LEAST_EXAMPLES = 10  # fewer say too little about a latent
_NEXT = 40  # latents that are looked at for each one that is lacking
_DENSE = 0.01  # a latent that fires on more than this share of all tokens rarely has a plain meaning
_PLAIN = {"word": 1.0, "number": 1.0, "stem": 0.7, "previous": 0.9, "following": 0.85, "words": 0.6}
_SAME_KIND = 0.95  # each latent already chosen for the same kind of reason makes the next such one less wanted


@dataclass(frozen=True, slots=True)
class Feature:
    """One latent: the share of tokens on which it fires, its largest activation, and the mean where it fires.

    Attributes:
        examples: top-activating snippets, descending; at most one per context, none with the same near surroundings.
        naming: what they have in common, if there is something plain to say.
    """

    index: int
    density: float
    max: float
    mean: float
    examples: tuple[FiringSnippet, ...]
    naming: Naming | None

    @property
    def label(self) -> str:
        """A short description, or "" without one."""
        return self.naming.label if self.naming else ""

    def __str__(self) -> str:
        head = f"latent {self.index}  {self.label}  (fires on {percent(self.density)} of tokens, max {self.max:.2f})"
        return "\n".join([head, *(f"  {s.value:6.2f}  {s}" for s in self.examples)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:right">{s.value:.2f}</td><td style="text-align:left">{s.to_html()}</td></tr>'
            for s in self.examples
        )
        return (
            f"<div><b>latent {self.index}</b> {html.escape(self.label)} "
            f"<small>fires on {percent(self.density)} of tokens, max {self.max:.2f}</small>"
            f"<table>{rows}</table></div>"
        )


class FeatureList(UserList[Feature]):
    """Some latents, readable as text and in a notebook; `note` explains the choice where it needs an explanation."""

    def __init__(self, features: Iterable[Feature] = (), note: str = "") -> None:
        super().__init__(features)
        self.note = note

    def to_text(self) -> str:
        """Plain text: a line per latent, below it its snippets with the firing token marked «so»."""
        return "\n\n".join([*map(str, self), *filter(None, [self.note])]) or "no latents"

    __str__ = to_text
    __repr__ = to_text

    def to_data(self) -> list[dict[str, Any]]:
        """Plain JSON data, one entry per latent."""
        return [asdict(item) | {"label": item.label} for item in self]

    def _repr_html_(self) -> str:
        note = f"<p><small>{html.escape(self.note)}</small></p>" if self.note else ""
        return "".join(item._repr_html_() for item in self) + note or "<p>no latents</p>"


class FeatureReading:
    """What `read_features` found.

    Attributes:
        contexts: ``[n, context]``, the text that was read; example contexts are its rows.
        n_tokens: positions that counted.
        firing_counts, context_counts: ``[d_sae]``, positions where each latent was above zero, and contexts.
        density, max, mean: ``[d_sae]``: share of the positions on which it fired, its largest activation, and the mean
            over the positions where it fired; 0 for a dead one.
        model, hook_name: where the activations are from.
    """

    def __init__(
        self, arrays: Mapping[str, npt.NDArray[Any]], n_tokens: int, contexts: Tensor, text: TokenText, model: str,
        hook_name: str,
    ) -> None:
        self.contexts, self.n_tokens = contexts, n_tokens
        self.firing_counts, self.context_counts = arrays["firing_counts"], arrays["context_counts"]
        self.density = self.firing_counts / max(1, n_tokens)
        self.max, self.mean = arrays["max"], arrays["sums"] / np.maximum(1, self.firing_counts)
        self.model, self.hook_name = model, hook_name
        self._arrays, self._text = arrays, text

    @property
    def n_latents(self) -> int:
        return len(self.firing_counts)

    def __repr__(self) -> str:
        alive = int((self.firing_counts > 0).sum())
        return (
            f"<FeatureReading of {self.model} {self.hook_name}: {alive:,} of {self.n_latents:,} latents fired on "
            f"{self.n_tokens:,} tokens>"
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
        top = distinct(self._snippets("top", index))
        return Feature(
            index=index, density=float(self.density[index]), max=float(self.max[index]), mean=float(self.mean[index]),
            examples=tuple(top[:examples]), naming=name_examples(top, self._snippets("interval", index)),
        )

    def clearest(self, n: int = 10, examples: int = 5) -> FeatureList:
        """The `n` latents whose examples have the plainest thing in common, no two for the same words.

        A candidate fires in at least ten contexts and on at most 1 % of the tokens, and has `examples` different
        ones. Its score is the share of its top examples that the description holds for, times (half one, half the
        share of examples from all activations that it holds for), times factors that prefer rare latents over common
        ones, long words over short ones, and one word over a choice of several. Latents named by the same kind of
        reason (the word itself, the word before it, …) make each other less wanted, so that the kinds mix.

        If there are fewer candidates than `n`, the next best latents follow: those with a description, then the rarest
        without one. The `note` of the list explains this.
        """
        enough = self.context_counts >= _LEAST_EXAMPLES
        chosen: list[Feature] = []
        self._add_plainest(chosen, np.flatnonzero(enough & (self.density <= _DENSE)), n, examples, least=examples)
        candidates = len(chosen)
        if candidates == n:
            return FeatureList(chosen)
        others = np.setdiff1d(np.flatnonzero(self.firing_counts), [each.index for each in chosen])
        order = np.lexsort((self.density[others], ~enough[others]))
        others = others[order[: _NEXT * n]]  # to describe all of a wide SAE would take minutes
        self._add_plainest(chosen, others, n, examples, least=1)
        for index in others.tolist():
            if len(chosen) < n and (feature := self.feature(index, examples)).naming is None:
                chosen.append(feature)
        sparse = int((self.firing_counts > 0).sum() - (self.density > _DENSE).sum())
        is_dense = sparse < max(n, self.n_latents / 10)
        advice = "use more latents or a smaller k" if is_dense else "train longer or read more text"
        note = (
            f"Sparse and easy to describe: {candidates} of these {len(chosen)} latents; the others are the next best. "
            f"Latents that fire on at most {100 * _DENSE:g} % of the tokens: {sparse:,} of {self.n_latents:,}. "
            f"For clearer latents, {advice}."
        )
        return FeatureList(chosen, note if len(chosen) > candidates else "")

    def _add_plainest(
        self, chosen: list[Feature], indices: npt.NDArray[np.int64], n: int, examples: int, *, least: int
    ) -> None:
        """Add to `chosen`, up to `n`, those of these latents that have a description and at least `least` examples, the
        plainest first, each with up to `examples`."""
        scored: list[tuple[float, Feature, Naming]] = []
        for index in indices.tolist():
            feature = self.feature(index)
            if feature.naming is not None and len(feature.examples) >= least:
                scored.append((_clarity(feature, feature.naming), feature, feature.naming))
        scored.sort(key=lambda one: (-one[0], one[1].index))
        names = [each.naming for each in chosen if each.naming is not None]
        kinds = Counter(naming.kind for naming in names)
        used = {word[:4] for naming in names for word in naming.words}
        while scored and len(chosen) < n:
            best = max(scored, key=lambda one: one[0] * _SAME_KIND ** kinds[one[2].kind])
            scored.remove(best)
            stems = {word[:4] for word in best[2].words}
            if not used & stems:
                used |= stems
                kinds[best[2].kind] += 1
                chosen.append(replace(best[1], examples=best[1].examples[:examples]))

    def _snippets(self, kind: str, index: int) -> list[FiringSnippet]:
        length = self.contexts.shape[1]
        values, positions = (self._arrays[f"{kind}_{name}"][index].ravel().tolist() for name in ("values", "positions"))
        return [
            make_snippet(self.contexts[at // length].tolist(), at % length, value, at // length, self._text)
            for value, at in zip(values, positions, strict=True) if at >= 0
        ]

    def __iter__(self) -> Iterator[Feature]:
        return (self.feature(index) for index in range(self.n_latents))


def _clarity(feature: Feature, naming: Naming) -> float:
    word = naming.words[0]
    length = sum(c.isalpha() for c in word) if naming.kind != "number" else 4
    # 1 for what fires on one token in a thousand or less, 0.3 for one in a hundred, 0.01 for one in ten or more.
    rare = max(0.01, min(1.0, 1 - 0.7 * max(0.0, 3 + math.log10(feature.density))))
    holds = naming.share * (0.5 + 0.5 * naming.random_share)
    return holds * rare * min(1.0, 0.5 + 0.1 * length) * _PLAIN[naming.kind]


def read_features(
    sae: SAE, lm: LoadedModel, contexts: Tensor, hook_name: str, *, examples: int = 20, batch_size: int = 16
) -> FeatureReading:
    """Read all latents of `sae` in one pass over some text.

    Args:
        sae: the autoencoder, on raw activations (scale folded in); left as it was.
        lm: the language model; left as it was.
        contexts: ``[n, context]`` token ids.
        hook_name: where the SAE belongs.
        examples: top examples kept per latent, at most one from any context.
        batch_size: contexts per forward of the language model.
    """
    fitting_point(lm.model, hook_name, sae.d_in)
    device = sae.W_enc.device
    config = ExtractionConfig(
        examples=examples, per_document=1, per_interval=_PER_INTERVAL, min_activation=0.0, seed=0
    )
    special = torch.tensor(special_tokens(lm.tokenizer).all, dtype=contexts.dtype)  # on which no latent counts
    counted = ~torch.isin(contexts, special)
    encoder = Encoder(sae, contexts.shape[1])
    accumulator = Accumulator(sae.d_sae, config, device, hook_name)
    numbers = torch.arange(len(contexts))
    with evaluating(sae), torch.no_grad():
        for which in numbers.split(encoder.contexts):
            ids = contexts[which]
            batches = [capture(lm.model, [hook_name], part)[hook_name] for part in ids.split(batch_size)]
            x = torch.cat([batch.to(device, torch.float32) for batch in batches])
            documents = which[:, None].repeat(1, ids.shape[1])  # one each: no passage fills the list
            chunk = make_chunk(x, ids, which, counted[which], documents, int(which[0]), config.seed)
            accumulator.update(chunk, encoder)
    arrays = accumulator.finish()
    return FeatureReading(arrays, int(counted.sum()), contexts, TokenText(lm.tokenizer), lm.name, hook_name)
