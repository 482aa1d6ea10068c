"""`ws.evaluate` on a store of activations: rows that are there already, without text and without a language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.names import one_name
from saewidgets.config.packing import as_slice
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.workspace.capture.using import as_text
from saewidgets.workspace.subjects import Subject

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from saewidgets.activations.store import StoredActivations
    from saewidgets.workspace.reading.sae_evaluation import EvaluationRequest
    from saewidgets.workspace.workspace import Workspace

EVERY_ROW: Mapping[str, Any] = {"exclude_special_tokens": False, "exclude_token_ids": (), "seqpos_slice": None}
"""Which rows of imported states count: they have neither tokens nor positions to tell them apart."""


def stored_of(workspace: Workspace, subject: Subject) -> dict[str, Any] | None:
    """The store that an SAE was trained from, as the data of a corpus; None where there is none, or it was deleted."""
    if subject.store_id is None:
        return None
    try:
        return ActivationCorpus(workspace.activations.get(subject.store_id)).to_data()
    except NotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The rows that an evaluation reads.

    Attributes:
        store, record: where they are.
        contexts: numbers of the contexts (of imported states, the blocks) that are read.
        pool: how many contexts they were taken from.
        held_out: the SAE was trained from this store, and not on these.
        own: the SAE was trained from this store.
        seen: the SAE was trained on the text that the store was captured from.
    """

    store: StoredActivations
    record: ActivationStoreRecord
    contexts: npt.NDArray[np.int64]
    pool: int
    held_out: bool
    own: bool
    seen: bool

    @classmethod
    def of(
        cls, workspace: Workspace, corpus: ActivationCorpus, request: EvaluationRequest, subject: Subject | None
    ) -> StoredRows:
        """Choose them: about as many as were asked for, from all over the store, or from what a training held out.

        Raises:
            NotFoundError, StateError, FormatError: there is no such store, or it cannot be read.
            ConfigError: what was asked for takes text, or a language model.
        """
        # Torch: seconds to import.
        import numpy as np

        from saewidgets.activations.shuffle import split

        if request.cross_entropy or corpus.cross_entropy:
            raise _takes_text("Cross-entropy and divergence take", "cross_entropy")
        if request.mean_ablation:
            raise _takes_text("The cross-entropy with the mean activation takes", "mean_ablation")
        if request.tokenizer is not None or not isinstance(request.model, str | Path | None):
            raise ConfigError(
                "No language model is run on stored activations.",
                where="tokenizer" if request.model is None else "model", hint="Leave it out, or give a text.",
            )
        handle = workspace.activations.get(corpus.store_id)
        store, record = handle.open(), handle.record
        facts = store.facts
        if facts.tokens is None:
            _refuse_tokens(request)
        elif request.context_size not in (None, facts.context_size):
            raise ConfigError(
                f"The store {record.name} has contexts of {facts.context_size:,} tokens.", where="context_size",
                hint="Leave it out, or give a text.",
            )
        everything, nothing = np.arange(facts.n_contexts), np.arange(0)
        own = subject is not None and subject.store_id == record.id
        kept = nothing
        if own and subject is not None:
            kept = split(facts.n_contexts, facts.n_held_out, subject.validation_share)[1]
        pool = kept if len(kept) else everything
        text = as_text(workspace, ActivationCorpus(record.id).to_data())
        return cls(
            store, record, store.evaluation_contexts(pool, nothing, request.tokens), len(pool), held_out=len(kept) > 0,
            own=own, seen=subject is not None and text is not None and text == subject.corpus,
        )

    @property
    def context_size(self) -> int | None:
        """Tokens per context; None for imported states."""
        return self.store.facts.context_size if self.store.facts.tokens is not None else None

    @property
    def model(self) -> str | None:
        return next(iter(self._models()), None)

    def _models(self) -> list[str]:
        return [str(name) for name in (self.record.config.get("model"), self.record.model) if name]

    def check_model(self, said: str | None, name: str, *, asked: bool = False) -> None:
        """Raise `ConfigError` if the store is of another model than the one that was `asked` for, or than `said` of the
        SAE called `name`.
        """
        known = self._models()
        if said is None or not known or any(_same_model(said, each) for each in known):
            return
        if asked:
            raise ConfigError(
                f"The store {self.record.name} was captured from {known[0]}, not from {said}.", where="model",
                hint="Leave the model out: no model is run on stored activations.",
            )
        if self.own:
            return
        raise ConfigError(
            f"The store {self.record.name} was captured from {known[0]}, but {name} belongs to {said}.", where="model",
            hint=f'If these are one model, say so: model="{known[0]}".',
        )

    def check_place(self, sae: Any, hook_name: str, hook_name_out: str | None) -> None:
        """Raise `ConfigError` if the store does not hold what the SAE reads and reconstructs, or is not as wide."""
        from saewidgets.evaluation.place import check_places  # torch: seconds to import

        check_places(sae, hook_name, hook_name_out)
        places = [("d_in", sae.d_in, "hook_name", hook_name)]
        if hook_name_out is not None:
            places.append(("d_out", sae.d_out, "hook_name_out", hook_name_out))
        for name, width, where, hook in places:
            if (stored := self.store.width(hook, where)) != width:
                raise ConfigError(
                    f"The SAE's {name} is {width:,}, but the store {self.record.name} holds {stored:,} numbers per "
                    f"row at {hook}.",
                    where=name, hint="Choose a store of the SAE's own model, or its own hook_name.",
                )

    def parts(
        self, hook_name: str, hook_name_out: str | None, rule: Mapping[str, Any], batch_size: int, device: str,
        check: Callable[[], None] | None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """The activations, those of `batch_size` contexts together: ``(x,)``, or ``(x, target)`` of a transcoder."""
        from saewidgets.activations.store import batched  # torch: seconds to import
        from saewidgets.lm.token_mask import TokenMask

        kept = TokenMask(rule["exclude_special_tokens"], tuple(rule["exclude_token_ids"]), rule["seqpos_slice"])
        names = [hook_name] if hook_name_out in (None, hook_name) else [hook_name, str(hook_name_out)]
        numbers = (self.store.row_numbers(part, kept) for part in batched(self.contexts, batch_size))
        return self.store.parts(names, numbers, device, check)

    def notes(self, request: EvaluationRequest, model: str | None) -> Iterator[str]:
        if request.cross_entropy is False:
            yield "Cross-entropy and divergence were not asked for."
        else:
            yield (
                "CE recovered and KL recovered are left out: stored activations are measured without text and without "
                "the language model."
            )
        unit = "blocks" if self.context_size is None else "contexts"
        read = f"{len(self.contexts):,} of {self.pool:,} {unit}"
        if self.held_out:
            yield f"The rows are of {read} of this store that were held out from its training."
        else:
            yield f"The rows are of {read}, from all over the store."
        if self.own and not self.held_out:
            yield "No rows were held out: these are rows it was trained on."
        elif self.seen and not self.own:
            yield "The store was captured from the text it was trained on: some of it may have been trained on."
        if self.context_size is None:
            yield "Imported states have neither tokens nor positions: every row counts, special tokens too."
        if not self.own and (model is None or self.model is None):
            yield f"Of which model the {'SAE' if model is None else 'store'} is, is not known: it was not compared."


def _refuse_tokens(request: EvaluationRequest) -> None:
    """Raises `ConfigError` where imported states are asked for what only tokens and positions can tell."""
    for name, wanted in (
        ("exclude_special_tokens", bool(request.exclude_special_tokens)),
        ("seqpos_slice", as_slice(request.seqpos_slice) is not None),
        ("context_size", request.context_size is not None),
    ):
        if wanted:
            raise ConfigError(
                "Imported states have neither tokens nor contexts.", where=name,
                hint="Leave it out: every row counts.",
            )


def _takes_text(what: str, where: str) -> ConfigError:
    return ConfigError(
        f"{what} text and the language model; a store is measured without either.", where=where,
        hint="Leave it out, or give a text in place of the store.",
    )


def _same_model(one: str, other: str) -> bool:
    """Whether two names can mean one model: files name a model by the last part of its repository or folder, too."""
    one, other = (one_name(name).rstrip("/\\").casefold() for name in (one, other))
    whole = all("/" in name or "\\" in name for name in (one, other))
    return one == other or (not whole and _last(one) == _last(other))


def _last(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]
