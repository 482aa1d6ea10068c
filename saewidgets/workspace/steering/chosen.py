"""Features as people write them, each with the name of its SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saewidgets.config import SteeringFeature
from saewidgets.errors import ConfigError

_FORM = "Write (sae_id, index, strength), (sae_id, index, strength, mode), or a SteeringFeature with its sae."


@dataclass(frozen=True, slots=True)
class Named:
    """A feature before its SAE and its largest activation are looked up.

    Attributes:
        sae: an id, a beginning of one, or a name.
        a_max: where it was given.
    """

    sae: str
    index: int
    strength: float
    mode: str = "add_max"
    a_max: float | None = None
    label: str = ""

    @property
    def needs_maximum(self) -> bool:
        """Whether its strength is in units of its largest activation, which was not given."""
        return self.mode == "add_max" and self.a_max is None

    def feature(self, sae_id: str, largest: Mapping[tuple[str, int], float]) -> SteeringFeature:
        """With the id of its SAE, and its largest activation from `largest` by id and index."""
        a_max = largest[sae_id, self.index] if self.needs_maximum else self.a_max
        return SteeringFeature.from_data(
            {"sae": sae_id, "index": self.index, "strength": self.strength, "mode": self.mode, "a_max": a_max,
             "label": self.label}
        )  # fmt: skip


def named(features: Sequence[Any], sae: str | None) -> list[Named]:
    """Every feature with the name of its SAE.

    Args:
        features: each a `SteeringFeature`, its fields as a mapping, or a tuple ``(sae, index, strength)``,
            ``(sae, index, strength, mode)``; with `sae` also ``(index, strength)``, ``(index, strength, mode)``.
        sae: the SAE of features that name none.

    Raises:
        ConfigError: a feature is not one, or names no SAE.
    """
    if isinstance(features, SteeringFeature | Mapping | str) or not isinstance(features, Sequence):
        raise ConfigError(f"features is a {type(features).__name__}.", where="features", hint=f"Give a list. {_FORM}")
    return [_named(item, sae, f"features.{number}") for number, item in enumerate(features)]


def _named(item: Any, sae: str | None, where: str) -> Named:
    fields = _fields(item, where)
    own = fields.pop("sae", None) or sae
    if not isinstance(own, str):
        raise ConfigError("The feature does not say which SAE it belongs to.", where=f"{where}.sae", hint=_FORM)
    if isinstance(fields.get("index"), bool):  # pydantic takes it for 1
        raise ConfigError("index is a truth value.", where=f"{where}.index", hint=_FORM)
    # Checked as it will be used; the largest activation may be found later.
    given = fields.get("a_max") is not None
    stand_in = {} if given else {"a_max": 1.0}
    try:
        checked = SteeringFeature.from_data({**fields, "sae": own, **stand_in})
    except ConfigError as error:
        place = f"{where}.{error.where}" if error.where else where
        raise ConfigError(error.what, where=place, hint=error.hint) from error
    a_max = checked.a_max if given else None
    return Named(own, checked.index, checked.strength, checked.mode, a_max, checked.label)


def _fields(item: Any, where: str) -> dict[str, Any]:
    if isinstance(item, SteeringFeature):
        return item.model_dump()
    if isinstance(item, Mapping):
        return dict(item)
    parts = list(item) if isinstance(item, tuple | list) else []
    fields = {"sae": parts.pop(0)} if parts and isinstance(parts[0], str) else {}
    if len(parts) not in (2, 3):
        raise ConfigError(f"{type(item).__name__} of this form is not a feature.", where=where, hint=_FORM)
    return fields | dict(zip(("index", "strength", "mode"), parts, strict=False))
