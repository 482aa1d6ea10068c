"""A figure of its own, for a paper or a slide: title, axes with names, legend, on white, as one SVG text.

Unlike `line_chart`, which is a part of a page, it stands alone: every colour is given and nothing of the page is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saewidgets.render.chart import path_of, scale_of
from saewidgets.render.html import Html, tag

WIDTH = 640
PLOT_HEIGHT = 320
LEFT, RIGHT, TOP = 64, 20, 34
_AXES, _ROW = 46, 18  # heights of the x axis with its name, and of a line of the legend
_INK, _GREY, _GRID = "#1f2328", "#545c66", "#e6e9ee"
_CHARACTER = 6.4  # widest mean width of a character of the legend


@dataclass(frozen=True, slots=True)
class Axis:
    """Its name, the values at its ends, and (value, text) of its ticks."""

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A line through points; a gap is left where a coordinate is not finite."""

    x: Sequence[float]
    y: Sequence[float]
    color: str
    dash: str | None = None
    width: float = 1.75
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Points:
    """Markers of one outline (an SVG path in a box of 10 by 10); `hollow` ones are not filled."""

    x: Sequence[float]
    y: Sequence[float]
    color: str
    shape: str
    hollow: bool = False
    size: float = 9.0  # pixels


@dataclass(frozen=True, slots=True)
class Upright:
    """A line from bottom to top at `x`."""

    x: float
    color: str


@dataclass(frozen=True, slots=True)
class Word:
    """Text beside a point: `dx`, `dy` pixels right of it and below, `align` "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    dx: float = 0.0
    dy: float = 0.0
    align: str = "start"


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the legend: a piece of line, an outline, or both; neither is a remark."""

    text: str
    color: str = _GREY
    dash: str | None = None
    line: bool = False
    shape: str | None = None


Mark = Trace | Points | Upright | Word


@dataclass(frozen=True, slots=True)
class Drawing:
    """An ``<svg>`` element with its namespace, and its size in pixels."""

    svg: Html
    width: int
    height: int


def figure(title: str, x: Axis, y: Axis, marks: Sequence[Mark], legend: Sequence[Key]) -> Drawing:
    """Draw `marks` (the first at the back), all cut off at the axes but for the words."""
    fx = scale_of(x.low, x.high, LEFT, WIDTH - RIGHT, x.log)
    fy = scale_of(y.low, y.high, TOP + PLOT_HEIGHT, TOP, y.log)
    rows = _rows(legend)
    height = TOP + PLOT_HEIGHT + _AXES + _ROW * len(rows) + 8
    inside = {"x": LEFT, "y": TOP, "width": WIDTH - LEFT - RIGHT, "height": PLOT_HEIGHT}
    drawn = [_drawn(mark, fx, fy) for mark in marks if not isinstance(mark, Word)]
    words = [_word(mark, fx, fy) for mark in marks if isinstance(mark, Word)]
    svg = tag(
        "svg",
        tag("title", title),
        tag("clipPath", tag("rect", **inside), id="plot"),
        tag("rect", width=WIDTH, height=height, fill="#ffffff"),
        _text(title, LEFT, 20, size=14, weight="600"),
        *_axes(x, y, fx, fy),
        tag("g", *drawn, clip_path="url(#plot)"),
        *words,
        *_legend(rows, TOP + PLOT_HEIGHT + _AXES + 6),
        xmlns="http://www.w3.org/2000/svg",
        width=WIDTH,
        height=height,
        viewBox=f"0 0 {WIDTH} {height}",
        font_family="Helvetica, Arial, sans-serif",
        role="img",
    )
    return Drawing(svg, WIDTH, height)


def _text(
    text: str, x: float, y: float, *, size: int = 12, align: str = "start", fill: str = _INK, **more: str
) -> Html:
    weight = more.pop("weight", None)
    place = {"x": round(x, 1), "y": round(y, 1)}
    return tag("text", text, **place, font_size=size, font_weight=weight, text_anchor=align, fill=fill, **more)


