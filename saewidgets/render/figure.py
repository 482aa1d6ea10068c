"""`figure`, a chart as one SVG text: on its own on `PAPER`, or as part of a `PAGE`, light or dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from saewidgets.render.html import Html, tag
from saewidgets.render.numbers import MINUS

_ROW, _CHARACTER = 18, 6.5  # height of a line of the legend, and the widest mean width of a character, in pixels
_GAP = 10.0  # pixels that are free between the labels of an axis
_INK, _GREY = "#1f2328", "#545c66"
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plot lies in the drawing, in pixels, and what its axes are drawn with."""

    width: int
    height: int  # of the plot
    left: int
    right: int
    top: int
    below: int  # height of the x axis with its name
    title: dict[str, Any]  # place and size
    text: str
    line: str
    grid: str
    ground: str | None  # None: that of the page, light or dark
    size: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def end(self) -> int:
        return self.width - self.right


PAPER = Frame(640, 320, 64, 20, 34, 54, {"x": 64, "y": 20, "size": 14}, _INK, _GREY, "#e6e9ee", "#ffffff", 12)
PAGE = Frame(280, 124, 44, 8, 22, 24, {"x": 4, "y": 13}, "currentColor", "#8888", "#8884", None, 10)


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
    """A line through points, with a gap where one is not finite; without `y` a line from bottom to top at each `x`."""

    x: Sequence[float]
    y: Sequence[float]
    color: str
    dash: str | None = None
    width: float = 1.75
    opacity: float = 1.0
    name: str = ""
    dark: str | None = None  # the colour on a dark page, if it is another one


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
class Word:
    """Text beside a point: `dx`, `dy` pixels right of it and below; with a negative `dx` it ends there."""

    x: float
    y: float
    text: str
    dx: float = 0.0
    dy: float = 0.0


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the legend: a piece of line, an outline, or both; neither is a remark."""

    text: str
    color: str = _GREY
    dash: str | None = None
    line: bool = False
    shape: str | None = None


Mark = Trace | Points | Word


@dataclass(frozen=True, slots=True)
class Drawing:
    """An ``<svg>`` element with its namespace, and its size in pixels."""

    svg: Html
    width: int
    height: int


def figure(
    title: str,
    x: Axis,
    y: Axis,
    marks: Sequence[Mark],
    legend: Sequence[Key] = (),
    *,
    frame: Frame = PAPER,
    says: str = "",
) -> Drawing:
    """Draw `marks` (the first at the back), on paper cut off at the axes; `says`: the text in place of it."""
    keys, lines = _legend(legend, frame)
    fx = _scale(x, frame.left, frame.end)
    fy = _scale(y, frame.bottom, frame.top)
    height = frame.bottom + frame.below + _ROW * lines
    middle = frame.top + frame.height / 2
    drawn: list[Html] = [_drawn(mark, fx, fy, frame) for mark in marks if not isinstance(mark, Word)]
    ground: list[Html] = []
    if frame.ground:
        inside = {"x": frame.left, "y": frame.top, "width": frame.end - frame.left, "height": frame.height}
        whole = tag("rect", width=frame.width, height=height, fill=frame.ground)
        ground = [tag("clipPath", tag("rect", **inside), id="plot"), whole]
        drawn = [tag("g", *drawn, clip_path="url(#plot)")]
    svg = tag(
        "svg",
        tag("title", says or title),
        *ground,
        _text(title, **frame.title, font_weight="600", fill=frame.text),
        *_axes(x, y, fx, fy, frame),
        _text(x.name, (frame.left + frame.end) / 2, frame.bottom + 38, align="middle") if x.name else "",
        _text(y.name, 16, middle, align="middle", transform=f"rotate(-90 16 {middle})") if y.name else "",
        *drawn,
        *(
            _text(
                mark.text, fx(mark.x) + mark.dx, fy(mark.y) + mark.dy + 4, size=11, fill=_GREY,
                align="end" if mark.dx < 0 else "start",
            )
            for mark in marks
            if isinstance(mark, Word)
        ),
        "" if marks else _text("no data yet", frame.left + 4, middle, fill=frame.text),
        *keys,
        xmlns="http://www.w3.org/2000/svg",
        width=frame.width,
        height=height,
        viewBox=f"0 0 {frame.width} {height}",
        font_family="Helvetica, Arial, sans-serif" if frame.ground else None,
        role="img",
    )
    return Drawing(svg, frame.width, height)


def _scale(axis: Axis, start: float, end: float) -> Scale:
    """Value → place between `start` and `end` (pixels); NaN for what the axis does not have."""
    low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
    span = (high - low) or 1.0

    def position(value: float) -> float:
        if not math.isfinite(value) or (axis.log and value <= 0):
            return math.nan
        return start + (end - start) * ((math.log(value) if axis.log else value) - low) / span

    return position


def _path(mark: Trace, fx: Scale, fy: Scale, frame: Frame) -> str:
    """The `d` of an SVG path through points, with a gap where one is not on the scales."""
    if not mark.y:
        return "".join(f"M{fx(x):.1f} {frame.top}v{frame.height}" for x in mark.x)
    parts: list[str] = []
    pen = "M"
    for x, y in zip(map(fx, mark.x), map(fy, mark.y), strict=True):
        is_drawn = math.isfinite(x) and math.isfinite(y)
        parts += [f"{pen}{x:.1f} {y:.1f}"] if is_drawn else []
        pen = "L" if is_drawn else "M"
    return "".join(parts)


def _text(
    text: str, x: float, y: float, *, size: int = 12, align: str = "start", fill: str = _INK, **more: str
) -> Html:
    return tag("text", text, x=round(x, 1), y=round(y, 1), font_size=size, text_anchor=align, fill=fill, **more)


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


def _drawn(mark: Trace | Points, fx: Scale, fy: Scale, frame: Frame) -> Html:
    if isinstance(mark, Points):
        places = [(fx(a), fy(b)) for a, b in zip(mark.x, mark.y, strict=True)]
        return tag("g", *(_shape(mark.shape, a, b, mark.size, mark.color, mark.hollow) for a, b in places))
    name = tag("title", mark.name) if mark.name else ""
    paint = {"stroke": mark.color}  # an attribute, for those who do not know `light-dark`
    if mark.dark and not frame.ground:
        paint["style"] = f"stroke:light-dark({mark.color},{mark.dark})"
    return tag(
        "path", name, d=_path(mark, fx, fy, frame), fill="none", stroke_width=mark.width, stroke_dasharray=mark.dash,
        opacity=mark.opacity, stroke_linejoin="round", **paint,
    )  # fmt: skip


def _shape(shape: str, x: float, y: float, size: float, color: str, hollow: bool = False) -> Html:
    """An outline with its middle at a place; a place that is not on the scale draws nothing."""
    if x != x or y != y:
        return Html("")
    to = f"translate({x:.1f} {y:.1f}) scale({size / 10:g}) translate(-5 -5)"
    paint = {"fill": "none", "stroke": color, "stroke_width": 1.5} if hollow else {"fill": color}
    return tag("path", d=shape, transform=to, **paint)


def _legend(legend: Sequence[Key], frame: Frame) -> tuple[list[Html], int]:
    """The entries in lines that fit the width, and how many lines; an entry that is too long for any is cut."""
    parts: list[Html] = []
    x, lines = 0.0, 0
    for key in legend:
        icon = 26 if key.line else 14 if key.shape else 0
        wide = icon + len(key.text) * _CHARACTER + 16
        if not lines or x + wide > frame.end:
            x, lines = float(frame.left), lines + 1
        y = frame.bottom + frame.below + _ROW * (lines - 1) + 7
        if key.line:
            line = f"M{x:.1f} {y - 4:.1f}h20"
            parts.append(tag("path", d=line, stroke=key.color, stroke_width=1.75, stroke_dasharray=key.dash))
        if key.shape:
            parts.append(_shape(key.shape, x + (10 if key.line else 5), y - 4, 8 if key.line else 9, key.color))
        room = int((frame.end - x - icon) / _CHARACTER)
        text = key.text if len(key.text) <= room else f"{key.text[: max(1, room - 1)]}…"
        parts.append(_text(text, x + icon, y))
        x += wide
    return parts, lines


def linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` multiples of 1, 2 or 5 · 10^n from `low` to `high` (both included when they are round)."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    rough = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    # The factor nearest to the rough step on a logarithmic scale.
    step = power * next(
        factor for factor, limit in ((1, 2**0.5), (2, 10**0.5), (5, 50**0.5), (10, math.inf)) if rough / power < limit
    )
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    found = (0.0 if index == 0 else float(f"{index * step:.15g}") for index in range(first, last + 1))
    return list(dict.fromkeys(found))  # far from zero two neighbours can round to the same number


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """1, 2, 5 · 10^n between `low` and `high`; powers of ten alone when the range is wide; at least two marks."""
    if not (math.isfinite(low) and math.isfinite(high) and 0 < low < high):
        return []
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{factor * 10.0**power:.12g}") for power in powers for factor in factors]
        inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) <= most:
            break
    else:
        inside = inside[:: -(-len(inside) // most)]
    return inside if len(inside) >= 2 else linear_ticks(low, high, 3)


def doubling_ticks(low: float, high: float, width: float) -> list[float]:
    """Powers of two between `low` and `high` on a logarithmic axis of `width` pixels, as many as fit beside each other.

    1, 2, 5 · 10^n where there are fewer than two, and below 1/8, where powers of two have long names.
    """
    if not (math.isfinite(low) and math.isfinite(high) and 0 < low < high):
        return []
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    if first < -3 or last <= first:
        return log_ticks(low, high, max(2, int(width / (_CHARACTER * 6 + _GAP))))
    longest = max(len(tick_text(2.0**exponent)) for exponent in range(first, last + 1))
    step = math.ceil((_CHARACTER * longest + _GAP) * math.log2(high / low) / width)
    return [2.0**exponent for exponent in range(first, last + 1, step)]


def widened(low: float, high: float) -> tuple[float, float]:
    """`low` to `high`, but at least a tenth of their middle to each side, so as not to magnify noise."""
    middle = low + (high - low) / 2
    half = 0.1 * abs(middle) or 0.1
    return (low, high) if (high - low) / 2 >= half else (middle - half, middle + half)


def tick_text(value: float) -> str:
    """The shortest exact-looking label: 0.25, 2, 1,500, 1M, 1e-5."""
    if value < 0:
        return MINUS + tick_text(-value)
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e12):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    for unit, suffix in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= unit * 0.9999995:  # six digits of less would be written with an exponent
            return f"{value / unit:.6g}{suffix}"
    return f"{value:,.6g}"


def metric_tick_text(value: float) -> str:
    """A tick of a metric: from 100,000 on 1e5, as in the tiles, for there is no room for more beside an axis."""
    if value < 0:
        return MINUS + metric_tick_text(-value)
    if value < 99_999.5:
        return tick_text(value)
    mantissa, exponent = f"{value:.5e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
