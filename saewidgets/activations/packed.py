"""Defines `PackedTokens`: contexts of equal length in a memory-mapped file, some of them held out.

    <folder>/<fingerprint>/tokens.bin    n_contexts × context_size ids, little endian; uint16, or uint32 where the
                                         vocabulary has more than 65,536 entries
    <folder>/<fingerprint>/pack.json     the settings and counts

Long text grows: contexts are added behind those that are there, which never change, and ``pack.json`` says how far it
has come and where reading goes on. A run sees the contexts it needs and no others, however many there are, so that its
data depends on nothing but its configuration.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.activations.shuffle import Numbers, counted, evaluated, split, spread
from saewidgets.config import TrainingConfig
from saewidgets.errors import FormatError
from saewidgets.lm.tokens import TokenMask

Tokens = npt.NDArray[np.integer[Any]]

_COUNTED = 4096  # contexts of long text looked at together
EVERY_TOKEN = TokenMask()
"""Everything but special tokens."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How far a long text has been packed."""

    position: dict[str, Any] | None  # where its corpus goes on; None: at its beginning
    rest: tuple[int, ...]  # tokens read that do not fill a context yet
    ended: bool  # there is no more text
    source: dict[str, Any]  # the corpus's description of its source (dataset, revision, …)
    held: tuple[int, ...] = ()  # numbers of the contexts that the corpus itself holds out
    held_rest: tuple[int, ...] = ()  # tokens of documents that it holds out, as `rest`

    @property
    def lacks_validation(self) -> bool:
        """Whether the corpus names held-out documents, and none of them is here yet."""
        return bool(self.source.get("held_out")) and not self.held

    def held_out(self, numbers: Numbers, share: float) -> npt.NDArray[np.bool_]:
        """Whether contexts are held out: those that the corpus names; where it names none, a `share` of them, evenly
        spread, whatever there is behind them. What a short run holds out is held out by a longer one too."""
        if self.source.get("held_out"):
            return np.isin(numbers, self.held)
        found: npt.NDArray[np.bool_] = np.floor((numbers + 1) * share + 0.5) > np.floor(numbers * share + 0.5)
        return found


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What `pack.json` says."""

    format: int
    fingerprint: str
    context_size: int
    prepend_bos: bool
    dtype: str
    n_contexts: int
    n_held_out: int  # contexts at the end that the corpus itself holds out, of packings of former versions
    n_documents: int
    n_dropped_tokens: int
    largest_id: int
    special_ids: tuple[int, ...]
    bos: int | None
    separator: int | None
    corpus: str
    tokenizer: str
    growth: Growth | None = None  # of long text, and until all of the text is here
    joined: bool = True  # documents follow one another; else every context is the beginning of one

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data, without entries that have the value of earlier versions."""
        data = asdict(self)
        if self.growth is None:
            del data["growth"]
        if self.joined:
            del data["joined"]
        return data


