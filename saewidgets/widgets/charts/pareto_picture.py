"""The Pareto view as a picture that stands alone."""

from __future__ import annotations

from collections.abc import Sequence

from saewidgets.render.figure import Axis, Drawing, Key, Mark, Points, Trace, Word, figure
from saewidgets.widgets.charts.pareto_labels import Place
from saewidgets.widgets.charts.pareto_points import Y_NAMES
from saewidgets.widgets.charts.style import PALETTES, SHAPES, symbol_of
from saewidgets.widgets.messages.training import CompareState

_RING = 14.0  # pixels


def pareto_picture(
    state: CompareState, x: Axis, y: Axis, places: Sequence[Place | None], remarks: Sequence[str]
) -> Drawing:
    """Draw the points of `state`, always on white.

    Args:
        state: what the view shows.
        x: the axis of L0.
        y: the axis of the quality.
        places: where the label of each point stands; None: nowhere.
        remarks: what line, ring and hollow symbols mean.
    """
    palette = PALETTES["light"]
    front = sorted((point.l0, point.y) for point in state.points if point.front)
    marks: list[Mark] = [Trace([p[0] for p in front], [p[1] for p in front], palette.axis, width=1.25)]
    legend = {}
    for point in sorted(state.points, key=lambda one: one.kind):
        symbol = symbol_of(point.architecture)
        color, shape = symbol.color_in(palette), SHAPES[symbol.marker]
        marks.append(Points([point.l0], [point.y], color, shape, hollow=bool(point.preliminary)))
        legend[point.kind] = Key(point.kind, color, shape=shape)
    compared = [point for point in state.points if point.id in state.training_ids]
    ring_x, ring_y = [point.l0 for point in compared], [point.y for point in compared]
    marks.append(Points(ring_x, ring_y, palette.text, SHAPES["circle"], hollow=True, size=_RING / 0.8))
    for point, at in zip(state.points, places, strict=True):
        if at is not None:
            marks.append(Word(point.l0, point.y, point.label, at.dx, at.dy, at.align))
    scope = next((one.label for one in state.scopes if one.value == state.scope), "")
    title = f"L0 against {Y_NAMES[state.y_axis]}" + (f": {scope}" if scope else "")
    return figure(title, x, y, marks, [*legend.values(), *(Key(words) for words in remarks)])
