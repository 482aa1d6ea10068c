"""What `ws.evaluate` and `ws.read_features` do: which files, which model, which text, and what was found."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import ExtractionConfig
from saewidgets.config import arguments as take
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.names import hub_model
from saewidgets.config.packing import Packing, as_ids, as_slice, positions, spelled
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.records import Records
from saewidgets.settings import resolve_device
from saewidgets.workspace.activations import Capture
from saewidgets.workspace.corpora import located
from saewidgets.workspace.held import Held, missing
from saewidgets.workspace.held import take as take_model
from saewidgets.workspace.reading.evaluation_report import EvaluationReport
from saewidgets.workspace.reading.stored_rows import EVERY_ROW, StoredRows, stored_of
from saewidgets.workspace.subjects import (
    CONTEXT,
    Subject,
    counted_as_said,
    device_here,
    files_of,
    find_subject,
    held_model,
)
from saewidgets.workspace.training.group import TrainingGroup
from saewidgets.workspace.training.run import Run
from saewidgets.workspace.training.training_job import TOKENS

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_WHAT = "an SAE: an id, a name, a path, a run or a loaded SAE"


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
        if self.mean_ablation and self.cross_entropy is False:
            raise ConfigError(
                "With the mean activation in their place a cross-entropy is measured, and that was declined.",
                where="mean_ablation", hint="Leave cross_entropy on, or mean_ablation off.",
            )
        if isinstance(ids := self.exclude_special_tokens, list | tuple):
            _named("exclude_special_tokens", as_ids, ids)
        elif ids is not None:
            take.truth(ids, "exclude_special_tokens", "a choice or a list of token ids")
        _named("seqpos_slice", as_slice, self.seqpos_slice)
        return replace(self, **plain)


def evaluation_request(what: Any, corpus: Any, **settings: Any) -> EvaluationRequest:
    """The arguments by their names. Raises `ConfigError`: there is no such one."""
    known = {field.name for field in fields(EvaluationRequest)} - {"what", "corpus"}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(
            f"There is no such argument: {unknown[0]!r}.", where=unknown[0], hint=f"Use {', '.join(sorted(known))}."
        )
    return EvaluationRequest(what, corpus, **settings)


def _named(where: str, read: Callable[[Any], Any], value: Any) -> None:
    """Raises the error of `read` with the name of the argument."""
    try:
        read(value)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from error


@dataclass(frozen=True, slots=True)
class _Found:
    """An SAE with all that is known of what it belongs to."""

    subject: Subject | None
    name: str
    load: Callable[[str], Any]
    said: Mapping[str, Any]  # of one that is not in the workspace: what its files say


def evaluate_many(workspace: Workspace, what: Any, request: EvaluationRequest) -> Records[EvaluationReport]:
    """See `Workspace.evaluate_many`."""
    if isinstance(what, TrainingGroup):
        what = what.runs
    if isinstance(what, str | bytes | Mapping) or not isinstance(what, Sequence) or not what:
        take.refuse(what, "what", "a list of SAEs, or a group of trainings", "Give a list of ids.")
    models: dict[Any, Any] = {}
    return Records([evaluate(workspace, replace(request, what=one), models) for one in what], EvaluationReport)


def evaluate(
    workspace: Workspace, request: EvaluationRequest, models: dict[Any, Any] | None = None
) -> EvaluationReport:
    """See `Workspace.evaluate`. `models` keeps the model that was loaded last, for the next one."""
    request = request.checked()
    found = _find(workspace, request.what)
    corpus, own = _corpus(workspace, found, request)
    if isinstance(corpus, ActivationCorpus):
        report = _on_store(workspace, found, request, corpus)
    else:
        report = _on_text(workspace, found, request, corpus, own, {} if models is None else models)
    known = found.subject
    if report.sae_id is not None and known and report.hook_name == known.hook_name and request.model is None:
        workspace.saes.keep_evaluation(report.sae_id, report)
    return report


def read_features(workspace: Workspace, request: EvaluationRequest, n: int) -> Any:
    """See `Workspace.read_features`."""
    from saewidgets.features.first_reading import read_features as read  # torch: seconds to import

    request = request.checked()
    found = _find(workspace, request.what)
    corpus, _ = _corpus(workspace, found, request)
    if isinstance(corpus, ActivationCorpus):
        raise StateError(
            "Stored activations have no text to read.", where=found.name, hint='Give a text: corpus="demo".'
        )
    lm = _model(workspace, found, request, {})
    sae = found.load(str(lm.device))
    context_size = _context_size(found, request, lm)
    contexts = _contexts(workspace, found, corpus, False, lm, context_size, request)
    return read(sae, lm, contexts, _hooks(found, sae, request)[0]).clearest(n)


def _on_text(
    workspace: Workspace, found: _Found, request: EvaluationRequest, corpus: Any, held_out: bool, models: dict[Any, Any]
) -> EvaluationReport:
    from saewidgets.evaluation import evaluate_latents  # torch: seconds to import

    losses = request.cross_entropy is not False
    lm = _model(workspace, found, request, models)
    sae = found.load(str(lm.device))
    hook_name, hook_name_out = _hooks(found, sae, request)
    context_size = _context_size(found, request, lm)
    contexts = _contexts(workspace, found, corpus, held_out, lm, context_size, request)
    rule = _rule(found, request, context_size)
    batch_size = _batch_size(found, request)
    passes = 1 + (2 + 2 * request.mean_ablation if losses and lm.is_causal else 0)
    with _bar(request, math.ceil(len(contexts) / batch_size) * passes, "forwards") as check:
        metrics, density = evaluate_latents(
            sae, lm, contexts, hook_name, hook_name_out=hook_name_out, **rule, batch_size=batch_size,
            cross_entropy=losses, divergence=losses, mean_ablation=request.mean_ablation, check=check,
        )  # fmt: skip
    return _report(
        found, sae, metrics, density, model=lm.name, hook_name=hook_name, hook_name_out=hook_name_out,
        corpus=corpus.label, held_out=held_out, context_size=context_size,
        special_tokens=not rule["exclude_special_tokens"],
        notes=(*_text_notes(request, found, lm, held_out), *_notes(rule, metrics)),
    )


def _on_store(
    workspace: Workspace, found: _Found, request: EvaluationRequest, corpus: ActivationCorpus
) -> EvaluationReport:
    from saewidgets.evaluation.place import evaluate_row_latents  # torch: seconds to import

    known = found.subject
    rows = StoredRows.of(workspace, corpus, request, known)
    said = take.path_text(request.model, "model", "the name of a model") if request.model is not None else None
    said = said or (known.model if known is not None else _text(found.said.get("model_name")))
    rows.check_model(said, found.name, asked=request.model is not None)
    sae = found.load(_device(workspace, found, request))
    hook_name, hook_name_out = _hooks(found, sae, request)
    rows.check_place(sae, hook_name, hook_name_out)
    rule = _rule(found, request, rows.context_size) if rows.context_size is not None else EVERY_ROW
    batch_size = _batch_size(found, request)
    with _bar(request, math.ceil(len(rows.contexts) / batch_size), "batches") as check:
        metrics, density = evaluate_row_latents(
            sae, rows.parts(hook_name, hook_name_out, rule, batch_size, str(sae.W_dec.device), check)
        )
    return _report(
        found, sae, metrics, density, model=rows.model or said, hook_name=hook_name, hook_name_out=hook_name_out,
        corpus=rows.record.name, held_out=rows.held_out, context_size=rows.context_size,
        special_tokens=not rule["exclude_special_tokens"], store_id=rows.record.id,
        notes=(*rows.notes(request, said), *_notes(rule, metrics)),
    )


def _report(
    found: _Found, sae: Any, metrics: Mapping[str, float], density: Any, **measured: Any
) -> EvaluationReport:
    from saewidgets.workspace.library.statistics import density_histogram  # torch: seconds to import

    origin = found.subject.origin if found.subject is not None else None
    return EvaluationReport(
        name=found.name, sae_id=origin.sae_id if origin else None, training_id=origin.training_id if origin else None,
        architecture=sae.cfg.architecture, d_in=sae.d_in, d_out=sae.d_out, d_sae=sae.d_sae,
        n_tokens=int(metrics["n_tokens"]), metrics=metrics, density=density_histogram(density), **measured,
    )


def _context_size(found: _Found, request: EvaluationRequest, lm: Any) -> int:
    own = found.subject.context_size if found.subject else _whole(found.said.get("context_size"))
    return request.context_size or own or min(CONTEXT, lm.context or CONTEXT)


def _batch_size(found: _Found, request: EvaluationRequest) -> int:
    return request.batch_size or (found.subject.batch_size if found.subject else 16)


def _rule(found: _Found, request: EvaluationRequest, context_size: int) -> dict[str, Any]:
    """Which positions count: what was asked for, else as in its training."""
    known = found.subject
    if known is not None:
        rule = {name: getattr(known, name) for name in ("exclude_special_tokens", "exclude_token_ids", "seqpos_slice")}
    else:
        rule = {"exclude_token_ids": (), "seqpos_slice": None, **counted_as_said(found.said)}
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


# ---------------------------------------------------------------------------------------------------- what


def _find(workspace: Workspace, what: Any) -> _Found:
    """The SAE that is meant.

    Raises:
        NotFoundError: there is none, or its files are not here.
        ConfigError: this can be none.
    """
    from saewidgets.formats import load_sae  # torch: seconds to import

    if isinstance(what, Run):
        what = what.id
    if isinstance(what, Capture):
        raise _is_a_store(what)
    if isinstance(what, str):
        what = take.whole_text(what, "what")
    if isinstance(what, str) and not what.strip():
        raise ConfigError("The id of the SAE is empty.", where="what", hint="Give an id or a name.")
    wanted = _known_id(workspace, what) if isinstance(what, str) else None
    if wanted is not None:
        subject = find_subject(workspace, wanted)
        path = files_of(workspace, subject)
        return _Found(subject, subject.name, lambda device: load_sae(path, device=device), {})
    if isinstance(what, str | Path):
        from saewidgets.hub.load_from_hub import load_sae as load_any  # torch: seconds to import

        loaded = load_any(what)
        return _Found(None, Path(what).name or str(what), loaded.to, _metadata(loaded))
    from saewidgets.sae import SAE  # torch: seconds to import

    if not isinstance(what, SAE):
        take.refuse(what, "what", _WHAT, "Give ws.saes.get(…).id, a run, a path or what load_sae returns.")
    said = _metadata(what)
    return _Found(None, _text(said.get("name")) or f"a {what.cfg.architecture} SAE", lambda device: what, said)


def _known_id(workspace: Workspace, wanted: str) -> str | None:
    """The id of an SAE or a training of this workspace; None where a path or a repository is meant."""
    if wanted.startswith("train_"):
        return workspace.trainings.get(wanted).id
    try:
        return workspace.saes.find(wanted).id
    except NotFoundError as no_sae:
        try:
            return workspace.trainings.get(wanted).id
        except NotFoundError:
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


def _metadata(sae: Any) -> Mapping[str, Any]:
    return sae.metadata if isinstance(sae.metadata, Mapping) else {}


def _hooks(found: _Found, sae: Any, request: EvaluationRequest) -> tuple[str, str | None]:
    """Where the SAE reads, and what a transcoder reconstructs."""
    known, said = found.subject, found.said or _metadata(sae)
    hook_name = request.hook_name or (known.hook_name if known else None) or _text(said.get("hook_name"))
    if hook_name is None:
        raise ConfigError(
            f"It is not known where in a model {found.name} belongs.", where="hook_name",
            hint='Give it: hook_name="blocks.6.hook_resid_post".',
        )
    if not sae.is_transcoder and request.hook_name_out is None:
        return hook_name, None
    out = request.hook_name_out or (known.hook_name_out if known else None) or _text(said.get("hook_name_out"))
    return hook_name, out


# ---------------------------------------------------------------------------------------------------- with what


def _model(workspace: Workspace, found: _Found, request: EvaluationRequest, models: dict[Any, Any]) -> Any:
    """The language model: the one that was given, the user's own if it was trained on that, else loaded."""
    # Torch: seconds to import.
    from saewidgets.demo import resolve_model
    from saewidgets.lm import LoadedModel, load_model, wrap_model

    known = found.subject
    if isinstance(request.model, LoadedModel) and request.tokenizer is None:
        return request.model
    named = None
    if isinstance(request.model, str | Path) and request.tokenizer is None:
        named = take.path_text(request.model, "model", "the name of a model")
    if named is None:
        held: Held | None = take_model(request.model, request.tokenizer)
        held = held or (held_model(workspace, known) if known is not None else None)
        if held is not None:
            return wrap_model(held.model, held.tokenizer)
        if known is not None and known.model_given:
            raise missing(known.id, "Give it: evaluate(…, model=model, tokenizer=tokenizer).")
    said = known.model if known else _text(found.said.get("model_name"))
    wanted = named or (said if known else hub_model(said) or said)
    if wanted is None:
        raise StateError(
            f"It is not known which model {found.name} was trained on.", where=found.name,
            hint='Give it: evaluate(…, model="gpt2").',
        )
    device = _device(workspace, found, request)
    own = known if known is not None and named is None else None
    revision, dtype = (own.revision, own.dtype) if own is not None else (None, "float32")
    key = wanted, revision, dtype, device
    if key not in models:
        models.clear()  # before the next one: both may be too much
        models[key] = load_model(
            resolve_model(wanted), revision=revision, dtype=dtype, device=device,
            name="demo" if wanted == "demo" else None,
        )  # fmt: skip
    return models[key]


