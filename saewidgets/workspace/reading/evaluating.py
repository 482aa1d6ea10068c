"""`ws.evaluate`: which files, which model, which text; what was found, and what the library keeps of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import ExtractionConfig
from saewidgets.config import arguments as take
from saewidgets.config.model_names import hub_model
from saewidgets.config.positions import as_ids, as_slice, positions, spelled
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.records import Records
from saewidgets.settings import resolve_device
from saewidgets.workspace.held import Held, missing
from saewidgets.workspace.held import take as take_model
from saewidgets.workspace.reading.report import EvaluationReport
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
from saewidgets.workspace.training.job import TOKENS
from saewidgets.workspace.training.run import Run

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_WHAT = "an SAE: an id, a name, a path, a run or a loaded SAE"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: the arguments of `Workspace.evaluate`."""

    what: Any
    corpus: Any = None
    tokens: int = 65_536
    hook_name: str | None = None
    hook_name_out: str | None = None
    context_size: int | None = None
    batch_size: int | None = None
    exclude_special_tokens: bool | Sequence[int] | None = None
    cross_entropy: bool = True
    mean_ablation: bool = False
    model: Any = None
    tokenizer: Any = None
    device: str | None = None
    progress: bool = True
    seqpos_slice: str | Sequence[int | None] | None = None

    def checked(self) -> Asked:
        """With plain values. Raises `ConfigError` naming the argument that cannot be one."""
        names = {name: take.optional_text(getattr(self, name), name, said) for name, said in (
            ("hook_name", "where the SAE reads"), ("hook_name_out", "what a transcoder reconstructs"),
            ("device", "where to compute"),
        )}  # fmt: skip
        counts = {name: take.count(value, name, said, least=least) for name, said, least in (
            ("tokens", "how many tokens to read", 1), ("context_size", "tokens per context", 2),
            ("batch_size", "contexts per forward", 1),
        ) if (value := getattr(self, name)) is not None}  # fmt: skip
        for name in ("cross_entropy", "mean_ablation", "progress"):
            take.truth(getattr(self, name), name, "a choice")
        if isinstance(ids := self.exclude_special_tokens, list | tuple):
            _named("exclude_special_tokens", as_ids, ids)
        elif ids is not None:
            take.truth(ids, "exclude_special_tokens", "a choice or a list of token ids")
        _named("seqpos_slice", as_slice, self.seqpos_slice)
        return replace(self, **names, **counts)  # type: ignore[arg-type]


def asking(what: Any, corpus: Any, **settings: Any) -> Asked:
    """The arguments by their names. Raises `ConfigError`: there is no such one."""
    known = {field.name for field in fields(Asked)} - {"what", "corpus"}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(
            f"There is no such argument: {unknown[0]!r}.", where=unknown[0], hint=f"Use {', '.join(sorted(known))}."
        )
    return Asked(what, corpus, **settings)


@dataclass(frozen=True, slots=True)
class _Found:
    """An SAE with all that is known of what it belongs to."""

    subject: Subject | None
    name: str
    load: Callable[[str], Any]
    said: Mapping[str, Any]  # of one that is not in the workspace: what its files say


def evaluate_many(workspace: Workspace, what: Any, asked: Asked) -> Records[EvaluationReport]:
    """See `Workspace.evaluate_many`."""
    if isinstance(what, TrainingGroup):
        what = what.runs
    if isinstance(what, str | bytes | Mapping) or not isinstance(what, Sequence) or not what:
        take.refuse(what, "what", "a list of SAEs, or a group of trainings", "Give a list of ids.")
    models: dict[Any, Any] = {}
    return Records([evaluate(workspace, replace(asked, what=one), models) for one in what], EvaluationReport)


