"""Defines `export_html`: features as one HTML file that needs neither this package, nor the network, nor its script.

The left column lists the features, the right one shows the chosen one (the first, until one is chosen): each is an
anchor, so that links, the back button and printing work as in any document.
"""

import base64
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from saewidgets.config.names import shown_model
from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError
from saewidgets.features.export.table_and_vectors import NOBODY, Notes, peak_texts, selected, whole_characters
from saewidgets.features.labels.evidence import visible
from saewidgets.features.logit_effects import Effects, EffectsOf
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample, feature_data
from saewidgets.features.store.query import LatentNote
from saewidgets.features.store.read import FeatureStore
from saewidgets.render.figure import tick_text
from saewidgets.render.html import STEPS, Html, bars, escape, join, marked, tag
from saewidgets.render.numbers import activation, percent

MOST = 2_000  # features on one page: browsers become slow
ROOM = 24_000  # bytes that a feature may take: 200 of them stay below 5 MB
_LONGEST = 64  # characters of a token

# How many top examples, how many per interval, and how many tokens on either side; the first that fits is taken.
_SIZES = ((20, 3, 16), (12, 2, 16), (10, 1, 12), (8, 1, 8), (5, 1, 5), (5, 0, 3))
_CHART = (240, 56)  # width and height of the bars

_STYLE, _SCRIPT = (Html(Path(__file__).with_suffix(end).read_text("utf-8")) for end in (".css", ".js"))


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_digest(_STYLE)}'; script-src 'sha256-{_digest(_SCRIPT)}'; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is loaded, and no other style or script than these two is used."""


def export_html(
    store: FeatureStore,
    indices: Iterable[int],
    notes: Notes | None,
    path: str | PathLike[str],
    logits: EffectsOf | None = None,
    *,
    title: str = "",
) -> Path:
    """Write one self-contained page about some features: no network, readable without its script, light and dark.

    The list has density and label of each, a feature's own part its histogram, examples by activation with shaded
    tokens, and logit effects where they are given. A feature gets fewer and shorter examples where it would take more
    than 24 kB (one that fires on every token). The file appears whole or not at all.

    Args:
        store: the extraction.
        indices: the features, in the order of the list; at most 2,000.
        notes: labels, scores and stars by feature.
        path: the file.
        logits: see `EffectsOf`; None leaves them out.
        title: of the page; "" takes the SAE's name.

    Raises:
        ConfigError: no feature, an unknown one, or too many.
        NotFoundError, StorageError: the text that was read is gone, the file cannot be written.
    """
    chosen = selected(store, indices)
    if len(chosen) > MOST:
        raise ConfigError(
            f"A page takes at most {MOST:,} features, not {len(chosen):,}.", where="indices",
            hint="Choose fewer, or write several pages.",
        )
    sections = [
        section_of(
            feature_data(store, index), peak_texts(store, index), (notes or {}).get(index, NOBODY),
            logits(index) if logits else None,
        )
        for index in chosen
    ]  # fmt: skip
    m = store.manifest
    facts = {
        "": visible(f"{shown_model(m.model)} · {m.hook_name} · {m.architecture}"),
        "d_sae": f"{m.d_sae:,} × d_in {m.d_in:,}",
        "read": f"{m.n_tokens:,} tokens in contexts of {m.context_size:,}",
    }
    name = visible(title or str(m.facts.get("name") or f"{shown_model(m.model)} {m.hook_name}"))
    taken = f"{len(sections):,} of {store.d_sae:,} features, written {time.strftime('%Y-%m-%d')}."
    with whole_file(Path(path)) as file:
        for part in page_of(name, facts, sections, taken):
            file.write(part)
    return Path(path)


@dataclass(frozen=True, slots=True)
class Section:
    """One feature on a page: its entry in the list, and its section."""

    index: int
    label: str
    name: str  # the label, or the tokens that stand in for one
    starred: bool
    density: float
    max: float
    body: Html


class ExampleLine(NamedTuple):
    """As much of an example as has room: tokens with activations, the place of the strongest, if the text goes on."""

    value: float
    tokens: Sequence[tuple[str, float]]
    peak: int
    before: bool
    after: bool


def section_of(data: FeatureData, top_tokens: Sequence[str], noted: LatentNote, effects: Effects | None) -> Section:
    """A feature with as many examples as fit into `ROOM`."""
    label = visible(noted.label[:1000])
    name = label or " ".join(f"“{chip(token)}”" for token in top_tokens) or "did not fire"
    for size in _SIZES:
        body = _body(data, noted, effects, *size)
        found = Section(data.index, label, name, noted.starred, data.density, data.max, body)
        if len(section_html(found).encode()) <= ROOM:
            break
    return found


