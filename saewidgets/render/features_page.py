"""A page of features for people without this package: one file, no network, and whole without its script.

The left column lists the features, the right one shows the chosen one (the first, until one is chosen): each is an
anchor, so that links, the back button and printing work as in any document.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from saewidgets.render.html import Html, escape, join, tag
from saewidgets.render.numbers import decimal
from saewidgets.render.ticks import tick_text

_HERE = Path(__file__)
STYLE = Html(_HERE.with_suffix(".css").read_text("utf-8"))
SCRIPT = Html(_HERE.with_suffix(".js").read_text("utf-8"))


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = (
    f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; script-src 'sha256-{_digest(SCRIPT)}'; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is loaded, and no other style or script than these two is used."""


STEPS = 8
LEAST = 5e-5
"""An activation below this has no shade."""

_CHART = (240, 56)  # width and height of the bars


@dataclass(frozen=True, slots=True)
class Row:
    """An example: tokens with activations, the place of the strongest, and whether the text goes on."""

    value: float
    tokens: Sequence[tuple[str, float]]
    peak: int
    before: bool = False
    after: bool = False


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Examples under a title; `note` says more in small print."""

    title: str
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True, slots=True)
class LogitTable:
    """Effects on the next token: (token, change), the strongest first, and their histogram over the vocabulary."""

    raises: Sequence[tuple[str, float]]
    lowers: Sequence[tuple[str, float]]
    counts: Sequence[int] = ()
    edges: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class FeatureCard:
    """All that is shown of one feature; `logits` is None where they are not known."""

    index: int
    label: str
    label_note: str  # whose the label is, and how well it holds
    starred: bool
    fired: int
    density: float
    max: float
    mean: float  # over the positions where it fired
    counts: Sequence[int]  # the histogram of its non-zero activations, [bins]
    edges: Sequence[float]  # [bins + 1]
    top_tokens: Sequence[str]
    groups: Sequence[RowGroup]
    logits: LogitTable | None = None


def step_of(value: float, largest: float) -> int:
    """The shade of an activation, 0 (none) to 8: logarithmic, so that weak ones can be seen."""
    if not (value >= LEAST and largest > 0):
        return 0
    return min(STEPS, math.ceil(STEPS * math.log10(1 + 9 * min(1.0, value / largest)) - 1e-9))


def percent(share: float) -> str:
    """0.24 %, 0.0021 %, 12 %: two significant digits."""
    if share <= 0:
        return "0 %"
    value = 100 * share
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f} %"


def activation(value: float) -> str:
    """As many decimals as a reader needs: 41.7, 3.12, 0.0042."""
    return f"{value:.3g}" if abs(value) < 1 else decimal(value, 2)


def chip(token: str) -> str:
    """A token by itself: spaces before it are dots, which can be seen."""
    body = token.lstrip(" ")
    return "·" * (len(token) - len(body)) + body


def features_page(title: str, facts: Mapping[str, str], cards: Sequence[FeatureCard], taken: str = "") -> Iterator[str]:
    """The page, piece by piece.

    Args:
        title: what the features are of.
        facts: shown under the title.
        cards: at least one, in the order of the list.
        taken: when the page was made, in words.
    """
    policy = Html(f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">')
    meta = Html('<meta charset="utf-8">') + policy + Html('<meta name="viewport" content="width=device-width">')
    yield "<!doctype html>\n<html lang=\"en\">"
    yield tag("head", Html(meta), tag("title", title), Html(f"<style>{STYLE}</style>"))
    yield "<body>"
    said = " · ".join(f"{name} {value}".strip() for name, value in facts.items())
    yield tag("header", tag("h1", title), tag("p", said, class_="facts"), tag("p", taken, class_="small"))
    yield '<div class="split">'
    yield tag("nav", _find(len(cards)), tag("ol", *map(_item, cards)), aria_label="Features")
    yield "<main>"
    for place, card in enumerate(cards):
        previous = cards[place - 1].index if place else None
        following = cards[place + 1].index if place + 1 < len(cards) else None
        yield card_html(card, previous, following)
    yield f"</main></div><script>{SCRIPT}</script></body></html>\n"


def _find(n: int) -> Html:
    """Search and order; shown by the script that serves them."""
    orders = (("index", "Index"), ("density", "Density"), ("max", "Largest activation"))
    box = Html('<input type="search" aria-label="Search features" placeholder="Search features">')
    choice = tag("select", *(tag("option", name, value=key) for key, name in orders), aria_label="Sort features")
    return tag("div", box, choice, tag("p", class_="small", aria_live="polite"), class_="find", hidden="")


def _name(card: FeatureCard) -> str:
    if card.label:
        return card.label
    return " ".join(f"“{chip(token)}”" for token in card.top_tokens) or "did not fire"


def _item(card: FeatureCard) -> Html:
    star = "★ " if card.starred else ""
    link = tag(
        "a", tag("bdi", f"{star}{card.index} {_name(card)}", class_="name", title=_name(card)),
        tag("span", percent(card.density), class_="small"), href=f"#f{card.index}",
    )
    return tag("li", link, data_index=card.index, data_density=repr(card.density), data_max=repr(card.max))


def card_html(card: FeatureCard, previous: int | None = None, following: int | None = None) -> Html:
    """One feature, with links to its neighbours in the list."""
    links = [
        tag("a", word, href=f"#f{index}", rel=rel, aria_label=name)
        for word, index, rel, name in (
            ("‹ Previous", previous, "prev", "Previous feature"), ("Next ›", following, "next", "Next feature"),
        )
        if index is not None
    ]
    head = tag(
        "div", tag("h2", f"{'★ ' if card.starred else ''}Feature {card.index}"),
        tag("bdi", card.label, class_="label") if card.label else "", tag("span", join(links, " "), class_="step"),
        class_="head",
    )
    note = tag("p", card.label_note, class_="small") if card.label_note else ""
    figure, tables = (_effects(card.logits), _tables(card.logits)) if card.logits else (Html(""), Html(""))
    if card.fired:
        tiles = (
            ("Density", percent(card.density)), ("Firings", f"{card.fired:,}"), ("Max", activation(card.max)),
            ("Mean", activation(card.mean)),
        )
        top = tag("div", *(tag("div", tag("b", v), tag("span", k, class_="small")) for k, v in tiles), class_="tiles")
        figure = tag("div", _histogram(card), figure)
        shown = max((v for group in card.groups for row in group.rows for _, v in row.tokens), default=0.0)
        groups = join([_legend(shown), *(_group(group, shown) for group in card.groups)])
    else:
        top, groups = tag("p", f"Feature {card.index} did not fire on this text."), Html("")
    charts = tag("div", figure, tables, class_="charts")
    name = f"Feature {card.index}"
    return tag("section", head, note, top, charts, groups, id=f"f{card.index}", aria_label=name)


def _legend(largest: float) -> Html:
    shades = join(tag("i", class_=f"a{step}") for step in range(1, STEPS + 1))
    return tag("p", "Activation 0 ", shades, f" {activation(largest)}, logarithmic", class_="small legend")


def _group(group: RowGroup, largest: float) -> Html:
    note = tag("span", group.note, class_="small") if group.note else ""
    return join([tag("h3", group.title, " ", note), tag("div", *(_row(row, largest) for row in group.rows))])


def _row(row: Row, largest: float) -> Html:
    left = join(["… " if row.before else "", marked(row.tokens[: row.peak], largest, -1, _shade)])
    right = join([marked(row.tokens[row.peak :], largest, 0, _shade), "…" if row.after else ""])
    # A flex box drops spaces between its parts: the inner span is its only part.
    left_box = tag("span", tag("span", left))
    return tag("div", tag("b", activation(row.value), Html("&nbsp;")), left_box, tag("span", right), class_="row")


def _shade(step: int, strongest: bool, value: float) -> str:
    # Quotes that are not needed would be a fifth of the page.
    name = f'"a{step} peak"' if strongest else f"a{step}"
    return f"class={name} title={value:.4g}"


Look = Callable[[int, bool, float], str]
"""From the step of a token's shade, whether it is the strongest, and its activation to the attributes of its tag."""


