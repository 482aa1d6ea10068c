"""Line charts as one SVG text: `figure` stands alone, for a paper or a slide, and `line_chart` is a part of a page.

A figure gives every colour and has axes with names and a legend; a chart on a page takes the colour of its text, so
that it can be read in light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saewidgets.render.html import Html, tag
from saewidgets.render.numbers import tokens
from saewidgets.render.ticks import linear_ticks, log_ticks, metric_tick_text, widened

WIDTH, PLOT_HEIGHT, LEFT, RIGHT = 640, 320, 64, 20  # of a figure, in pixels
_AXES, _ROW = 46, 18  # heights of the x axis with its name, and of a line of the legend
_INK, _GREY, _GRID = "#1f2328", "#545c66", "#e6e9ee"
_CHARACTER = 6.4  # widest mean width of a character of the legend
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plot lies in the drawing, in pixels, and what its axes are drawn with."""

    width: int
    height: int  # of the plot
    left: int
    right: int
    top: int
    text: str = _INK
    line: str = _GREY
    grid: str = _GRID
    size: int = 12

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def end(self) -> int:
        """The right edge of the plot."""
        return self.width - self.right


_PAPER = Frame(WIDTH, PLOT_HEIGHT, LEFT, RIGHT, 34)
_SMALL = Frame(280, 124, 44, 8, 22, "currentColor", "#8888", "#8884", 10)


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
    name: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One run's line in a chart on a page; `joints` are where it goes on from another run."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str = "#1f5fae"
    dash: str | None = None
    joints: Sequence[float] = ()


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
    name: str = ""


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
    frame, rows = _PAPER, _rows(legend)
    fx, fy = _scales(x, y, frame)
    height = frame.bottom + _AXES + _ROW * len(rows) + 8
    inside = {"x": frame.left, "y": frame.top, "width": frame.end - frame.left, "height": frame.height}
    middle = frame.top + frame.height / 2
    drawn = (_drawn(mark, fx, fy, frame) for mark in marks if not isinstance(mark, Word))
    svg = tag(
        "svg",
        tag("title", title),
        tag("clipPath", tag("rect", **inside), id="plot"),
        tag("rect", width=frame.width, height=height, fill="#ffffff"),
        _text(title, frame.left, 20, size=14, weight="600"),
        *_axes(x, y, fx, fy, frame),
        _text(x.name, (frame.left + frame.end) / 2, frame.bottom + 38, align="middle"),
        _text(y.name, 16, middle, align="middle", transform=f"rotate(-90 16 {middle})"),
        tag("g", *drawn, clip_path="url(#plot)"),
        *(_word(mark, fx, fy) for mark in marks if isinstance(mark, Word)),
        *_legend(rows, frame.bottom + _AXES + 6),
        xmlns="http://www.w3.org/2000/svg",
        width=frame.width,
        height=height,
        viewBox=f"0 0 {frame.width} {height}",
        font_family="Helvetica, Arial, sans-serif",
        role="img",
    )
    return Drawing(svg, frame.width, height)


def line_chart(title: str, lines: Sequence[Line], *, log_y: bool = False) -> Html:
    """A small chart for a page; x is a count of tokens.

    Non-positive values are left out when `log_y` is set.
    """
    frame = _SMALL
    height = frame.bottom + 24
    box = {"width": frame.width, "height": height, "viewBox": f"0 0 {frame.width} {height}", "role": "img"}
    head = _text(title, 4, 13, weight="600", fill=frame.text)
    ys = [v for line in lines for v in line.y if math.isfinite(v) and (v > 0 or not log_y)]
    xs = [v for line in lines for v in line.x if math.isfinite(v)]
    if not ys or not xs:
        nothing = _text("no data yet", frame.left, height / 2, fill=frame.text)
        return tag("svg", head, nothing, aria_label=f"{title}: no data yet", **box)
    low, high = widened(min(ys), max(ys))
    start, end = min(0.0, *xs), max(xs)
    marks = log_ticks(low, high) if log_y else linear_ticks(low, high, 4)
    x = Axis("", start, end, [(v, tokens(v)) for v in linear_ticks(start, end, 4)])
    y = Axis("", low, high, [(v, metric_tick_text(v)) for v in marks], log_y)
    fx, fy = _scales(x, y, frame)
    drawn: list[Trace | Upright] = []
    for line in lines:
        drawn += [Upright(at, line.color, f"{line.name} goes on from another run") for at in line.joints]
        drawn.append(Trace(line.x, line.y, line.color, line.dash, name=line.name))
    parts = [*_axes(x, y, fx, fy, frame), *(_drawn(mark, fx, fy, frame) for mark in drawn)]
    return tag("svg", head, *parts, aria_label=f"{title} against tokens, {len(lines)} lines", **box)


