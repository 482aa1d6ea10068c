"""What a capture is asked to do: its configuration, as any process understands it, and what that takes on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.activation_records import CaptureEstimate
from saewidgets.config.capture import CaptureConfig
from saewidgets.config.model_names import as_recorded, check_revision, is_local
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError
from saewidgets.workspace.corpora import located
from saewidgets.workspace.files import free_bytes
from saewidgets.workspace.held import Held, place_of, take
from saewidgets.workspace.training.fitting import not_in_model

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


def asked(
    workspace: Workspace, model: Any, corpus: Any, hook_names: Any, tokens: Any, dtype: Any, name: Any, tokenizer: Any,
    settings: Mapping[str, Any],
) -> tuple[CaptureConfig, Held | None]:
    """The configuration with what stands for something else replaced: it must mean the same elsewhere."""
    held = None if isinstance(model, str | Path) and tokenizer is None else take(model, tokenizer)
    called = str(model) if held is None else held.name
    config = CaptureConfig(
        **{"model": called, "corpus": corpus, "hook_names": hook_names, "tokens": tokens, "dtype": dtype,
           "name": name, **settings}
    )  # fmt: skip
    changes: dict[str, Any] = {}
    if held is not None:
        changes["device"] = place_of(held, config.device)
    else:
        check_revision(config.model, config.model_revision)
        changes["device"] = workspace.settings.device_for(config.device)
        changes["model"] = as_recorded(config.model)
    changes.update({f"corpus.{name}": value for name, value in located(config.corpus).items()})
    return config.replace(**changes), held


def needed(workspace: Workspace, config: CaptureConfig, held: Held | None, *, ask: bool) -> CaptureEstimate | None:
    """The estimate; None where the model's sizes are not on this machine, unless the hub may be asked."""
    # Torch: seconds to import.
    from saewidgets.activations.store_capture import bytes_per_token
    from saewidgets.lm import check_context, model_facts, resolve_hook, wrap_model
    from saewidgets.lm.hub_probe import cached_config

    own = config.model_dtype
    if held is not None:
        lm = wrap_model(held.model, held.tokenizer)
        widths = {name: resolve_hook(lm.model, name).width for name in config.hook_names}
        vocabulary, own = lm.vocab_size, str(lm.dtype).removeprefix("torch.")  # type: ignore[assignment]
        check_context(lm.name, lm.context, config.context_size)
    else:
        place = resolve_model(config.model)
        if not ask and not is_local(place) and cached_config(place, config.model_revision) is None:
            return None
        facts = model_facts(place, revision=config.model_revision)
        for name in config.hook_names:
            if (sentence := not_in_model(name, config.model, facts.n_layers, facts.n_heads)) is not None:
                raise ConfigError(sentence, where="hook_names")
        check_context(config.model, facts.context, config.context_size)
        widths, vocabulary = {name: facts.d_in(name) for name in config.hook_names}, facts.vocab_size
    dtype = config.dtype or own
    per_token = bytes_per_token(list(widths.values()), dtype, vocabulary)
    total = per_token * -(-config.tokens // config.context_size) * config.context_size
    free = free_bytes(workspace.folder)
    return CaptureEstimate(
        tokens=config.tokens, bytes_per_token=per_token, size_bytes=total, disk_free_bytes=free,
        fits=free >= total * 1.1, dtype=dtype, widths=widths,
    )
