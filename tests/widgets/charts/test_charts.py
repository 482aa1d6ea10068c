"""The three figures: what is drawn for which run, and how it follows, zooms and changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import bqplot
import numpy as np
import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.widgets.charts.charts import Charts, x_ticks
from saewidgets.widgets.charts.style import DASHES, MARKERS, PALETTES, SVG_DASHES
from saewidgets.widgets.messages.training import ChartState
from tests.widgets.fake_workspace import FakeWorkspace, make_record, metric_row

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def charts(ws: FakeWorkspace) -> Iterator[Charts]:
    found = Charts(ws.trainings.metric_columns, lambda: None)
    yield found
    found.close()


def runs(ws: FakeWorkspace, *ids: str) -> list:
    return [(ws.trainings.record(training_id), slot) for slot, training_id in enumerate(ids)]


def lines(charts: Charts, chart: int = 0) -> dict[int, object]:
    return charts.charts[chart]._slots


def test_a_run_has_a_raw_and_a_smoothed_line_in_every_chart(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState())
    for number, chart in enumerate(charts.charts):
        slot = chart._slots[0]
        assert slot.raw.visible
        assert slot.smooth.visible
        assert len(slot.raw.x) == 150
        assert slot.raw.opacities == [0.45]
        assert (slot.raw.stroke_width, slot.smooth.stroke_width) == (1.0, 1.75)
        expected = [metric_row(i, ws.trainings.record("train_0"))[3 + number] for i in range(150)]
        assert np.allclose(slot.raw.y, expected)
        assert np.std(np.diff(slot.smooth.y)) < np.std(np.diff(slot.raw.y))


def test_runs_differ_by_colour_dash_and_marker(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0", "train_1"), ChartState())
    first, second = lines(charts)[0], lines(charts)[1]
    assert (first.smooth.colors, second.smooth.colors) == ([PALETTES["light"].series[0]], [PALETTES["light"].series[1]])
    assert (first.smooth.line_style, second.smooth.line_style) == DASHES[:2]
    assert (first.marker.marker, second.marker.marker) == MARKERS[:2]
    assert first.marker.visible
    styles = set(zip(PALETTES["light"].series, DASHES, MARKERS, strict=True))
    assert len({(dash, marker) for _, dash, marker in styles}) == 6


def test_a_run_that_is_unchecked_loses_its_line(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0", "train_1"), ChartState())
    charts.update([(ws.trainings.record("train_1"), 1)], ChartState())
    assert not lines(charts)[0].smooth.visible
    assert lines(charts)[1].smooth.visible
    assert [len(mark.x) for mark in lines(charts)[0].all()] == [0, 0, 0]  # bqplot fits the axis to hidden points, too
    charts.show()
    assert len(charts.box.children) == 3
    charts.update([], ChartState())
    charts.show()
    assert charts.box.children == ()
    assert charts.summaries() == ()


def test_only_new_metrics_are_read(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState())
    charts.update(runs(ws, "train_0"), ChartState())
    assert [step for _, step in ws.trainings.reads] == [0]
    ws.trainings.advance()
    charts.update(runs(ws, "train_0"), ChartState())
    assert [step for _, step in ws.trainings.reads] == [0, 1500]
    assert len(lines(charts)[0].raw.x) == 151


def test_the_log_axis_is_a_scale_and_leaves_the_data_alone(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState(log_y=True))
    assert isinstance(charts.charts[0].y, bqplot.LogScale)
    before = np.array(lines(charts)[0].raw.y)
    charts.update(runs(ws, "train_0"), ChartState(log_y=False))
    assert isinstance(charts.charts[0].y, bqplot.LinearScale)
    assert np.array_equal(lines(charts)[0].raw.y, before)
    assert charts.charts[0]._zoom.scales["y"] == [charts.charts[0].y]


@pytest.mark.parametrize(("axis", "last"), [("tokens", 150 * 40_960), ("steps", 1500), ("time", 14.9)])
def test_x_axes(charts: Charts, ws: FakeWorkspace, axis: str, last: float) -> None:
    charts.update(runs(ws, "train_0"), ChartState(x_axis=axis))
    assert lines(charts)[0].raw.x[-1] == pytest.approx(last)
    assert charts.charts[0]._figure.axes[0].label in {"tokens", "steps", "seconds"}


def test_raw_off_and_smoothing_off(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState())
    charts.update(runs(ws, "train_0"), ChartState(show_raw=False))
    assert not lines(charts)[0].raw.visible
    assert len(lines(charts)[0].raw.y) == 0
    charts.update(runs(ws, "train_0"), ChartState(smoothing=0))
    assert np.allclose(lines(charts)[0].smooth.y, lines(charts)[0].raw.y)


def test_theme_colours_come_from_python(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState(theme="dark"))
    assert lines(charts)[0].smooth.colors == [PALETTES["dark"].series[0]]
    assert all(axis.grid_color == PALETTES["dark"].grid for axis in charts.charts[0]._figure.axes)


def test_zoom_holds_until_it_is_reset(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState())
    assert not charts.zoomed
    charts._x.min, charts._x.max = 1e6, 2e6  # what bqplot's PanZoom sends
    assert charts.zoomed
    charts.update(runs(ws, "train_0"), ChartState())
    assert charts._x.max == 2e6
    assert max(charts.charts[0]._figure.axes[0].tick_values) <= 2e6
    charts.reset_zoom()
    assert not charts.zoomed
    assert (charts._x.min, charts._x.max) == (0.0, None)


@pytest.mark.parametrize("axis", ["tokens", "steps", "time"])
def test_while_a_run_is_active_the_charts_end_where_it_is(charts: Charts, ws: FakeWorkspace, axis: str) -> None:
    shown = runs(ws, "train_3", "train_0")  # ended after 244 points; runs, and has 150
    charts.update(shown, ChartState(x_axis=axis))
    ended, running = lines(charts)[0], lines(charts)[1]
    assert charts.longer
    assert running.raw.x[-1] * 0.98 < ended.raw.x[-1] <= running.raw.x[-1]
    assert max(charts.charts[0]._figure.axes[0].tick_values) <= running.raw.x[-1]
    assert not charts.zoomed
    picture = charts.pictures()[0].svg
    charts.update(shown, ChartState(x_axis=axis, x_range="all"))
    assert len(ended.raw.x) == 244
    assert charts.longer
    assert charts.pictures()[0].svg != picture
    charts.update(shown, ChartState(x_axis=axis))
    charts._x.max = 2e7  # a reader looks further to the right
    charts.update(shown, ChartState(x_axis=axis))
    assert len(ended.raw.x) == 244
    charts.update(runs(ws, "train_3", "train_1"), ChartState(x_axis=axis, x_range="all"))  # neither is active
    assert not charts.longer


def test_a_run_of_a_few_points_is_a_line_and_no_heap_of_markers(charts: Charts, ws: FakeWorkspace) -> None:
    ws.trainings.add(make_record("train_new", TrainingConfig(), status=JobStatus.RUNNING, started_at=0.0), 9)
    charts.update(runs(ws, "train_3", "train_new"), ChartState(x_range="all"))
    whole, short = lines(charts)[0], lines(charts)[1]
    assert (len(whole.marker.x), len(short.marker.x)) == (6, 1)
    assert len(short.smooth.x) == 9
    charts.update(runs(ws, "train_new"), ChartState())
    assert not short.marker.visible
    ws.trainings.add(make_record("train_newer", TrainingConfig(), status=JobStatus.RUNNING), 1)
    charts.update(runs(ws, "train_newer"), ChartState())
    assert len(lines(charts)[0].marker.x) == 1  # one point makes no line


def test_zooming_wakes_the_panel(ws: FakeWorkspace) -> None:
    woken: list[int] = []
    charts = Charts(lambda *args: {}, lambda: woken.append(1))
    charts.charts[2].y.max = 3.0
    assert woken
    charts.close()


def test_pictures_stand_alone(charts: Charts, ws: FakeWorkspace) -> None:
    ws.trainings.change("train_1", name="<b>two</b> & more")
    charts.update(runs(ws, "train_0", "train_1", "train_2"), ChartState(theme="dark", x_axis="time"))
    pictures = charts.pictures()
    assert [picture.name for picture in pictures] == ["loss", "l0", "fvu"]
    for picture, y_name in zip(pictures, ("Loss (log)", "L0, per token (log)", "FVU (log)"), strict=True):
        root = ElementTree.fromstring(picture.svg)
        assert (root.get("width"), root.get("height")) == (str(picture.width), str(picture.height))
        words = [element.text for element in root.iter(f"{SVG}text")]
        assert f"{y_name.split(',')[0].removesuffix(' (log)')} against time" in words
        assert {y_name, "time (seconds)", "gpt2-l6-topk-k32", "<b>two</b> & more"} <= set(words)
        assert "gpt2-l6-topk-k48" not in words  # it has no values yet
        traces = [path for path in root.iter(f"{SVG}path") if path.get("stroke-width") == "1.75" and path.get("d")]
        dashes = [trace.get("stroke-dasharray") for trace in traces]
        assert dashes == [None, "6 3"] * 2  # in the plot and in the legend


def test_a_picture_shows_the_zoom_of_the_page(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState(log_y=False))
    whole = words_of(charts.pictures()[0].svg)
    charts._x.min, charts._x.max = 1e6, 2e6
    charts.charts[0].y.min, charts.charts[0].y.max = 1.0, 1.2
    near = words_of(charts.pictures()[0].svg)
    assert {"1.05", "1.1", "1.2"} <= near - whole
    assert "4M" not in near
    charts.update(runs(ws, "train_2"), ChartState())
    assert charts.pictures() == []


def words_of(svg: str) -> set[str | None]:
    return {element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")}


def test_captions_and_summaries(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0", "train_2"), ChartState())
    assert "per token" in charts.charts[1]._caption.value
    loss = charts.summaries()[0]
    assert loss.startswith("Loss against tokens, log scale. gpt2-l6-topk-k32 fell from ")
    assert loss.endswith("gpt2-l6-topk-k48 has no values yet.")


def test_what_does_not_change_is_said_to_stay(charts: Charts, ws: FakeWorkspace) -> None:
    ws.trainings._metrics["train_2"] = [(*row[:4], 32.0, row[5]) for row in ws.trainings._metrics["train_0"]]
    charts.update(runs(ws, "train_2"), ChartState(log_y=False))
    assert charts.summaries()[1] == "L0 against tokens, linear scale. gpt2-l6-topk-k48 stayed at 32.0."


def test_one_run_needs_no_key_and_several_have_theirs(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState())
    assert "<svg" not in charts.charts[0]._caption.value
    charts.update(runs(ws, "train_0", "train_2"), ChartState())
    assert charts.charts[0]._caption.value.count("<svg") == 1  # one value, but of which of two runs?
    charts.update(runs(ws, "train_0", "train_1", "train_2"), ChartState(theme="dark"))
    caption = charts.charts[0]._caption.value
    names = [ws.trainings.record(f"train_{i}").name for i in (0, 1)]
    assert [caption.index(f'aria-label="{name}"') for name in names] == sorted(
        caption.index(f'aria-label="{name}"') for name in names
    )
    assert caption.count("<svg") == 2  # train_2 has no values yet, and so no dash that stands for nothing
    assert "–" not in caption
    assert f'stroke="{PALETTES["dark"].series[1]}"' in caption
    assert f'stroke-dasharray="{SVG_DASHES[1]}"' in caption


def test_before_the_first_point_there_are_words_and_no_ticks(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_2"), ChartState())
    for chart in charts.charts:
        assert "Waiting for the first step" in chart._caption.value
        assert "per token" not in chart._caption.value
        assert not any(axis.visible for axis in chart._figure.axes)
    ws.trainings.change("train_2", status=JobStatus.CANCELLED)
    charts.update(runs(ws, "train_2"), ChartState())
    assert "No values" in charts.charts[0]._caption.value
    charts.update(runs(ws, "train_0"), ChartState())
    assert all(axis.visible for chart in charts.charts for axis in chart._figure.axes)


@pytest.mark.parametrize("log_y", [True, False])
def test_a_line_that_hardly_moves_does_not_fill_the_chart(ws: FakeWorkspace, log_y: bool) -> None:
    step = np.arange(1.0, 101)
    values = {"loss": 8 - 0.01 * (step % 2), "l0": 8 - 0.01 * (step % 2), "fvu": 1 / step}
    columns = {"step": step, "tokens": step * 4096, "time": step, **values}
    charts = Charts(lambda training_id, names, start: {k: v[step >= start] for k, v in columns.items()}, lambda: None)
    charts.update(runs(ws, "train_0"), ChartState(log_y=log_y))
    _, l0, fvu = charts.charts
    assert (l0.y.min, l0.y.max) == (pytest.approx(7.1955), pytest.approx(8.7945))
    assert (fvu.y.min, fvu.y.max) == (None, None)
    assert len(l0._figure.axes[1].tick_values) >= 2
    assert not charts.zoomed
    l0.y.min, l0.y.max = 7.9, 8.1  # a reader zooms in
    assert charts.zoomed
    charts.update(runs(ws, "train_0"), ChartState(log_y=log_y))
    assert (l0.y.min, l0.y.max) == (7.9, 8.1)
    charts.reset_zoom()
    charts.update(runs(ws, "train_0"), ChartState(log_y=log_y))
    assert l0.y.min == pytest.approx(7.1955)
    charts.update(runs(ws, "train_0"), ChartState(log_y=not log_y))
    assert l0.y.max == pytest.approx(8.7945)
    assert not charts.zoomed
    charts.close()


@pytest.mark.parametrize("log_y", [True, False])
def test_ticks_of_a_huge_loss_fit_left_of_the_axis(ws: FakeWorkspace, log_y: bool) -> None:
    step = np.arange(1.0, 101)
    columns = {"step": step, "tokens": step * 4096, "time": step, "loss": 5e9 / step, "l0": step, "fvu": 1 / step}
    charts = Charts(lambda training_id, names, start: {k: v[step >= start] for k, v in columns.items()}, lambda: None)
    charts.update(runs(ws, "train_0"), ChartState(log_y=log_y))
    words = list(charts.charts[0]._figure.axes[1].tick_labels.values())
    assert ("1e9" if log_y else "2e9") in words
    assert max(map(len, words)) <= 6
    # The picture and the static copy say the same.
    for drawn in (charts.pictures()[0].svg, charts.static()[0]):
        shown = re.findall(r">([^<>]+)</text>", str(drawn))
        assert ("1e9" if log_y else "2e9") in shown
        assert not [word for word in shown if re.fullmatch(r"[\d.]+B", word)]
    charts.close()


def test_names_are_text_in_the_static_copy(charts: Charts, ws: FakeWorkspace) -> None:
    ws.trainings.change("train_0", name="<script>alert(1)</script>")
    charts.update(runs(ws, "train_0"), ChartState())
    assert "<script>" not in "".join(charts.static())
    assert "&lt;script&gt;" in "".join(charts.static())


def test_a_run_that_went_back_is_read_anew(charts: Charts, ws: FakeWorkspace) -> None:
    charts.update(runs(ws, "train_0"), ChartState())
    ws.trainings._metrics["train_0"] = ws.trainings._metrics["train_0"][:100]
    ws.trainings.change("train_0", step=1000)
    charts.update(runs(ws, "train_0"), ChartState())
    assert len(lines(charts)[0].raw.x) == 100


def test_six_lines_of_a_long_run_stay_small(ws: FakeWorkspace) -> None:
    n = 100_000
    step = np.arange(1.0, n + 1)
    columns = {"step": step, "tokens": step * 4096, "time": step, "loss": 1 / step, "l0": step, "fvu": 1 / step}
    charts = Charts(lambda training_id, names, start: {k: v[step >= start] for k, v in columns.items()}, lambda: None)
    six = runs(ws, *(f"train_{i}" for i in range(6)))
    charts.update(six, ChartState())
    assert all(len(slot.raw.x) <= 1400 for chart in charts.charts for slot in chart._slots.values())
    charts.close()


@pytest.mark.parametrize(
    ("axis", "low", "high", "labels", "title"),
    [
        ("tokens", 0, 1e7, ["0", "2M", "4M", "6M", "8M", "10M"], "tokens"),
        ("tokens", 0, 300_000, ["0", "100K", "200K", "300K"], "tokens"),
        ("steps", 0, 2000, ["0", "500", "1,000", "1,500", "2,000"], "steps"),
        ("time", 0, 90, ["0", "20", "40", "60", "80"], "seconds"),
        ("time", 0, 1200, ["0", "5", "10", "15", "20"], "minutes"),
        ("time", 0, 14_400, ["0", "1", "2", "3", "4"], "hours"),
        ("tokens", 0, float("nan"), [], "tokens"),
    ],
)
def test_ticks_are_round_in_their_own_unit(axis: str, low: float, high: float, labels: list[str], title: str) -> None:
    assert x_ticks(axis, low, high)[1:] == (labels, title)
