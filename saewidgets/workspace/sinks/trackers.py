"""`WandbSink` (``pip install saewidgets[wandb]``) and `TrackioSink` (``pip install saewidgets[trackio]``).

Keys are the libraries' own affair: ``wandb login``; a Space of Trackio needs a Hugging Face login.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from saewidgets.errors import ConfigError
from saewidgets.events import Event, Facts, Metrics
from saewidgets.workspace.sinks.feed import RunInfo

LOST = frozenset({"failed", "cancelled", "interrupted"})


@dataclass(frozen=True)
class WandbSink:
    """Sends a run's metrics to Weights & Biases: ``ws.trainings.create(config, on_event=WandbSink("my-saes"))``.

    Metrics have the names of docs/training.md and are drawn against `tokens`; the configuration is the run's config. A
    run that is paused and resumed goes on as the same one there.

    Args:
        project, entity: where it is listed.
        name: what it is called; None takes the name of the training.
        group: None takes the group of runs that it was started in.
        tags: to find it by.
        mode: ``"offline"`` writes to disk only (``wandb sync`` sends it later).

    Raises:
        ConfigError: the library is not installed.
    """

    project: str = "saewidgets"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    mode: Literal["online", "offline", "disabled"] | None = None
    label = "Weights & Biases"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise ConfigError(
                "Weights & Biases is not installed.", where="on_event", hint="pip install 'saewidgets[wandb]'"
            )

    def open(self, run: RunInfo) -> _WandbRun:
        """Begin the run there, or go on with it."""
        import wandb  # an extra, and seconds to import

        # "create_new": runs beside each other, and none that a user has open is finished. The console stays the user's.
        settings = wandb.Settings(console="off", disable_git=True, disable_code=True, silent=True)
        begun = wandb.init(
            project=self.project, entity=self.entity, name=self.name or run.name, group=self.group or run.group,
            tags=list(self.tags) or None, id=run.id, resume="allow", reinit="create_new", mode=self.mode,
            config=dict(run.config), settings=settings,
        )
        begun.define_metric("tokens")
        begun.define_metric("*", step_metric="tokens")
        return _WandbRun(begun)


class _WandbRun:
    """One run there."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metrics):
            self._run.log({**event.values, "tokens": event.tokens, "step": event.step})
        elif isinstance(event, Facts):
            plain = {k: v for k, v in event.values.items() if isinstance(v, bool | int | float | str)}
            self._run.config.update(plain, allow_val_change=True)

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=1 if status in LOST else 0)


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

    def open(self, run: RunInfo) -> _TrackioRun:
        """Begin the run there, or go on with it."""
        import trackio  # an extra, and seconds to import

        # Names are what Trackio knows runs by: with the id, two runs of one name stay two.
        begun = trackio.init(
            project=self.project, name=self.name or f"{run.name} {run.id[-6:]}", group=run.group,
            space_id=self.space_id, config=dict(run.config), resume="allow", embed=False,
        )
        return _TrackioRun(begun)


class _TrackioRun:
    """One run there."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metrics):
            self._run.log({**event.values, "tokens": event.tokens}, step=event.step)

    def close(self, status: str) -> None:
        self._run.finish()
