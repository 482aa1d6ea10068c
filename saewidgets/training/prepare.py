"""Everything between the configuration and the first step: model, text, activations, scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from saewidgets.activations import ActivationStream, PackedTokens, open_corpus, pack
from saewidgets.config.training import TrainingConfig
from saewidgets.demo import resolve_model
from saewidgets.lm import LoadedModel, load_model, resolve_hook, wrap_model
from saewidgets.settings import resolve_device
from saewidgets.training.progress import ProgressMeter
from saewidgets.training.runlog import RunLog


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run reads: the model, the packed text and the stream of activations.

    Attributes:
        device: where the SAE trains, a concrete torch device string.
        scale: factor on the activations while training.
    """

    lm: LoadedModel
    packed: PackedTokens
    stream: ActivationStream
    device: str
    scale: float

    def facts(self) -> dict[str, Any]:
        """What was learned on the way, for the run's record."""
        lm, packed = self.lm, self.packed
        return {
            "d_in": self.stream.d_in,
            "model_facts": {
                "name": lm.name,
                "d_model": lm.d_model,
                "n_layers": lm.n_layers,
                "context": lm.context,
                "vocab_size": lm.vocab_size,
                "parameters": sum(p.numel() for p in lm.model.parameters()),
            },
            "scale": self.scale,
            "n_contexts": packed.n_contexts,
            "packed_tokens": packed.n_contexts * packed.context_size,
            "tokens_per_epoch": self.stream.tokens_per_epoch,
            "validation_contexts": len(packed.validation),
            "device": self.device,
            "threads": torch.get_num_threads(),
        }


def prepare(
    config: TrainingConfig,
    tokens_folder: Path,
    *,
    meter: ProgressMeter,
    log: RunLog,
    check: Callable[[], None],
    model: Any = None,
    tokenizer: Any = None,
    scale: float | None = None,
) -> Prepared:
    """Load (or take) the model, pack the text, open the stream and measure the input scale unless it is given.

    Raises:
        ConfigError, NotFoundError, FormatError, StorageError: what cannot work, by the field that says so.
        Interruption: from `check`.
    """
    lm, device = _model(config, meter, model, tokenizer)
    resolve_hook(lm.model, config.hook_name)  # before minutes of packing
    log.info(f"Model {lm.name}: {lm.n_layers} layers of width {lm.d_model:,} on {lm.device}.")
    check()
    meter.enter("packing text")
    packed = pack(
        open_corpus(config.corpus), lm.tokenizer, folder=tokens_folder, context_size=config.context_size,
        prepend_bos=config.activations.prepend_bos, validation_share=config.activations.validation_share, check=check,
    )
    stream = ActivationStream(lm, packed, config, config.seed)
    log.info(
        f"Text {packed.facts.corpus}: {packed.n_contexts:,} contexts of {packed.context_size:,} tokens, "
        f"{len(packed.validation):,} held out."
    )
    if not len(packed.validation):
        log.warning("No text is held out: evaluations read training text.")
    if config.activations.normalize == "none":
        scale = 1.0
    elif scale is None:
        meter.enter("measuring scale")
        scale = stream.estimate_scale(check)
        log.info(f"Inputs are scaled by {scale:.6g} while training.")
    return Prepared(lm, packed, stream, device, scale)


def _model(config: TrainingConfig, meter: ProgressMeter, model: Any, tokenizer: Any) -> tuple[LoadedModel, str]:
    """The language model and the device to train on; a model that the user holds stays where it is."""
    meter.enter("loading model")
    if model is not None:
        lm = model if isinstance(model, LoadedModel) else wrap_model(model, tokenizer)
        return lm, resolve_device(str(lm.device) if config.device == "auto" else config.device)
    device = resolve_device(config.device)
    lm = load_model(
        resolve_model(config.model), revision=config.model_revision, dtype=config.model_dtype, device=device,
        name="demo" if config.model == "demo" else None, tell=meter.enter,
    )
    return lm, device
