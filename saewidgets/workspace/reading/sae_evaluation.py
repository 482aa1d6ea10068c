"""Defines `EvaluationRequest`, and carries out `ws.evaluate`, `ws.evaluate_many` and `ws.read_features`: finds the SAE,
its model and the text or stored activations, and measures. It needs torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import field_validator

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.shuffle import split
from saewidgets.activations.store import batched
from saewidgets.config import ExtractionConfig
from saewidgets.config import arguments as take
from saewidgets.config.base import Config, ContextSize, Count, CountOrNone, require
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.names import one_name
from saewidgets.config.packing import as_ids, as_slice, positions, spelled
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.evaluation import Evaluator
from saewidgets.evaluation import Subject as Evaluated
from saewidgets.evaluation.place import check_places, evaluate_rows
from saewidgets.features.first_reading import read_features as read
from saewidgets.formats import load_sae
from saewidgets.hub.load_from_hub import load_sae as load_any
from saewidgets.lm import LoadedModel, check_context
from saewidgets.lm.tokens import TokenMask
from saewidgets.records import Records
from saewidgets.sae import SAE
from saewidgets.settings import resolve_device
from saewidgets.workspace.activations import Capture
from saewidgets.workspace.capture.stored_corpus import as_text
from saewidgets.workspace.corpora import located
from saewidgets.workspace.folders import TOKENS
from saewidgets.workspace.library.statistics import density_histogram
from saewidgets.workspace.live import LiveCache
from saewidgets.workspace.lookup import find_id, is_ref
from saewidgets.workspace.reading.evaluation_report import EvaluationReport
from saewidgets.workspace.subjects import CONTEXT, KnownSAE, device_here, files_of, find_subject, unlisted_subject
from saewidgets.workspace.training.run import TrainingGroup

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_WHAT = "an SAE: an id, a name, a path, a run or a loaded SAE"
_UNASKED = "Cross-entropy and divergence were not asked for."
Load = Callable[[str], Any]  # device → the SAE on it


class EvaluationRequest(Config):
    """The arguments of `Workspace.evaluate`."""

    what: Any
    corpus: Any = None
    tokens: Count = 65_536
    hook_name: str | None = None
    hook_name_out: str | None = None
    context_size: ContextSize | None = None
    batch_size: CountOrNone = None
    exclude_special_tokens: Any = None  # a choice, or the ids of the tokens to leave out in their place
    seqpos_slice: Any = None  # () for all positions
    cross_entropy: bool | None = None
    mean_ablation: bool = False
    model: Any = None
    tokenizer: Any = None
    device: str | None = None
    progress: bool = True

    @field_validator("exclude_special_tokens")
    @classmethod
    def _ids(cls, value: Any) -> bool | tuple[int, ...] | None:
        if isinstance(value, list | tuple):
            return as_ids(value) or ()
        return None if value is None else take.truth(value, "", "a bool or a list of token ids")

    @field_validator("seqpos_slice")
    @classmethod
    def _slice(cls, value: Any) -> Any:
        return None if value is None else as_slice(value) or ()


def evaluate_many(
    workspace: Workspace, what: Any, corpus: Any, settings: Mapping[str, Any]
) -> Records[EvaluationReport]:
    """See `Workspace.evaluate_many`."""
    if isinstance(what, TrainingGroup):
        what = what.runs
    if isinstance(what, str | bytes | Mapping) or not isinstance(what, Sequence) or not what:
        take.refuse(what, "what", "a list of SAEs, or a group of trainings", "Give a list of ids.")
    requests = [EvaluationRequest(what=one, corpus=corpus, **settings) for one in what]
    return Records(evaluate(workspace, *requests), EvaluationReport)


def evaluate(workspace: Workspace, *requests: EvaluationRequest) -> list[EvaluationReport]:
    """See `Workspace.evaluate`. A model that they share is loaded once."""
    reports = []
    with closing(LiveCache(workspace)) as live:
        for request in requests:
            work = _Evaluation(workspace, live, request)
            corpus = work.corpus
            report = work.on_store(corpus) if isinstance(corpus, ActivationCorpus) else work.on_text()
            if report.sae_id is not None and report.hook_name == work.subject.hook_name and request.model is None:
                workspace.saes.keep_evaluation(report.sae_id, report)
            reports.append(report)
    return reports


def read_features(workspace: Workspace, request: EvaluationRequest, n: int) -> Any:
    """See `Workspace.read_features`."""
    with closing(LiveCache(workspace)) as live:
        work = _Evaluation(workspace, live, request)
        if isinstance(work.corpus, ActivationCorpus):
            raise StateError(
                "Stored activations have no text to read.", where=work.subject.name, hint='Give a text: corpus="demo".'
            )
        lm = work.model()
    work.own = False
    sae = work.load(str(lm.device))
    contexts, _ = work.contexts(lm)
    return read(sae, lm, contexts, work.hooks(sae)[0]).clearest(n)


class _Evaluation:
    """One evaluation: its `request`, the SAE (`subject`, and `load`, which puts it on a device), and
    what to read (`corpus`; `own`: it is what the SAE was trained on)."""

    def __init__(self, workspace: Workspace, live: LiveCache, request: EvaluationRequest) -> None:
        self.workspace, self.live, self.request = workspace, live, request
        self.subject, self.load = _find(workspace, request.what)
        self.own = request.corpus is None
        self.corpus = self._corpus()

    def on_text(self) -> EvaluationReport:
        request, subject = self.request, self.subject
        losses = request.cross_entropy is not False
        require((
            losses or not request.mean_ablation, "mean_ablation",
            "Mean ablation measures a cross-entropy, and cross_entropy is off.",
            "Leave cross_entropy on, or mean_ablation off.",
        ))  # fmt: skip
        lm = self.model()
        sae = self.load(str(lm.device))
        hook_name, hook_name_out = self.hooks(sae)
        contexts, context_size = self.contexts(lm)
        rule = self._rule(context_size)
        batch_size = request.batch_size or subject.batch_size
        passes = 1 + (2 + 2 * request.mean_ablation if losses and lm.is_causal else 0)
        with self._bar(math.ceil(len(contexts) / batch_size) * passes, "forwards") as check:
            ((metrics, density),) = Evaluator(lm).evaluate(
                [Evaluated(sae, hook_name, hook_name_out)], contexts, rule=rule, batch_size=batch_size,
                cross_entropy=losses, divergence=losses, mean_ablation=request.mean_ablation, check=check,
            )  # fmt: skip
        notes = []
        if not lm.is_causal:
            notes.append(f"{lm.name} does not predict the next token: there is no cross-entropy and no divergence.")
        elif not losses:
            notes.append(_UNASKED)
        if self.own and not subject.validation_share:
            notes.append("No text was held out: this is text it was trained on.")
        return self._report(
            sae, metrics, density, rule, notes, model=lm.name, hook_name=hook_name, hook_name_out=hook_name_out,
            corpus=self.corpus.label, held_out=self.own, context_size=context_size,
        )

    def on_store(self, corpus: ActivationCorpus) -> EvaluationReport:
        """On about as many stored rows as requested. No language model is run."""
        request, subject = self.request, self.subject
        handle = self.workspace.activations.get(corpus.store_id)
        store, record = handle.open(), handle.record
        context_size = store.facts.context_size if store.facts.tokens is not None else None
        _require_rows(request, corpus, record.name, context_size)
        own = subject.store_id == record.id
        asked = take.path_text(request.model, "model", "the name of a model") if request.model is not None else None
        said = asked or subject.model
        known = [str(name) for name in (record.config.get("model"), record.model) if name]
        if said and known and (asked or not own) and not any(_same_model(said, each) for each in known):
            raise ConfigError(
                f"The store {record.name} was captured from {known[0]}, not from {said}.", where="model",
                hint=f'If these are one model, say so: model="{known[0]}".',
            )

        nothing, everything = np.arange(0), np.arange(store.facts.n_contexts)
        kept = split(len(everything), store.facts.n_held_out, subject.validation_share)[1] if own else nothing
        held_out = len(kept) > 0
        pool = kept if held_out else everything
        contexts = store.evaluation_contexts(pool, nothing, request.tokens)

        sae = self.load(self._device())
        hook_name, hook_name_out = self.hooks(sae)
        check_places(sae, hook_name, hook_name_out)
        for name, width, where, hook in (
            ("d_in", sae.d_in, "hook_name", hook_name), ("d_out", sae.d_out, "hook_name_out", hook_name_out),
        ):
            if hook is not None and (stored := store.width(hook, where)) != width:
                raise ConfigError(
                    f"The SAE's {name} is {width:,}, but the store {record.name} holds {stored:,} numbers per row at "
                    f"{hook}.", where=name, hint="Choose a store of the SAE's own model, or its own hook_name.",
                )
        # Every row of imported states counts: they have neither tokens nor positions to tell them apart.
        rule = TokenMask(False) if context_size is None else self._rule(context_size)
        batch_size = request.batch_size or subject.batch_size
        rows = (store.row_numbers(part, rule) for part in batched(contexts, batch_size))
        hooks = list(dict.fromkeys(name for name in (hook_name, hook_name_out) if name is not None))
        with self._bar(math.ceil(len(contexts) / batch_size), "batches") as check:
            parts = store.parts(hooks, rows, str(sae.W_dec.device), check)
            metrics, density = evaluate_rows(sae, parts)

        without = "CE recovered and KL recovered are left out: stored activations are measured without text and without"
        unit = "blocks" if context_size is None else "contexts"
        read = f"{len(contexts):,} of {len(pool):,} {unit}"
        notes = [
            _UNASKED if request.cross_entropy is False else f"{without} the language model.",
            f"The rows are of {read} of this store that were held out from its training." if held_out
            else f"The rows are of {read}, from all over the store.",
        ]
        text = as_text(self.workspace, corpus.to_data())
        if own and not held_out:
            notes.append("No rows were held out: these are rows it was trained on.")
        elif not own and text is not None and text == subject.corpus:
            notes.append("The store was captured from the text it was trained on: some of it may have been trained on.")
        if context_size is None:
            notes.append("Imported states have neither tokens nor positions: every row counts, special tokens too.")
        if not own and not (said and known):
            notes.append(f"The model of the {'store' if said else 'SAE'} is not known, so it was not compared.")
        return self._report(
            sae, metrics, density, rule, notes, model=known[0] if known else said, hook_name=hook_name,
            hook_name_out=hook_name_out, corpus=record.name, held_out=held_out, context_size=context_size,
            store_id=record.id,
        )

    def model(self) -> LoadedModel:
        """The language model: the one that was given, the user's own if it was trained on that, else loaded."""
        request, subject = self.request, self.subject
        if request.model is None and request.tokenizer is None and subject.model is None:
            raise StateError(
                f"It is not known which model {subject.name} was trained on.", where=subject.name,
                hint='Give it: evaluate(…, model="gpt2").',
            )
        return self.live.model(subject, model=request.model, tokenizer=request.tokenizer, device=self._device()).lm

    def hooks(self, sae: SAE) -> tuple[str, str | None]:
        request, subject = self.request, self.subject
        hook_name = request.hook_name or subject.place('Give it: hook_name="blocks.6.hook_resid_post".')
        own = subject.hook_name_out or sae.metadata.get("hook_name_out") if sae.is_transcoder else None
        return hook_name, request.hook_name_out or own

    def contexts(self, lm: LoadedModel) -> tuple[torch.Tensor, int]:
        """Token ids ``[n, context_size]``, about as many as requested; and that size."""
        request, subject, share = self.request, self.subject, self.subject.validation_share
        context_size = request.context_size or subject.context_size or min(CONTEXT, lm.context or CONTEXT)
        check_context(lm.name, lm.context, context_size)
        # Of long text no more is tokenised than this takes.
        wanted = math.ceil(request.tokens / share) if self.own and share else 2 * request.tokens
        packed = pack(
            open_corpus(self.corpus), lm.tokenizer, folder=self.workspace.folder / TOKENS, context_size=context_size,
            packing=subject.packing, validation_share=share, wanted=wanted,
        )
        if self.own:
            return torch.from_numpy(packed.evaluation_contexts(request.tokens)), context_size
        return torch.from_numpy(packed.contexts(packed.spread(request.tokens))), context_size  # any text will do

    def _corpus(self) -> Any:
        """The text or the stored activations to read."""
        subject, data = self.subject, self.request.corpus
        if isinstance(data, Capture):
            data = data.corpus
        if self.own and (data := subject.corpus) is None:
            gone = "is not known or went with its training"
            if subject.store_id is not None:
                gone = f"is not known, and its stored activations ({subject.store_id}) are not here any more"
                with suppress(NotFoundError):
                    data = ActivationCorpus(self.workspace.activations.get(subject.store_id)).to_data()
            if data is None:
                raise StateError(
                    f"The text {subject.name} was trained on {gone}.", where=subject.name,
                    hint='Give a corpus: "demo", a path, a dataset, or the id of stored activations (acts_…).',
                )
        corpus = ExtractionConfig.from_data({"corpus": data}).corpus
        if corpus is None:
            raise ConfigError("There is no text.", where="corpus", hint='Give "demo", a path, or a dataset.')
        for name in getattr(corpus, "files", ()):
            take.path(name, "corpus", "a file or folder")  # before the disk is read
        if not self.own:
            located(corpus)  # before a model is loaded
        return corpus

    def _device(self) -> str:
        """The requested one, else that of the training if this machine has it."""
        if self.request.device is not None:
            return resolve_device(self.request.device)
        return device_here(self.workspace, self.subject.device)

    def _rule(self, context_size: int) -> TokenMask:
        """Which positions count: as requested, else as in its training."""
        request, subject = self.request, self.subject
        special, ids = subject.exclude_special_tokens, subject.exclude_token_ids
        if request.exclude_special_tokens is not None:
            listed = not isinstance(request.exclude_special_tokens, bool)
            special, ids = (False, request.exclude_special_tokens) if listed else (request.exclude_special_tokens, ())
        chosen = subject.seqpos_slice if request.seqpos_slice is None else request.seqpos_slice or None
        if not len(positions(chosen, context_size)):
            raise ConfigError(
                f"A context of {context_size:,} tokens has none of the positions {spelled(chosen)}.",
                where="seqpos_slice", hint='Give others, ":" for all, or a longer context_size.',
            )
        return TokenMask(special, ids, chosen)

    @contextmanager
    def _bar(self, total: int, unit: str) -> Iterator[Callable[[], None] | None]:
        if not self.request.progress:
            yield None
            return
        from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

        with tqdm(total=total, desc="evaluating", unit=f" {unit}", delay=2.0, leave=False) as bar:

            def count() -> None:
                if bar.n >= total:  # a large vocabulary is read in smaller parts
                    bar.total = None
                bar.update(1)

            yield count

    def _report(
        self, sae: SAE, metrics: Mapping[str, float], density: torch.Tensor, rule: TokenMask, notes: list[str],
        **measured: Any,
    ) -> EvaluationReport:
        if rule.exclude_special:
            notes.append("Special tokens (BOS, EOS, padding) are left out.")
        if ids := rule.exclude_ids:
            notes.append(f"Tokens of {len(ids):,} id{'s' * (len(ids) != 1)} are left out.")
        if rule.seqpos_slice is not None:
            notes.append(f"Only the positions {spelled(rule.seqpos_slice)} of every context count.")
        if metrics["n_tokens"] < 1e5 and metrics["dead"] > 0:
            notes.append(f"{int(metrics['n_tokens']):,} tokens are few: latents that fire rarely count as dead.")
        return EvaluationReport(
            name=self.subject.name, sae_id=self.subject.origin.sae_id, training_id=self.subject.origin.training_id,
            architecture=sae.cfg.architecture, d_in=sae.d_in, d_out=sae.d_out, d_sae=sae.d_sae,
            n_tokens=int(metrics["n_tokens"]), metrics=metrics, density=density_histogram(density),
            special_tokens=not rule.exclude_special, notes=tuple(notes), **measured,
        )