def chip(token: str) -> str:
    """A token by itself: spaces before it are dots, which can be seen."""
    token = _shown(token)
    body = token.lstrip(" ")
    return "·" * (len(token) - len(body)) + body


def _shown(token: str) -> str:
    return visible(token if len(token) <= _LONGEST else token[: _LONGEST - 1] + "…")


def page_of(title: str, facts: Mapping[str, str], sections: Sequence[Section], taken: str = "") -> Iterator[str]:
    """The page, piece by piece; `facts` are shown under the title, `taken` says when it was made."""
    policy = Html(f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">')
    meta = Html('<meta charset="utf-8">') + policy + Html('<meta name="viewport" content="width=device-width">')
    yield "<!doctype html>\n<html lang=\"en\">"
    yield tag("head", Html(meta), tag("title", title), Html(f"<style>{_STYLE}</style>"))
    yield "<body>"
    said = " · ".join(f"{name} {value}".strip() for name, value in facts.items())
    yield tag("header", tag("h1", title), tag("p", said, class_="facts"), tag("p", taken, class_="small"))
    yield '<div class="split">'
    yield tag("nav", _find(), tag("ol", *map(_item, sections)), aria_label="Features")
    yield "<main>"
    indices = [None, *(section.index for section in sections), None]
    for place, section in enumerate(sections):
        yield section_html(section, indices[place], indices[place + 2])
    yield f"</main></div><script>{_SCRIPT}</script></body></html>\n"


def _find() -> Html:
    """Search and order; shown by the script that serves them."""
    orders = (("index", "Index"), ("density", "Density"), ("max", "Largest activation"))
    box = Html('<input type="search" aria-label="Search features" placeholder="Search features">')
    choice = tag("select", *(tag("option", name, value=key) for key, name in orders), aria_label="Sort features")
    return tag("div", box, choice, tag("p", class_="small", aria_live="polite"), class_="find", hidden="")


def _item(section: Section) -> Html:
    star = "★ " if section.starred else ""
    link = tag(
        "a", tag("bdi", f"{star}{section.index} {section.name}", class_="name", title=section.name),
        tag("span", percent(section.density), class_="small"), href=f"#f{section.index}",
    )
    return tag("li", link, data_index=section.index, data_density=repr(section.density), data_max=repr(section.max))


def section_html(section: Section, previous: int | None = None, following: int | None = None) -> Html:
    """One feature, with links to its neighbours in the list."""
    links = [
        tag("a", word, href=f"#f{index}", rel=rel, aria_label=name)
        for word, index, rel, name in (
            ("‹ Previous", previous, "prev", "Previous feature"), ("Next ›", following, "next", "Next feature"),
        )
        if index is not None
    ]
    name = f"Feature {section.index}"
    label = tag("bdi", section.label, class_="label") if section.label else ""
    title = tag("h2", f"{'★ ' if section.starred else ''}{name}")
    head = tag("div", title, label, tag("span", join(links, " "), class_="step"), class_="head")
    return tag("section", head, section.body, id=f"f{section.index}", aria_label=name)


def _body(
    data: FeatureData, noted: LatentNote, effects: Effects | None, examples: int, per_interval: int, around: int
) -> Html:
    note = "" if noted.score is None else tag("p", f"Score {noted.score:.2f}", class_="small")
    figure, tables = (_effects(effects), _tables(effects)) if effects else (Html(""), Html(""))
    if not data.fired:
        words = tag("p", f"Feature {data.index} did not fire on this text.")
        return join([note, words, tag("div", figure, tables, class_="charts")])
    tiles = (
        ("Density", percent(data.density)), ("Firings", f"{data.fired:,}"), ("Max", activation(data.max)),
        ("Mean", activation(data.mean)),
    )
    cells = tag("div", *(tag("div", tag("b", v), tag("span", k, class_="small")) for k, v in tiles), class_="tiles")
    charts = tag("div", tag("div", _histogram(data), figure), tables, class_="charts")
    groups = []
    for group in data.groups:
        kept = group.examples[: examples if group.kind == "top" else per_interval]
        groups.append((group, [_cut(example, around) for example in kept]))
    largest = max((value for _, rows in groups for row in rows for _, value in row.tokens), default=0.0)
    return join([note, cells, charts, _legend(largest), *(_group(*group, largest) for group in groups if group[1])])


def _legend(largest: float) -> Html:
    shades = join(tag("i", class_=f"a{step}") for step in range(1, STEPS + 1))
    return tag("p", "Activation 0 ", shades, f" {activation(largest)}, logarithmic", class_="small legend")


def _group(group: Group, rows: Sequence[ExampleLine], largest: float) -> Html:
    title, note = "Top activations", Html("")
    if group.kind != "top":
        title = f"Interval {activation(group.low)} – {activation(group.high)}"
        note = tag("span", f"{group.count:,} of its firings, {percent(group.share)}", class_="small")
    return join([tag("h3", title, " ", note), tag("div", *(_row(row, largest) for row in rows))])


def _cut(example: StoredExample, around: int) -> ExampleLine:
    pieces, peak = whole_characters(example)
    begin, end = max(0, peak - around), min(len(pieces), peak + around + 1)
    return ExampleLine(
        example.value, [(_shown(text), value) for text, value in pieces[begin:end]], peak - begin,
        example.before or begin > 0, example.after or end < len(pieces),
    )  # fmt: skip


def _row(row: ExampleLine, largest: float) -> Html:
    left = join(["… " if row.before else "", marked(row.tokens[: row.peak], largest, -1, _shade)])
    right = join([marked(row.tokens[row.peak :], largest, 0, _shade), "…" if row.after else ""])
    # A flex box drops spaces between its parts: the inner span is its only part.
    left_box = tag("span", tag("span", left))
    return tag("div", tag("b", activation(row.value), Html("&nbsp;")), left_box, tag("span", right), class_="row")


def _shade(step: int, strongest: bool, value: float) -> str:
    # Quotes that are not needed would be a fifth of the page.
    name = f'"a{step} peak"' if strongest else f"a{step}"
    return f"class={name} title={value:.4g}"


def _histogram(data: FeatureData) -> Html:
    width, height = _CHART
    counts, edges = data.counts.tolist(), data.edges.tolist()
    peak = max(counts, default=0)
    said = f"Histogram of {data.fired:,} activations from 0 to {activation(data.max)}; the fullest bin has {peak:,}."
    mark = tag("line", x1=0, x2=0, y1=0, y2=height, class_="mark", data_width=width, data_high=f"{edges[-1]:.6g}")
    return _bars("Activations", [("bars", counts, 0)], edges, said, mark)


def _effects(table: Effects) -> Html:
    if not len(table.counts):
        return Html("")
    zero = sum(edge <= 0 for edge in table.edges[1:])  # bins that end below zero
    said = f"Histogram of the change of all {sum(table.counts):,} logits per unit of activation."
    series = [("bars down", table.counts[:zero], 0), ("bars up", table.counts[zero:], zero)]
    return _bars("Logit effects", series, table.edges, said)


def _tables(table: Effects) -> Html:
    found = []
    for name, rows in (("Raises", table.raises), ("Lowers", table.lowers)):
        cells = (
            tag("tr", tag("td", tag("code", chip(one.text))), tag("td", f"{one.value:+.2f}", class_="n"))
            for one in rows
        )
        found.append(tag("table", tag("caption", name), *cells))
    return tag("div", *found, class_="pair")


def _bars(
    title: str, series: Sequence[tuple[str, Sequence[int], int]], edges: Sequence[float], said: str, mark: str = ""
) -> Html:
    """Bars, one path per series (name, heights, first bin)."""
    width, height = _CHART
    peak = max((max(counts, default=0) for _, counts, _ in series), default=0) or 1
    step = width / max(1, len(edges) - 1)
    paths = [tag("path", d=bars(counts, step, height, peak, at), class_=name) for name, counts, at in series]
    axis = tag("path", d=f"M0 {height + 0.5}h{width + 2}", class_="axis")
    ends = tag("text", tick_text(float(f"{edges[0]:.3g}")), x=0, y=height + 12) + tag(
        "text", tick_text(float(f"{edges[-1]:.3g}")), x=width, y=height + 12, text_anchor="end"
    )
    box = f"0 0 {width + 2} {height + 16}"
    drawing = tag(
        "svg", tag("title", said), *paths, axis, mark, Html(ends), role="img", aria_label=said, width=width + 2,
        height=height + 16, viewBox=box,
    )
    return tag("figure", tag("figcaption", title), drawing)
