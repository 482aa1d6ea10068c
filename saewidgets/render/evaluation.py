"""An evaluation as text and HTML: names, units, groups, and the histogram of densities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from saewidgets.render.html import CELL, NUMBER, SHORT, Html, bars, card, facts_table, join, small_table, tag
from saewidgets.render.numbers import NONE, decimal

SHARE = "share"
"""The unit of what is shown in per cent."""
_WIDTH, _HEIGHT = 280, 64


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: its name in data, its title, its unit, and its heading."""

    name: str
    title: str
    unit: str
    group: str
    says: str


_RECONSTRUCTION, _SHRINKAGE, _SPARSITY, _LATENTS, _MODEL = (
    "Reconstruction", "Shrinkage", "Sparsity", "Latents", "The language model",
)  # fmt: skip
_TOKEN = "nats per token"
FIGURES: tuple[Figure, ...] = (
    Figure("fvu", "FVU", "", _RECONSTRUCTION, "fraction of variance unexplained: 0 is perfect, 1 predicts the mean"),
    Figure("explained_variance", "Explained variance", "", _RECONSTRUCTION, "1 − FVU"),
    Figure("explained_variance_legacy", "Explained variance, legacy", "", _RECONSTRUCTION,
           "one ratio per token, as earlier versions of SAELens; depends on what is read together"),
    Figure("mse", "MSE", "units² per token", _RECONSTRUCTION, "squared error, summed over the dimensions"),
    Figure("normalized_mse", "Normalised MSE", "", _RECONSTRUCTION, "squared error over the squared norm, about zero"),
    Figure("cosine", "Cosine", "", _RECONSTRUCTION, "mean cosine of activation and reconstruction"),
    Figure("l2_norm_in", "Norm of the activations", "units", _SHRINKAGE, "mean over tokens"),
    Figure("l2_norm_out", "Norm of the reconstructions", "units", _SHRINKAGE, "mean over tokens"),
    Figure("l2_ratio", "L2 ratio", "", _SHRINKAGE, "mean of their ratio: below 1 is shrinkage"),
    Figure("relative_reconstruction_bias", "Relative reconstruction bias", "", _SHRINKAGE, "1: no shrinkage"),
    Figure("l0", "L0", "latents per token", _SPARSITY, "how many latents are active"),
    Figure("l1", "L1", "", _SPARSITY, "sum of the latents of a token"),
    Figure("dead", "Dead", SHARE, _LATENTS, "never fired on these tokens; few tokens over-count it"),
    Figure("density_above_10pct", "Fire on more than 10 %", SHARE, _LATENTS, "of the tokens"),
    Figure("density_above_1pct", "Fire on more than 1 %", SHARE, _LATENTS, "of the tokens"),
    Figure("density_below_1e-5", "Fire on less than 0.001 %", SHARE, _LATENTS, "of the tokens, dead ones included"),
    Figure("density_below_1e-6", "Fire on less than 0.0001 %", SHARE, _LATENTS, "of the tokens, dead ones included"),
    Figure("firings_above_10pct", "Firings by those above 10 %", SHARE, _LATENTS, "of all firings"),
    Figure("firings_above_1pct", "Firings by those above 1 %", SHARE, _LATENTS, "of all firings"),
    Figure("ce_loss_clean", "CE, as it is", _TOKEN, _MODEL, "cross-entropy of the next token"),
    Figure("ce_loss_sae", "CE, with the reconstruction", _TOKEN, _MODEL, "in place of the activation"),
    Figure("ce_loss_zero", "CE, zero ablation", _TOKEN, _MODEL, "zeros in place of the activation"),
    Figure("ce_loss_mean", "CE, mean ablation", _TOKEN, _MODEL, "the mean in place of the activation"),
    Figure("ce_loss_delta", "CE delta", _TOKEN, _MODEL, "what the reconstruction costs"),
    Figure("ce_loss_score", "CE recovered", "", _MODEL, "against zero ablation: 1 is as good as the model itself"),
    Figure("ce_loss_score_mean_ablation", "CE recovered, mean ablation", "", _MODEL, "another number: see its name"),
    Figure("kl_div_sae", "KL, with the reconstruction", _TOKEN, _MODEL, "from the model's own probabilities"),
    Figure("kl_div_zero", "KL, zero ablation", _TOKEN, _MODEL, "from the model's own probabilities"),
    Figure("kl_div_score", "KL recovered", "", _MODEL, "against zero ablation"),
)  # fmt: skip


def shown(figure: Figure, value: float) -> str:
    """A value as a reader wants it: ``0.132``, ``4.2 %``, ``0.0021 %``."""
    if not math.isfinite(value):
        return NONE
    if figure.unit == SHARE:
        percent = 100 * value
        return f"{percent:.2g} %" if 0 < percent < 0.1 else f"{percent:.1f} %"
    return decimal(value, 1 if figure.name == "l0" else 4)


def evaluation_card(
    title: str,
    facts: Sequence[tuple[str, str]],
    metrics: Mapping[str, float],
    density: Mapping[str, Any],
    notes: Sequence[str],
) -> Html:
    """All figures under their headings, the densities as bars, and what to know about them."""
    rows: list[Html] = []
    for group, figures in groupby((each for each in FIGURES if each.name in metrics), lambda figure: figure.group):
        rows.append(tag("tr", tag("th", group, colspan=4, scope="rowgroup", style=f"{CELL};padding-top:8px")))
        for figure in figures:
            rows.append(tag(
                "tr", tag("td", figure.title, style=SHORT),
                tag("td", shown(figure, metrics[figure.name]), style=f"{NUMBER};white-space:nowrap"),
                tag("td", "" if figure.unit == SHARE else figure.unit, style=SHORT),
                tag("td", figure.says, style=f"{CELL};opacity:.75"),
            ))  # fmt: skip
    said = [tag("p", note, style="margin:4px 0") for note in notes]
    return card(facts_table(title, dict(facts)), small_table(rows), density_bars(density), *said)


def density_bars(density: Mapping[str, Any]) -> Html:
    """The histogram of densities on a logarithmic axis; nothing where no latent fired."""
    counts: Sequence[int] = density.get("counts") or ()
    edges: Sequence[float] = density.get("edges") or ()
    most = max(counts, default=0)
    if not most:
        return Html("")
    said = (
        f"Density of the {sum(counts):,} latents that fired, from {edges[0]:.1e} to {edges[-1]:.1e} of the tokens, on "
        f"a logarithmic axis; the fullest bin has {most:,}."
    )
    drawn = tag("path", d=bars(counts, _WIDTH / len(counts), _HEIGHT, most))
    svg = tag(
        "svg", tag("title", said), drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", width=_WIDTH, height=_HEIGHT, role="img",
        fill="currentColor", style="display:block;margin:8px 0 2px",
    )  # fmt: skip
    ends = tag(
        "div", tag("span", f"{edges[0]:.1e}"), tag("span", "density, log axis"), tag("span", f"{edges[-1]:.1e}"),
        style=f"display:flex;justify-content:space-between;width:{_WIDTH}px;font-size:11px;opacity:.75",
    )  # fmt: skip
    return join([svg, ends])
