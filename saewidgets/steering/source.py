"""Whose features they are: an SAE, where in the model it reads, and where it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from saewidgets.errors import ConfigError
from saewidgets.lm import HookPoint, resolve_hook
from saewidgets.sae import SAE


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