def _device(workspace: Workspace, found: _Found, request: EvaluationRequest) -> str:
    """The one that was asked for, else that of the training if this machine has it."""
    if request.device is not None:
        return resolve_device(request.device)
    return device_here(workspace, found.subject.device if found.subject else "auto")


def _corpus(workspace: Workspace, found: _Found, request: EvaluationRequest) -> tuple[Any, bool]:
    """The text or the stored activations to read, and whether they are the training's own."""
    known, data = found.subject, request.corpus
    if isinstance(data, Capture):
        data = data.corpus
    own = data is None
    if data is None and known is not None:
        data = known.corpus if known.corpus is not None else stored_of(workspace, known)
    if data is None:
        gone = "is not known or went with its training"
        if known is not None and known.store_id is not None:
            gone = f"is not known, and its stored activations ({known.store_id}) are not here any more"
        raise StateError(
            f"The text {found.name} was trained on {gone}.", where=found.name,
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
    workspace: Workspace, found: _Found, corpus: Any, held_out: bool, lm: Any, context_size: int,
    request: EvaluationRequest,
) -> Any:
    """Token ids ``[n, context_size]``, about as many as were asked for."""
    # Torch: seconds to import.
    import torch

    from saewidgets.activations import open_corpus, pack
    from saewidgets.lm import check_context

    check_context(lm.name, lm.context, context_size)
    known = found.subject
    share = known.validation_share if known else 0.0
    # Of long text no more is tokenised than this takes.
    wanted = math.ceil(request.tokens / share) if held_out and share else 2 * request.tokens
    packed = pack(
        open_corpus(corpus), lm.tokenizer, folder=workspace.folder / TOKENS, context_size=context_size,
        packing=known.packing if known else Packing.from_data(found.said),
        validation_share=share, wanted=wanted,
    )
    if held_out:
        contexts = packed.evaluation_contexts(request.tokens)
    else:  # any text will do: from all over the corpus
        count = min(packed.n_contexts, max(1, request.tokens // packed.context_size))
        contexts = packed.contexts([i * packed.n_contexts // count for i in range(count)])
    return torch.from_numpy(contexts)


@contextmanager
def _bar(request: EvaluationRequest, total: int, unit: str) -> Iterator[Callable[[], None] | None]:
    """A progress bar over the forwards, where it takes more than a moment."""
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


def _text_notes(request: EvaluationRequest, found: _Found, lm: Any, held_out: bool) -> Iterator[str]:
    if not lm.is_causal:
        yield f"{lm.name} does not predict the next token: there is no cross-entropy and no divergence."
    elif request.cross_entropy is False:
        yield "Cross-entropy and divergence were not asked for."
    if held_out and found.subject is not None and not found.subject.validation_share:
        yield "No text was held out: this is text it was trained on."


def _notes(rule: Mapping[str, Any], metrics: Mapping[str, float]) -> Iterator[str]:
    if rule["exclude_special_tokens"]:
        yield "Special tokens (BOS, EOS, padding) are left out."
    if ids := rule["exclude_token_ids"]:
        yield f"Tokens of {len(ids):,} id{'s' * (len(ids) != 1)} are left out."
    if rule["seqpos_slice"] is not None:
        yield f"Only the positions {spelled(rule['seqpos_slice'])} of every context count."
    if metrics["n_tokens"] < 1e5 and metrics["dead"] > 0:
        yield f"{int(metrics['n_tokens']):,} tokens are few: latents that fire rarely count as dead."


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 2 <= value <= 1_048_576 else None
