"""Checking a form before Start: errors by field, lines of facts, an estimate of memory, time and disk.

Every field is checked by itself, whatever is wrong with the others. A model on the hub is looked up in a thread: no
answer waits longer than `_PATIENCE` for the network, and one that is still waiting says so (`pending`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saewidgets.config import ActivationCorpus, TrainingConfig, validate
from saewidgets.config.group import Over, base_of, expand, group_name
from saewidgets.config.names import check_revision, is_local
from saewidgets.config.sparsity import warning_of
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.workspace.capture.using import form_of_store
from saewidgets.workspace.corpora import is_there, not_there, paths_of
from saewidgets.workspace.devices import Device, devices
from saewidgets.workspace.training import estimates
from saewidgets.workspace.training.settle import misfits, with_pretrained

if TYPE_CHECKING:
    from saewidgets.lm import ModelFacts
    from saewidgets.workspace.workspace import Workspace

_FACTS_MAX_AGE = 300.0  # seconds
_ERROR_MAX_AGE = 30.0  # seconds; a mistyped id must not be asked for at every key press, a network may come back
_PATIENCE = 0.7  # seconds one check waits for the hub; without a network it retries for 20 and more
_MOST_LOOKUPS = 8  # at the same time; more are begun by later checks

_ARCHITECTURES = {
    "standard": "ReLU with an L1 penalty",
    "topk": "k largest latents kept per token",
    "batchtopk": "k · batch largest latents kept per batch",
    "matryoshka": "BatchTopK whose first latents also reconstruct alone",
    "jumprelu": "a learned threshold per latent, L0 penalty",
    "gated": "one path decides what is active, another how strongly",
    "skip": "a part of the input passes around the latents",
    "transcoder": "latents of one place reconstruct another",
    "skip_transcoder": "a transcoder with a linear path beside the latents",
}
_CORPUS_HINTS = {
    "demo": "public-domain English, in the package",
    "activations": "captured before; no language model runs",
    "hub": "from the Hugging Face hub; no more of it is read than the run needs",
}
# A rule about two fields says nothing while the other one has no value of its own.
_DEPENDS_ON = {"tokens": "batch_size", "gradient_accumulation": "batch_size", "sae.k": "sae.d_sae"}
_IN_THE_NAME = ("model", "hook_name", "sae", "sae.architecture", "sae.k")


class _Lookup:
    """One question for the facts of a model, answered in a thread of its own."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.done = threading.Event()
        self.found: ModelFacts | SAEWidgetsError | None = None
        self.at = 0.0
        self._asked = (name, revision)
        threading.Thread(target=self._look, name="saewidgets-model-facts", daemon=True).start()

    def _look(self) -> None:
        from saewidgets.lm import model_facts  # torch: seconds to import

        name, revision = self._asked
        try:
            self.found = model_facts(resolve_model(name), revision=revision)
        except SAEWidgetsError as error:
            self.found = error
        except Exception as error:  # noqa: BLE001 - whatever a library raises here is about this model
            self.found = SAEWidgetsError(f"The model cannot be looked up ({type(error).__name__}: {error}).")
        finally:
            self.at = time.monotonic()
            self.done.set()

    @property
    def is_old(self) -> bool:
        age = _ERROR_MAX_AGE if isinstance(self.found, SAEWidgetsError) else _FACTS_MAX_AGE
        return self.done.is_set() and time.monotonic() - self.at > age


