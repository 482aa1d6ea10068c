from __future__ import annotations

from saewidgets.jobs import JobSettings, compute_lane
from saewidgets.jobs.settings import lane_device, lane_here, lane_width


def test_names() -> None:
    assert compute_lane("box", "cuda:0") == "box/cuda:0"
    assert lane_device("a/strange/host/cuda:1") == "cuda:1"
    assert lane_here("other/cuda:1", "box") == "box/cuda:1"


def test_widths() -> None:
    settings = JobSettings(host="box")
    assert lane_width("box/cuda:0", settings) == 1
    assert lane_width("box/download", settings) == 3
