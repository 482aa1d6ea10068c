"""Whether a model has the layers and reads the contexts that a training asks for: told before anything starts."""

from __future__ import annotations

from collections.abc import Iterable

from saewidgets.config import TrainingConfig
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.hook_names import head_of, layer_of, without_head
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.workspace.held import Held


def misfits(
    config: TrainingConfig, n_layers: int | None, context: int | None, n_heads: int | None
) -> dict[str, str]:
    """What `config` asks for and its model does not have, by field.

    Args:
        config: of the training.
        n_layers: how many blocks the model has; None where that is not known.
        context: the longest context it reads, in tokens; None where that is not known.
        n_heads: how many attention heads a layer has; None where that is not known.
    """
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


def require_fit(configs: Iterable[TrainingConfig], held: Held | None) -> None:
    """Raise where trainings of one model ask for what it does not have, as far as this machine can tell at once.

    A model of the hub that was never loaded here is left to the run, which fetches it.

    Args:
        configs: of the trainings; all read the same model.
        held: the model, where it was handed in.

    Raises:
        NotFoundError: the model is a folder that is not there, or holds no model.
        ConfigError: it has no such layer, or reads no contexts of this length; `where` names the field.
    """
    configs = list(configs)
    if isinstance(configs[0].corpus, ActivationCorpus):  # what the store holds decides; no model is read
        return
    sizes = _sizes(configs[0], held)
    for config in configs:
        for field, sentence in misfits(config, *sizes).items():
            raise ConfigError(sentence, where=field)


def _sizes(config: TrainingConfig, held: Held | None) -> tuple[int | None, int | None, int | None]:
    """How many layers the model has, how long a context it reads, and how many heads a layer has."""
    # Torch: seconds to import.
    from saewidgets.lm import wrap_model
    from saewidgets.lm.model_info import stated_sizes

    if held is not None:
        lm = wrap_model(held.model, held.tokenizer)
        return lm.n_layers, lm.context, lm.n_heads
    try:
        stated = stated_sizes(resolve_model(config.model), revision=config.model_revision)
    except NotFoundError as error:
        raise NotFoundError(f"{config.model}: {error.what}", where="model", hint=error.hint) from error
    return stated.n_layers, stated.context, stated.n_heads