def evaluate(workspace: Workspace, asked: Asked, models: dict[Any, Any] | None = None) -> EvaluationReport:
    """See `Workspace.evaluate`. `models` keeps the model that was loaded last, for the next one."""
    from saewidgets.evaluation import evaluate_latents  # torch: seconds to import

    asked = asked.checked()
    found = _find(workspace, asked.what)
    known, sae_id = found.subject, found.subject.origin.sae_id if found.subject is not None else None
    corpus, held_out = _corpus(found, asked)
    lm = _model(workspace, found, asked, {} if models is None else models)
    sae = found.load(str(lm.device))
    hook_name, hook_name_out = _hooks(found, sae, asked)
    own = asked.context_size or (known.context_size if known else _whole(found.said.get("context_size")))
    context_size = own or min(CONTEXT, lm.context or CONTEXT)
    contexts = _contexts(workspace, found, corpus, held_out, lm, context_size, asked)
    rule = _rule(found, asked, context_size)
    batch_size = asked.batch_size or (known.batch_size if known else 16)
    with _bar(asked, len(contexts), batch_size, lm.is_causal) as check:
        metrics, density = evaluate_latents(
            sae, lm, contexts, hook_name, hook_name_out=hook_name_out, **rule, batch_size=batch_size,
            cross_entropy=asked.cross_entropy, divergence=asked.cross_entropy,
            mean_ablation=asked.mean_ablation, check=check,
        )  # fmt: skip
    from saewidgets.workspace.library.statistics import density_histogram  # torch: seconds to import

    report = EvaluationReport(
        name=found.name, sae_id=sae_id, training_id=known.origin.training_id if known else None, model=lm.name,
        hook_name=hook_name, hook_name_out=hook_name_out, architecture=sae.cfg.architecture, d_in=sae.d_in,
        d_out=sae.d_out, d_sae=sae.d_sae, corpus=corpus.label, held_out=held_out, n_tokens=int(metrics["n_tokens"]),
        context_size=context_size, special_tokens=not rule["exclude_special_tokens"],
        metrics=metrics, density=density_histogram(density),
        notes=tuple(_notes(asked, found, lm, rule, held_out, metrics)),
    )
    if sae_id is not None and known is not None and hook_name == known.hook_name and asked.model is None:
        workspace.saes.keep_evaluation(sae_id, report)
    return report


def _rule(found: _Found, asked: Asked, context_size: int) -> dict[str, Any]:
    """Which positions count: what was asked for, else as in its training."""
    known = found.subject
    if known is not None:
        rule = {name: getattr(known, name) for name in ("exclude_special_tokens", "exclude_token_ids", "seqpos_slice")}
    else:
        rule = {"exclude_token_ids": (), "seqpos_slice": None, **counted_as_said(found.said)}
    if isinstance(wanted := asked.exclude_special_tokens, bool):
        rule |= {"exclude_special_tokens": wanted, "exclude_token_ids": ()}
    elif wanted is not None:
        rule |= {"exclude_special_tokens": False, "exclude_token_ids": as_ids(wanted) or ()}
    if asked.seqpos_slice is not None:
        rule["seqpos_slice"] = as_slice(asked.seqpos_slice)
    if not len(positions(rule["seqpos_slice"], context_size)):
        raise ConfigError(
            f"A context of {context_size:,} tokens has none of the positions {spelled(rule['seqpos_slice'])}.",
            where="seqpos_slice", hint='Give others, ":" for all, or a longer context_size.',
        )
    return rule


def _named(where: str, read: Callable[[Any], Any], value: Any) -> None:
    """Raises the error of `read` with the name of the argument."""
    try:
        read(value)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from error


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
        from saewidgets.hub.loading import load_sae as load_any  # torch: seconds to import

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
            raise no_sae from None


def _metadata(sae: Any) -> Mapping[str, Any]:
    return sae.metadata if isinstance(sae.metadata, Mapping) else {}


def _hooks(found: _Found, sae: Any, asked: Asked) -> tuple[str, str | None]:
    """Where the SAE reads, and what a transcoder reconstructs."""
    known, said = found.subject, found.said or _metadata(sae)
    hook_name = asked.hook_name or (known.hook_name if known else None) or _text(said.get("hook_name"))
    if hook_name is None:
        raise ConfigError(
            f"It is not known where in a model {found.name} belongs.", where="hook_name",
            hint='Give it: hook_name="blocks.6.hook_resid_post".',
        )
    if not sae.is_transcoder and asked.hook_name_out is None:
        return hook_name, None
    out = asked.hook_name_out or (known.hook_name_out if known else None) or _text(said.get("hook_name_out"))
    return hook_name, out


# ---------------------------------------------------------------------------------------------------- with what