def _scale(low: float, high: float, start: float, end: float, log: bool) -> Scale:
    """Value → place between `start` and `end` (pixels); NaN for what the scale does not have."""
    if log:
        low, high = math.log(low), math.log(high)
    span = (high - low) or 1.0

    def position(value: float) -> float:
        if not math.isfinite(value) or (log and value <= 0):
            return math.nan
        return start + (end - start) * ((math.log(value) if log else value) - low) / span

    return position


def _scales(x: Axis, y: Axis, frame: Frame) -> tuple[Scale, Scale]:
    across = _scale(x.low, x.high, frame.left, frame.end, x.log)
    return across, _scale(y.low, y.high, frame.bottom, frame.top, y.log)


def _path(mark: Trace, fx: Scale, fy: Scale) -> str:
    """The `d` of an SVG path through points, with a gap where one is not on the scales."""
    parts: list[str] = []
    pen = "M"
    for a, b in zip(mark.x, mark.y, strict=True):
        x, y = fx(a), fy(b)
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _text(
    text: str, x: float, y: float, *, size: int = 12, align: str = "start", fill: str = _INK, **more: str
) -> Html:
    weight = more.pop("weight", None)
    place = {"x": round(x, 1), "y": round(y, 1)}
    return tag("text", text, **place, font_size=size, font_weight=weight, text_anchor=align, fill=fill, **more)


def _axes(x: Axis, y: Axis, fx: Scale, fy: Scale, frame: Frame) -> list[Html]:
    parts = []
    for value, text in y.ticks:
        if y.low <= value <= y.high:
            at = round(fy(value), 1)
            label = _text(text, frame.left - 7, at + 4, size=frame.size, align="end", fill=frame.text)
            parts += [tag("path", d=f"M{frame.left} {at}H{frame.end}", stroke=frame.grid), label]
    for value, text in x.ticks:
        if x.low <= value <= x.high:
            at = round(fx(value), 1)
            label = _text(text, at, frame.bottom + 18, size=frame.size, align="middle", fill=frame.text)
            parts += [tag("path", d=f"M{at} {frame.bottom}v4", stroke=frame.line), label]
    lines = f"M{frame.left} {frame.top}V{frame.bottom}H{frame.end}"
    return [*parts, tag("path", d=lines, stroke=frame.line, fill="none")]


def _drawn(mark: Trace | Points | Upright, fx: Scale, fy: Scale, frame: Frame) -> Html:
    if isinstance(mark, Points):
        places = [(fx(a), fy(b)) for a, b in zip(mark.x, mark.y, strict=True)]
        return tag("g", *(_shape(mark.shape, a, b, mark.size, mark.color, mark.hollow) for a, b in places))
    name = tag("title", mark.name) if mark.name else ""
    if isinstance(mark, Upright):
        place = f"M{fx(mark.x):.1f} {frame.top}v{frame.height}"
        return tag("path", name, d=place, stroke=mark.color, stroke_dasharray="2 2", opacity=0.8)
    return tag(
        "path", name, d=_path(mark, fx, fy), fill="none", stroke=mark.color, stroke_width=mark.width,
        stroke_dasharray=mark.dash, opacity=mark.opacity, stroke_linejoin="round",
    )  # fmt: skip


def _shape(shape: str, x: float, y: float, size: float, color: str, hollow: bool = False) -> Html:
    """An outline with its middle at a place; a place that is not on the scale draws nothing."""
    if x != x or y != y:
        return Html("")
    to = f"translate({x:.1f} {y:.1f}) scale({size / 10:g}) translate(-5 -5)"
    paint = {"fill": "none", "stroke": color, "stroke_width": 1.5} if hollow else {"fill": color}
    return tag("path", d=shape, transform=to, **paint)


def _word(mark: Word, fx: Scale, fy: Scale) -> Html:
    x, y = fx(mark.x) + mark.dx, fy(mark.y) + mark.dy + 4
    return _text(mark.text, x, y, size=11, align=mark.align, fill=_GREY)


def _wide(key: Key) -> float:
    icon = (26 if key.line else 0) or (14 if key.shape else 0)
    return icon + len(key.text) * _CHARACTER + 16


def _rows(legend: Sequence[Key]) -> list[list[Key]]:
    """The entries in lines that fit the width; one that is too long for any is cut."""
    most = _PAPER.end - _PAPER.left
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
        x, y = float(_PAPER.left), top + number * _ROW + 9
        for key in row:
            at = x
            if key.line:
                line = f"M{at:.1f} {y - 4:.1f}h20"
                parts.append(tag("path", d=line, stroke=key.color, stroke_width=1.75, stroke_dasharray=key.dash))
            if key.shape:
                parts.append(_shape(key.shape, at + (10 if key.line else 5), y - 4, 8 if key.line else 9, key.color))
            at += (26 if key.line else 0) or (14 if key.shape else 0)
            room = int((_PAPER.end - at) / _CHARACTER)
            text = key.text if len(key.text) <= room else f"{key.text[: max(1, room - 1)]}…"
            parts.append(_text(text, at, y))
            x += _wide(key)
    return parts
