"""Defines `prepare`, everything between the configurations and the first step: model, text, activations, scales."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saewidgets.activations import (
    ActivationStream,
    PackedTokens,
    Windows,
    counted_positions,
    open_corpus,
    pack,
    positions_needed,
)
from saewidgets.activations.store import Away, StoredActivations
from saewidgets.activations.store_stream import StoredStream, StoredWindows
from saewidgets.activations.stream import RowStream
from saewidgets.config.corpus import STORE_ID, ActivationCorpus
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, check_context, load_model, resolve_hook, wrap_model
from saewidgets.lm.compiling import compiled_until
from saewidgets.sae.mesh import ALONE, Mesh
from saewidgets.sae.scaler import RAW, Scaler, Whitening
from saewidgets.settings import resolve_device
from saewidgets.training.parallel import SharedWindows, shared_scaler
from saewidgets.training.progress import Log, ProgressMeter

STORES = "activations"
"""Name of the folder with stores; it lies beside the one with packed tokens."""
_WELL_KNOWN = 10  # rows per dimension that a covariance takes


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What one SAE's training reads: the model, the packed text and the stream of activations."""

    lm: LoadedModel | None  # None where stored activations are read and no cross-entropy is measured
    packed: PackedTokens | StoredActivations  # the text, or the store that takes its place
    stream: RowStream
    device: str  # where the SAE trains, a concrete torch device string
    scaler: Scaler  # what the SAE sees of the activations while training
    compiled: str | None = None  # the mode in which the model was compiled; None where it runs as it is

    def model_of(self, config: TrainingConfig) -> tuple[str, str]:
        """Name and class of the language model, for the metadata of the SAE."""
        if self.lm is not None:
            return self.lm.name, type(self.lm.model).__name__
        facts = self.packed.facts if isinstance(self.packed, StoredActivations) else None
        known = (facts.model, facts.model_class) if facts is not None else (None, None)
        return known[0] or config.model, known[1] or "AutoModelForCausalLM"

    @property
    def dataset(self) -> str | None:
        """The text that a store was captured from; None where the configuration names the text itself."""
        return self.packed.facts.corpus if isinstance(self.packed, StoredActivations) else None

    def facts(self) -> dict[str, Any]:
        lm, packed = self.lm, self.packed
        scaler = self.scaler
        out = {} if self.stream.d_out is None else {"d_out": self.stream.d_out, "scale_out": scaler.out}
        model = {} if lm is None else {
            "model_facts": {
                "name": lm.name,
                "d_model": lm.d_model,
                "n_layers": lm.n_layers,
                "context": lm.context,
                "vocab_size": lm.vocab_size,
                "parameters": sum(p.numel() for p in lm.model.parameters()),
            }
        }
        if isinstance(packed, StoredActivations):
            text = {"n_contexts": packed.facts.n_contexts, "packed_tokens": packed.facts.n_rows}
        else:
            text = {"n_contexts": packed.n_contexts, "packed_tokens": packed.n_contexts * packed.context_size}
        return {
            "d_in": self.stream.d_in,
            **model,
            "scale": scaler.factor,
            "whitened": scaler.whitening is not None,
            **out,
            **text,
            "tokens_per_epoch": self.stream.tokens_per_epoch,
            "validation_contexts": self.stream.n_held_out,
            "device": self.device,
            **({} if lm is None or str(lm.device) == self.device else {"model_device": str(lm.device)}),
            "threads": torch.get_num_threads(),
        }


