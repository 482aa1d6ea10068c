"""Which features of which SAE: what callers write, brought to one form and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saewidgets.config.steering import ADDITIVE, SteeringFeature
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.lm import HookPoint, resolve_hook
from saewidgets.sae import SAE


# Whose features they are: an SAE, where in the model it reads, and where it writes.
@dataclass(frozen=True, eq=False)
class SteeringSource:
    """An SAE with its place in the model.

    Attributes:
        sae: the autoencoder or transcoder, on raw activations.
        hook_name: where it reads; None takes ``sae.metadata["hook_name"]``.
        hook_name_out: of a transcoder, where its output belongs; None takes ``sae.metadata["hook_name_out"]``.
        name: what to call it.
    """

    sae: SAE
    hook_name: str | None = None
    hook_name_out: str | None = None
    name: str = ""

    @property
    def reads_at(self) -> str:
        """Hook name of the input. Raises `ConfigError` where it is not known."""
        return self._place("hook_name", self.hook_name, "where it reads")

    @property
    def writes_at(self) -> str:
        """Hook name of the output: that of the input, except for transcoders."""
        if not self.sae.is_transcoder:
            return self.reads_at
        return self._place("hook_name_out", self.hook_name_out, "where its output belongs")

    def points(self, model: object) -> tuple[HookPoint, HookPoint]:
        """Where it reads and writes in `model`.

        Raises:
            HookError: the model has no such place.
            ConfigError: a place is not known or has another width.
        """
        into, out = (resolve_hook(model, name) for name in (self.reads_at, self.writes_at))  # type: ignore[arg-type]
        for point, width, what in ((into, self.sae.d_in, "d_in"), (out, self.sae.d_out, "d_out")):
            if point.width != width:
                raise ConfigError(
                    f"The SAE's {what} is {width:,}, but activations at {point.name} have width {point.width:,}.",
                    where=what, hint="Choose the SAE's own model and hook_name.",
                )
        return into, out

    def _place(self, key: str, given: str | None, what: str) -> str:
        found = given if given is not None else self.sae.metadata.get(key)
        if not isinstance(found, str) or not found:
            kind = "transcoder" if self.sae.is_transcoder else "SAE"
            raise ConfigError(
                f"The {kind} does not say {what} in the model.", where=key,
                hint=f"Pass SteeringSource(sae, {key}=\"blocks.…\").",
            )
        return found


Sources = SAE | SteeringSource | Mapping[str, "SAE | SteeringSource"]


def as_source(value: object) -> SteeringSource:
    """`value` as a source. Raises `ConfigError` for anything but an SAE or a source."""
    if isinstance(value, SteeringSource):
        return value
    if isinstance(value, SAE):
        return SteeringSource(value)
    raise ConfigError(
        f"{type(value).__name__} is not an SAE.", where="sae", hint="Pass what load_sae returns, or a SteeringSource."
    )


Chosen = tuple[SteeringSource, SteeringFeature]


def choose(features: Sequence[Any], sae: Sources | None = None) -> list[Chosen]:
    """Every feature with its SAE.

    Args:
        features: each a `SteeringFeature`, its fields as a mapping, or a tuple ``(index, strength)``,
            ``(index, strength, mode)``, ``(sae, index, strength)`` or ``(sae, index, strength, mode)``, where `sae` is
            an SAE, a `SteeringSource` or a key of the argument `sae`.
        sae: the SAE of features that name none, or a mapping from the names they use.

    Raises:
        ConfigError: a feature is not one, lies outside its SAE, or is set twice.
        NotFoundError: a feature names an SAE that is not there.
    """
    if isinstance(features, SteeringFeature | Mapping | str) or not isinstance(features, Sequence):
        raise ConfigError(
            f"features is a {type(features).__name__}.", where="features",
            hint='Give a list, such as [SteeringFeature(index=7451, strength=2, a_max=41.7)] or [(7451, 80.0, "add")].',
        )
    known: list[tuple[Any, SteeringSource]] = []  # one source per SAE object, so that its latents are computed once
    found = [_choose(item, sae, number, known) for number, item in enumerate(features)]
    _check_repeats(found)
    return found


def _choose(item: Any, sae: Sources | None, number: int, known: list[tuple[Any, SteeringSource]]) -> Chosen:
    where = f"features.{number}"
    own: Any = None
    if isinstance(item, SteeringFeature):
        feature = item
    elif isinstance(item, Mapping):
        feature = SteeringFeature.from_data(dict(item))
    else:
        own, feature = _from_tuple(item, where)
    if own is None:
        own = _look_up(feature.sae, sae, where)
    source = next((source for one, source in known if one is own), None)
    if source is None:
        source = as_source(own)
        known.append((own, source))
    if feature.index >= source.sae.d_sae:
        raise ConfigError(
            f"There is no feature {feature.index}: the SAE has {source.sae.d_sae:,}.", where=f"{where}.index",
            hint=f"Choose one from 0 to {source.sae.d_sae - 1}.",
        )
    return source, feature


def _from_tuple(item: Any, where: str) -> tuple[Any, SteeringFeature]:
    parts = list(item) if isinstance(item, tuple | list) else []
    own = None
    if len(parts) > 2 and not hasattr(parts[0], "__index__"):
        own = parts.pop(0)
    if len(parts) not in (2, 3):
        raise ConfigError(
            f"{type(item).__name__} of this form is not a feature.", where=where,
            hint="Write SteeringFeature(…), (index, strength), (index, strength, mode) or the same with an SAE first.",
        )
    named = {"sae": own} if isinstance(own, str) else {}
    fields = dict(zip(("index", "strength", "mode"), parts, strict=False))
    return None if named else own, SteeringFeature.from_data(fields | named)


def _look_up(key: str | None, sae: Sources | None, where: str) -> Any:
    if isinstance(sae, Mapping):
        if key is None and len(sae) == 1:
            return next(iter(sae.values()))
        if key is None:
            raise ConfigError(
                "The feature does not say which SAE it belongs to.", where=f"{where}.sae",
                hint=f"Choose one of {', '.join(sae)}." if sae else "Pass its SAE as sae=….",
            )
        if key not in sae:
            raise NotFoundError(
                f"There is no SAE {key!r} here.", where=f"{where}.sae",
                hint=f"There is {', '.join(sae)}." if sae else "Pass it as sae=….",
            )
        return sae[key]
    if sae is None:
        raise ConfigError("The feature's SAE is missing.", where=f"{where}.sae", hint="Pass it as sae=….")
    return sae


def _check_repeats(found: list[Chosen]) -> None:
    """Additions to one latent add up; a second value for it would contradict the first."""
    seen: dict[tuple[int, str, int], bool] = {}
    for number, (source, feature) in enumerate(found):
        key, additive = (id(source.sae), source.reads_at, feature.index), feature.mode in ADDITIVE
        if key in seen and not (additive and seen[key]):
            raise ConfigError(
                f"Feature {feature.index} is there twice, and not only to be added.", where=f"features.{number}",
                hint="Keep one of the two.",
            )
        seen[key] = additive