def _require_rows(
    request: EvaluationRequest, corpus: ActivationCorpus, store: str, context_size: int | None
) -> None:
    """Refuse what takes text or a model, and of imported states (`context_size` None) tokens and positions."""
    what, hint = "A store is measured without text and without the language model.", "Leave it out, or give a text."
    for name, given in (
        ("cross_entropy", request.cross_entropy or corpus.cross_entropy), ("mean_ablation", request.mean_ablation),
        ("model", not isinstance(request.model, str | Path | None)), ("tokenizer", request.tokenizer is not None),
    ):
        require((not given, name, what, hint))
    if context_size is not None:
        fits = request.context_size in (None, context_size)
        require((fits, "context_size", f"The store {store} has contexts of {context_size:,} tokens.", hint))
        return
    for name in ("exclude_special_tokens", "context_size", "seqpos_slice"):
        what = "Imported states have neither tokens nor contexts."
        require((not getattr(request, name), name, what, "Leave it out: every row counts."))


def _same_model(one: str, other: str) -> bool:
    """Whether two names can mean one model: files name a model by the last part of its repository or folder, too."""
    parts = [re.split(r"[/\\]", one_name(name).rstrip("/\\").casefold()) for name in (one, other)]
    return parts[0] == parts[1] or (min(map(len, parts)) == 1 and parts[0][-1] == parts[1][-1])


def _find(workspace: Workspace, what: Any) -> tuple[KnownSAE, Load]:
    if isinstance(what, str):
        take.whole_text(what, "what")
    if (known := _known_id(workspace, what)) is not None:
        subject = find_subject(workspace, known)
        path = files_of(workspace, subject)
        return subject, lambda device: load_sae(path, device=device)
    if isinstance(what, str | Path):
        loaded = load_any(what)
        return unlisted_subject(loaded, Path(what).name), loaded.to
    if not isinstance(what, SAE):
        take.refuse(what, "what", _WHAT, "Give ws.saes.get(…).id, a run, a path or what load_sae returns.")
    return unlisted_subject(what), lambda device: what


def _known_id(workspace: Workspace, what: Any) -> str | None:
    """The id of an SAE or a training of this workspace; None for a path, a repository, or an SAE itself."""
    if not is_ref(what):
        return None
    try:
        return find_id(workspace, ("sae", "training"), what, "what")
    except NotFoundError:
        if "/" in what or "\\" in what or os.path.lexists(what):
            return None
        raise
