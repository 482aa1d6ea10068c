"""Measuring and reading an SAE of the workspace: which files, which model, which text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, StateError
from saewidgets.records import SAERecord, TrainingRecord
from saewidgets.settings import resolve_device
from saewidgets.workspace.capture.using import with_text
from saewidgets.workspace.corpora import from_row
from saewidgets.workspace.held import Held, missing, take
from saewidgets.workspace.training.job import TOKENS
from saewidgets.workspace.training.run import Run

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: see `Workspace.evaluate`."""

    what: str | Run
    corpus: Any
    tokens: int
    model: Any = None
    tokenizer: Any = None


@dataclass(frozen=True, slots=True)
class Subject:
    """An SAE together with what it is read with: the configuration of its training, on the text that was asked for.

    `id` is the training's while there is one, else the SAE's; `model_given`: it was trained on a model object.
    """

    sae_path: Path
    config: TrainingConfig
    id: str
    model_given: bool


def trained_with(record: TrainingRecord, model_given: bool) -> dict[str, Any]:
    """What an SAE's metadata keep of its training, so that it can be measured when that is gone.

    Text that was held in memory is left out: it goes with the training.
    """
    config = dict(record.config)
    if isinstance(corpus := config.get("corpus"), Mapping) and corpus.get("strings"):
        del config["corpus"]
    return {"config": config, "model_given": model_given}


def find(workspace: Workspace, what: str | Run, corpus: Any) -> Subject:
    """The SAE that `what` stands for: a run, the id of a training, or the id of an SAE.

    Raises:
        NotFoundError: there is no such thing, or its files are not here.
        StateError: the run has not written an SAE, or it is not known what the SAE was trained on.
    """
    if isinstance(what, str) and what.startswith("sae_"):
        sae = workspace.saes.get(what)
        path = workspace.saes.folder_of(sae)
        if sae.training_id is None:
            return Subject(path, _remembered(sae, corpus), sae.id, bool(sae.metadata.get("model_given")))
        run = workspace.trainings.get(sae.training_id)
    else:
        run = what if isinstance(what, Run) else workspace.trainings.get(what)
        path = run.sae_path
    record = run.record
    given = workspace.trainings.was_given_a_model(record)
    if corpus is None:
        return Subject(path, from_row(record.config, record.folder), run.id, given)
    return Subject(path, TrainingConfig.from_data({**record.config, "corpus": corpus}), run.id, given)


def _remembered(sae: SAERecord, corpus: Any) -> TrainingConfig:
    """The configuration of a training that was deleted, from the SAE that was imported from it."""
    config = sae.metadata.get("config")
    if not isinstance(config, Mapping):
        raise StateError(
            f"It is not known which model {sae.name} was trained on.", where=sae.id,
            hint="Measure it with saewidgets.evaluation.evaluate(sae, lm, contexts, hook_name).",
        )
    if corpus is None and "corpus" not in config:
        raise StateError(
            f"The text {sae.name} was trained on went with its training.", where=sae.id, hint="Give a corpus."
        )
    return TrainingConfig.from_data(config if corpus is None else {**config, "corpus": corpus})


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything loaded that a pass over text needs."""

    sae: Any
    lm: Any
    contexts: Any
    config: TrainingConfig


def _open(workspace: Workspace, question: Question, *, held_out: bool) -> Opened:
    import torch  # seconds to import, and so are these

    from saewidgets.activations import counted_positions, open_corpus, pack, positions_needed
    from saewidgets.formats import load_sae

    given = take(question.model, question.tokenizer)
    subject = find(workspace, question.what, question.corpus)
    config, tokens = with_text(workspace, subject.config), question.tokens
    lm = _model(workspace, subject, given or workspace.trainings.held(subject.id))
    sae = load_sae(subject.sae_path).to(lm.device)
    packed = pack(
        open_corpus(config.corpus),
        lm.tokenizer,
        folder=workspace.folder / TOKENS,
        context_size=config.context_size,
        packing=config.activations.packing,
        validation_share=config.activations.validation_share,
        wanted=positions_needed(config) if question.corpus is None else tokens,
        rule=counted_positions(config),
    )
    if held_out and question.corpus is None:
        contexts = packed.evaluation_contexts(tokens)
    else:  # any text will do: from all over the corpus
        count = min(packed.n_contexts, max(1, tokens // packed.context_size))
        contexts = packed.contexts([i * packed.n_contexts // count for i in range(count)])
    return Opened(sae, lm, torch.from_numpy(contexts), config)


def _model(workspace: Workspace, subject: Subject, held: Held | None) -> Any:
    """The language model: the user's own if it was trained on that, else loaded."""
    # Torch: seconds to import.
    from saewidgets.demo import resolve_model
    from saewidgets.lm import load_model, wrap_model

    if held is not None:
        return wrap_model(held.model, held.tokenizer)
    if subject.model_given:
        raise missing(subject.id, "Give it: evaluate(…, model=model, tokenizer=tokenizer).")
    config = subject.config
    return load_model(
        resolve_model(config.model), revision=config.model_revision, dtype=config.model_dtype,
        device=_device(workspace, config.device),
    )


def _device(workspace: Workspace, wanted: str) -> str:
    """The device of the run where this machine has it; else the workspace's own: the run may be from elsewhere."""
    try:
        return resolve_device(wanted)
    except ConfigError:
        return resolve_device(workspace.settings.device)


def read_features(workspace: Workspace, question: Question, n: int) -> Any:
    """See `Workspace.read_features`."""
    from saewidgets.features import read_features as read  # torch: seconds to import

    opened = _open(workspace, question, held_out=False)
    reading = read(opened.sae, opened.lm, opened.contexts, opened.config.hook_name)
    return reading.clearest(n)
