"""From what a caller asks for to the configuration that is recorded, which means the same elsewhere and tomorrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.config.group import Over, base_of
from saewidgets.config.names import as_recorded, check_revision
from saewidgets.errors import ConfigError
from saewidgets.settings import resolve_device
from saewidgets.workspace.capture.using import settings_of_store
from saewidgets.workspace.corpora import is_reference, located
from saewidgets.workspace.held import Held, canonical, device_of
from saewidgets.workspace.training import starting

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


def checked(
    config: TrainingConfig | Mapping[str, Any], held: Held | None, over: Over | None = None
) -> TrainingConfig:
    """The configuration that was given, with a model that is `held` or has to be loaded; of a group the base."""
    if not isinstance(config, TrainingConfig):
        require_settings(config)
        if is_reference(config):
            raise ConfigError(
                "This names the text of a training instead of holding it.", where="corpus.strings",
                hint="Use run.config, which holds the text, or run.retry().",
            )
        config = base_of(config, over or {})
    if held is None:
        check_revision(config.model, config.model_revision)
    return config


def require_settings(config: Any) -> None:
    """Raises `ConfigError` for what is no mapping."""
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"The configuration is a {type(config).__name__}.", where="config",
            hint="Give a TrainingConfig, or its settings as a dictionary.",
        )


def concrete(
    workspace: Workspace, config: TrainingConfig, held: Held | None, *, begins: bool = True
) -> TrainingConfig:
    """The configuration with what "auto" stands for and absolute paths: it must mean the same elsewhere.

    Args:
        workspace: whose device and stores of activations it means.
        config: what was asked for.
        held: the model that its user handed in.
        begins: False for one that goes on from a checkpoint, and so needs nothing to start from.

    Raises:
        ConfigError, NotFoundError: a setting cannot work here.
    """
    changes: dict[str, Any] = {}
    if held is not None:
        changes["device"], changes["model_device"] = _devices_of(config, device_of(held))
        if "model" not in config.model_fields_set:
            changes["model"] = held.name
    else:
        changes["device"] = workspace.settings.device_for(config.device)
        changes["model_device"] = _elsewhere(config.model_device, changes["device"], "model_device")
        changes["model"] = as_recorded(config.model)
    changes["activations.buffer_device"] = _elsewhere(
        config.activations.buffer_device, changes["device"], "activations.buffer_device"
    )
    changes.update({f"corpus.{name}": value for name, value in located(config.corpus).items()})
    changes |= settings_of_store(workspace, config)
    config = config.replace(**changes)
    return starting.checked(workspace, config) if begins else config


def _elsewhere(name: str | None, device: str, where: str) -> str | None:
    """A second device by its full name; None where it is `device` itself. Raises `ConfigError` if it is not here."""
    found = None if name is None else resolve_device(name, where)
    return None if found == device else found


def _devices_of(config: TrainingConfig, place: str) -> tuple[str, str | None]:
    """Where an SAE trains whose model the user holds on `place`, and where the model is if that is elsewhere."""
    if config.model_device is not None:
        if canonical(config.model_device) != place:
            raise ConfigError(
                f"The model you gave is on {place}, but the model device is {config.model_device}.",
                where="model_device", hint="Move the model, or leave the model device empty.",
            )
        device = place if config.device == "auto" else resolve_device(config.device)
        return device, None if device == place else place
    if config.device != "auto" and canonical(config.device) != place:
        raise ConfigError(
            f"The model you gave is on {place}, but the device is {config.device}.", where="device",
            hint=f'Move the model, leave the device at "auto", or say model_device="{place}" to have both.',
        )
    return place, None
