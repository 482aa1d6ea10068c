"""Checks a form before Start: errors by field, lines of facts, an estimate of memory, time and disk.

Every field is checked by itself, whatever is wrong with the others. A model on the hub is looked up in a thread: no
answer waits longer than `_PATIENCE` for the network, and one that is still waiting says so (`pending`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from saewidgets.config import ActivationCorpus, TrainingConfig, validate
from saewidgets.config.group import Over, base_of, expand, group_name
from saewidgets.config.names import check_revision, is_local
from saewidgets.config.sae import Penalised, SAEConfig
from saewidgets.config.sparsity import warning_of
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.records import DeviceInfo
from saewidgets.workspace.capture.stored_corpus import form_of_store
from saewidgets.workspace.corpora import located
from saewidgets.workspace.training import estimates
from saewidgets.workspace.training.estimates import devices_of_jobs
from saewidgets.workspace.training.settle import misfits, with_pretrained

if TYPE_CHECKING:
    from saewidgets.lm import ModelFacts
    from saewidgets.workspace.workspace import Workspace

_FACTS_MAX_AGE = 300.0  # seconds
_ERROR_MAX_AGE = 30.0  # seconds; a mistyped id must not be looked up at every key press, a network may come back
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
_DEPENDS_ON = {"tokens": "batch_size", "gradient_accumulation": "batch_size", "sae.k": "sae.d_sae",
               "sae.d_sae": "sae.k"}
_IN_THE_NAME = ("model", "hook_name", "sae", "sae.architecture", "sae.k")


_lock = threading.Lock()
_lookups: dict[tuple[str, str | None], tuple[Future[ModelFacts], float]] = {}
"""Questions for the facts of models, errors included, with the time of the answer."""


def _facts_of(name: str, revision: str | None, patience: float | None) -> ModelFacts | None:
    """The facts of a model, or None when they are not there within `patience` seconds (None: however long it takes)."""
    key, now = (name, revision), time.monotonic()
    with _lock:
        for other, (future, at) in list(_lookups.items()):
            if future.done() and now - at > (_ERROR_MAX_AGE if future.exception() else _FACTS_MAX_AGE):
                del _lookups[other]
        if key not in _lookups:
            if sum(not future.done() for future, _ in _lookups.values()) >= _MOST_LOOKUPS:
                return None
            _lookups[key] = Future(), now
            threading.Thread(target=_look, args=key, name="saewidgets-model-facts", daemon=True).start()
        future = _lookups[key][0]
    try:
        return future.result(patience)
    except TimeoutError:
        return None


def _look(name: str, revision: str | None) -> None:
    from saewidgets.lm import model_facts  # torch: seconds to import

    future = _lookups[name, revision][0]
    try:
        tell = partial(future.set_result, model_facts(name, revision=revision))
    except SAEWidgetsError as error:
        tell = partial(future.set_exception, error)
    except Exception as error:  # noqa: BLE001 - whatever a library raises here is about this model
        what = f"The model cannot be looked up ({type(error).__name__}: {error})."
        tell = partial(future.set_exception, SAEWidgetsError(what))
    _lookups[name, revision] = future, time.monotonic()
    tell()


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
    form = _Form(workspace, data, config, wrong, errors)
    form.check()
    result: dict[str, Any] = {"fields": errors, "hints": form.hints(), "warned": form.warned}
    if form.pending:
        result["pending"] = ("model",)
    if (facts := form.facts) is not None:
        result["model"] = {
            "parameters": facts.parameters, "layers": facts.n_layers, "d_model": facts.d_model,
            "context": facts.context, "d_in": form.d_in(facts), "heads": facts.n_heads,
        }  # fmt: skip
    if config is not None:
        if config.name and "name" not in wrong:
            result["name"] = config.name
        elif not wrong.intersection(_IN_THE_NAME):
            result["name"] = free_name(config.default_name)
    together = [] if checked is None else [checked]
    if checked is not None and over:
        together = form.together(checked, over)
        result["name"] = checked.name or group_name(together)
        result["trainings"] = tuple(free_name(str(each.name)) for each in together)
    if together and facts is not None and form.device is not None and not errors:
        result["estimate"] = estimates.estimate_runs(workspace, together, facts, form.device, form.others)
    return result


def _of_target(sae: SAEConfig) -> str:
    """What becomes of Target L0; "" where that is plain."""
    if not isinstance(sae, Penalised):
        return ""
    if sae.aims:
        return "" if sae.target_l0 else f"{sae.aim:g} in this run"
    return "of no effect: Sparsity coefficient is given"


def _completed(data: Mapping[str, Any], errors: dict[str, str]) -> tuple[TrainingConfig | None, frozenset[str]]:
    """The configuration with defaults for the wrong fields, and their names; what shows only now joins `errors`."""
    dropped = set(errors)
    for _ in range(4):  # a default may not fit either (k of a small d_sae): then the whole group goes
        config, more = validate(_without(data, dropped))
        if config is not None:
            return config, frozenset(dropped)
        for name, sentence in more.items():
            follows = name in dropped or _DEPENDS_ON.get(name) in dropped
            dropped.add(name.split(".")[0] if follows else name)
            if not follows:
                errors[name] = sentence
    return None, frozenset(dropped)


def _without(data: Mapping[str, Any], dropped: Collection[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, dropped, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in data.items() if f"{prefix}{key}" not in dropped
    }  # fmt: skip


class _Form:
    """The valid part of the form, with what is known of its model and its devices. `config` has defaults
    for the fields in `wrong`, which say nothing; None where that cannot be. What is found here is added to `errors`."""

    def __init__(
        self, workspace: Workspace, data: Mapping[str, Any], config: TrainingConfig | None, wrong: frozenset[str],
        errors: dict[str, str],
    ) -> None:
        self.workspace, self.data, self.config, self.wrong, self.errors = workspace, data, config, wrong, errors
        self.pending = False
        self.warned: tuple[str, ...] = ()
        self.facts = self._look_up()
        self.others: dict[str, DeviceInfo] = {}
        self.device: DeviceInfo | None = None

    def says(self, *names: str) -> bool:
        return not any(wrong == name or wrong.startswith(f"{name}.") for wrong in self.wrong for name in names)

    def _look_up(self) -> ModelFacts | None:
        name, revision = self.data.get("model", "demo"), self.data.get("model_revision") or None
        if not isinstance(name, str) or not name.strip() or not isinstance(revision, str | None):
            return None
        name = name.strip()
        with self.noting("model_revision"):
            check_revision(name, revision)
        try:
            # What is on this machine is there in milliseconds, but for the first import of transformers.
            found = _facts_of(name, revision, None if is_local(name) else _PATIENCE)
        except SAEWidgetsError as error:
            self.errors.setdefault("model", ("" if name in error.what else f"{name}: ") + error.message)
            return None
        self.pending = found is None
        return found

    # ------------------------------------------------------------------------------------------------ errors

    @contextlib.contextmanager
    def noting(self, field: str) -> Iterator[None]:
        """An error inside becomes the error of this field, if it has none."""
        try:
            yield
        except SAEWidgetsError as error:
            self.errors.setdefault(field, error.message)

    def check(self) -> None:
        config, settings, present = self.config, self.workspace.settings, devices_of_jobs(self.workspace)
        wanted = str(config.device if config and self.says("device") else self.data.get("device", "auto"))
        wanted = settings.device if wanted == "auto" and not settings.places else wanted
        offered = present[:1] if settings.places else present
        self.device = present[0] if wanted == "auto" else self._present(wanted, offered, "device")
        if config is None:
            return
        self._check_model(config)
        if self.says("corpus"):
            with self.noting("corpus"):
                located(config.corpus)
        if self.says("sae", "from_pretrained"):
            with self.noting("from_pretrained"):
                with_pretrained(self.workspace, config)
        buffer = config.activations.buffer_device
        for field, other in (("model_device", config.model_device), ("activations.buffer_device", buffer)):
            if other is not None and field not in self.wrong and (found := self._present(other, present, field)):
                self.others[other] = found

    def _present(self, wanted: str, present: Sequence[DeviceInfo], field: str) -> DeviceInfo | None:
        for device in present:
            if wanted in (device.id, device.id.removesuffix(":0")):
                return device
        known = ", ".join(each.id for each in present)
        where = "for the jobs of this workspace" if self.workspace.settings.places else "on this machine"
        self.errors.setdefault(field, f"There is no device {wanted!r} {where}. Use {known}.")
        return None

    def _check_model(self, config: TrainingConfig) -> None:
        facts, errors = self.facts, self.errors
        if facts is None:
            return
        for field, sentence in misfits(config, facts.n_layers, facts.context, facts.n_heads).items():
            if field not in self.wrong:
                errors.setdefault(field, sentence)
        if facts.context is not None and "context_size" in self.wrong:  # the field would allow what no model reads
            what = errors["context_size"].partition(" Enter ")[0]
            errors["context_size"] = f"{what} Enter a whole number from 2 to {facts.context:,}."
        if facts.is_encoder and config.checkpoints.best_metric == "ce_loss_score":
            errors.setdefault(
                "checkpoints.best_metric", f"{config.model} is an encoder and has no cross-entropy. Choose fvu."
            )

    def together(self, base: TrainingConfig, over: Over) -> list[TrainingConfig]:
        """The trainings that start together; what is wrong with any of them is added to the errors."""
        try:
            together = expand(base, over)
        except ConfigError as error:
            where = error.where if error.where in ("hook_name", "hook_name_out") else "over"
            self.errors[where] = error.message
            return [base]
        for each in together:
            self._check_model(each)
            for field, sentence in form_of_store(self.workspace, each.to_data())[1].items():
                self.errors.setdefault(field, sentence)
        return together

    # ------------------------------------------------------------------------------------------------ hints

    def d_in(self, facts: ModelFacts) -> int:
        """Width of the activations: of all heads at hook_z, which need not be d_model, or of one of them."""
        return facts.d_model if self.config is None or not self.says("hook_name") else facts.d_in(self.config.hook_name)

    def hints(self) -> dict[str, str]:
        hints = {"batch_size": "tokens per step"}
        sae = self.data.get("sae")
        architecture = sae.get("architecture", "topk") if isinstance(sae, Mapping) else "topk"
        if (what := _ARCHITECTURES.get(str(architecture))) is not None:
            hints["sae.architecture"] = what
        if self.config is not None and self.says("sae") and (said := _of_target(self.config.sae)):
            hints["sae.target_l0"] = said
        if self.pending:
            hints["model"] = f"looking up {str(self.data['model']).strip()} …"
        if self.facts is not None:
            hints |= self._of_model(self.facts)
        config = self.config
        if config is not None and self.says("tokens", "batch_size"):
            steps = f"{config.steps:,} step{'s' * (config.steps != 1)}"
            hints["tokens"] = steps if config.epochs is None else "Epochs decide"
            if config.optimizer.lr is None and config.epochs is None:
                hints["optimizer.lr"] = f"{config.learning_rate:g} in this run"
        if config is not None and config.corpus.kind in _CORPUS_HINTS and self.says("corpus"):
            hints["corpus"] = _CORPUS_HINTS[config.corpus.kind]
            if isinstance(config.corpus, ActivationCorpus):  # the field holds its id, which says little
                named = {record.id: record.name for record in self.workspace.activations.list()}
                if (name := named.get(config.corpus.store_id)) is not None:
                    hints["corpus"] = f"{name}: {hints['corpus']}"
        if self.device is not None and not self.workspace.settings.places:
            running, waiting = estimates.load_of(self.workspace, self.device.id)
            # A capture of activations or an extraction keeps a device as busy as a training does.
            parts = [f"{running} job runs" if running == 1 else f"{running} jobs run"] if running else []
            parts += [f"{waiting} wait{'s' if waiting == 1 else ''}"] if waiting else []
            hints["device"] = ", ".join(parts) or "no training runs on it"
        return hints

    def _of_model(self, facts: ModelFacts) -> dict[str, str]:
        config, millions = self.config, (facts.parameters or 0) / 1e6
        size = f"{millions:,.{1 if millions < 20 else 0}f}M parameters, " if millions else ""
        encoder = ", an encoder: no CE recovered" if facts.is_encoder else ""
        d_in, n = self.d_in(facts), facts.n_layers
        some = dict.fromkeys((n // 3, n // 2, 2 * n // 3))  # that the field takes several is seen nowhere else
        hints = {
            "model": f"{size}{n} layers, d_model {facts.d_model:,}{encoder}",
            "layer": f"0 to {n - 1}" + (f"; several: {', '.join(map(str, some))}" if len(some) > 1 else ""),
            "hook_name": f"d_in {d_in:,}",
        }  # fmt: skip
        if facts.n_heads is not None:
            hints["head"] = f"0 to {facts.n_heads - 1}; empty: all"
        if facts.context:
            hints["context_size"] = f"at most {facts.context:,}"
        if config is None:
            return hints
        if config.hook_name_out is not None and self.says("hook_name_out"):
            hints["hook_name_out"] = f"d_out {facts.d_in(config.hook_name_out):,}"
        if not self.wrong.intersection({"sae", "sae.d_sae", "sae.architecture"}):
            factor = config.sae.d_sae / d_in
            hints["sae.d_sae"] = f"{factor:,.0f} × d_in" if factor >= 100 else f"{factor:.3g} × d_in"
        hook = "hook_name" if config.hook_name_out is None else "hook_name_out"
        steps = config.steps if config.epochs is None else None
        if self.says("sae", "activations", hook) and (
            said := warning_of(config, facts.d_in(getattr(config, hook)), steps)
        ):
            self.warned = (f"sae.{said[0]}",)
            hints[self.warned[0]] = said[1]
        return hints
