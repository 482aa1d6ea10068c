"""Checks the features that callers choose for steering, and brings them into one form (`as_source`, `choose`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from saewidgets.config.steering import ADDITIVE, SteeringFeature, feature_fields
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.evaluation.place import fitting_point
from saewidgets.feature_records import check_index
from saewidgets.lm import HookPoint
from saewidgets.sae import SAE


# The SAE that has the features, where in the model it reads, and where it writes.
@dataclass(frozen=True, eq=False)
class SteeringSource:
    """An SAE with its place in the model: where it reads, and where the output of a transcoder belongs; None takes what
    ``sae.metadata`` says. The SAE reads raw activations."""

    sae: SAE
    hook_name: str | None = None
    hook_name_out: str | None = None
    name: str = ""

    @property
    def reads_at(self) -> str:
        return self._place("hook_name", self.hook_name, "where it reads")

    @property
    def writes_at(self) -> str:
        """The hook name of the input, except for transcoders."""
        if not self.sae.is_transcoder:
            return self.reads_at
        return self._place("hook_name_out", self.hook_name_out, "where its output belongs")

    def points(self, model: nn.Module) -> tuple[HookPoint, HookPoint]:
        """Where it reads and writes in `model`. Raises `HookError`, and `ConfigError` where a place is not known or has
        another width."""
        into = fitting_point(model, self.reads_at, self.sae.d_in)
        return into, fitting_point(model, self.writes_at, self.sae.d_out, "d_out")

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
    """Every feature (see `feature_fields`) with its SAE: the one it names (an SAE, a `SteeringSource`, or a key of
    `sae`), else `sae`. Raises `ConfigError` where one lies outside its SAE or is set twice."""
    known: list[tuple[Any, SteeringSource]] = []  # one source per SAE object, so that its latents are computed once
    found: list[Chosen] = []
    seen: dict[tuple[int, str, int], bool] = {}  # latent → whether it is only added
    for number, fields in enumerate(feature_fields(features)):
        where, own = f"features.{number}", fields["sae"]
        if own is None or isinstance(own, str):
            own = _look_up(own, sae, where)
        else:
            fields["sae"] = None
        feature = SteeringFeature.from_data(fields)
        source = next((source for one, source in known if one is own), None)
        if source is None:
            source = as_source(own)
            known.append((own, source))
        check_index(feature.index, source.sae.d_sae, f"{where}.index", "the SAE")
        # Additions to one latent add up; a second value for it would contradict the first.
        key, additive = (id(source.sae), source.reads_at, feature.index), feature.mode in ADDITIVE
        if key in seen and not (additive and seen[key]):
            raise ConfigError(
                f"Feature {feature.index} is listed twice, and not only with modes that add.", where=where,
                hint="Keep one of the two.",
            )
        seen[key] = additive
        found.append((source, feature))
    return found


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
                hint=f"Use one of: {', '.join(sae)}." if sae else "Pass it as sae=….",
            )
        return sae[key]
    if sae is None:
        raise ConfigError("The feature's SAE is missing.", where=f"{where}.sae", hint="Pass it as sae=….")
    return sae