class _FactsCache:
    """Facts of models asked for lately, errors included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, str | None], _Lookup] = {}

    def get(self, name: str, revision: str | None, patience: float | None) -> ModelFacts | None:
        """The facts, or None when they are not there within `patience` seconds (None: however long it takes).

        Raises what `model_facts` raises.
        """
        key = (name, revision)
        with self._lock:
            self._lookups = {k: lookup for k, lookup in self._lookups.items() if not lookup.is_old}
            lookup = self._lookups.get(key)
            if lookup is None:
                if sum(not each.done.is_set() for each in self._lookups.values()) >= _MOST_LOOKUPS:
                    return None
                lookup = self._lookups[key] = _Lookup(name, revision)
        lookup.done.wait(patience)
        if isinstance(lookup.found, SAEWidgetsError):
            raise lookup.found
        return lookup.found


_facts = _FactsCache()


def check(
    workspace: Workspace, data: Mapping[str, Any], free_name: Callable[[str], str], over: Over | None = None
) -> dict[str, Any]:
    """See `Trainings.validate`. Never raises for bad values."""
    data, of_store = form_of_store(workspace, data)
    checked, errors = validate(dict(data))
    if checked is None and over:
        with contextlib.suppress(ConfigError):  # what is wrong with the base alone is in `errors`
            checked, errors = base_of(data, over), {}
    errors = {**errors, **of_store}
    # With defaults in place of what is wrong, the rest can still be looked at.
    config, wrong = (checked, frozenset[str]()) if checked is not None else _completed(data, errors)
    facts, pending = _model(data, errors)
    if config is not None:
        _check_model(config, wrong, facts, errors)
        _check_corpus(config, wrong, errors)
        _check_pretrained(workspace, config, wrong, errors)
    device = _device(workspace, config if "device" not in wrong else None, data, errors)
    others = _other_devices(config, wrong, errors)
    hints = _hints(data, config, wrong, facts, workspace, device)
    result: dict[str, Any] = {"fields": errors, "hints": hints}
    if pending:
        result["pending"] = ("model",)
        hints["model"] = f"looking up {str(data['model']).strip()} …"
    if facts is not None:
        result["model"] = {
            "parameters": facts.parameters, "layers": facts.n_layers, "d_model": facts.d_model,
            "context": facts.context, "d_in": _d_in(config, wrong, facts), "heads": facts.n_heads,
        }  # fmt: skip
    if config is not None:
        if config.name and "name" not in wrong:
            result["name"] = config.name
        elif not wrong.intersection(_IN_THE_NAME):
            result["name"] = free_name(config.default_name)
    together = [] if checked is None else [checked]
    if checked is not None and over:
        together = _together(workspace, checked, over, facts, errors)
        result["name"] = checked.name or group_name(together)
        result["trainings"] = tuple(free_name(str(each.name)) for each in together)
    if together and facts is not None and device is not None and not errors:
        result["estimate"] = estimates.estimate_runs(workspace, together, facts, device, others)
    return result


def _together(
    workspace: Workspace, base: TrainingConfig, over: Over, facts: ModelFacts | None, errors: dict[str, str]
) -> list[TrainingConfig]:
    """The trainings that start together; what is wrong with any of them is added to `errors`."""
    try:
        together = expand(base, over)
    except ConfigError as error:
        where = error.where if error.where in ("hook_name", "hook_name_out") else "over"
        errors[where] = " ".join(filter(None, [error.what, error.hint]))
        return [base]
    for each in together:
        _check_model(each, frozenset(), facts, errors)
        for field, sentence in form_of_store(workspace, each.to_data())[1].items():
            errors.setdefault(field, sentence)
    return together


def _completed(data: Mapping[str, Any], errors: dict[str, str]) -> tuple[TrainingConfig | None, frozenset[str]]:
    """The configuration with defaults for the wrong fields, and the names that say nothing in it.

    What is wrong with the other fields but only shows now is added to `errors`.
    """
    rest: Any = dict(data)
    dropped = set(errors)
    for _ in range(4):  # a default may not fit either (k of a small d_sae): then the whole group goes
        for name in dropped:
            rest = _without(rest, name.split("."))
        config, more = validate(rest)
        if config is not None:
            return config, frozenset(dropped)
        for name, sentence in more.items():
            if name in dropped or _DEPENDS_ON.get(name) in dropped:
                dropped.add(name.split(".")[0])
            else:
                errors[name] = sentence
                dropped.add(name)
    return None, frozenset(dropped)


def _without(data: Any, path: list[str]) -> Any:
    """`data` less the value at `path` (less all of it where the path goes deeper than the data)."""
    if not isinstance(data, Mapping) or path[0] not in data:
        return data
    rest = {key: value for key, value in data.items() if key != path[0]}
    inner = data[path[0]]
    if len(path) > 1 and isinstance(inner, Mapping) and path[1] in inner:
        rest[path[0]] = _without(inner, path[1:])
    return rest


def _model(data: Mapping[str, Any], errors: dict[str, str]) -> tuple[ModelFacts | None, bool]:
    """The facts of the model, if they are known, and whether they are still being looked up."""
    name = data.get("model", "demo")
    revision = data.get("model_revision") or None
    if not isinstance(name, str) or not name.strip() or not isinstance(revision, str | None):
        return None, False
    name = name.strip()
    try:
        check_revision(name, revision)
    except ConfigError as error:
        errors.setdefault("model_revision", f"{error.what} {error.hint}")
    try:
        # What lies on this machine is there in milliseconds, but for the first import of transformers.
        found = _facts.get(name, revision, None if is_local(resolve_model(name)) else _PATIENCE)
    except SAEWidgetsError as error:
        what = error.what if name in error.what else f"{name}: {error.what}"
        errors.setdefault("model", " ".join(filter(None, [what, error.hint])))
        return None, False
    return found, found is None


def _check_model(
    config: TrainingConfig, wrong: frozenset[str], facts: ModelFacts | None, errors: dict[str, str]
) -> None:
    if facts is None:
        return
    for field, sentence in misfits(config, facts.n_layers, facts.context, facts.n_heads).items():
        if field not in wrong:
            errors.setdefault(field, sentence)
    if facts.context is not None and "context_size" in wrong:  # the field would allow what no model reads
        what = errors["context_size"].partition(" Enter ")[0]
        errors["context_size"] = f"{what} Enter a whole number from 2 to {facts.context:,}."
    if facts.is_encoder and config.checkpoints.best_metric == "ce_loss_score":
        errors.setdefault(
            "checkpoints.best_metric", f"{config.model} is an encoder and has no cross-entropy. Choose fvu."
        )


def _d_in(config: TrainingConfig | None, wrong: frozenset[str], facts: ModelFacts) -> int:
    """Width of the activations: that of the heads together at hook_z, which need not be d_model, or of one of them."""
    return facts.d_model if config is None or "hook_name" in wrong else facts.d_in(config.hook_name)


def _check_corpus(config: TrainingConfig, wrong: frozenset[str], errors: dict[str, str]) -> None:
    if any(name.split(".")[0] == "corpus" for name in wrong):
        return
    for name in paths_of(config.corpus):
        if not is_there(name):
            error = not_there(name)
            errors.setdefault("corpus", f"{error.what} {error.hint}")


def _check_pretrained(
    workspace: Workspace, config: TrainingConfig, wrong: frozenset[str], errors: dict[str, str]
) -> None:
    if config.from_pretrained is None or any(name.split(".")[0] in ("sae", "from_pretrained") for name in wrong):
        return
    try:
        with_pretrained(workspace, config)
    except SAEWidgetsError as error:
        errors.setdefault("from_pretrained", " ".join(filter(None, [error.what, error.hint])))


def _device(
    workspace: Workspace, config: TrainingConfig | None, data: Mapping[str, Any], errors: dict[str, str]
) -> Any | None:
    wanted = str(config.device if config else data.get("device", "auto"))
    if wanted == "auto":
        wanted = workspace.settings.device
    present = devices()
    if wanted == "auto":
        return present[0]
    return _present(wanted, present, "device", errors)


def _present(wanted: str, present: Sequence[Device], field: str, errors: dict[str, str]) -> Device | None:
    for device in present:
        if wanted in (device.id, device.id.removesuffix(":0")):
            return device
    known = ", ".join(each.id for each in present)
    errors.setdefault(field, f"There is no device {wanted!r} on this machine. Use {known}.")
    return None


def _other_devices(
    config: TrainingConfig | None, wrong: frozenset[str], errors: dict[str, str]
) -> dict[str, Device]:
    """The second devices that are named, by those names."""
    if config is None:
        return {}
    named = {"model_device": config.model_device, "activations.buffer_device": config.activations.buffer_device}
    found = {
        name: _present(name, devices(), field, errors)
        for field, name in named.items() if name is not None and field not in wrong
    }
    return {name: device for name, device in found.items() if device is not None}


def _hints(
    data: Mapping[str, Any], config: TrainingConfig | None, wrong: frozenset[str], facts: ModelFacts | None,
    workspace: Workspace, device: Any,
) -> dict[str, str]:
    hints = {"batch_size": "tokens per step"}
    given = data.get("sae")
    sae = given if isinstance(given, Mapping) else {}
    if (what := _ARCHITECTURES.get(str(sae.get("architecture", "topk")))) is not None:
        hints["sae.architecture"] = what
    if facts is not None:
        size = f"{facts.parameters / 1e6:,.0f}M parameters, " if facts.parameters else ""
        if facts.parameters and facts.parameters < 20e6:
            size = f"{facts.parameters / 1e6:.1f}M parameters, "
        encoder = ", an encoder: no CE recovered" if facts.is_encoder else ""
        hints["model"] = f"{size}{facts.n_layers} layers, d_model {facts.d_model:,}{encoder}"
        hints["layer"] = _layers(facts.n_layers)
        if facts.n_heads is not None:
            hints["head"] = f"0 to {facts.n_heads - 1}; empty: all"
        d_in = _d_in(config, wrong, facts)
        hints["hook_name"] = f"d_in {d_in:,}"
        if config is not None and config.hook_name_out is not None and "hook_name_out" not in wrong:
            hints["hook_name_out"] = f"d_out {facts.d_in(config.hook_name_out):,}"
        if facts.context:
            hints["context_size"] = f"at most {facts.context:,}"
        if config is not None and not wrong.intersection({"sae", "sae.d_sae", "sae.architecture"}):
            factor = config.sae.d_sae / d_in
            hints["sae.d_sae"] = f"{factor:,.0f} × d_in" if factor >= 100 else f"{factor:.3g} × d_in"
        if config is not None and not any(name.split(".")[0] in ("sae", "activations") for name in wrong):
            hook = "hook_name" if config.hook_name_out is None else "hook_name_out"
            if hook not in wrong and (said := warning_of(config, facts.d_in(getattr(config, hook)))) is not None:
                hints[f"sae.{said[0]}"] = said[1]
    if config is not None:
        if not wrong.intersection({"tokens", "batch_size"}):
            steps = f"{config.steps:,} step{'s' * (config.steps != 1)}"
            hints["tokens"] = steps if config.epochs is None else "Epochs decide"
        if config.corpus.kind in _CORPUS_HINTS and not any(name.split(".")[0] == "corpus" for name in wrong):
            hints["corpus"] = _CORPUS_HINTS[config.corpus.kind]
            if isinstance(config.corpus, ActivationCorpus):  # the field holds its id, which says little
                named = {record.id: record.name for record in workspace.activations.list()}
                if (name := named.get(config.corpus.store_id)) is not None:
                    hints["corpus"] = f"{name}: {hints['corpus']}"
    if device is not None:
        hints["device"] = _queue_hint(workspace, device.id)
    return hints


def _layers(count: int) -> str:
    """ "0 to 11; several: 4, 6, 8": that a field takes several is seen nowhere else."""
    some = dict.fromkeys((count // 3, count // 2, 2 * count // 3))
    return f"0 to {count - 1}" + (f"; several: {', '.join(map(str, some))}" if len(some) > 1 else "")


def _queue_hint(workspace: Workspace, device: str) -> str:
    running, waiting = estimates.load_of(workspace, device)
    if not running and not waiting:
        return "no training runs on it"
    # A capture of activations or an extraction keeps a device as busy as a training does.
    parts = [f"{running} job runs" if running == 1 else f"{running} jobs run"] if running else []
    if waiting:
        parts.append(f"{waiting} wait{'s' if waiting == 1 else ''}")
    return ", ".join(parts)
