"""The figure of the Pareto view: what its marks hold, and that a reader's zoom stays."""

from collections.abc import Iterator
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pytest

from saewidgets.config import BatchTopKConfig, JumpReLUConfig, TopKConfig, TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.widgets.charts.drawing import PALETTES, SHAPES, SYMBOLS, symbol_of
from saewidgets.widgets.charts.pareto import HEIGHT, MARGIN, NARROW, ParetoChart
from saewidgets.widgets.messages.training import CompareState, ParetoPoint
from saewidgets.widgets.training_panel.compare import compare_state, pareto_points, scope_of, summary
from saewidgets.widgets.training_panel.form import architectures
from tests.widgets.seeded_runs import make_record

Axis = Literal["fvu", "ce_loss_score"]


def run(name: str, sae: Any, l0: float, fvu: float, score: float, **changes: Any) -> TrainingRecord:
    latest = {"val_l0": l0, "val_fvu": fvu, "ce_loss_score": score}
    values = {"status": JobStatus.COMPLETED, "latest": latest, **changes}
    return make_record(name, TrainingConfig(model="gpt2", sae=sae), **values)


@pytest.fixture
def state() -> CompareState:
    records = [
        run("k16", TopKConfig(k=16), 16, 0.171, 0.93),
        run("k64", TopKConfig(k=64), 64, 0.079, 0.974),
        run("running", TopKConfig(k=32), 32, 0.12, 0.95, status=JobStatus.RUNNING),
        run("jump", JumpReLUConfig(l0_coefficient=1.5), 58.4, 0.131, 0.948),
        run("batch", BatchTopKConfig(k=48), 48.1, 0.107, 0.961),
    ]
    compared = [records[0], records[3]]
    return compare_state(records, compared, {}, y_axis="fvu", scope=scope_of(records[0]), zoomed=False)


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
    assert sum(len(mark.x) for mark in points) == len(state.points) == 5
    symbols = [symbol_of(name) for name in ("topk", "jumprelu", "batchtopk")]
    assert {(mark.marker, mark.colors[0]) for mark in points} == {
        (symbol.marker, symbol.color_in(PALETTES["light"])) for symbol in symbols
    }
    assert {mark.fill for mark in points} == {True, False}  # the run that has not ended is hollow
    assert "k 16" in [text for mark in marks(chart, "Label") for text in mark.text]
    (front,) = marks(chart, "Lines")
    assert front.x.tolist() == sorted(front.x.tolist())
    assert (front.y[:-1] >= front.y[1:]).all()  # FVU falls with every latent more
    assert "TopK" in chart._caption.value
    assert "lowest FVU" in chart._caption.value
    empty = state.model_copy(update={"points": (), "summary": "No run has both numbers yet."})
    chart.draw(empty, "dark")
    assert marks(chart, "Scatter") == marks(chart, "Lines") == marks(chart, "Label") == []
    assert "No run has both numbers yet." in chart._caption.value


def test_collapsed_runs_are_not_on_the_front() -> None:
    sae = TopKConfig()
    collapsed = run("collapsed", sae, 0.01, 1.37, -0.1)
    axes: tuple[Axis, ...] = ("fvu", "ce_loss_score")
    for axis in axes:
        found = pareto_points([collapsed, run("sparse", sae, 16, 0.4, 0.8), run("dense", sae, 64, 0.2, 0.9)], axis)
        assert {point.id: point.front for point in found} == {"collapsed": False, "sparse": True, "dense": True}
        assert "collapsed" not in summary(found, axis)
    (cancelled,) = pareto_points([run("c", sae, 16, 0.5, 0.5, status=JobStatus.CANCELLED)], "fvu")
    assert cancelled.preliminary == "stopped without saving"


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


def test_names_are_text_and_the_legend_has_the_marks(chart: ParetoChart, state: CompareState) -> None:
    points = tuple(point.model_copy(update={"kind": "<img src=x>"}) for point in state.points)
    chart.draw(state.model_copy(update={"points": points}), "light")
    assert "<img" not in chart._caption.value
    for theme in ("light", "dark"):
        chart.draw(state, theme)  # type: ignore[arg-type]
        icon = chart._caption.value.split("</svg>TopK")[0].rsplit("<svg", 1)[1]
        assert SHAPES[SYMBOLS["topk"].marker] in icon
        assert SYMBOLS["topk"].color_in(PALETTES[theme]) in icon


def test_the_picture_stands_alone(chart: ParetoChart, state: CompareState) -> None:
    assert chart.pictures() == ()
    chart.draw(state, "dark")
    (picture,) = chart.pictures()
    assert (picture.name, picture.width) == ("pareto", 640)
    root = ElementTree.fromstring(picture.svg)
    assert root.get("height") == str(picture.height)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for wanted in (
        "L0 against FVU: gpt2 · blocks.2.hook_resid_post", "L0, active latents per token (log)", "FVU",
        "TopK", "JumpReLU", "BatchTopK", "k 16", "ring: compared here",
    ):  # fmt: skip
        assert wanted in words
    assert PALETTES["light"].series[0] in picture.svg  # on white, whatever the theme of the page
    assert PALETTES["dark"].series[0] not in picture.svg


