"""`settle` turns a caller's configurations of trainings into recorded ones: concrete, reproducible elsewhere, and
fitting their model; later steps trust them. Used by `ws.trainings`, the form, the commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig, arguments
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.group import Over, base_of
from saewidgets.config.hook_names import head_of, layer_of, without_head
from saewidgets.config.names import as_recorded, check_revision
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.settings import resolve_device
from saewidgets.workspace.capture.stored_corpus import settings_of_store
from saewidgets.workspace.corpora import is_reference, located
from saewidgets.workspace.lookup import find_id
from saewidgets.workspace.training.estimates import load_of
from saewidgets.workspace.user_models import UserModel, place_of

if TYPE_CHECKING:
    from saewidgets.training.pretrained import Pretrained
    from saewidgets.workspace.workspace import Workspace


def settle(
    workspace: Workspace, configs: Sequence[TrainingConfig], held: UserModel | None, *, begins: bool = True
) -> list[TrainingConfig]:
    """The configurations of trainings that share a job, as they are recorded. `begins` is False for one that goes on
    from a checkpoint, and so needs nothing to start from."""
    settled = [concrete(workspace, config, held) for config in configs]
    if begins:
        settled = [with_pretrained(workspace, config) for config in settled]
    require_fit(settled, held)
    if held is None and not isinstance(settled[0].corpus, ActivationCorpus):
        _require_free_memory(workspace, settled)
    return settled


def _require_free_memory(workspace: Workspace, configs: Sequence[TrainingConfig]) -> None:
    """Refuse what fits the machine but not its free memory, if it would start at once. On a GPU the run itself does."""
    first = configs[0]
    if workspace.settings.places or first.device != "cpu" or any(load_of(workspace, first.device)):
        return
    # Torch: seconds to import.
    from saewidgets.lm.model_config import stated_sizes
    from saewidgets.training.member import require_room

    if (width := stated_sizes(first.model, revision=first.model_revision).d_model) is not None:
        for config in configs:
            require_room(config, width, None, first.device)


def from_caller(
    config: TrainingConfig | Mapping[str, Any], held: UserModel | None, over: Over | None = None
) -> TrainingConfig:
    """The configuration that was given, with a model that is `held` or has to be loaded; of a group the base."""
    config = as_config(config, over)
    if held is None:
        check_revision(config.model, config.model_revision)
    return config


def as_config(config: TrainingConfig | Mapping[str, Any], over: Over | None = None) -> TrainingConfig:
    """The configuration that was given as plain data; of a group the base."""
    if isinstance(config, TrainingConfig):
        return config
    require_settings(config)
    if is_reference(config):
        raise ConfigError(
            "This names the text of a training instead of holding it.", where="corpus.strings",
            hint="Use run.config, which holds the text, or run.retry().",
        )
    return base_of(config, over or {})


def require_settings(config: Any, kind: str = "a TrainingConfig") -> None:
    """Raises `ConfigError` for anything but a mapping."""
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"Not a configuration: {type(config).__name__}.", where="config",
            hint=f"Give {kind}, or its settings as a dictionary.",
        )


def concrete(workspace: Workspace, config: TrainingConfig, held: UserModel | None) -> TrainingConfig:
    """The configuration with "auto" resolved, absolute paths, and what a store of activations decides."""
    changes: dict[str, Any] = {}
    if held is not None:
        changes["device"], changes["model_device"] = _devices_of(config, held)
        if "model" not in config.model_fields_set:
            changes["model"] = held.name
    else:
        changes["device"] = workspace.settings.device_for(config.device)
        changes["model_device"] = _elsewhere(workspace, config.model_device, changes["device"], "model_device")
        changes["model"] = as_recorded(config.model)
    changes["activations.buffer_device"] = _elsewhere(
        workspace, config.activations.buffer_device, changes["device"], "activations.buffer_device"
    )
    changes.update({f"corpus.{name}": value for name, value in located(config.corpus).items()})
    if isinstance(config.corpus, ActivationCorpus):
        changes |= settings_of_store(workspace, config)
    return config.replace(**changes)


def _elsewhere(workspace: Workspace, name: str | None, device: str, where: str) -> str | None:
    """A second device by its full name; None where it is `device` itself. Raises `ConfigError` if it is not there."""
    found = None if name is None else workspace.settings.device_for(name, where)
    return None if found == device else found


def _devices_of(config: TrainingConfig, held: UserModel) -> tuple[str, str | None]:
    """Where an SAE trains whose model the user holds, and where the model is if that is elsewhere."""
    if config.model_device is None:
        hint = 'leave the device at "auto", or set model_device="{device}" to have both'
        return place_of(held, config.device, hint=hint), None
    place = place_of(held, config.model_device, "model_device", "leave the model device empty")
    device = place if config.device == "auto" else resolve_device(config.device)
    return device, None if device == place else place


def find_pretrained(workspace: Workspace, named: str) -> Pretrained:
    """The SAE of this id or name, the one that the training of this id has left, or the one at this path."""
    from saewidgets.training.pretrained import Pretrained  # torch: seconds to import

    _, path, label = _locate(workspace, named)
    return Pretrained(path, label)


def with_pretrained(workspace: Workspace, config: TrainingConfig) -> TrainingConfig:
    """The configuration with what it starts from, if anything, by its id or an absolute path: the same tomorrow."""
    if config.from_pretrained is None:
        return config
    from saewidgets.training.pretrained import check  # torch: seconds to import

    check(config, partial(find_pretrained, workspace))
    return config.replace(from_pretrained=_locate(workspace, config.from_pretrained)[0])


def _locate(workspace: Workspace, named: str) -> tuple[str, Path, str]:
    try:
        found = find_id(workspace, ("sae", "training"), named, "from_pretrained")
        if found.startswith("train_"):
            run = workspace.trainings.get(found)
            return run.id, run.sae_path, run.record.name
        record = workspace.saes.get(found)
    except NotFoundError as error:
        path = arguments.path(named, "from_pretrained", "the SAE to start from")
        if path.exists():
            return str(path.absolute()), path.absolute(), path.name
        raise NotFoundError(error.what, where="from_pretrained", hint=error.hint) from error
    return record.id, workspace.saes.folder_of(record), record.name


def misfits(
    config: TrainingConfig, n_layers: int | None, context: int | None, n_heads: int | None
) -> dict[str, str]:
    """What `config` asks for and its model does not have, by field; None: unknown of the model."""
    found = {}
    for field, name in zip(("hook_name", "hook_name_out"), config.hook_names, strict=False):
        if (sentence := not_in_model(name, config.model, n_layers, n_heads)) is not None:
            found[field] = sentence
    if context is not None and config.context_size > context:
        found["context_size"] = f"{config.context_size:,} tokens do not fit: {config.model} reads at most {context:,}."
    return found


def not_in_model(hook_name: str, model: str, n_layers: int | None, n_heads: int | None) -> str | None:
    """Which part of a hook name a model does not have, and what it has; None where nothing is known to be missing."""
    layer, head = layer_of(hook_name), head_of(hook_name)
    if n_layers is not None and layer >= n_layers:
        return f"Layer {layer} does not exist: {model} has layers 0 to {n_layers - 1}."
    if n_heads is not None and head is not None and head >= n_heads:
        every = without_head(hook_name)
        return f"Head {head} does not exist: {model} has heads 0 to {n_heads - 1} in a layer. All of them are {every}."
    return None


def require_fit(configs: Iterable[TrainingConfig], held: UserModel | None) -> None:
    """Refuse what the model does not have; one of the hub that was never loaded here is left to the run."""
    configs = list(configs)
    if isinstance(configs[0].corpus, ActivationCorpus):  # what the store holds decides; no model is read
        return
    try:
        sizes = sizes_of(configs[0].model, configs[0].model_revision, held)
    except NotFoundError as error:
        raise NotFoundError(f"{configs[0].model}: {error.what}", where="model", hint=error.hint) from error
    for config in configs:
        for field, sentence in misfits(config, *sizes).items():
            raise ConfigError(sentence, where=field)


def require_width(config: TrainingConfig, d_in: int | None) -> None:
    """Refuse a translation whose coefficients were multiplied by another width than that of its model, where known."""
    from saewidgets.lm.model_config import stated_sizes  # torch: seconds to import

    width = stated_sizes(config.model, revision=config.model_revision).d_model
    if None not in (width, d_in) and width != d_in:
        raise ConfigError(
            f"This is {d_in:,}, but the activations of {config.model} are {width:,} wide.", where="sae.d_model",
            hint=f"Name the model it is for, such as --model gpt2, or write d_model: {width}.",
        )


def sizes_of(model: str, revision: str | None, held: UserModel | None) -> tuple[int | None, int | None, int | None]:
    """Layers of a model, the context it reads and heads in a layer, as far as that is known before it is loaded."""
    # Torch: seconds to import.
    from saewidgets.lm import wrap_model
    from saewidgets.lm.model_config import stated_sizes

    if held is not None:
        lm = wrap_model(held.model, held.tokenizer)
        return lm.n_layers, lm.context, lm.n_heads
    stated = stated_sizes(model, revision=revision)
    return stated.n_layers, stated.context, stated.n_heads
