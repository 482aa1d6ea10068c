"""Trainings that read a store of activations in place of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.activations.store import StoredActivations
from saewidgets.activations.store_stream import StoredWindows
from saewidgets.config.corpus import STORE_ID, ActivationCorpus
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.training.runlog import Log

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel

STORES = "activations"
"""Name of the folder with stores; it lies beside the one with packed tokens."""


def open_store(corpus: ActivationCorpus, tokens_folder: Path) -> StoredActivations:
    """The store that a training reads: by its id beside `tokens_folder`, or by its path.

    Raises:
        NotFoundError, FormatError: it is not there, incomplete, or its files have other sizes than were written.
    """
    named = STORE_ID.fullmatch(corpus.store_id) is not None
    place = tokens_folder.parent / STORES / corpus.store_id if named else Path(corpus.store_id).expanduser()
    return StoredActivations(place)


def open_windows(
    store: StoredActivations, configs: Sequence[TrainingConfig], device: str, log: Log, check: Callable[[], None]
) -> StoredWindows:
    """What all trainings of a run read, with a line for the log.

    Raises:
        ConfigError: the store does not hold a hook point, or is smaller than one batch.
    """
    check()
    windows = StoredWindows(store, configs[0], [name for each in configs for name in each.hook_names], device=device)
    facts = store.facts
    log.info(
        f"Stored activations of {facts.corpus}: {facts.n_rows:,} rows in {facts.dtype}, "
        f"{len(windows.validation):,} of {facts.n_contexts:,} contexts held out."
    )
    if not len(windows.validation):
        log.warning("No activations are held out: evaluations read those that are trained on.")
    return windows


def wants_model(config: TrainingConfig, given: bool) -> bool:
    """Whether a run needs its language model: for text always; for stored activations only to measure the
    cross-entropy, where that was asked for or a model was handed in."""
    return not isinstance(config.corpus, ActivationCorpus) or config.corpus.cross_entropy or given


def check_model(store: StoredActivations, lm: LoadedModel, log: Log) -> None:
    """Whether the language model that measures the cross-entropy can be the one of the store.

    Raises:
        ConfigError: the store has no tokens to feed it.
    """
    if store.facts.tokens is None:
        raise ConfigError(
            "Imported states have no tokens, so there is no cross-entropy to measure.", where="corpus.cross_entropy",
            hint="Leave cross_entropy off, and hand in no model.",
        )
    if store.facts.model_fingerprint not in (None, lm.fingerprint()):
        log.warning(f"{lm.name} has other weights, or another precision, than the model the activations are from.")


def without_cross_entropy(configs: Sequence[TrainingConfig]) -> None:
    """Raises `ConfigError` where the best checkpoint cannot be chosen without a language model."""
    if any(config.checkpoints.best_metric == "ce_loss_score" for config in configs):
        raise ConfigError(
            "Without a language model no cross-entropy can choose the best checkpoint.",
            where="checkpoints.best_metric", hint="Choose fvu, or ActivationCorpus(…, cross_entropy=True).",
        )
