"""Whether a run has reached what it should, judged by its evaluations on held-out text.

Evaluations happen at fixed steps, so a run that was paused and resumed reaches its targets at the same step as one that
was not. (Log windows would not do: a pause cuts one in two.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saewidgets.config.training import TargetsConfig
from saewidgets.events import LogLine


class Targets:
    """Counts evaluations in a row that meet the targets, and those with an L0 outside its range.

    Attributes:
        reached_at: the step at which the targets were reached; None before.
    """

    def __init__(self, config: TargetsConfig) -> None:
        self.config = config
        self.reached_at: int | None = None
        self._met = 0
        self._outside = 0

    @property
    def ends_the_run(self) -> bool:
        """Whether the run is over because its targets are reached."""
        return self.reached_at is not None and self.config.action == "stop"

    def judge(self, step: int, values: Mapping[str, float]) -> list[LogLine]:
        """Add one evaluation (`val_fvu`, `val_mse`, `val_l0`) made after the warm-ups. Returns what the log should say.
        """
        if not self.config.any:
            return []
        said: list[LogLine] = []
        missed = self.missed(values)
        self._met = 0 if missed else self._met + 1
        if self._met >= self.config.evaluations and self.reached_at is None:
            self.reached_at = step
            end = " The run ends here." if self.config.action == "stop" else ""
            said.append(LogLine(f"The targets are reached at step {step:,}: {self._stand(values)}.{end}"))
        self._outside = self._outside + 1 if any(name == "val_l0" for name, _ in missed) else 0
        if self._outside == self.config.evaluations:
            sentence = next(text for name, text in missed if name == "val_l0")
            said.append(LogLine(f"{sentence} (step {step:,}).", "warning"))
        return said

    def missed(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """Metric and sentence (no full stop) of every target that `values` do not meet. What is not known is missed."""
        config, missed = self.config, []
        for name, word, low, high in (
            ("val_fvu", "FVU", None, config.fvu),
            ("val_mse", "The reconstruction loss", None, config.mse),
            ("val_l0", "L0", config.l0_min, config.l0_max),
        ):
            value = values.get(name)
            if low is None and high is None:
                continue
            if value is None:
                missed.append((name, f"{word} is not known"))
            elif low is not None and value < low:
                missed.append((name, f"{word} is {value:.4g}, below its least of {low:g}"))
            elif high is not None and value > high:
                missed.append((name, f"{word} is {value:.4g}, above its target of {high:g}"))
        return missed

    def at_the_end(self, values: Mapping[str, float]) -> list[str]:
        """Warnings about targets that a run did not meet when it ended by itself."""
        if not self.config.any or self.reached_at is not None:
            return []
        return [f"A target was missed: {sentence}." for _, sentence in self.missed(values)]

    def state(self) -> dict[str, Any]:
        """Plain JSON data for a checkpoint."""
        return {"reached_at": self.reached_at, "met": self._met, "outside": self._outside}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue where a checkpoint left off; one of an older version has none of this."""
        self.reached_at = state.get("reached_at")
        self._met, self._outside = int(state.get("met", 0)), int(state.get("outside", 0))

    def _stand(self, values: Mapping[str, float]) -> str:
        shown = {"val_fvu": "FVU", "val_mse": "reconstruction loss", "val_l0": "L0"}
        return ", ".join(f"{word} {values[name]:.4g}" for name, word in shown.items() if name in values)
