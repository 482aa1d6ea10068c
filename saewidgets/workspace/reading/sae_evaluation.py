"""Defines `EvaluationRequest` and what `ws.evaluate`, `ws.evaluate_many` and `ws.read_features` do: which SAE, in which
model, on which text or stored activations, and what was found."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import ExtractionConfig
from saewidgets.config import arguments as take
from saewidgets.config.base import require
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.names import one_name
from saewidgets.config.packing import as_ids, as_slice, positions, spelled
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.records import Records
from saewidgets.settings import resolve_device
from saewidgets.workspace.activations import Capture
from saewidgets.workspace.capture.stored_corpus import as_text
from saewidgets.workspace.corpora import located
from saewidgets.workspace.folders import TOKENS
from saewidgets.workspace.live import Live
from saewidgets.workspace.reading.evaluation_report import EvaluationReport
from saewidgets.workspace.subjects import CONTEXT, Subject, device_here, files_of, find_subject, unlisted_subject
from saewidgets.workspace.training.run import Run, TrainingGroup

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_WHAT = "an SAE: an id, a name, a path, a run or a loaded SAE"
_UNASKED = "Cross-entropy and divergence were not asked for."
Load = Callable[[str], Any]  # device → the SAE on it


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """The arguments of `Workspace.evaluate`."""

    what: Any
    corpus: Any = None
    tokens: int = 65_536
    hook_name: str | None = None
    hook_name_out: str | None = None
    context_size: int | None = None
    batch_size: int | None = None
    exclude_special_tokens: bool | Sequence[int] | None = None
    cross_entropy: bool | None = None
    mean_ablation: bool = False
    model: Any = None
    tokenizer: Any = None
    device: str | None = None
    progress: bool = True
    seqpos_slice: str | Sequence[int | None] | None = None

    def checked(self) -> EvaluationRequest:
        """With plain values. Raises `ConfigError` naming the argument that cannot be one."""
        plain: dict[str, Any] = {name: take.optional_text(getattr(self, name), name, what) for name, what in (
            ("hook_name", "where the SAE reads"), ("hook_name_out", "what a transcoder reconstructs"),
            ("device", "where to compute"),
        )}  # fmt: skip
        plain |= {name: take.count(value, name, what, least=least) for name, what, least in (
            ("tokens", "how many tokens to read", 1), ("context_size", "tokens per context", 2),
            ("batch_size", "contexts per forward", 1),
        ) if (value := getattr(self, name)) is not None}  # fmt: skip
        for name in ("cross_entropy", "mean_ablation", "progress"):
            if name != "cross_entropy" or self.cross_entropy is not None:
                take.truth(getattr(self, name), name, "a choice")
        require((
            not self.mean_ablation or self.cross_entropy is not False, "mean_ablation",
            "With the mean activation in their place a cross-entropy is measured, and that was declined.",
            "Leave cross_entropy on, or mean_ablation off.",
        ))  # fmt: skip
        listed = isinstance(self.exclude_special_tokens, list | tuple)
        if not listed and self.exclude_special_tokens is not None:
            take.truth(self.exclude_special_tokens, "exclude_special_tokens", "a choice or a list of token ids")
        for where, read in (("exclude_special_tokens", as_ids if listed else bool), ("seqpos_slice", as_slice)):
            try:
                read(getattr(self, where))
            except ConfigError as error:
                raise ConfigError(error.what, where=where, hint=error.hint) from error
        return replace(self, **plain)


def evaluate_many(
    workspace: Workspace, what: Any, corpus: Any, settings: Mapping[str, Any]
) -> Records[EvaluationReport]:
    """See `Workspace.evaluate_many`."""
    known = {field.name for field in fields(EvaluationRequest)} - {"what", "corpus"}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(
            f"There is no such argument: {unknown[0]!r}.", where=unknown[0], hint=f"Use {', '.join(sorted(known))}."
        )
    if isinstance(what, TrainingGroup):
        what = what.runs
    if isinstance(what, str | bytes | Mapping) or not isinstance(what, Sequence) or not what:
        take.refuse(what, "what", "a list of SAEs, or a group of trainings", "Give a list of ids.")
    requests = [EvaluationRequest(one, corpus, **settings) for one in what]
    return Records(evaluate(workspace, *requests), EvaluationReport)


def evaluate(workspace: Workspace, *requests: EvaluationRequest) -> list[EvaluationReport]:
    """See `Workspace.evaluate`. A model that they share is loaded once."""
    reports = []
    with closing(Live(workspace)) as live:
        for given in requests:
            request = given.checked()
            subject, load = _find(workspace, request.what)
            corpus, own = _corpus(workspace, subject, request)
            if isinstance(corpus, ActivationCorpus):
                report = _on_store(workspace, subject, load, request, corpus)
            else:
                report = _on_text(workspace, live, subject, load, request, corpus, own)
            if report.sae_id is not None and report.hook_name == subject.hook_name and request.model is None:
                workspace.saes.keep_evaluation(report.sae_id, report)
            reports.append(report)
    return reports


def read_features(workspace: Workspace, request: EvaluationRequest, n: int) -> Any:
    """See `Workspace.read_features`."""
    from saewidgets.features.first_reading import read_features as read  # torch: seconds to import

    request = request.checked()
    subject, load = _find(workspace, request.what)
    corpus, _ = _corpus(workspace, subject, request)
    if isinstance(corpus, ActivationCorpus):
        raise StateError(
            "Stored activations have no text to read.", where=subject.name, hint='Give a text: corpus="demo".'
        )
    with closing(Live(workspace)) as live:
        lm = _model(workspace, live, subject, request)
    sae = load(str(lm.device))
    contexts, _ = _contexts(workspace, subject, corpus, False, lm, request)
    return read(sae, lm, contexts, _hooks(subject, sae, request)[0]).clearest(n)


def _on_text(
    workspace: Workspace, live: Live, subject: Subject, load: Load, request: EvaluationRequest, corpus: Any,
    held_out: bool,
) -> EvaluationReport:
    # Torch: seconds to import.
    from saewidgets.evaluation import Evaluator
    from saewidgets.evaluation import Subject as Evaluated

    losses = request.cross_entropy is not False
    lm = _model(workspace, live, subject, request)
    sae = load(str(lm.device))
    hook_name, hook_name_out = _hooks(subject, sae, request)
    contexts, context_size = _contexts(workspace, subject, corpus, held_out, lm, request)
    rule = _rule(subject, request, context_size)
    batch_size = request.batch_size or subject.batch_size
    passes = 1 + (2 + 2 * request.mean_ablation if losses and lm.is_causal else 0)
    with _bar(request, math.ceil(len(contexts) / batch_size) * passes, "forwards") as check:
        ((metrics, density),) = Evaluator(lm).evaluate(
            [Evaluated(sae, hook_name, hook_name_out)], contexts, rule=_mask(rule), batch_size=batch_size,
            cross_entropy=losses, divergence=losses, mean_ablation=request.mean_ablation, check=check,
        )  # fmt: skip
    notes = []
    if not lm.is_causal:
        notes.append(f"{lm.name} does not predict the next token: there is no cross-entropy and no divergence.")
    elif not losses:
        notes.append(_UNASKED)
    if held_out and not subject.validation_share:
        notes.append("No text was held out: this is text it was trained on.")
    return _report(
        subject, sae, metrics, density, rule, notes, model=lm.name, hook_name=hook_name, hook_name_out=hook_name_out,
        corpus=corpus.label, held_out=held_out, context_size=context_size,
    )


def _on_store(
    workspace: Workspace, subject: Subject, load: Load, request: EvaluationRequest, corpus: ActivationCorpus
) -> EvaluationReport:
    """On about as many stored rows as were asked for. No language model is run."""
    # Torch: seconds to import.
    import numpy as np

    from saewidgets.activations.shuffle import split
    from saewidgets.activations.store import batched
    from saewidgets.evaluation.place import check_places, evaluate_rows

    handle = workspace.activations.get(corpus.store_id)
    store, record = handle.open(), handle.record
    context_size = store.facts.context_size if store.facts.tokens is not None else None
    _require_rows(request, corpus, record.name, context_size)
    own = subject.store_id == record.id
    asked = take.path_text(request.model, "model", "the name of a model") if request.model is not None else None
    said = asked or subject.model
    known = [str(name) for name in (record.config.get("model"), record.model) if name]
    if said and known and (asked or not own) and not any(_same_model(said, each) for each in known):
        raise ConfigError(
            f"The store {record.name} was captured from {known[0]}, "
            + (f"not from {said}." if asked else f"but {subject.name} belongs to {said}."), where="model",
            hint="Leave the model out: no model is run on stored activations." if asked
            else f'If these are one model, say so: model="{known[0]}".',
        )

    nothing, everything = np.arange(0), np.arange(store.facts.n_contexts)
    kept = split(len(everything), store.facts.n_held_out, subject.validation_share)[1] if own else nothing
    held_out = len(kept) > 0
    pool = kept if held_out else everything
    contexts = store.evaluation_contexts(pool, nothing, request.tokens)

    sae = load(_device(workspace, subject, request))
    hook_name, hook_name_out = _hooks(subject, sae, request)
    check_places(sae, hook_name, hook_name_out)
    for name, width, where, hook in (
        ("d_in", sae.d_in, "hook_name", hook_name), ("d_out", sae.d_out, "hook_name_out", hook_name_out),
    ):
        if hook is not None and (stored := store.width(hook, where)) != width:
            raise ConfigError(
                f"The SAE's {name} is {width:,}, but the store {record.name} holds {stored:,} numbers per row at "
                f"{hook}.", where=name, hint="Choose a store of the SAE's own model, or its own hook_name.",
            )
    if context_size is not None:
        rule = _rule(subject, request, context_size)
    else:  # every row of imported states counts: they have neither tokens nor positions to tell them apart
        rule = {"exclude_special_tokens": False, "exclude_token_ids": (), "seqpos_slice": None}

    mask = _mask(rule)
    batch_size = request.batch_size or subject.batch_size
    rows = (store.row_numbers(part, mask) for part in batched(contexts, batch_size))
    hooks = list(dict.fromkeys(name for name in (hook_name, hook_name_out) if name is not None))
    with _bar(request, math.ceil(len(contexts) / batch_size), "batches") as check:
        parts = store.parts(hooks, rows, str(sae.W_dec.device), check)
        metrics, density = evaluate_rows(sae, parts)

    left_out = "CE recovered and KL recovered are left out: stored activations are measured without text and without "
    unit = "blocks" if context_size is None else "contexts"
    read = f"{len(contexts):,} of {len(pool):,} {unit}"
    notes = [
        _UNASKED if request.cross_entropy is False else f"{left_out}the language model.",
        f"The rows are of {read} of this store that were held out from its training." if held_out
        else f"The rows are of {read}, from all over the store.",
    ]
    text = as_text(workspace, corpus.to_data())
    if own and not held_out:
        notes.append("No rows were held out: these are rows it was trained on.")
    elif not own and text is not None and text == subject.corpus:
        notes.append("The store was captured from the text it was trained on: some of it may have been trained on.")
    if context_size is None:
        notes.append("Imported states have neither tokens nor positions: every row counts, special tokens too.")
    if not own and not (said and known):
        notes.append(f"Of which model the {'store' if said else 'SAE'} is, is not known: it was not compared.")
    return _report(
        subject, sae, metrics, density, rule, notes, model=known[0] if known else said, hook_name=hook_name,
        hook_name_out=hook_name_out, corpus=record.name, held_out=held_out, context_size=context_size,
        store_id=record.id,
    )


def _require_rows(
    request: EvaluationRequest, corpus: ActivationCorpus, store: str, context_size: int | None
) -> None:
    """Refuse what takes text or a model, and of imported states (`context_size` None) tokens and positions."""
    text = "text and the language model; a store is measured without either."
    no_text = "Leave it out, or give a text in place of the store."
    no_model = "No language model is run on stored activations."
    require(
        (not (request.cross_entropy or corpus.cross_entropy), "cross_entropy",
         f"Cross-entropy and divergence take {text}", no_text),
        (not request.mean_ablation, "mean_ablation",
         f"The cross-entropy with the mean activation takes {text}", no_text),
        (isinstance(request.model, str | Path | None), "model", no_model, "Leave it out, or give a text."),
        (request.tokenizer is None, "tokenizer", no_model, "Leave it out, or give a text."),
        (context_size is None or request.context_size in (None, context_size), "context_size",
         f"The store {store} has contexts of {context_size or 0:,} tokens.", "Leave it out, or give a text."),
    )  # fmt: skip
    for name in ("exclude_special_tokens", "context_size", "seqpos_slice"):
        given = getattr(request, name)
        wanted = as_slice(given) if name == "seqpos_slice" else given
        what = "Imported states have neither tokens nor contexts."
        require((context_size is not None or not wanted, name, what, "Leave it out: every row counts."))


def _same_model(one: str, other: str) -> bool:
    """Whether two names can mean one model: files name a model by the last part of its repository or folder, too."""
    parts = [re.split(r"[/\\]", one_name(name).rstrip("/\\").casefold()) for name in (one, other)]
    return parts[0] == parts[1] or (min(map(len, parts)) == 1 and parts[0][-1] == parts[1][-1])


def _report(
    subject: Subject, sae: Any, metrics: Mapping[str, float], density: Any, rule: Mapping[str, Any],
    notes: list[str], **measured: Any,
) -> EvaluationReport:
    from saewidgets.workspace.library.statistics import density_histogram  # torch: seconds to import

    if rule["exclude_special_tokens"]:
        notes.append("Special tokens (BOS, EOS, padding) are left out.")
    if ids := rule["exclude_token_ids"]:
        notes.append(f"Tokens of {len(ids):,} id{'s' * (len(ids) != 1)} are left out.")
    if rule["seqpos_slice"] is not None:
        notes.append(f"Only the positions {spelled(rule['seqpos_slice'])} of every context count.")
    if metrics["n_tokens"] < 1e5 and metrics["dead"] > 0:
        notes.append(f"{int(metrics['n_tokens']):,} tokens are few: latents that fire rarely count as dead.")
    return EvaluationReport(
        name=subject.name, sae_id=subject.origin.sae_id, training_id=subject.origin.training_id,
        architecture=sae.cfg.architecture, d_in=sae.d_in, d_out=sae.d_out, d_sae=sae.d_sae,
        n_tokens=int(metrics["n_tokens"]), metrics=metrics, density=density_histogram(density),
        special_tokens=not rule["exclude_special_tokens"], notes=tuple(notes), **measured,
    )


def _rule(subject: Subject, request: EvaluationRequest, context_size: int) -> dict[str, Any]:
    """Which positions count: what was asked for, else as in its training."""
    rule = {name: getattr(subject, name) for name in ("exclude_special_tokens", "exclude_token_ids", "seqpos_slice")}
    if isinstance(wanted := request.exclude_special_tokens, bool):
        rule |= {"exclude_special_tokens": wanted, "exclude_token_ids": ()}
    elif wanted is not None:
        rule |= {"exclude_special_tokens": False, "exclude_token_ids": as_ids(wanted) or ()}
    if request.seqpos_slice is not None:
        rule["seqpos_slice"] = as_slice(request.seqpos_slice)
    if not len(positions(rule["seqpos_slice"], context_size)):
        raise ConfigError(
            f"A context of {context_size:,} tokens has none of the positions {spelled(rule['seqpos_slice'])}.",
            where="seqpos_slice", hint='Give others, ":" for all, or a longer context_size.',
        )
    return rule


def _mask(rule: Mapping[str, Any]) -> Any:
    from saewidgets.lm.tokens import TokenMask  # torch: seconds to import

    return TokenMask(rule["exclude_special_tokens"], tuple(rule["exclude_token_ids"]), rule["seqpos_slice"])


def _find(workspace: Workspace, what: Any) -> tuple[Subject, Load]:
    from saewidgets.formats import load_sae  # torch: seconds to import
    from saewidgets.sae import SAE

    if isinstance(what, Run):
        what = what.id
    if isinstance(what, Capture):
        raise _is_a_store(what)
    if isinstance(what, str) and not take.whole_text(what, "what").strip():
        raise ConfigError("The id of the SAE is empty.", where="what", hint="Give an id or a name.")
    if isinstance(what, str) and (known := _known_id(workspace, what)) is not None:
        subject = find_subject(workspace, known)
        path = files_of(workspace, subject)
        return subject, lambda device: load_sae(path, device=device)
    if isinstance(what, str | Path):
        from saewidgets.hub.load_from_hub import load_sae as load_any  # torch: seconds to import

        loaded = load_any(what)
        return unlisted_subject(loaded, Path(what).name), loaded.to
    if not isinstance(what, SAE):
        take.refuse(what, "what", _WHAT, "Give ws.saes.get(…).id, a run, a path or what load_sae returns.")
    return unlisted_subject(what), lambda device: what


def _known_id(workspace: Workspace, wanted: str) -> str | None:
    """The id of an SAE or a training of this workspace; None where a path or a repository is meant."""
    if wanted.startswith("train_"):
        return workspace.trainings.get(wanted).id
    try:
        return workspace.saes.find(wanted).id
    except NotFoundError as no_sae:
        with suppress(NotFoundError):
            return workspace.trainings.get(wanted).id
        if "/" in wanted or "\\" in wanted or os.path.lexists(wanted):
            return None
        with suppress(NotFoundError):
            raise _is_a_store(workspace.activations.get(wanted)) from None
        raise no_sae from None


def _is_a_store(store: Capture) -> ConfigError:
    return ConfigError(
        f"{store.record.name} is a store of activations, not an SAE.", where="what",
        hint=f"Name an SAE or a run, and the store as its corpus: {store.id}.",
    )


def _hooks(subject: Subject, sae: Any, request: EvaluationRequest) -> tuple[str, str | None]:
    hook_name = request.hook_name or subject.place('Give it: hook_name="blocks.6.hook_resid_post".')
    if not sae.is_transcoder:
        return hook_name, request.hook_name_out
    return hook_name, request.hook_name_out or subject.hook_name_out or sae.metadata.get("hook_name_out")


def _model(workspace: Workspace, live: Live, subject: Subject, request: EvaluationRequest) -> Any:
    """The language model: the one that was given, the user's own if it was trained on that, else loaded."""
    if request.model is None and request.tokenizer is None and subject.model is None:
        raise StateError(
            f"It is not known which model {subject.name} was trained on.", where=subject.name,
            hint='Give it: evaluate(…, model="gpt2").',
        )
    device = _device(workspace, subject, request)
    return live.model(subject, model=request.model, tokenizer=request.tokenizer, device=device).lm