def crowd(*places: tuple[float, float]) -> tuple[ParetoPoint, ...]:
    return tuple(
        ParetoPoint(
            id=str(i), name=str(i), architecture="topk", kind="TopK", label=f"k {int(l0)}", l0=l0, y=y, front=i < 3
        )
        for i, (l0, y) in enumerate(places)
    )


def test_no_two_points_have_the_same_label() -> None:
    records = [
        run("plain", TopKConfig(k=32, d_sae=4096), 32, 0.12, 0.95),
        run("wide", TopKConfig(k=32, d_sae=8192), 32, 0.1, 0.96),
        run("batch", BatchTopKConfig(k=32, d_sae=4096), 32.1, 0.11, 0.955),
        run("again", TopKConfig(k=32, d_sae=8192), 32, 0.1, 0.96),
        run("other", TopKConfig(k=16, d_sae=8192), 16, 0.2, 0.9),
    ]
    assert {point.id: point.label for point in pareto_points(records, "fvu")} == {
        "plain": "k 32, TopK, 4,096",
        "wide": "k 32, TopK, 8,192, wide",
        "batch": "k 32, BatchTopK",
        "again": "k 32, TopK, 8,192, again",
        "other": "k 16",
    }


@pytest.mark.parametrize("y_axis", ["fvu", "ce_loss_score"])
def test_labels_lie_on_no_marker_and_on_no_other_label(chart: ParetoChart, state: CompareState, y_axis: Axis) -> None:
    rng = np.random.default_rng(0)
    points = crowd(*zip(rng.uniform(8, 400, 60), rng.uniform(0.02, 0.98, 60), strict=True))
    chart.draw(state.model_copy(update={"points": points, "y_axis": y_axis}), "light")
    labels = [
        (l0, y, text, names.x_offset, names.y_offset, names.align)
        for names in marks(chart, "Label")
        for l0, y, text in zip(names.x, names.y, names.text, strict=True)
    ]
    assert 8 <= len(labels) < 60
    assert len({(dx, dy) for *_, dx, dy, _ in labels}) > 1  # another side where the first one is taken
    width, height = NARROW, HEIGHT - MARGIN["top"] - MARGIN["bottom"]
    low, high, bottom, top = chart._bounds()

    def place(l0: float, y: float) -> tuple[float, float]:
        return np.log(l0 / low) / np.log(high / low) * width, (top - y) / (top - bottom) * height

    boxes = []
    for l0, y, text, dx, dy, align in labels:
        left, middle = place(l0, y)
        left, middle = left + dx - (6.2 * len(text) if align == "end" else 0), middle + dy
        boxes.append((left, middle - 6, left + 6.2 * len(text), middle + 6))
    for number, (left, upper, right, lower) in enumerate(boxes):
        assert left >= 0 <= upper
        assert right <= width
        assert lower <= height
        for x, y in (place(point.l0, point.y) for point in points):
            assert not (left - 4 < x < right + 4 and upper - 4 < y < lower + 4)
        for other in boxes[number + 1 :]:
            assert other[0] >= right or other[2] <= left or other[1] >= lower or other[3] <= upper


@pytest.mark.parametrize(
    ("y_axis", "l0", "y", "words"),
    [
        ("fvu", 0.0005, 0.999, "1 run with L0 below 0.5 or FVU above 2"),
        ("fvu", 40.0, 380.0, "1 run with L0 below 0.5 or FVU above 2"),
        ("ce_loss_score", 40.0, -25.0, "1 run with L0 below 0.5 or CE recovered below −1"),
    ],
)
def test_a_run_that_collapsed_does_not_move_the_axes(
    chart: ParetoChart, state: CompareState, y_axis: Axis, l0: float, y: float, words: str
) -> None:
    state = state.model_copy(update={"y_axis": y_axis})
    chart.draw(state, "light")
    bounds = chart._bounds()
    assert "outside the axes" not in chart._caption.value
    failed = state.points[0].model_copy(update={"id": "f", "l0": l0, "y": y, "front": False, "preliminary": "failed"})
    chart.draw(state.model_copy(update={"points": (failed, *state.points)}), "light")
    assert chart._bounds() == bounds
    assert words in chart._caption.value
    chart.draw(state.model_copy(update={"points": (failed,)}), "light")  # there is nothing else to see
    assert chart._x.min < l0 < chart._x.max
    assert chart._y.min < y < chart._y.max
    assert "outside the axes" not in chart._caption.value
