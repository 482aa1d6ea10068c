"""The figure of the Pareto view: what its marks hold, and that a reader's zoom stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.widgets.charts.pareto import ParetoChart
from saewidgets.widgets.charts.pareto_labels import PLACES, place
from saewidgets.widgets.charts.pareto_points import pareto_points, summary
from saewidgets.widgets.charts.style import PALETTES, SHAPES, SYMBOLS, symbol_of
from saewidgets.widgets.messages.training import CompareState
from saewidgets.widgets.training_panel.form import architectures
from saewidgets.widgets.training_panel.state import PanelModel
from tests.widgets.fake_workspace import compared_workspace, make_record


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
    symbols = [symbol_of(name) for name in ("topk", "jumprelu", "batchtopk")]
    assert {(mark.marker, mark.colors[0]) for mark in points} == {
        (symbol.marker, symbol.color_in(PALETTES["light"])) for symbol in symbols
    }
    assert {mark.fill for mark in points} == {True, False}  # the runs that have not ended are hollow
    assert "k 16" in [text for mark in marks(chart, "Label") for text in mark.text]
    (front,) = marks(chart, "Lines")
    assert front.x.tolist() == sorted(front.x.tolist())
    assert (front.y[:-1] >= front.y[1:]).all()  # FVU falls with every latent more
    assert "TopK" in chart._legend.value
    assert "lowest FVU" in chart._legend.value


def test_runs_that_are_no_better_than_none_are_no_trade_off() -> None:
    def run(name: str, l0: float, fvu: float, score: float) -> Any:
        latest = {"val_l0": l0, "val_fvu": fvu, "ce_loss_score": score}
        return make_record(name, TrainingConfig(), status=JobStatus.COMPLETED, latest=latest)

    records = [run("collapsed", 0.01, 1.37, -0.1), run("sparse", 16, 0.4, 0.8), run("dense", 64, 0.2, 0.9)]
    axes: tuple[Literal["fvu", "ce_loss_score"], ...] = ("fvu", "ce_loss_score")
    for axis in axes:
        found = pareto_points(records, axis)
        assert {point.id: point.front for point in found} == {"collapsed": False, "sparse": True, "dense": True}
        assert "collapsed" not in summary(found, axis)
    cancelled = make_record("c", TrainingConfig(), status=JobStatus.CANCELLED, latest={"l0": 16.0, "fvu": 0.5})
    assert pareto_points([cancelled], "fvu")[0].preliminary == "stopped without saving"


def test_nothing_to_draw(chart: ParetoChart, state: CompareState) -> None:
    chart.draw(state, "light")
    chart.draw(state.model_copy(update={"points": (), "summary": "No run has both numbers yet."}), "dark")
    assert marks(chart, "Scatter") == marks(chart, "Lines") == []
    assert "No run has both numbers yet." in chart._legend.value


def test_names_are_text(chart: ParetoChart, state: CompareState) -> None:
    points = tuple(point.model_copy(update={"kind": "<img src=x>", "label": "</svg><b>"}) for point in state.points)
    chart.draw(state.model_copy(update={"points": points}), "light")
    assert "<img" not in chart._legend.value
    picture = chart.picture()
    assert picture is not None
    assert "<img" not in picture.svg
    assert "<b>" not in picture.svg


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


def test_every_architecture_has_a_symbol_of_its_own() -> None:
    assert set(SYMBOLS) == set(architectures())
    assert len({symbol.marker for symbol in SYMBOLS.values()}) == len(SYMBOLS)
    assert {symbol.marker for symbol in SYMBOLS.values()} <= set(SHAPES)
    assert symbol_of("of a later version").color is None


def test_the_symbol_of_an_architecture_stays(chart: ParetoChart, state: CompareState) -> None:
    """Whatever else is in the view, in any order and in both themes: mark, legend and picture agree."""
    only = [point for point in state.points if point.architecture == "topk" and not point.preliminary]
    for shown in (state.points, tuple(only), state.points):
        for theme in ("light", "dark"):
            chart.draw(state.model_copy(update={"points": shown}), theme)
            mark = chart._kinds["topk"].firm
            color = PALETTES[theme].series[SYMBOLS["topk"].color]
            assert (mark.marker, mark.colors, mark.visible) == ("circle", [color], True)
            icon = chart._legend.value.split("TopK")[0].rsplit("<svg", 1)[1] if len(shown) == len(only) else ""
            assert not icon or (SHAPES["circle"] in icon and color in icon)
            assert chart._kinds["jumprelu"].firm.visible == (len(shown) > len(only))


def test_the_picture_stands_alone(chart: ParetoChart, state: CompareState) -> None:
    assert chart.picture() is None
    chart.draw(state, "dark")
    picture = chart.picture()
    assert picture is not None
    assert (picture.name, picture.width) == ("pareto", 640)
    root = ElementTree.fromstring(picture.svg)
    assert root.get("height") == str(picture.height)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for wanted in (
        "L0 against FVU: gpt2 · blocks.6.hook_resid_post", "L0, active latents per token (log)", "FVU",
        "TopK", "JumpReLU", "BatchTopK", "k 16", "ring: compared here",
    ):  # fmt: skip
        assert wanted in words
    assert PALETTES["light"].series[0] in picture.svg  # on white, whatever the theme of the page
    assert PALETTES["dark"].series[0] not in picture.svg


SIZES = [(250.0, 196.0), (1200.0, 196.0)]


def boxes(points: list, texts: list, found: dict, width: float, height: float) -> list[tuple[float, ...]]:
    """Left, top, right, bottom of every label."""
    shift = {"start": 0.0, "middle": 0.5, "end": 1.0}
    result = []
    for index, where in found.items():
        x, y = points[index][0] * width + where.dx, (1 - points[index][1]) * height + where.dy
        wide = 6.2 * len(texts[index])
        left = x - shift[where.align] * wide
        result.append((left, y - 6, left + wide, y + 6))
    return result


@pytest.mark.parametrize("seed", range(5))
def test_labels_lie_on_no_marker_and_on_no_other_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in rng.uniform(0.02, 0.98, (30, 2))]
    texts = [f"k {int(n)}" for n in rng.integers(8, 4096, 30)]
    found = place(points, texts, range(30), sorted(points[:3]), SIZES)
    assert len(found) >= 8
    for width, height in SIZES:
        labels = boxes(points, texts, found, width, height)
        for number, (left, top, right, bottom) in enumerate(labels):
            assert min(left, top) >= 0
            assert right <= width
            assert bottom <= height
            for x, y in points:
                px, py = x * width, (1 - y) * height
                assert not (left - 4 < px < right + 4 and top - 4 < py < bottom + 4)
            for other in labels[number + 1 :]:
                assert other[0] >= right or other[2] <= left or other[1] >= bottom or other[3] <= top


def test_a_label_at_the_edge_turns_inwards_and_keeps_off_the_line() -> None:
    found = place([(0.99, 0.5)], ["k 1,024"], [0], [], SIZES)
    assert found[0].align == "end"
    line = [(0.2, 0.9), (0.5, 0.5), (0.8, 0.1)]
    found = place(line, ["", "k 32", ""], [1], line, SIZES)
    assert set(found) == {1}
    assert (found[1].dx, found[1].dy) == (6.0, -12.0)  # the line falls: above and to the right of it is room
    rising = [(0.2, 0.1), (0.5, 0.5), (0.8, 0.9)]
    assert place(rising, ["", "k 32", ""], [1], rising, [(300.0, 196.0)])[1].align == "end"


def test_labels_are_offset_by_whole_numbers() -> None:
    """bqplot's offsets are integers, and traitlets refuses 6.0 for one until version 5.15."""
    assert {type(offset) for where in PLACES for offset in (where.dx, where.dy)} == {int}