class PackedTokens:
    """Contexts on disk. `wanted`: of long text, how many positions for training (as `rule` counts them) are needed;
    contexts behind those that have them are not there for this reader. None: all."""

    def __init__(
        self, folder: Path | str, validation_share: float = 0.02, *, wanted: int | None = None,
        rule: TokenMask = EVERY_TOKEN,
    ) -> None:
        self.folder = Path(folder)
        self.facts = facts = read_facts(self.folder)
        try:
            tokens: Tokens = np.memmap(
                self.folder / "tokens.bin", dtype=np.dtype(facts.dtype), mode="r",
                shape=(facts.n_contexts, facts.context_size),
            )
        except (OSError, ValueError) as error:
            raise FormatError(
                f"The packed tokens cannot be read: {error}.", where=str(self.folder),
                hint="Delete this folder; it is rebuilt.",
            ) from error
        self._tokens = tokens
        # Id → whether it is special, for ids of two bytes; empty for larger ones.
        self._special = np.zeros(1 << 16 if facts.dtype == "<u2" else 0, dtype=bool)
        if self._special.size:
            self._special[list(facts.special_ids)] = True
        if facts.growth is not None and wanted is not None:
            n, _ = self.enough(wanted, validation_share, rule)
            self.facts = facts = replace(facts, n_contexts=n)
            self._tokens = self._tokens[:n]
        everything = np.arange(facts.n_contexts, dtype=np.int64)
        self.named = everything[len(everything) - facts.n_held_out :]
        if facts.growth is None:
            n = facts.n_contexts
            self.train, self.validation = split(n, 0, validation_share)
            if facts.n_held_out:
                self.train, self.validation = everything[: n - facts.n_held_out], self.named
        else:
            self.named = everything[np.isin(everything, facts.growth.held)]
            out = facts.growth.held_out(everything, validation_share)
            self.train, self.validation = everything[~out], everything[out]

    @property
    def n_contexts(self) -> int:
        return self.facts.n_contexts

    @property
    def context_size(self) -> int:
        return self.facts.context_size

    @property
    def fingerprint(self) -> str:
        return self.facts.fingerprint

    @property
    def source(self) -> dict[str, Any]:
        """The source of a long corpus: dataset, exact revision, …; else empty."""
        return dict(self.facts.growth.source) if self.facts.growth is not None else {}

    def context(self, index: int) -> Tokens:
        return np.asarray(self._tokens[index])

    def contexts(self, indices: npt.ArrayLike) -> Numbers:
        return self._tokens[np.asarray(indices, dtype=np.int64)].astype(np.int64)

    def at(self, contexts: npt.ArrayLike, offsets: npt.ArrayLike) -> Numbers:
        """The ids at single places: context numbers and offsets of one shape, which the answer has too."""
        at = np.asarray(contexts, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
        return np.asarray(self._tokens[at], dtype=np.int64)

    def kept(self, tokens: Tokens, rule: TokenMask = EVERY_TOKEN) -> npt.NDArray[np.bool_]:
        """Which positions of contexts ``[..., context_size]`` take part in training and metrics."""
        special = None
        if rule.exclude_special:
            special = self._special[tokens] if self._special.size else np.isin(tokens, self.facts.special_ids)
        return rule.mask(tokens, special)

    def kept_counts(self, indices: Numbers, rule: TokenMask = EVERY_TOKEN) -> Numbers:
        return counted(indices, lambda part: self.kept(self._tokens[part], rule).sum(axis=1))

    def spread(self, n_tokens: int) -> Numbers:
        """Numbers of contexts with about `n_tokens` tokens, from all over the text."""
        return spread(self.n_contexts, min(self.n_contexts, max(1, n_tokens // self.context_size)))

    def evaluation_contexts(self, n_tokens: int) -> Numbers:
        """Held-out contexts with about `n_tokens` tokens, ``[n, context_size]``; the same for every run and seed."""
        return self.contexts(evaluated(self.train, self.validation, self.context_size, n_tokens))

    def enough(self, wanted: int, validation_share: float, rule: TokenMask = EVERY_TOKEN) -> tuple[int, int]:
        """(contexts, positions in them): the fewest first contexts that have `wanted` positions for training of those
        that `rule` keeps; or all, where there are fewer."""
        assert self.facts.growth is not None  # of long text
        growth, found = self.facts.growth, 0
        for start in range(0, self.facts.n_contexts, _COUNTED):
            numbers = np.arange(start, min(start + _COUNTED, self.facts.n_contexts), dtype=np.int64)
            counts = np.where(growth.held_out(numbers, validation_share), 0, self.kept_counts(numbers, rule))
            after = found + np.cumsum(counts)
            if after[-1] >= wanted:
                place = int(np.searchsorted(after, wanted))
                least = growth.held[0] + 1 if growth.held else 0  # or nothing could be evaluated on
                return max(start + place + 1, least), int(after[place])
            found = int(after[-1])
        return self.facts.n_contexts, found


def read_facts(folder: Path) -> PackFacts:
    """What `pack.json` says, compared with the size of the tokens."""
    try:
        data = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        growth = data.pop("growth", None)
        if growth is not None:
            lists = {name: tuple(int(i) for i in growth.get(name, ())) for name in ("rest", "held", "held_rest")}
            growth = Growth(**{**growth, **lists})
        facts = PackFacts(**{**data, "special_ids": tuple(data["special_ids"])}, growth=growth)
        if facts.dtype not in ("<u2", "<u4"):
            raise ValueError(f"unknown number format {facts.dtype!r}")
        size = (folder / "tokens.bin").stat().st_size
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(
            f"These are not packed tokens: {error}.", where=str(folder), hint="Delete this folder; it is rebuilt."
        ) from error
    expected = facts.n_contexts * facts.context_size * np.dtype(facts.dtype).itemsize
    # Long text may have more: what a killed process had added and not counted yet.
    if size < expected or (size > expected and facts.growth is None):
        raise FormatError(
            f"tokens.bin has {size:,} bytes where {expected:,} are expected.", where=str(folder),
            hint="Delete this folder; it is rebuilt.",
        )
    return facts


def positions_needed(config: TrainingConfig) -> int | None:
    """Positions that the stream reads: whole windows, and enough for the input scale. None where a number of epochs was
    asked for: an epoch is all of the text."""
    if config.epochs is not None:
        return None
    settings = config.activations
    window = config.batch_size * max(1, round(settings.shuffle_tokens / config.batch_size))
    windows = -(-config.steps * config.batch_size // window)
    scale = settings.norm_tokens if settings.is_measured else 0
    return max(windows * window, scale)


def counted_positions(config: TrainingConfig) -> TokenMask:
    """Which positions of a text count as needed: never special tokens, so that it does not decide how much is read
    whether they are trained on."""
    return replace(TokenMask.of(config.activations), exclude_special=True)
