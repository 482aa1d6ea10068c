"""Measuring and reading an SAE of the workspace: which files, which model, which text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.errors import StateError
from saewidgets.workspace.run import Run
from saewidgets.workspace.training_job import TOKENS

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Subject:
    """An SAE together with what it was trained on."""

    sae_path: Path
    config: TrainingConfig
    training_id: str


def find(workspace: Workspace, what: str | Run) -> Subject:
    """The SAE that `what` stands for: a run, the id of a training, or the id of an SAE.

    Raises:
        NotFoundError: there is no such thing.
        StateError: the run has not written an SAE, or it is not known what the SAE was trained on.
    """
    if isinstance(what, str) and what.startswith("sae_"):
        record = workspace.saes.get(what)
        if record.training_id is None:
            raise StateError(
                f"It is not known which text {record.name} was trained on.",
                where=what,
                hint="Give a corpus.",
            )
        run = workspace.trainings.get(record.training_id)
        return Subject(Path(record.path), run.config, run.id)
    run = what if isinstance(what, Run) else workspace.trainings.get(what)
    return Subject(run.sae_path, run.config, run.id)


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything loaded that a pass over text needs."""

    sae: Any
    lm: Any
    contexts: Any
    config: TrainingConfig


def _open(workspace: Workspace, what: str | Run, corpus: Any, tokens: int, *, held_out: bool) -> Opened:
    import torch  # seconds to import, and so are these

    from saewidgets.activations import open_corpus, pack
    from saewidgets.demo import resolve_model
    from saewidgets.formats import load_sae
    from saewidgets.lm import load_model, wrap_model

    subject = find(workspace, what)
    config = subject.config if corpus is None else subject.config.replace(corpus=corpus)
    held = workspace.trainings.held(subject.training_id)
    if held is not None:
        lm = wrap_model(held.model, held.tokenizer)
    else:
        lm = load_model(
            resolve_model(config.model), revision=config.model_revision, dtype=config.model_dtype, device=config.device
        )
    sae = load_sae(subject.sae_path).to(lm.device)
    packed = pack(
        open_corpus(config.corpus),
        lm.tokenizer,
        folder=workspace.folder / TOKENS,
        context_size=config.context_size,
        prepend_bos=config.activations.prepend_bos,
        validation_share=config.activations.validation_share,
    )
    if held_out and corpus is None:
        contexts = packed.evaluation_contexts(tokens)
    else:  # any text will do: from all over the corpus
        count = min(packed.n_contexts, max(1, tokens // packed.context_size))
        contexts = packed.contexts([i * packed.n_contexts // count for i in range(count)])
    return Opened(sae, lm, torch.from_numpy(contexts), config)


def evaluate(workspace: Workspace, what: str | Run, corpus: Any, tokens: int) -> dict[str, float]:
    """See `Workspace.evaluate`."""
    from saewidgets.evaluation import evaluate as measure  # torch: seconds to import

    opened = _open(workspace, what, corpus, tokens, held_out=True)
    settings = opened.config.activations
    return measure(
        opened.sae, opened.lm, opened.contexts, opened.config.hook_name,
        exclude_special_tokens=settings.exclude_special_tokens, batch_size=settings.model_batch_size,
    )  # fmt: skip


def read_features(workspace: Workspace, what: str | Run, corpus: Any, n: int, tokens: int) -> Any:
    """See `Workspace.read_features`."""
    from saewidgets.features import read_features as read  # torch: seconds to import

    opened = _open(workspace, what, corpus, tokens, held_out=False)
    reading = read(opened.sae, opened.lm, opened.contexts, opened.config.hook_name)
    return reading.clearest(n)
