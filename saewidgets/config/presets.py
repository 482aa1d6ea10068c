"""Presets: settings for well-known models that the literature reports, kept as data in `presets.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from saewidgets.config.training import TrainingConfig
from saewidgets.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Preset:
    """A configuration with where it is from.

    Attributes:
        sources: papers and code, each with what was taken from it.
        ours: what no source says, or says in other units, and what it is here.
    """

    name: str
    description: str
    sources: tuple[str, ...]
    ours: str
    config: TrainingConfig


@cache
def _all() -> Mapping[str, Preset]:
    text = resources.files("saewidgets.config").joinpath("presets.json").read_text(encoding="utf-8")
    return {
        name: Preset(
            name, raw["description"], tuple(raw["sources"]), raw["ours"], TrainingConfig.from_data(raw["config"])
        )
        for name, raw in json.loads(text).items()
    }


def presets() -> list[Preset]:
    """All presets with their sources."""
    return list(_all().values())


def preset(name: str, **changes: Any) -> TrainingConfig:
    """The configuration of a preset.

    Args:
        name: ``"gpt2-small"``, ``"pythia-70m"``, ``"gemma-2-2b"``, …; `presets` lists them.
        changes: settings by dotted name: ``preset("gpt2-small", tokens=10_000_000, **{"sae.k": 16})``.

    Raises:
        NotFoundError: there is no such preset.
        ConfigError: a change makes no sense.
    """
    found = _all().get(name)
    if found is None:
        raise NotFoundError(f"There is no preset {name!r}.", where="preset", hint=f"There are {', '.join(_all())}.")
    return found.config.replace(**changes)
