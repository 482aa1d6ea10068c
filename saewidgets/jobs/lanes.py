"""Names of lanes. A lane is where a job runs: ``<host>/<device>`` for compute, ``<host>/download`` for downloads."""

from __future__ import annotations

from saewidgets.jobs.settings import JobSettings


def compute_lane(host: str, device: str) -> str:
    """The lane of one device of one machine: one job at a time, the rest queue."""
    return f"{host}/{device}"


def lane_device(lane: str) -> str:
    """The part of the name behind the host."""
    return lane.rpartition("/")[2]


def lane_here(lane: str, host: str) -> str:
    """The same lane on `host`: where a job goes that another machine began."""
    return compute_lane(host, lane_device(lane))


def lane_width(lane: str, settings: JobSettings) -> int:
    """How many jobs run at once on the lane."""
    return settings.widths.get(lane_device(lane), 1)
