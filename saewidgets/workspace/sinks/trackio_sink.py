"""Trackio, Hugging Face's local tracker (``pip install saewidgets[trackio]``). A Space needs a Hugging Face login."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from saewidgets.errors import ConfigError
from saewidgets.events import Event, Metrics
from saewidgets.workspace.sinks.feed import RunInfo


@dataclass(frozen=True)
class TrackioSink:
    """Sends a run's metrics to Trackio: ``ws.trainings.create(config, on_event=TrackioSink("my-saes"))``.

    They stay on this machine unless `space_id` names a Space; ``trackio show`` draws them. A run that is paused and
    resumed goes on as the same one there.

    Args:
        project: where it is listed.
        name: what it is called; None takes the name of the training.
        space_id: a Hugging Face Space, ``user/space``.

    Raises:
        ConfigError: the library is not installed.
    """

    project: str = "saewidgets"
    name: str | None = None
    space_id: str | None = None
    label = "Trackio"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("trackio") is None:
            raise ConfigError("Trackio is not installed.", where="on_event", hint="pip install 'saewidgets[trackio]'")

    def open(self, run: RunInfo) -> _Open:
        """Begin the run there, or go on with it."""
        import trackio  # an extra, and seconds to import

        # Names are what Trackio knows runs by: with the id, two runs of one name stay two.
        begun = trackio.init(
            project=self.project, name=self.name or f"{run.name} {run.id[-6:]}", group=run.group,
            space_id=self.space_id, config=dict(run.config), resume="allow", embed=False,
        )
        return _Open(begun)


class _Open:
    """One run there."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metrics):
            self._run.log({**event.values, "tokens": event.tokens}, step=event.step)

    def close(self, status: str) -> None:
        self._run.finish()