def test_those_compared_keep_their_labels(chart: ParetoChart, state: CompareState) -> None:
    crowd = tuple(
        point.model_copy(update={"id": f"{point.id}-{i}", "l0": point.l0 * (1 + i / 500)})
        for point in state.points
        for i in range(40)
    )
    wanted = crowd[25].id
    crowded = state.model_copy(update={"points": crowd, "training_ids": (wanted,)})
    chart.draw(crowded, "light")
    shown = [x for mark in marks(chart, "Label") for x in mark.x.tolist()]
    assert len(shown) < len(crowd)
    assert crowd[25].l0 in shown


@pytest.mark.parametrize(
    ("y_axis", "l0", "y", "words"),
    [
        ("fvu", 0.0005, 0.999, "1 run with L0 below 0.5 or FVU above 2"),
        ("fvu", 40.0, 380.0, "1 run with L0 below 0.5 or FVU above 2"),
        ("ce_loss_score", 40.0, -25.0, "1 run with L0 below 0.5 or CE recovered below −1"),
    ],
)
def test_a_run_that_collapsed_does_not_move_the_axes(
    chart: ParetoChart, state: CompareState, y_axis: Literal["fvu", "ce_loss_score"], l0: float, y: float, words: str
) -> None:
    state = state.model_copy(update={"y_axis": y_axis})
    chart.draw(state, "light")
    bounds = (chart._x.min, chart._x.max, chart._y.min, chart._y.max)
    assert "outside the axes" not in chart._legend.value
    failed = state.points[0].model_copy(update={"id": "f", "l0": l0, "y": y, "front": False, "preliminary": "failed"})
    chart.draw(state.model_copy(update={"points": (failed, *state.points)}), "light")
    assert (chart._x.min, chart._x.max, chart._y.min, chart._y.max) == bounds
    assert words in chart._legend.value
    chart.draw(state.model_copy(update={"points": (failed,)}), "light")  # there is nothing else to see
    assert chart._x.min < l0 < chart._x.max
    assert chart._y.min < y < chart._y.max
    assert "outside the axes" not in chart._legend.value