def marked(tokens: Iterable[tuple[str, float]], largest: float, peak: int, look: Look) -> Html:
    """Tokens with their shades, plain text where they have none; leading spaces are outside of the shade.

    Args:
        tokens: text and activation.
        largest: the activation of the darkest shade.
        peak: the place of the strongest, which is marked in any case.
        look: of a shade.
    """
    parts: list[str] = []
    for place, (text, value) in enumerate(tokens):
        step = step_of(value, largest)
        if step or place == peak:
            body = text.lstrip(" ") or text
            text = Html(f"{text[: len(text) - len(body)]}<i {look(step, place == peak, value)}>{escape(body)}</i>")
        parts.append(text)
    return join(parts)


def _histogram(card: FeatureCard) -> Html:
    width, height = _CHART
    peak = max(card.counts, default=0)
    said = f"Histogram of {card.fired:,} activations from 0 to {activation(card.max)}; the fullest bin has {peak:,}."
    mark = tag("line", x1=0, x2=0, y1=0, y2=height, class_="mark", data_width=width, data_high=f"{card.edges[-1]:.6g}")
    return _bars(
        "Activations", [("bars", card.counts, 0)], card.edges[0], card.edges[-1], len(card.counts), said, mark
    )


def _effects(table: LogitTable) -> Html:
    if not len(table.counts):
        return Html("")
    zero = sum(edge <= 0 for edge in table.edges[1:])  # bins that end below zero
    said = f"Histogram of the change of all {sum(table.counts):,} logits per unit of activation."
    series = [("bars down", table.counts[:zero], 0), ("bars up", table.counts[zero:], zero)]
    return _bars("Logit effects", series, table.edges[0], table.edges[-1], len(table.counts), said, Html(""))


