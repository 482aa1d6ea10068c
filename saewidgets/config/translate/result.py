"""What a translation gives: a configuration, and what in it is not what it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saewidgets.config.training import TrainingConfig

_HEADINGS = {"lost": "No counterpart, left out:", "changed": "Taken over, with another meaning:"}


@dataclass(frozen=True, slots=True)
class Remark:
    """One setting that was left out (``"lost"``) or means something else here (``"changed"``).

    Attributes:
        setting: its dotted name in the other package.
        value: what it was.
        text: a sentence that says what happens instead.
    """

    kind: Literal["lost", "changed"]
    setting: str
    value: Any
    text: str

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.setting} = {shown if len(shown) <= 60 else f'{shown[:59]}…'}: {self.text}"


@dataclass(frozen=True, slots=True)
class Translation:
    """A configuration of another package, translated.

    Attributes:
        config: what to train.
        remarks: every setting that was lost or means something else; settings that came over as they are, and those
            that only say where another package writes its files, are not listed.
        source: the name of the other package.
        over: further values where the other configuration stands for several runs, as `create_many` takes them:
            ``{"hook_name": [...]}``; empty where it is one run. `config` has the first of each, but no run's name.
    """

    config: TrainingConfig
    remarks: tuple[Remark, ...]
    source: str
    over: Mapping[str, list[Any]] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data: ``source config over remarks``."""
        remarks = [
            {"kind": each.kind, "setting": each.setting, "value": each.value, "text": each.text}
            for each in self.remarks
        ]
        over = {name: list(values) for name, values in self.over.items()}
        return {"source": self.source, "config": self.config.to_data(), "over": over, "remarks": remarks}

    def report(self) -> str:
        """What was lost and what changed, one line each."""
        lines = []
        for kind, heading in _HEADINGS.items():
            if found := [each for each in self.remarks if each.kind == kind]:
                lines += [heading, *(f"  {each}" for each in found)]
        if not lines:
            return f"Everything in the {self.source} configuration has a counterpart."
        return "\n".join(lines)

    def __str__(self) -> str:
        more = math.prod(len(values) for values in self.over.values()) - 1
        what = self.config.default_name + (f" and {more} more" if more else "")
        return f"{what}, translated from {self.source}\n{self.report()}"
