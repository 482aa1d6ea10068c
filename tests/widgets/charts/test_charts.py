"""The three figures: what is drawn for which run, and how it follows, zooms and changes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import bqplot
import numpy as np
import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import CatalogError
from saewidgets.events import JobStatus, Metrics
from saewidgets.widgets.charts.chart import DASHES
from saewidgets.widgets.charts.charts import Charts, x_ticks
from saewidgets.widgets.charts.drawing import MARKERS, PALETTES, SVG_DASHES
from saewidgets.widgets.charts.series import ChartedRun, ParentRun
from saewidgets.widgets.messages.training import ChartState
from tests.widgets.seeded_runs import make_record

SVG = "{http://www.w3.org/2000/svg}"
TOKENS = Path(__file__).resolve().parents[3] / "js" / "src" / "styles" / "tokens.css"
COLUMNS: dict[str, dict[str, np.ndarray]] = {}  # what `read` finds, by run


def columns(points: int, **values: Any) -> dict[str, np.ndarray]:
    """A point every ten steps: a noisy decay, and `values`."""
    rng = np.random.default_rng(points)
    step = np.arange(1.0, points + 1) * 10
    decay = (np.exp(-step / 300) + 0.1) * (1 + 0.04 * rng.standard_normal(points))
    return {
        "step": step, "tokens": step * 4096, "time": 1000 + step / 100, "loss": 3 * decay, "l0": 32 + 60 * decay,
        "fvu": decay, **values,
    }  # fmt: skip


def read(training_id: str, names: tuple[str, ...], min_step: int) -> Mapping[str, np.ndarray]:
    found = COLUMNS[training_id]
    return {name: found[name][found["step"] >= min_step] for name in ("step", "tokens", "time", *names)}


def run(name: str, slot: int, points: int, status: JobStatus = JobStatus.COMPLETED, **values: Any) -> ChartedRun:
    """A run whose metrics `read` finds."""
    COLUMNS[name] = found = columns(points, **values)
    latest = {metric: float(found[metric][-1]) for metric in ("loss", "l0", "fvu") if points}
    record = make_record(
        name, TrainingConfig(), name=name, status=status, started_at=1000.0, step=points * 10, latest=latest
    )
    return ChartedRun(record, slot)


@pytest.fixture
def charts() -> Iterator[Charts]:
    found = Charts(read, lambda: None)
    yield found
    found.close()


@pytest.fixture
def one() -> ChartedRun:
    return run("one", 0, 150, JobStatus.RUNNING)


@pytest.fixture
def two() -> ChartedRun:
    return run("two", 1, 100)


def test_one_chart_takes_the_whole_width(charts: Charts, one: ChartedRun) -> None:
    def shown(**look: Any) -> tuple[Any, ...]:
        charts.update([one], ChartState(**look))
        charts.show()
        return charts.box.children

    every = shown()
    low = charts.charts[1]._figure.layout.height
    assert shown(wide=2) == every[1:2]
    assert charts.charts[1]._figure.layout.height > low
    assert shown(wide=3) == every[2:]
    assert [picture.name for picture in charts.pictures()] == ["fvu"]
    assert shown() == every
    assert charts.charts[1]._figure.layout.height == low


WAITS = ChartedRun(make_record("waits", TrainingConfig(), name="waits"), 2)
COLUMNS["waits"] = columns(0)


def lines(charts: Charts, chart: int = 0) -> dict[int, Any]:
    return charts.charts[chart]._slots


def test_a_chart_has_points_while_one_run_takes_the_place_of_another(
    charts: Charts, one: ChartedRun, two: ChartedRun
) -> None:
    charts.update([one], ChartState())
    points: list[int] = []  # of the run that comes, when the other one goes
    lines(charts)[0].smooth.observe(lambda _: points.append(len(lines(charts)[1].smooth.x)), "visible")
    charts.update([two], ChartState())
    assert points == [100]


def test_a_run_has_a_raw_and_a_smoothed_line_in_every_chart(charts: Charts, one: ChartedRun) -> None:
    charts.update([one], ChartState())
    for name, chart in zip(("loss", "l0", "fvu"), charts.charts, strict=True):
        slot = chart._slots[0]
        assert slot.raw.visible
        assert slot.smooth.visible
        assert slot.raw.opacities == [0.45]
        assert (slot.raw.labels, slot.smooth.labels) == ([], ["0"])  # the crosshair reads the smoothed line
        assert (slot.raw.stroke_width, slot.smooth.stroke_width) == (1.0, 1.75)
        assert slot.raw.y.tolist() == COLUMNS["one"][name].tolist()
        assert np.std(np.diff(slot.smooth.y)) < np.std(np.diff(slot.raw.y))
    charts.update([one], ChartState(show_raw=False))
    assert not lines(charts)[0].raw.visible
    assert len(lines(charts)[0].raw.y) == 0
    charts.update([one], ChartState(smoothing=0))
    assert np.allclose(lines(charts)[0].smooth.y, lines(charts)[0].raw.y)


def test_runs_differ_by_colour_dash_and_marker(charts: Charts, one: ChartedRun, two: ChartedRun) -> None:
    charts.update([one, two], ChartState())
    for number in (0, 1):
        slot = lines(charts)[number]
        assert slot.smooth.colors == [PALETTES["light"].series[number]]
        assert (slot.smooth.line_style, slot.marker.marker) == (DASHES[number], MARKERS[number])
        assert slot.marker.visible
    assert len(set(zip(DASHES, MARKERS, strict=True))) == 6
    charts.update([one, two], ChartState(theme="dark"))
    assert lines(charts)[0].smooth.colors == [PALETTES["dark"].series[0]]
    assert all(axis.grid_color == PALETTES["dark"].grid for axis in charts.charts[0]._figure.axes)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_the_tokens_of_the_page(theme: str) -> None:
    block = re.search(rf'data-sw-theme="{theme}"\]\s*{{(.*?)}}', TOKENS.read_text("utf-8"), re.DOTALL)
    assert block
    tokens = dict(re.findall(r"--sw-([\w-]+):\s*(#[0-9a-f]{6})", block[1]))
    palette = PALETTES[theme]
    assert palette.series == tuple(tokens[f"s{i}"] for i in range(1, 7))
    assert (palette.grid, palette.tick, palette.text) == (tokens["grid"], tokens["text-3"], tokens["text-2"])


def test_a_run_that_is_unchecked_loses_its_line(charts: Charts, one: ChartedRun, two: ChartedRun) -> None:
    charts.update([one, two], ChartState())
    charts.update([two], ChartState())
    assert not lines(charts)[0].smooth.visible
    assert lines(charts)[1].smooth.visible
    assert [len(mark.x) for mark in lines(charts)[0]] == [0, 0, 0, 0]  # bqplot fits the axis to hidden points, too
    charts.show()
    assert len(charts.box.children) == 3
    charts.update([], ChartState())
    charts.show()
    assert charts.box.children == charts.summaries() == ()


def test_the_log_axis_is_a_scale_and_leaves_the_data_alone(charts: Charts, one: ChartedRun) -> None:
    for log_y, scale in ((True, bqplot.LogScale), (False, bqplot.LinearScale)):
        charts.update([one], ChartState(log_y=log_y))
        assert isinstance(charts.charts[0].y, scale)
        assert lines(charts)[0].raw.y.tolist() == COLUMNS["one"]["loss"].tolist()
        assert charts.charts[0]._zoom.scales["y"] == [charts.charts[0].y]


def test_a_chart_shows_another_metric_in_lines_words_and_pictures(charts: Charts, one: ChartedRun) -> None:
    values = {"dead": np.linspace(0.5, 0.1, 150), "lr": np.full(150, 5e-4), "ce_loss_score": np.zeros(150)}
    COLUMNS["one"] |= values
    latest = {name: float(found[-1]) for name, found in values.items()}
    one = replace(one, record=replace(one.record, latest={**one.record.latest, **latest, "mine": 1.0}))
    charts.update([one], ChartState())
    charts.charts[2].y.min, charts.charts[2].y.max = 0.1, 0.2  # a zoom of another metric means nothing
    charts.update([one], ChartState(metrics=("dead", "ce_loss_score", "lr")))
    assert lines(charts)[0].raw.y.tolist() == values["dead"].tolist()
    assert not charts.zoomed
    captions = [chart._caption.value for chart in charts.charts]
    assert "Dead latents" in captions[0]
    assert "10.0 %" in captions[0]
    assert "0.000 (nothing above 0 to draw)" in captions[1]
    assert "5.00e-4" in captions[2]
    assert charts.summaries()[0] == "Dead latents against tokens, log scale. one fell from 50.0 % to 10.0 %."
    assert [picture.name for picture in charts.pictures()] == ["dead", "lr"]
    assert "Learning rate (log)" in words_of(charts.pictures()[1].svg)
    assert charts.choices() == {
        "loss": "Loss", "l0": "L0", "fvu": "FVU", "ce_loss_score": "CE recovered", "dead": "Dead latents",
        "lr": "Learning rate", "mine": "mine",
    }  # fmt: skip
    charts.update([one], ChartState(metrics=("dead", "ce_loss_score", "lr"), log_y=False))
    assert lines(charts, 1)[0].raw.visible


@pytest.mark.parametrize("axis", ["tokens", "steps", "time"])
def test_the_x_axis_of_all_charts_can_be_logarithmic(charts: Charts, one: ChartedRun, axis: Any) -> None:
    COLUMNS["one"]["time"][0] = 1000.0  # no place on it: the run's clock began then
    charts.update([one], ChartState())
    charts.update([one], ChartState(x_axis=axis, log_x=True))
    x = charts.charts[0]._figure.scale_x
    assert isinstance(x, bqplot.LogScale)
    assert (x, [x]) == (charts._x, charts.charts[2]._zoom.scales["x"])
    first = lines(charts)[0].raw.x[0]
    assert x.min == first > 0
    assert len(charts.charts[0]._figure.axes[0].tick_values) >= 2
    assert not charts.zoomed
    ElementTree.fromstring(charts.pictures()[0].svg)
    x.min, x.max = first * 10, first * 40
    assert charts.zoomed
    charts.reset_zoom()
    charts.update([one], ChartState(x_axis=axis, log_x=True))
    assert (x.min, x.max) == (first, None)
    charts.update([one], ChartState(x_axis=axis))
    assert isinstance(charts._x, bqplot.LinearScale)
    assert charts._x.min == 0.0
    charts.update([WAITS], ChartState(x_axis=axis, log_x=True))
    assert 0 < charts._x.min < charts._x.max


@pytest.mark.parametrize(("axis", "last"), [("tokens", 150 * 40_960), ("time", 15)])
def test_while_a_run_is_active_the_charts_end_where_it_is(
    charts: Charts, one: ChartedRun, two: ChartedRun, axis: Any, last: float
) -> None:
    ended = run("ended", 1, 244)
    charts.update([one, ended], ChartState(x_axis=axis))
    first, second = lines(charts)[0], lines(charts)[1]
    assert charts.longer
    assert first.raw.x[-1] == second.raw.x[-1] == pytest.approx(last)
    assert charts.charts[0]._figure.axes[0].label in {"tokens", "steps", "seconds"}
    assert max(charts.charts[0]._figure.axes[0].tick_values) <= last
    assert not charts.zoomed
    picture = charts.pictures()[0].svg
    charts.update([one, ended], ChartState(x_axis=axis, x_range="all"))
    assert len(second.raw.x) == 244
    assert charts.longer
    assert charts.pictures()[0].svg != picture
    charts.update([one, ended], ChartState(x_axis=axis))
    charts._x.max = 2e7  # a reader looks further to the right
    charts.update([one, ended], ChartState(x_axis=axis))
    assert len(second.raw.x) == 244
    charts.update([two, ended], ChartState(x_axis=axis, x_range="all"))  # neither is active
    assert not charts.longer


def test_zoom_wakes_the_panel_and_holds_until_it_is_reset(one: ChartedRun) -> None:
    woken: list[int] = []
    charts = Charts(read, lambda: woken.append(1))
    charts.update([one], ChartState(log_y=False))
    assert not charts.zoomed
    woken.clear()
    charts._x.min, charts._x.max = 1e6, 2e6  # what bqplot's PanZoom sends
    charts.charts[0].y.min, charts.charts[0].y.max = 1.0, 1.2
    assert charts.zoomed
    assert woken
    charts.update([one], ChartState(log_y=False))
    assert charts._x.max == 2e6
    assert max(charts.charts[0]._figure.axes[0].tick_values) <= 2e6
    near = words_of(charts.pictures()[0].svg)  # a picture shows the zoom of the page
    assert {"1.05", "1.1", "1.2"} <= near
    assert "4M" not in near
    charts.reset_zoom()
    assert not charts.zoomed
    charts.update([one], ChartState(log_y=False))
    assert (charts._x.min, charts._x.max, charts.charts[0].y.max) == (0.0, None, None)
    charts.close()


def test_a_run_of_a_few_points_is_a_line_and_no_heap_of_markers(charts: Charts) -> None:
    short = run("short", 1, 9, JobStatus.RUNNING)
    charts.update([run("long", 0, 244), short], ChartState(x_range="all"))
    assert (len(lines(charts)[0].marker.x), len(lines(charts)[1].marker.x)) == (6, 1)
    assert len(lines(charts)[1].smooth.x) == 9
    charts.update([short], ChartState())
    assert not lines(charts)[1].marker.visible
    charts.update([run("newest", 0, 1, JobStatus.RUNNING)], ChartState())
    assert len(lines(charts)[0].marker.x) == 1  # one point makes no line


def test_pictures_stand_alone(charts: Charts, one: ChartedRun, two: ChartedRun) -> None:
    two = replace(two, record=replace(two.record, name="<b>two</b> & more"))
    charts.update([one, two, WAITS], ChartState(theme="dark", x_axis="time"))
    pictures = charts.pictures()
    assert [picture.name for picture in pictures] == ["loss", "l0", "fvu"]
    for picture, y_name in zip(pictures, ("Loss (log)", "L0, per token (log)", "FVU (log)"), strict=True):
        root = ElementTree.fromstring(picture.svg)
        assert (root.get("width"), root.get("height")) == (str(picture.width), str(picture.height))
        words = words_of(picture.svg)
        assert f"{y_name.split(',')[0].removesuffix(' (log)')} against time" in words
        assert {y_name, "time (seconds)", "one", "<b>two</b> & more"} <= words
        assert "waits" not in words  # it has no values yet
        traces = [path for path in root.iter(f"{SVG}path") if path.get("stroke-width") == "1.75" and path.get("d")]
        assert [trace.get("stroke-dasharray") for trace in traces] == [None, "6 3"] * 2  # in the plot and its legend
    static = "".join(charts.static())
    assert "<b>" not in static
    assert "&lt;b&gt;two" in static
    legend = charts.static()[-1]
    assert re.findall(r"</svg> ([^<]+)</span>", legend) == ["one", "&lt;b&gt;two&lt;/b&gt; &amp; more"]
    assert re.findall(r'stroke-dasharray="([^"]+)"', legend) == ["6 3"]
    charts.update([WAITS], ChartState())
    assert charts.pictures() == []
    assert all("no data yet</text>" in chart for chart in charts.static())


def words_of(svg: str) -> set[str | None]:
    return {element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")}


def test_captions_and_summaries(charts: Charts, one: ChartedRun, two: ChartedRun) -> None:
    charts.update([one], ChartState())
    assert "<svg" not in charts.charts[0]._caption.value  # one run needs no key
    charts.update([one, WAITS], ChartState())
    assert charts.charts[0]._caption.value.count("<svg") == 1  # one value, but of which of two runs?
    assert "per token" in charts.charts[1]._caption.value
    loss = charts.summaries()[0]
    assert loss.startswith("Loss against tokens, log scale. one fell from ")
    assert loss.endswith("; waits has no values yet.")
    charts.update([one, two, WAITS], ChartState(theme="dark"))
    caption = charts.charts[0]._caption.value
    assert 0 < caption.index('aria-label="one"') < caption.index('aria-label="two"')
    assert caption.count("<svg") == 2
    assert "–" not in caption
    assert f'stroke="{PALETTES["dark"].series[1]}"' in caption
    assert f'stroke-dasharray="{SVG_DASHES[1]}"' in caption
    charts.update([run("flat", 0, 100, l0=np.full(100, 32.0))], ChartState(log_y=False))
    assert charts.summaries()[1] == "L0 against tokens, linear scale. flat stayed at 32.0."


def test_before_the_first_point_there_are_words_and_no_ticks(charts: Charts, one: ChartedRun) -> None:
    charts.update([WAITS], ChartState())
    for chart in charts.charts:
        assert "Waiting for the first step" in chart._caption.value
        assert "per token" not in chart._caption.value
        assert not any(axis.visible for axis in chart._figure.axes)
    charts.update([replace(WAITS, record=replace(WAITS.record, status=JobStatus.CANCELLED))], ChartState())
    assert "No values" in charts.charts[0]._caption.value
    charts.update([one], ChartState())
    assert all(axis.visible for chart in charts.charts for axis in chart._figure.axes)


@pytest.mark.parametrize("log_y", [True, False])
def test_a_line_that_hardly_moves_does_not_fill_the_chart(charts: Charts, log_y: bool) -> None:
    step = np.arange(1.0, 101)
    runs = [run("flat", 0, 100, l0=8 - 0.01 * (step % 2), fvu=1 / step)]
    charts.update(runs, ChartState(log_y=log_y))
    _, l0, fvu = charts.charts
    assert (l0.y.min, l0.y.max) == (pytest.approx(7.1955), pytest.approx(8.7945))
    assert {">7.5<", ">8.5<"} <= set(re.findall(r">[^<]+<", charts.static()[1])) or log_y
    assert (fvu.y.min, fvu.y.max) == (None, None)
    assert len(l0._figure.axes[1].tick_values) >= 2
    assert not charts.zoomed
    l0.y.min, l0.y.max = 7.9, 8.1  # a reader zooms in
    charts.update(runs, ChartState(log_y=log_y))
    assert (l0.y.min, l0.y.max) == (7.9, 8.1)
    charts.reset_zoom()
    charts.update(runs, ChartState(log_y=log_y))
    assert l0.y.min == pytest.approx(7.1955)
    charts.update(runs, ChartState(log_y=not log_y))
    assert l0.y.max == pytest.approx(8.7945)
    assert not charts.zoomed


def test_ticks_of_a_huge_loss_fit_left_of_the_axis(charts: Charts) -> None:
    charts.update([run("huge", 0, 100, loss=5e9 / np.arange(1.0, 101))], ChartState())
    words = list(charts.charts[0]._figure.axes[1].tick_labels.values())
    assert "1e9" in words
    assert max(map(len, words)) <= 6
    for drawn in (charts.pictures()[0].svg, charts.static()[0]):
        assert ">1e9</text>" in drawn


def test_a_run_that_goes_on_is_drawn_from_its_beginning(charts: Charts, one: ChartedRun) -> None:
    child = run("child", 0, 40, step=np.arange(40.0, 80) * 10, tokens=np.arange(40.0, 80) * 40_960)
    child = replace(child, earlier=[ParentRun(one.record, 400, 400 * 4096)])
    for axis, joint in (("steps", 400), ("tokens", 400 * 4096), ("time", 4.0)):
        charts.update([child], ChartState(x_axis=axis))  # type: ignore[arg-type]
        slot, joints = lines(charts)[0], lines(charts)[0].joints
        assert joints.visible
        assert joints.x.tolist() == pytest.approx([joint, joint])
        assert joints.scales["y"] is not charts.charts[0].y
        assert np.all(np.diff(slot.raw.x) >= 0)
        assert slot.raw.y[:40].tolist() == COLUMNS["one"]["loss"][:40].tolist()
    assert "went on from one at step 400" in charts.summaries()[0]
    assert "goes on from another run" in str(charts.static()[0])
    charts.update([child], ChartState(log_y=False))  # another scale type makes new marks
    assert lines(charts)[0].joints in charts.charts[0]._figure.marks
    charts.update([replace(child, earlier=())], ChartState(log_y=False))
    assert not lines(charts)[0].joints.visible


def test_events_that_arrive_during_a_failed_read_are_read_again(one: ChartedRun, two: ChartedRun) -> None:
    broken = False

    def read_or_fail(training_id: str, names: tuple[str, ...], min_step: int) -> Mapping[str, np.ndarray]:
        if broken:
            raise CatalogError("The catalog is busy.")
        return read(training_id, names, min_step)

    charts = Charts(read_or_fail, lambda: None)
    charts.update([one], ChartState())
    broken = True
    told = replace(one, measured=[Metrics(1510, 1510 * 4096, {"loss": 0.5})])
    with pytest.raises(CatalogError):
        charts.update([replace(two, slot=1), told], ChartState())
    broken = False
    COLUMNS["one"] = columns(151)
    charts.update([one, two], ChartState())
    assert len(lines(charts)[0].raw.x) == 151
    charts.close()


@pytest.mark.parametrize(
    ("axis", "low", "high", "labels", "title"),
    [
        ("tokens", 0, 1e7, ["0", "2M", "4M", "6M", "8M", "10M"], "tokens"),
        ("tokens", 0, 300_000, ["0", "100K", "200K", "300K"], "tokens"),
        ("steps", 0, 2000, ["0", "500", "1,000", "1,500", "2,000"], "steps"),
        ("steps", 0, 56_000, ["0", "20,000", "40,000"], "steps"),
        ("tokens", 0, 560_000, ["0", "200K", "400K"], "tokens"),
        ("time", 0, 90, ["0", "20", "40", "60", "80"], "seconds"),
        ("time", 0, 1200, ["0", "5", "10", "15", "20"], "minutes"),
        ("time", 0, 14_400, ["0", "1", "2", "3", "4"], "hours"),
        ("tokens", 0, float("nan"), [], "tokens"),
    ],
)
def test_ticks_are_round_in_their_own_unit(axis: str, low: float, high: float, labels: list[str], title: str) -> None:
    ticks, unit = x_ticks(axis, low, high)
    assert ([label for _, label in ticks], unit) == (labels, title)
