"""Defines `UserModels`: models that users pass as objects, with the jobs that use them and how long they are kept."""

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saewidgets.config.base import require
from saewidgets.errors import ConfigError, StateError
from saewidgets.lm.token_ids import TokenIds


@dataclass(frozen=True, slots=True)
class UserModel:
    """A model that the user loaded: used as it is, by this process only."""

    model: Any
    tokenizer: Any

    @property
    def name(self) -> str:
        """The model's own name, else its class."""
        return str(getattr(self.model, "name_or_path", "") or type(self.model).__name__)


def take(model: Any, tokenizer: Any, corpus: Any = None) -> UserModel | None:
    """The model that the user passed, checked; None if there is none. It needs a tokenizer if `corpus`, a setting, is
    text."""
    if model is None and tokenizer is None:
        return None
    named = repr(str(model)) if isinstance(model, str | Path) else None
    require(
        (model is not None, "model", "A tokenizer needs its model.", "Give both: model=model, tokenizer=tokenizer."),
        (tokenizer is not None or not _is_text(corpus), "tokenizer",
         "A loaded model needs its tokenizer to read text.",
         "Give both: model=model, tokenizer=tokenizer; or read token ids: corpus=TokensCorpus(file)."),
        (named is None, "model", f"{named} is a name, not a loaded model.",
         f"Name it in the configuration: TrainingConfig(model={named}), without model= and tokenizer=."),
        (tokenizer is None or callable(tokenizer), "tokenizer", f"{type(tokenizer).__name__} is not a tokenizer.",
         "Pass what AutoTokenizer.from_pretrained returns."),
    )  # fmt: skip
    held = UserModel(model, _ids_of(model) if tokenizer is None else tokenizer)
    device_of(held)
    return held


def corpus_of(settings: Any) -> Any:
    """The setting `corpus` of a configuration or a mapping, checked by nobody yet."""
    return settings.get("corpus") if isinstance(settings, Mapping) else getattr(settings, "corpus", None)


def _is_text(corpus: Any) -> bool:
    kind = corpus.get("kind") if isinstance(corpus, Mapping) else getattr(corpus, "kind", None)
    return corpus is not None and kind not in ("tokens", "activations")


def _ids_of(model: Any) -> TokenIds:
    """The stand-in for the tokenizer of a model that reads token ids only."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = getattr(text, "vocab_size", None)
    if not isinstance(size, int):
        raise ConfigError(
            f"{type(model).__name__} cannot be read as a language model (it has no vocab_size).", where="model",
            hint="Pass what AutoModelForCausalLM.from_pretrained returns.",
        )
    return TokenIds(size)


def device_of(held: UserModel) -> str:
    """The device of the model, as `resolve_device` names devices. Raises what `take` raises."""
    from saewidgets.lm import wrap_model  # torch: seconds to import

    try:
        return canonical(str(wrap_model(held.model, held.tokenizer).device))
    except (AttributeError, TypeError, StopIteration) as error:  # a configuration or a module of another kind
        raise ConfigError(
            f"{type(held.model).__name__} cannot be read as a language model ({error}).", where="model",
            hint="Pass what AutoModelForCausalLM.from_pretrained returns.",
        ) from error


def canonical(device: str) -> str:
    """One name per device: "cuda" is the first one."""
    return "cuda:0" if device == "cuda" else device


def place_of(held: UserModel, asked: str, where: str = "device", hint: str = 'leave the device at "auto"') -> str:
    """The device that a model handed in is on, where `asked` is that; for ``device`` "auto" is any. `hint` may name it
    as ``{device}``."""
    device = device_of(held)
    if (where, asked) != ("device", "auto") and canonical(asked) != device:
        raise ConfigError(
            f"The model you gave is on {device}, but the {where.replace('_', ' ')} is {asked}.", where=where,
            hint=f"Move the model, or {hint.format(device=device)}.",
        )
    return device


def missing(training_id: str, hint: str) -> StateError:
    """The training needs its user's model, and this process does not have it: no other may take its place."""
    return StateError(
        "This training uses a model that was handed to it as an object, which this process does not have.",
        where=training_id, hint=hint,
    )


class UserModels:
    """The users' models of this process, by training.

    While a run may still need its model it is kept; once it has ended for good, only as long as the user keeps it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, UserModel] = {}
        self._seen: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._tokenizers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # of those models
        self._lock = threading.Lock()

    def keep(self, training_id: str, held: UserModel) -> None:
        """Keep the model for this training."""
        with self._lock:
            self._kept[training_id] = held

    def get(self, training_id: str) -> UserModel | None:
        """The model of this training, if it was passed in this process and is still there."""
        with self._lock:
            if (held := self._kept.get(training_id)) is not None:
                return held
            model = self._seen.get(training_id)
            return None if model is None else UserModel(model, self._tokenizers[model])

    def let_go(self, training_id: str) -> None:
        """Leave it to the user how long the model stays in memory."""
        with self._lock:
            if (held := self._kept.pop(training_id, None)) is not None:
                self._seen[training_id], self._tokenizers[held.model] = held.model, held.tokenizer

    def forget(self, training_id: str) -> None:
        """Know nothing of it any more."""
        with self._lock:
            self._kept.pop(training_id, None)
            self._seen.pop(training_id, None)

    def kept(self) -> list[str]:
        """The trainings whose models are kept in memory here."""
        with self._lock:
            return list(self._kept)