def _model(workspace: Workspace, found: _Found, asked: Asked, models: dict[Any, Any]) -> Any:
    """The language model: the one that was given, the user's own if it was trained on that, else loaded."""
    # Torch: seconds to import.
    from saewidgets.demo import resolve_model
    from saewidgets.lm import LoadedModel, load_model, wrap_model

    known = found.subject
    if isinstance(asked.model, LoadedModel) and asked.tokenizer is None:
        return asked.model
    named = None
    if isinstance(asked.model, str | Path) and asked.tokenizer is None:
        named = take.path_text(asked.model, "model", "the name of a model")
    if named is None:
        held: Held | None = take_model(asked.model, asked.tokenizer)
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
    if asked.device is not None:
        device = resolve_device(asked.device)
    else:
        device = device_here(workspace, known.device if known else "auto")
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


def _corpus(found: _Found, asked: Asked) -> tuple[Any, bool]:
    """The text to read, and whether it is the held-out part of the training's own."""
    data = asked.corpus
    held_out = data is None
    if data is None:
        data = found.subject.corpus if found.subject is not None else None
        if data is None or data.get("kind") == "activations":
            gone = "was stored as activations" if data is not None else "is not known or went with its training"
            raise StateError(
                f"The text {found.name} was trained on {gone}.", where=found.name,
                hint='Give a corpus: "demo", a path, or a dataset.',
            )
    corpus = ExtractionConfig.from_data({"corpus": data}).corpus
    if corpus is None:
        raise ConfigError("There is no text.", where="corpus", hint='Give "demo", a path, or a dataset.')
    for name in getattr(corpus, "files", ()):
        take.path(name, "corpus", "a file or folder")  # before the disk is asked
    return corpus, held_out


def _contexts(
    workspace: Workspace, found: _Found, corpus: Any, held_out: bool, lm: Any, context_size: int, asked: Asked
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
    wanted = math.ceil(asked.tokens / share) if held_out and share else 2 * asked.tokens
    packed = pack(
        open_corpus(corpus), lm.tokenizer, folder=workspace.folder / TOKENS, context_size=context_size,
        prepend_bos=known.prepend_bos if known else found.said.get("prepend_bos") is not False,
        validation_share=share, wanted=wanted,
    )
    if held_out:
        contexts = packed.evaluation_contexts(asked.tokens)
    else:  # any text will do: from all over the corpus
        count = min(packed.n_contexts, max(1, asked.tokens // packed.context_size))
        contexts = packed.contexts([i * packed.n_contexts // count for i in range(count)])
    return torch.from_numpy(contexts)


@contextmanager
def _bar(asked: Asked, contexts: int, batch_size: int, causal: bool) -> Iterator[Callable[[], None] | None]:
    """A progress bar over the forwards, where it takes more than a moment."""
    if not asked.progress:
        yield None
        return
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    passes = 1 + (2 + 2 * asked.mean_ablation if asked.cross_entropy and causal else 0)
    total = math.ceil(contexts / batch_size) * passes
    with tqdm(total=total, desc="evaluating", unit=" forwards", delay=2.0, leave=False) as bar:

        def count() -> None:
            if bar.n >= total:  # a large vocabulary is read in smaller parts
                bar.total = None
            bar.update(1)

        yield count


def _notes(
    asked: Asked, found: _Found, lm: Any, rule: Mapping[str, Any], held_out: bool, metrics: Mapping[str, float]
) -> Iterator[str]:
    if not lm.is_causal:
        yield f"{lm.name} does not predict the next token: there is no cross-entropy and no divergence."
    elif not asked.cross_entropy:
        yield "Cross-entropy and divergence were not asked for."
    if rule["exclude_special_tokens"]:
        yield "Special tokens (BOS, EOS, padding) are left out."
    if ids := rule["exclude_token_ids"]:
        yield f"Tokens of {len(ids):,} id{'s' * (len(ids) != 1)} are left out."
    if rule["seqpos_slice"] is not None:
        yield f"Only the positions {spelled(rule['seqpos_slice'])} of every context count."
    if held_out and found.subject is not None and not found.subject.validation_share:
        yield "No text was held out: this is text it was trained on."
    if metrics["n_tokens"] < 1e5 and metrics["dead"] > 0:
        yield f"{int(metrics['n_tokens']):,} tokens are few: latents that fire rarely count as dead."


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 2 <= value <= 1_048_576 else None
