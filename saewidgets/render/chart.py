"""Line charts as inline SVG: no script, readable in light and dark (every colour is given or `currentColor`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saewidgets.render.html import Html, tag
from saewidgets.render.numbers import tokens
from saewidgets.render.ticks import linear_ticks, log_ticks, metric_tick_text, widened


@dataclass(frozen=True, slots=True)
class Line:
    """One line: points with finite coordinates are drawn, a gap is left at the others."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str = "#1f5fae"
    dash: str | None = None
    joints: Sequence[float] = ()  # where it goes on from another run: upright dotted lines


def path_of(x: Sequence[float], y: Sequence[float], fx: Callable[[float], float], fy: Callable[[float], float]) -> str:
    """The `d` of an SVG path through points, with a gap where one is not on the scales."""
    parts: list[str] = []
    pen = "M"
    for a, b in zip(x, y, strict=True):
        px, py = fx(a), fy(b)
        if not (math.isfinite(px) and math.isfinite(py)):
            pen = "M"
            continue
        parts.append(f"{pen}{px:.1f} {py:.1f}")
        pen = "L"
    return "".join(parts)


def scale_of(low: float, high: float, start: float, end: float, log: bool) -> Callable[[float], float]:
    """Value → place between `start` and `end` (pixels); NaN for what the scale does not have."""
    if log:
        low, high = math.log(low), math.log(high)
    span = (high - low) or 1.0

    def position(value: float) -> float:
        if not math.isfinite(value) or (log and value <= 0):
            return math.nan
        return start + (end - start) * ((math.log(value) if log else value) - low) / span

    return position


def sparkline(values: Sequence[float], *, width: int = 96, height: int = 20, color: str = "currentColor") -> Html:
    """A bare curve for a table cell, with its first and last value as text alternative."""
    good = [v for v in values if math.isfinite(v)]
    if len(good) < 2:
        return Html("")
    low, high = min(good), max(good)
    fy = scale_of(low, high, height - 2, 2, False) if high > low else (lambda value: height / 2)
    fx = scale_of(0, len(values) - 1, 1, width - 1, False)
    label = f"from {good[0]:.4g} to {good[-1]:.4g}"
    path = tag(
        "path", d=path_of(list(range(len(values))), values, fx, fy), fill="none", stroke=color, stroke_width="1.5"
    )
    return tag("svg", path, role="img", aria_label=label, width=width, height=height, viewBox=f"0 0 {width} {height}")


def line_chart(title: str, lines: Sequence[Line], *, width: int = 280, height: int = 170, log_y: bool = False) -> Html:
    """A chart with axes, ticks and a title; x is a count of tokens.

    Non-positive values are left out when `log_y` is set.
    """
    ys = [v for line in lines for v in line.y if math.isfinite(v) and (v > 0 or not log_y)]
    xs = [v for line in lines for v in line.x if math.isfinite(v)]
    caption = tag("text", title, x=4, y=13, font_weight="600", font_size=12, fill="currentColor")
    box = {"width": width, "height": height, "viewBox": f"0 0 {width} {height}", "role": "img"}
    if not ys or not xs:
        nothing = tag("text", "no data yet", x=44, y=height / 2, font_size=11, fill="currentColor", opacity=0.7)
        return tag("svg", caption, nothing, aria_label=f"{title}: no data yet", **box)
    low, high = widened(min(ys), max(ys))
    start = min(0.0, *xs)
    fx = scale_of(start, max(xs), 44, width - 8, False)
    fy = scale_of(low, high, height - 24, 22, log_y)
    parts = [caption]
    for value in log_ticks(low, high) if log_y else linear_ticks(low, high, 4):
        y = round(fy(value), 1)
        parts.append(tag("path", d=f"M44 {y}H{width - 8}", stroke="currentColor", opacity=0.15))
        parts.append(
            tag(
                "text",
                metric_tick_text(value),
                x=40,
                y=y + 3,
                text_anchor="end",
                font_size=10,
                fill="currentColor",
                opacity=0.75,
            )
        )
    for value in linear_ticks(start, max(xs), 4):
        parts.append(
            tag(
                "text",
                tokens(value),
                x=round(fx(value), 1),
                y=height - 10,
                text_anchor="middle",
                font_size=10,
                fill="currentColor",
                opacity=0.75,
            )
        )
    for line in lines:
        for joint in line.joints:
            place = f"M{fx(joint):.1f} 22V{height - 24}"
            name = tag("title", f"{line.name} goes on from another run")
            parts.append(tag("path", name, d=place, stroke=line.color, stroke_dasharray="2 2", opacity=0.8))
        parts.append(
            tag(
                "path",
                tag("title", line.name),
                d=path_of(line.x, line.y, fx, fy),
                fill="none",
                stroke=line.color,
                stroke_width="1.75",
                stroke_dasharray=line.dash,
            )
        )
    return tag("svg", *parts, aria_label=f"{title} against tokens, {len(lines)} lines", **box)