def _device(workspace: Workspace, subject: Subject, request: EvaluationRequest) -> str:
    """The one that was asked for, else that of the training if this machine has it."""
    return resolve_device(request.device) if request.device is not None else device_here(workspace, subject.device)


def _corpus(workspace: Workspace, subject: Subject, request: EvaluationRequest) -> tuple[Any, bool]:
    """The text or the stored activations to read, and whether they are the training's own."""
    data = request.corpus.corpus if isinstance(request.corpus, Capture) else request.corpus
    own = data is None
    if own and (data := subject.corpus) is None:
        gone = "is not known or went with its training"
        if subject.store_id is not None:
            gone = f"is not known, and its stored activations ({subject.store_id}) are not here any more"
            with suppress(NotFoundError):
                data = ActivationCorpus(workspace.activations.get(subject.store_id)).to_data()
        if data is None:
            raise StateError(
                f"The text {subject.name} was trained on {gone}.", where=subject.name,
                hint='Give a corpus: "demo", a path, a dataset, or the id of stored activations (acts_…).',
            )
    corpus = ExtractionConfig.from_data({"corpus": data}).corpus
    if corpus is None:
        raise ConfigError("There is no text.", where="corpus", hint='Give "demo", a path, or a dataset.')
    for name in getattr(corpus, "files", ()):
        take.path(name, "corpus", "a file or folder")  # before the disk is asked
    if not own:
        located(corpus)  # before a model is loaded
    return corpus, own


