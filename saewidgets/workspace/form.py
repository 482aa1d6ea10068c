"""Checking a form before Start: errors by field, lines of facts, an estimate of memory, time and disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig, validate
from saewidgets.demo import resolve_model
from saewidgets.errors import SAEWidgetsError
from saewidgets.workspace import estimates
from saewidgets.workspace.devices import devices

if TYPE_CHECKING:
    from saewidgets.lm import ModelFacts
    from saewidgets.workspace.workspace import Workspace

_FACTS_MAX_AGE = 300.0  # seconds; a mistyped hub id must not be asked for again at every key press

_ARCHITECTURES = {
    "standard": "ReLU with an L1 penalty",
    "topk": "k largest latents kept per token",
    "batchtopk": "k · batch largest latents kept per batch",
    "jumprelu": "a learned threshold per latent, L0 penalty",
}


class _FactsCache:
    """Facts of models asked for lately, errors included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str | None], tuple[float, ModelFacts | SAEWidgetsError]] = {}

    def get(self, name: str, revision: str | None) -> ModelFacts:
        """Raises what `model_facts` raises."""
        from saewidgets.lm import model_facts  # torch: seconds to import

        key = (name, revision)
        with self._lock:
            at, found = self._found.get(key, (-_FACTS_MAX_AGE, None))
        if found is None or time.monotonic() - at > _FACTS_MAX_AGE:
            try:
                found = model_facts(resolve_model(name), revision=revision)
            except SAEWidgetsError as error:
                found = error
            with self._lock:
                self._found[key] = (time.monotonic(), found)
        if isinstance(found, SAEWidgetsError):
            raise found
        return found


_facts = _FactsCache()


def check(workspace: Workspace, data: Mapping[str, Any], free_name: Callable[[str], str]) -> dict[str, Any]:
    """See `Trainings.validate`. Never raises for bad values."""
    config, errors = validate(dict(data))
    errors = dict(errors)
    facts = _model(data, errors)
    if facts is not None:
        _check_model(data, config, facts, errors)
    _check_corpus(config, errors)
    device = _device(workspace, config, data, errors)
    result: dict[str, Any] = {"fields": errors, "hints": _hints(data, config, facts, workspace, device)}
    if facts is not None:
        result["model"] = {
            "parameters": facts.parameters, "layers": facts.n_layers, "d_model": facts.d_model,
            "context": facts.context, "d_in": facts.d_model,
        }  # fmt: skip
    if config is not None:
        result["name"] = config.name or free_name(config.default_name)
        if facts is not None and device is not None and not errors:
            result["estimate"] = estimates.estimate_run(workspace, config, facts, device)
    return result


def _model(data: Mapping[str, Any], errors: dict[str, str]) -> ModelFacts | None:
    name = data.get("model", "demo")
    if not isinstance(name, str) or not name.strip():
        return None
    try:
        return _facts.get(name.strip(), data.get("model_revision") or None)
    except SAEWidgetsError as error:
        errors.setdefault("model", " ".join(filter(None, [error.what, error.hint])))
        return None


def _check_model(
    data: Mapping[str, Any], config: TrainingConfig | None, facts: ModelFacts, errors: dict[str, str]
) -> None:
    if config is None:
        return
    last = facts.n_layers - 1
    if config.layer > last:
        errors.setdefault("hook_name", f"Layer {config.layer} does not exist: {config.model} has layers 0 to {last}.")
    if facts.context is not None and config.context_size > facts.context:
        errors.setdefault(
            "context_size",
            f"{config.context_size:,} tokens do not fit: {config.model} reads at most {facts.context:,}.",
        )


def _check_corpus(config: TrainingConfig | None, errors: dict[str, str]) -> None:
    for name in getattr(config.corpus, "files", ()) if config else ():
        if not Path(name).expanduser().exists():
            errors.setdefault(
                "corpus", f'There is no file or folder {name!r}. Enter "demo", or the path of a text file or folder.'
            )


def _device(
    workspace: Workspace, config: TrainingConfig | None, data: Mapping[str, Any], errors: dict[str, str]
) -> Any | None:
    wanted = str(config.device if config else data.get("device", "auto"))
    if wanted == "auto":
        wanted = workspace.settings.device
    present = devices()
    if wanted == "auto":
        return present[0]
    for device in present:
        if wanted in (device.id, device.id.removesuffix(":0")):
            return device
    known = ", ".join(each.id for each in present)
    errors.setdefault("device", f"There is no device {wanted!r} on this machine. Use {known}.")
    return None


def _hints(
    data: Mapping[str, Any], config: TrainingConfig | None, facts: ModelFacts | None, workspace: Workspace, device: Any
) -> dict[str, str]:
    hints = {"batch_size": "tokens per step"}
    sae = data.get("sae") or {}
    if (what := _ARCHITECTURES.get(str(sae.get("architecture", "topk")))) is not None:
        hints["sae.architecture"] = what
    if facts is not None:
        size = f"{facts.parameters / 1e6:,.0f}M parameters, " if facts.parameters else ""
        if facts.parameters and facts.parameters < 20e6:
            size = f"{facts.parameters / 1e6:.1f}M parameters, "
        hints["model"] = f"{size}{facts.n_layers} layers, d_model {facts.d_model:,}"
        hints["layer"] = f"0 to {facts.n_layers - 1}"
        hints["hook_name"] = f"d_in {facts.d_model:,}"
        if facts.context:
            hints["context_size"] = f"at most {facts.context:,}"
        d_sae = config.sae.d_sae if config else sae.get("d_sae")
        if isinstance(d_sae, int):
            hints["sae.d_sae"] = f"{d_sae / facts.d_model:.3g} × d_in"
    if config is not None:
        hints["tokens"] = f"{config.steps:,} steps"
        if config.corpus.kind == "demo":
            hints["corpus"] = "public-domain English, in the package"
    if device is not None:
        hints["device"] = _queue_hint(workspace, device.id)
    return hints


def _queue_hint(workspace: Workspace, device: str) -> str:
    running, waiting = estimates.load_of(workspace, device)
    if not running and not waiting:
        return "free"
    parts = [f"{running} training runs" if running == 1 else f"{running} trainings run"] if running else []
    if waiting:
        parts.append(f"{waiting} wait{'s' if waiting == 1 else ''}")
    return ", ".join(parts)