def _axes(x: Axis, y: Axis, fx: Callable[[float], float], fy: Callable[[float], float]) -> list[Html]:
    bottom, right = TOP + PLOT_HEIGHT, WIDTH - RIGHT
    parts = []
    for value, text in y.ticks:
        if y.low <= value <= y.high:
            at = round(fy(value), 1)
            parts += [tag("path", d=f"M{LEFT} {at}H{right}", stroke=_GRID), _text(text, LEFT - 7, at + 4, align="end")]
    for value, text in x.ticks:
        if x.low <= value <= x.high:
            at = round(fx(value), 1)
            parts += [tag("path", d=f"M{at} {bottom}v4", stroke=_GREY), _text(text, at, bottom + 18, align="middle")]
    middle = TOP + PLOT_HEIGHT / 2
    return [
        *parts,
        tag("path", d=f"M{LEFT} {TOP}V{bottom}H{right}", stroke=_GREY, fill="none"),
        _text(x.name, (LEFT + right) / 2, bottom + 38, align="middle"),
        _text(y.name, 16, middle, align="middle", transform=f"rotate(-90 16 {middle})"),
    ]


def _drawn(mark: Trace | Points | Upright, fx: Callable[[float], float], fy: Callable[[float], float]) -> Html:
    if isinstance(mark, Upright):
        at = round(fx(mark.x), 1)
        return tag("path", d=f"M{at} {TOP}v{PLOT_HEIGHT}", stroke=mark.color, stroke_dasharray="2 2", opacity=0.8)
    if isinstance(mark, Trace):
        return tag(
            "path", d=path_of(mark.x, mark.y, fx, fy), fill="none", stroke=mark.color, stroke_width=mark.width,
            stroke_dasharray=mark.dash, opacity=mark.opacity, stroke_linejoin="round",
        )  # fmt: skip
    places = [(fx(a), fy(b)) for a, b in zip(mark.x, mark.y, strict=True)]
    return tag("g", *(_shape(mark.shape, a, b, mark.size, mark.color, mark.hollow) for a, b in places))


def _shape(shape: str, x: float, y: float, size: float, color: str, hollow: bool = False) -> Html:
    """An outline with its middle at a place; a place that is not on the scale draws nothing."""
    if x != x or y != y:
        return Html("")
    to = f"translate({x:.1f} {y:.1f}) scale({size / 10:g}) translate(-5 -5)"
    paint = {"fill": "none", "stroke": color, "stroke_width": 1.5} if hollow else {"fill": color}
    return tag("path", d=shape, transform=to, **paint)


def _word(mark: Word, fx: Callable[[float], float], fy: Callable[[float], float]) -> Html:
    x, y = fx(mark.x) + mark.dx, fy(mark.y) + mark.dy + 4
    return _text(mark.text, x, y, size=11, align=mark.align, fill=_GREY)


def _wide(key: Key) -> float:
    icon = (26 if key.line else 0) or (14 if key.shape else 0)
    return icon + len(key.text) * _CHARACTER + 16


def _rows(legend: Sequence[Key]) -> list[list[Key]]:
    """The entries in lines that fit the width; one that is too long for any is cut."""
    most = WIDTH - LEFT - RIGHT
    rows: list[list[Key]] = []
    used = 0.0
    for key in legend:
        if not rows or used + _wide(key) > most:
            rows.append([])
            used = 0.0
        rows[-1].append(key)
        used += _wide(key)
    return rows


def _legend(rows: Sequence[Sequence[Key]], top: float) -> list[Html]:
    parts = []
    for number, row in enumerate(rows):
        x, y = float(LEFT), top + number * _ROW + 9
        for key in row:
            at = x
            if key.line:
                line = f"M{at:.1f} {y - 4:.1f}h20"
                parts.append(tag("path", d=line, stroke=key.color, stroke_width=1.75, stroke_dasharray=key.dash))
            if key.shape:
                parts.append(_shape(key.shape, at + (10 if key.line else 5), y - 4, 8 if key.line else 9, key.color))
            at += (26 if key.line else 0) or (14 if key.shape else 0)
            room = int((WIDTH - RIGHT - at) / _CHARACTER)
            text = key.text if len(key.text) <= room else f"{key.text[: max(1, room - 1)]}…"
            parts.append(_text(text, at, y))
            x += _wide(key)
    return parts
