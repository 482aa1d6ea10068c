"""The figure of the Pareto view: what its marks hold, and that a reader's zoom stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from saewidgets.widgets.messages import CompareState
from saewidgets.widgets.panel_state import PanelModel
from saewidgets.widgets.pareto import ParetoChart, doubling_ticks, readable
from tests.widgets.fake_workspace import compared_workspace


@pytest.fixture
def state() -> CompareState:
    model = PanelModel(compared_workspace())
    model.read()
    model.compare(["sweep_16", "jump_1.5"])
    found = model.state().compare
    assert found is not None
    return found


@pytest.fixture
def chart() -> Iterator[ParetoChart]:
    chart = ParetoChart(lambda: None)
    yield chart
    chart.close()


def marks(chart: ParetoChart, kind: str) -> list[Any]:
    return [mark for mark in chart._figure.marks if type(mark).__name__ == kind and mark.visible]


def test_points_labels_front_and_rings(chart: ParetoChart, state: CompareState) -> None:
    chart.draw(state, "light")
    rings, *points = marks(chart, "Scatter")
    assert sorted(rings.x.tolist()) == [16.0, 58.4]
    assert sum(len(mark.x) for mark in points) == len(state.points)
    assert len({mark.marker for mark in points}) == len(points) == 3
    assert "k 16" in [text for mark in marks(chart, "Label") for text in mark.text]
    (front,) = marks(chart, "Lines")
    assert front.x.tolist() == sorted(front.x.tolist())
    assert (front.y[:-1] >= front.y[1:]).all()  # FVU falls with every latent more
    assert "TopK" in chart._legend.value
    assert "lowest FVU" in chart._legend.value


def test_nothing_to_draw(chart: ParetoChart, state: CompareState) -> None:
    chart.draw(state, "light")
    chart.draw(state.model_copy(update={"points": (), "summary": "No run has both numbers yet."}), "dark")
    assert marks(chart, "Scatter") == marks(chart, "Lines") == []
    assert "No run has both numbers yet." in chart._legend.value


def test_names_are_text(chart: ParetoChart, state: CompareState) -> None:
    points = tuple(point.model_copy(update={"architecture": "<img src=x>"}) for point in state.points)
    chart.draw(state.model_copy(update={"points": points}), "light")
    assert "<img" not in chart._legend.value


def test_a_readers_zoom_stays_until_it_is_reset(chart: ParetoChart, state: CompareState) -> None:
    chart.draw(state, "light")
    assert not chart.zoomed
    whole = chart._x.max
    chart._x.max = 50.0
    assert chart.zoomed
    chart.draw(state, "light")
    assert chart._x.max == 50.0
    chart.reset_zoom()
    chart.draw(state, "light")
    assert chart._x.max == whole
    assert not chart.zoomed


def test_labels_do_not_lie_over_each_other(state: CompareState) -> None:
    (first, *_) = state.points
    near = first.model_copy(update={"id": "near", "l0": first.l0 * 1.001})
    shown = readable(state.model_copy(update={"points": (*state.points, near), "training_ids": ("near",)}))
    assert "near" in shown
    assert first.id not in shown
    assert readable(state.model_copy(update={"points": (first,)})) == {first.id}
    assert readable(state.model_copy(update={"points": ()})) == set()


def test_ticks_are_powers_of_two() -> None:
    assert doubling_ticks(12, 300) == [16, 32, 64, 128, 256]
    assert doubling_ticks(1, 2**20, most=5) == [1, 32, 1024, 32768, 1048576]