def _contexts(
    workspace: Workspace, subject: Subject, corpus: Any, held_out: bool, lm: Any, request: EvaluationRequest
) -> tuple[Any, int]:
    """Token ids ``[n, context_size]``, about as many as were asked for; and that size."""
    # Torch: seconds to import.
    import torch

    from saewidgets.activations import open_corpus, pack
    from saewidgets.lm import check_context

    context_size = request.context_size or subject.context_size or min(CONTEXT, lm.context or CONTEXT)
    check_context(lm.name, lm.context, context_size)
    share = subject.validation_share
    # Of long text no more is tokenised than this takes.
    wanted = math.ceil(request.tokens / share) if held_out and share else 2 * request.tokens
    packed = pack(
        open_corpus(corpus), lm.tokenizer, folder=workspace.folder / TOKENS, context_size=context_size,
        packing=subject.packing, validation_share=share, wanted=wanted,
    )
    if held_out:
        contexts = packed.evaluation_contexts(request.tokens)
    else:  # any text will do: from all over the corpus
        count = min(packed.n_contexts, max(1, request.tokens // packed.context_size))
        contexts = packed.contexts([i * packed.n_contexts // count for i in range(count)])
    return torch.from_numpy(contexts), context_size


@contextmanager
def _bar(request: EvaluationRequest, total: int, unit: str) -> Iterator[Callable[[], None] | None]:
    if not request.progress:
        yield None
        return
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    with tqdm(total=total, desc="evaluating", unit=f" {unit}", delay=2.0, leave=False) as bar:

        def count() -> None:
            if bar.n >= total:  # a large vocabulary is read in smaller parts
                bar.total = None
            bar.update(1)

        yield count
