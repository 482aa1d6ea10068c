"""Where else the events of a run go: any callable, Weights & Biases, Trackio. None of them can stop or slow a run."""

from saewidgets.workspace.sinks.attached import OnEvent, Sinks, as_sinks
from saewidgets.workspace.sinks.feed import OpenSink, RunInfo, Sink

__all__ = ["OnEvent", "OpenSink", "RunInfo", "Sink", "Sinks", "as_sinks"]
