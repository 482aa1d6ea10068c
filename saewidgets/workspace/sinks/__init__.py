"""Where else the events of a run go: any callable, Weights & Biases, Trackio. None of them can stop or slow a run."""

from saewidgets.workspace.sinks.feed import OnEvent, OpenSink, RunInfo, Sink, Sinks, as_sinks

__all__ = ["OnEvent", "OpenSink", "RunInfo", "Sink", "Sinks", "as_sinks"]
