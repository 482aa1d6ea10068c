"""Defines `EvaluationReport`, the result of `ws.evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.render.evaluation import FIGURES, evaluation_card, shown

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class EvaluationReport(Mapping[str, float]):
    """The figures of one evaluation by their names, ``report["fvu"]``, and what they were measured on.

    It reads as a mapping of the figures; two reports are equal if their figures are. Definitions: docs/evaluation.md.
    `density` is a histogram of the shares of tokens on which latents fire, of those that fired, in logarithmic bins:
    ``edges counts min max mean sd``, ``zeros`` (latents that never fired), ``dense`` (above a tenth).
    """

    name: str  # of the SAE
    sae_id: str | None
    training_id: str | None
    model: str | None  # None where neither the SAE nor the stored activations say it
    hook_name: str
    hook_name_out: str | None  # what a transcoder reconstructs
    architecture: str
    d_in: int
    d_out: int
    d_sae: int
    corpus: str  # label of the text, or name of the store of activations
    held_out: bool  # it is the part of the training's own that was not trained on
    n_tokens: int  # that count
    context_size: int | None  # None for imported states
    special_tokens: bool  # they count, too
    metrics: Mapping[str, float]  # one that is not defined (no latent fired, say) is nan
    density: Mapping[str, Any]
    notes: tuple[str, ...] = ()  # what to know about the numbers, as sentences
    store_id: str | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "name", "architecture", "d_sae", "model", "hook_name", "corpus", "n_tokens",
        *(figure.name for figure in FIGURES),
    )  # fmt: skip

    def to_row(self) -> dict[str, Any]:
        """One row of a table of several reports; what was not measured is nan."""
        about = {name: getattr(self, name) for name in self.COLUMNS[:7]}
        return about | {figure.name: self.metrics.get(figure.name, math.nan) for figure in FIGURES}

    def __getitem__(self, name: str) -> float:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; what is not defined is None."""
        data = asdict(self) | {"notes": list(self.notes)}
        data["metrics"] = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return data

    def to_df(self) -> pd.DataFrame:
        """One row per figure: ``name title value unit group meaning``. Shares are between 0 and 1."""
        import pandas as pd  # costs half a second

        rows = [
            (figure.name, figure.title, self.metrics[figure.name], figure.unit, figure.group, figure.says)
            for figure in FIGURES if figure.name in self.metrics
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["name", "title", "value", "unit", "group", "meaning"])

    def facts(self) -> list[tuple[str, str]]:
        """What was evaluated on what, as pairs of a label and a text."""
        hook = self.hook_name if self.hook_name_out is None else f"{self.hook_name} → {self.hook_name_out}"
        text = f"{self.corpus}, held-out part" if self.held_out else self.corpus
        read = ("Text", f"{text}: {self.n_tokens:,} tokens in contexts of {self.context_size or 0:,}")
        if self.store_id is not None:
            read = ("Rows", f"{text}: {self.n_tokens:,} stored activations of {self.store_id}")
        if (predictions := self.metrics.get("ce_tokens")) is not None:
            read = (read[0], f"{read[1]}; cross-entropy of {predictions:,.0f} predictions")
        return [
            ("SAE", f"{self.architecture}, {self.d_in:,} → {self.d_sae:,}"),
            ("Model", f"{self.model or 'not known'}, {hook}"),
            read,
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """Title, value and unit of every figure, for a table of text."""
        return [
            (figure.title, shown(figure, self.metrics[figure.name]), "" if figure.unit == "share" else figure.unit)
            for figure in FIGURES if figure.name in self.metrics
        ]  # fmt: skip

    def __repr__(self) -> str:
        figures = {figure.name: figure for figure in FIGURES}
        first = [name for name in ("fvu", "l0", "ce_loss_score", "dead") if name in self.metrics]
        said = ", ".join(f"{figures[name].title} {shown(figures[name], self.metrics[name])}" for name in first)
        return f"<Evaluation of {self.name}: {said}, {self.n_tokens:,} tokens>"

    def _repr_html_(self) -> str:
        return str(evaluation_card(f"Evaluation of {self.name}", self.facts(), self.metrics, self.density, self.notes))
