"""From what a caller asks of an extraction to the configuration that is recorded: it means the same elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saewidgets.config.corpus_text import PATH_HINT
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.model_names import as_recorded, check_revision
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError
from saewidgets.workspace.capture.using import as_text
from saewidgets.workspace.corpora import located
from saewidgets.workspace.held import Held, place_of
from saewidgets.workspace.subjects import CONTEXT, Subject

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_MOST_POSITIONS = 2**31 - 1  # the layout's


def checked(config: ExtractionConfig | Mapping[str, Any] | None) -> ExtractionConfig:
    """The configuration that was given, as an object. Raises `ConfigError` for what is none."""
    if isinstance(config, ExtractionConfig):
        return config
    if config is None:
        return ExtractionConfig()
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"The configuration is a {type(config).__name__}.", where="config",
            hint="Give an ExtractionConfig, or its settings as a dictionary.",
        )
    return ExtractionConfig.from_data(config)


def concrete(
    workspace: Workspace, subject: Subject, config: ExtractionConfig, held: Held | None
) -> ExtractionConfig:
    """The configuration with what stands for something else replaced: it must mean the same elsewhere."""
    from saewidgets.lm import check_context  # torch: seconds to import

    changes: dict[str, Any] = {}
    if subject.hook_name is None:
        raise ConfigError(
            f"It is not known where in a model {subject.name} belongs.", where="hook_name",
            hint="Add it to the library again with hook_name=…, for example \"blocks.6.hook_resid_post\".",
        )
    if held is not None:
        changes["device"] = place_of(held, config.device)
        changes["model"] = config.model or subject.model or held.name
    else:
        changes["device"] = workspace.settings.device_for(config.device)
        changes |= _model(subject, config)
    name = str(changes.get("model") or config.model)
    reads = _reads(name, changes.get("model_revision", config.model_revision), held)
    wanted_size = config.context_size or subject.context_size
    changes["context_size"] = wanted_size or min(CONTEXT, reads or CONTEXT)
    check_context(name, reads, changes["context_size"])
    changes["corpus"] = _corpus(workspace, subject, config)
    if config.tokens > _MOST_POSITIONS:
        raise ConfigError(
            f"At most {_MOST_POSITIONS:,} tokens can be read.", where="tokens", hint="Lower Tokens."
        )
    return config.replace(**changes)


def _corpus(workspace: Workspace, subject: Subject, config: ExtractionConfig) -> Any:
    if config.corpus is None:
        if subject.corpus is None:
            raise ConfigError(
                f"The text that {subject.name} was trained on is not here.", where="corpus",
                hint=PATH_HINT,
            )
        return subject.corpus
    text = as_text(workspace, {**config.corpus.to_data(), **located(config.corpus)})
    if text is None:
        raise ConfigError(
            "The text of these stored activations is not known, or not here.", where="corpus", hint=PATH_HINT
        )
    return text


def _model(subject: Subject, config: ExtractionConfig) -> dict[str, Any]:
    """Which model to load, and how: the one that was asked for, else the SAE's own."""
    name = config.model or subject.model
    if name is None:
        raise ConfigError(
            f"It is not known which model {subject.name} was trained on.", where="model",
            hint='Name it: ExtractionConfig(model="gpt2"), a Hugging Face id or a folder.',
        )
    name = as_recorded(name)
    if config.model is not None:
        check_revision(name, config.model_revision)
        return {"model": name}
    chosen: dict[str, Any] = {"model": name}
    if "model_revision" not in config.model_fields_set:
        chosen["model_revision"] = subject.revision
    if "model_dtype" not in config.model_fields_set:
        chosen["model_dtype"] = subject.dtype
    return chosen


def _reads(name: str, revision: str | None, held: Held | None) -> int | None:
    """The longest context of the model in tokens, as far as that is known before it is loaded."""
    # Torch: seconds to import.
    from saewidgets.lm import stated_sizes
    from saewidgets.lm.model_config import context_of, text_config

    if held is not None:
        return context_of(text_config(held.model))
    return stated_sizes(resolve_model(name), revision=revision).context