def _tables(table: LogitTable) -> Html:
    found = []
    for name, rows in (("Raises", table.raises), ("Lowers", table.lowers)):
        cells = (tag("tr", tag("td", tag("code", chip(t))), tag("td", f"{v:+.2f}", class_="n")) for t, v in rows)
        found.append(tag("table", tag("caption", name), *cells))
    return tag("div", *found, class_="pair")


def _bars(
    title: str, series: Sequence[tuple[str, Sequence[int], int]], low: float, high: float, n: int, said: str, mark: Html
) -> Html:
    """Bars, one path per series (name, heights, first bin)."""
    width, height = _CHART
    peak = max((max(counts, default=0) for _, counts, _ in series), default=0) or 1
    step = width / max(1, n)
    paths = [tag("path", d=bars(counts, step, height, peak, at), class_=name) for name, counts, at in series]
    axis = tag("path", d=f"M0 {height + 0.5}h{width + 2}", class_="axis")
    ends = tag("text", tick_text(float(f"{low:.3g}")), x=0, y=height + 12) + tag(
        "text", tick_text(float(f"{high:.3g}")), x=width, y=height + 12, text_anchor="end"
    )
    box = f"0 0 {width + 2} {height + 16}"
    drawing = tag(
        "svg", tag("title", said), *paths, axis, mark, Html(ends), role="img", aria_label=said, width=width + 2,
        height=height + 16, viewBox=box,
    )
    return tag("figure", tag("figcaption", title), drawing)


def bars(counts: Sequence[int], step: float, height: int, most: int, first: int = 0) -> str:
    """Bars as one SVG path, from the bin `first` on, each `step` wide: a rectangle each would be ten times as long."""
    thick = max(step - 0.6, 0.6)
    return "".join(
        f"M{1 + (first + i) * step:.1f} {height}v{-max(1.0, height * c / most):.1f}h{thick:.1f}V{height}z"
        for i, c in enumerate(counts) if c
    )  # fmt: skip
