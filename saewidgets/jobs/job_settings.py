"""Times and widths of the job machinery; tests make them short."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Settings of a `JobManager`. All times in seconds.

    Attributes:
        host: the name of this machine in lanes and owners.
        poll: how often the owner reads its rows for commands from other processes, and tries for a lane.
        heartbeat: how often the owner says that it lives.
        timeout: a heartbeat older than this means that the owner is gone.
        write_interval: least time between two writes of events to the store, and to subscribers (5 per second).
        close_wait: how long `close` waits for running jobs to write their checkpoints.
        interactive_patience: how long interactive work waits for the next pause point before it runs beside the job.
        widths: how many jobs run at once on a lane, by the part of its name behind the host; 1 where not named.
    """

    host: str = field(default_factory=socket.gethostname)
    poll: float = 0.5
    heartbeat: float = 2.0
    timeout: float = 10.0
    write_interval: float = 0.2
    close_wait: float = 20.0
    interactive_patience: float = 3.0
    widths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"download": 3}))


def compute_lane(host: str, device: str) -> str:
    """The lane of one device of one machine: one job at a time, the rest queue."""
    return f"{host}/{device}"


def lane_device(lane: str) -> str:
    """The part of the name behind the host."""
    return lane.rpartition("/")[2]