def prepare(
    configs: Sequence[TrainingConfig],
    tokens_folder: Path,
    *,
    meter: ProgressMeter,
    log: Log,
    check: Callable[[], None],
    model: Any = None,
    tokenizer: Any = None,
    scalers: Sequence[Scaler | None] = (),
    kept: Path | None = None,
    until: ExitStack | None = None,
    mesh: Mesh = ALONE,
    away: Away | None = None,
) -> list[TrainingInputs]:
    """Load (or take) the model, pack the text, open the streams and measure the scalers that are not given.

    Of a store of activations no text is packed, and the model is loaded only to measure the cross-entropy. `kept` is a
    file for what is measured of the activations, which a run that is left before its first step goes on with; when
    `until` is closed a compiled model is again as it was."""
    config, measured = configs[0], _Scalers(meter, log, check)
    known = list(scalers) or [None] * len(configs)
    if isinstance(config.corpus, ActivationCorpus):
        named = STORE_ID.fullmatch(config.corpus.store_id) is not None
        place = tokens_folder.parent / STORES if named else Path()
        store = StoredActivations(place / Path(config.corpus.store_id).expanduser(), away if named else None)
        return _prepare_stored(configs, config.corpus, store, meter, log, check, model, tokenizer, known, mesh)
    lm, device = _model(config, meter, model, tokenizer)
    for each in configs:  # before minutes of packing
        for name in each.hook_names:
            resolve_hook(lm.model, name)
    log.info(f"Model {lm.name}: {lm.n_layers} layers of width {lm.d_model:,} on {lm.device}.")
    _check_cross_entropy(lm, configs, log)
    known_ids = max(len(lm.tokenizer), lm.vocab_size)  # ids of another tokenizer leave nothing out
    unknown = sorted({i for each in configs for i in each.activations.exclude_token_ids or () if i >= known_ids})
    if unknown:
        listed = ", ".join(f"{i}" for i in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        log.warning(f"exclude_token_ids: {lm.name} has no token {listed}; its ids end at {known_ids - 1}.")
    check()
    names = [name for each in configs for name in each.hook_names]
    compiled = None
    if until is not None and config.model_compile is not None:
        meter.enter("compiling model")
        check_context(lm.name, lm.context, config.context_size)
        shape = (config.activations.model_batch_size, config.context_size)
        compiled = compiled_until(until, lm, names, config.model_compile, shape, log.write)
    meter.enter("packing text")
    corpus, wanted, told = open_corpus(config.corpus), positions_needed(config), meter.share_of("packing text")
    packing = partial(
        pack, corpus, lm.tokenizer, folder=tokens_folder, context_size=config.context_size,
        packing=config.activations.packing, validation_share=config.activations.validation_share,
        wanted=wanted, rule=counted_positions(config), check=check,
        on_progress=lambda done: told(done, wanted if corpus.is_long else None),
    )
    if mesh.size > 1:  # the first worker packs it, the others find it
        mesh.told(lambda: packing().n_contexts)
    packed = packing()
    windows = (Windows if mesh.size == 1 else partial(SharedWindows, mesh))(
        lm, packed, config, names, device=device, kept=kept, on_measured=meter.share_of("measuring scale", fills=True)
    )
    windows.on_fill = partial(meter.filling, "computing activations")
    meter.set_window(windows.window, in_background=windows.reads_ahead)
    if windows.reads_ahead:
        log.info("The next shuffle window is computed while one is trained on.")
    log.info(
        f"Text {corpus.label}: {packed.n_contexts:,} contexts of {packed.context_size:,} tokens, "
        f"{len(packed.validation):,} held out."
    )
    if not len(packed.validation):
        log.warning("No text is held out: evaluations read training text.")
    streams = [ActivationStream(lm, packed, each, windows=windows) for each in configs]
    return [
        TrainingInputs(
            lm, packed, stream, device, shared_scaler(mesh, scaler or measured.of(each, stream)), compiled
        )
        for each, stream, scaler in zip(configs, streams, known, strict=True)
    ]


def _prepare_stored(
    configs: Sequence[TrainingConfig], corpus: ActivationCorpus, store: StoredActivations, meter: ProgressMeter,
    log: Log, check: Callable[[], None], model: Any, tokenizer: Any, known: Sequence[Scaler | None],
    mesh: Mesh,
) -> list[TrainingInputs]:
    config, measured = configs[0], _Scalers(meter, log, check)
    facts, lm, device = store.facts, None, resolve_device(config.device)
    if corpus.cross_entropy or model is not None:  # else the model is not needed
        lm, device = _model(config, meter, model, tokenizer)
        if facts.tokens is None:
            raise ConfigError(
                "Imported states have no tokens, so there is no cross-entropy to measure.",
                where="corpus.cross_entropy", hint="Leave cross_entropy off, and hand in no model.",
            )
        if facts.model_fingerprint not in (None, lm.fingerprint()):
            log.warning(
                f"{lm.name} has other weights, or another precision, than the model the activations are from."
            )
    _check_cross_entropy(lm, configs, log)
    meter.enter("opening store")
    check()
    windows = StoredWindows(store, config, [name for each in configs for name in each.hook_names], device=device)
    windows.on_fill = partial(meter.filling, "reading activations")
    meter.set_window(windows.window, in_background=True)
    log.info(
        f"Stored activations of {facts.corpus}: {facts.n_rows:,} rows in {facts.dtype}, "
        f"{len(windows.validation):,} of {facts.n_contexts:,} contexts held out."
    )
    if not len(windows.validation):
        log.warning("No activations are held out: evaluations read those that are trained on.")
    streams = [StoredStream(store, each, windows=windows) for each in configs]
    return [
        TrainingInputs(lm, store, stream, device, shared_scaler(mesh, scaler or measured.of(each, stream)))
        for each, stream, scaler in zip(configs, streams, known, strict=True)
    ]


def _check_cross_entropy(lm: LoadedModel | None, configs: Sequence[TrainingConfig], log: Log) -> None:
    """If there is none, log that, and refuse settings that need it."""
    if lm is not None and lm.is_causal:
        return
    if any(config.checkpoints.best_metric == "ce_loss_score" for config in configs):
        what, hint = "Without a language model", "Choose fvu, or ActivationCorpus(…, cross_entropy=True)."
        if lm is not None:
            what, hint = f"{lm.name} is an encoder or has no output layer:", "Choose fvu."
        raise ConfigError(
            f"{what} no cross-entropy can choose the best checkpoint.", where="checkpoints.best_metric", hint=hint
        )
    if lm is not None:
        log.info(f"{lm.name} predicts no next token: there is no cross-entropy, and no CE recovered.")


class _Scalers:
    """The scalers of a run's trainings; those that read the same place share theirs."""

    def __init__(self, meter: ProgressMeter, log: Log, check: Callable[[], None]) -> None:
        self._meter, self._log, self._check = meter, log, check
        self._found: dict[tuple[str, ...], Scaler] = {}

    def of(self, config: TrainingConfig, stream: RowStream) -> Scaler:
        if not config.activations.is_measured:
            return RAW
        if config.hook_names in self._found:
            return self._found[config.hook_names]
        self._meter.enter("measuring scale")
        if config.activations.normalize == "covariance_whitening":
            whitening = Whitening.of_covariance(*stream.estimate_covariance(self._check)).to("cpu", torch.float64)
            found = Scaler(whitening=whitening)
            rows, wanted = min(config.activations.norm_tokens, stream.tokens_per_epoch), _WELL_KNOWN * stream.d_in
            if rows < wanted:
                self._log.warning(
                    f"norm_tokens: the whitening of {stream.d_in:,} dimensions is measured on {rows:,} tokens only; "
                    f"from {wanted:,} on it is more than chance."
                )
        else:
            found = Scaler(stream.estimate_scale(self._check), stream.estimate_scale_out(self._check))
        self._found[config.hook_names] = found
        return found


def _model(config: TrainingConfig, meter: ProgressMeter, model: Any, tokenizer: Any) -> tuple[LoadedModel, str]:
    """The language model and the device to train on; a model that the user holds stays where it is."""
    meter.enter("loading model")
    if model is not None:
        lm = model if isinstance(model, LoadedModel) else wrap_model(model, tokenizer)
        device = resolve_device(str(lm.device) if config.device == "auto" else config.device)
        place = config.model_device and resolve_device(config.model_device, "model_device")
        if place and place != resolve_device(str(lm.device), "model_device"):
            raise ConfigError(
                f"The model that was given is on {lm.device}, not on {config.model_device}.", where="model_device",
                hint="Move the model, or leave Model device empty.",
            )
        return lm, device
    device = resolve_device(config.device)
    place = resolve_device(config.model_device, "model_device") if config.model_device else device
    lm = load_model(
        config.model, revision=config.model_revision, dtype=config.model_dtype, device=place, tell=meter.enter
    )
    return lm, device
