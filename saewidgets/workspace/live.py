"""Defines `LiveCache`, models and SAEs for live reading: loaded once, kept while used, run between other batches."""

from __future__ import annotations

import copy
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from saewidgets.config.arguments import path_text
from saewidgets.config.names import as_recorded
from saewidgets.errors import SAEWidgetsError
from saewidgets.feature_records import ExtractionRecord
from saewidgets.settings import resolve_device
from saewidgets.workspace.subjects import KnownSAE, device_here, files_of, held_model
from saewidgets.workspace.user_models import UserModel, canonical, device_of, missing, take

if TYPE_CHECKING:
    from saewidgets.evaluation.ce import CrossEntropy
    from saewidgets.lm import LoadedModel, TokenText
    from saewidgets.lm.unembedding import Unembedding
    from saewidgets.sae import SAE
    from saewidgets.workspace.workspace import Workspace

T = TypeVar("T")
SAES = 4  # are kept at once, the ones that were used last; of the models only the last one is
SAE_BYTES = 4 * 1024**3  # of all of them; the one that was used last stays, however large it is
IDLE_SECONDS = 600.0  # without use, after which everything is released

log = logging.getLogger(__name__)


class LiveModel:
    """A language model with what reading it needs besides, made when it is first asked for."""

    def __init__(self, lm: LoadedModel) -> None:
        from saewidgets.lm import TokenText  # torch: seconds to import

        self.lm = lm
        self.text: TokenText = TokenText(lm.tokenizer)
        self._lock = threading.Lock()

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, none of them special."""
        with self._lock:  # a tokenizer refuses to be used by two threads
            return self._encode([text])[0]

    @cached_property
    def _encode(self) -> Callable[[list[str]], list[list[int]]]:
        from saewidgets.activations.packing import text_encoder  # torch: seconds to import

        return text_encoder(copy.deepcopy(self.lm.tokenizer))

    @cached_property
    def head(self) -> Unembedding:
        """The map from directions to logits. Raises `HookError` where the model has none that is known."""
        from saewidgets.lm.unembedding import unembedding  # torch: seconds to import

        return unembedding(self.lm.model)

    @cached_property
    def losses(self) -> CrossEntropy:
        """Its next-token losses. To find out how they are computed takes two short forwards, the first time."""
        from saewidgets.evaluation.ce import CrossEntropy  # torch: seconds to import

        return CrossEntropy(self.lm)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A language model to load."""

    name: str
    revision: str | None
    dtype: str
    device: str


def load(
    wanted: UserModel | ModelReference, shown: str | None = None, tell: Callable[[str], None] | None = None
) -> LoadedModel:
    """A model object as it is, any other from the hub or its folder; `shown` is its name (None takes the last part of a
    folder, since others get results). `tell` is called with what is being done."""
    # Torch: seconds to import.
    from saewidgets.lm import load_model, wrap_model

    if not isinstance(wanted, ModelReference):
        return wrap_model(wanted.model, wanted.tokenizer, name=shown)
    return load_model(
        wanted.name, revision=wanted.revision, dtype=wanted.dtype, device=wanted.device, name=shown, tell=tell
    )


@dataclass(frozen=True, slots=True)
class LiveSAE:
    """An SAE together with its model, on one device."""

    subject: KnownSAE
    sae: SAE
    model: LiveModel
    hook_name: str
    lane: str


class LiveCache:
    """Models and SAEs loaded for live readings. Any thread may call; one loads at a time."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._kept: tuple[Any, LiveModel] | None = None  # the model, with what it is known by
        self._saes: OrderedDict[tuple[str, str, str], SAE] = OrderedDict()
        self._timer: threading.Timer | None = None

    def open(
        self, subject: KnownSAE, extraction: ExtractionRecord | None = None, model: Any = None, tokenizer: Any = None
    ) -> LiveSAE:
        """The SAE with its model, see `model`; where it belongs in that, its extraction says first."""
        found = self.model(subject, extraction, model=model, tokenizer=tokenizer)
        hint = "Add it to the library again with hook_name=…."
        hook_name = subject.place(hint) if extraction is None else extraction.hook_name
        device = str(found.lm.device)
        sae = self.sae(subject, device)
        return LiveSAE(subject, sae, found, hook_name, self._workspace.manager.lane(canonical(device)))

    def sae(self, subject: KnownSAE, device: str | None = None) -> SAE:
        """The SAE alone, on any device if None."""
        from saewidgets.formats import load_sae  # torch: seconds to import

        path = files_of(self._workspace, subject)
        files = f"{path} {path.stat().st_mtime}"  # a training writes those that it has left anew when it goes on
        self._used()
        with self._loading:
            with self._lock:
                for key, sae in self._saes.items():
                    if key[:2] == (subject.id, files) and device in (None, key[2]):
                        self._saes.move_to_end(key)
                        return sae
            where = device or device_here(self._workspace, "auto")
            loaded = load_sae(path, device=where)
            with self._lock:
                self._saes[subject.id, files, where] = loaded
                taken = {key: sum(t.nbytes for t in sae.state_dict().values()) for key, sae in self._saes.items()}
                while len(self._saes) > 1 and (len(self._saes) > SAES or sum(taken.values()) > SAE_BYTES):
                    del taken[self._saes.popitem(last=False)[0]]  # used longest ago
        return loaded

    def model(
        self, subject: KnownSAE | None, extraction: ExtractionRecord | None = None, *, model: Any = None,
        tokenizer: Any = None, device: str | None = None,
    ) -> LiveModel:
        """The language model to read an SAE with: `model` (an object with its `tokenizer`, or a name) where somebody
        gives one, the extraction's, the user's own if the SAE was trained on that, else it is loaded."""
        from saewidgets.lm import LoadedModel  # torch: seconds to import

        if isinstance(model, LoadedModel) and tokenizer is None:
            return LiveModel(model)
        wanted: UserModel | ModelReference | None
        if isinstance(model, str | Path) and tokenizer is None:
            name = as_recorded(path_text(model, "model", "the name of a model"))
            wanted = ModelReference(name, None, "float32", device or resolve_device(self._workspace.settings.device))
        elif (wanted := take(model, tokenizer)) is None:
            assert subject is not None  # else there is nothing to tell which model it is
            wanted = self._own(subject, extraction)
            if isinstance(wanted, ModelReference) and device is not None:
                wanted = replace(wanted, device=device)
        found = self._load(wanted)
        self._used()
        return found

    def has_model(self, subject: KnownSAE) -> bool:
        with suppress(SAEWidgetsError):  # it cannot be loaded either
            key = _key(self._own(subject, None))
            with self._lock:
                return self._kept is not None and self._kept[0] == key
        return False

    def lane(self, subject: KnownSAE, extraction: ExtractionRecord | None = None) -> str:
        """The lane on which `open` would put them. Raises what `open` would, as far as that is known without loading.
        """
        files_of(self._workspace, subject)
        wanted = self._own(subject, extraction)
        device = wanted.device if isinstance(wanted, ModelReference) else device_of(wanted)
        return self._workspace.manager.lane(canonical(device))

    def run(self, opened: LiveSAE, fn: Callable[[], T]) -> T:
        """`fn` between two batches of the job that uses the device; without gradients and autocast."""
        import torch  # seconds to import

        def plain() -> T:  # it may run in a training's thread, under its settings
            with torch.no_grad(), torch.autocast(opened.lane.rpartition("/")[2].split(":")[0], enabled=False):
                return fn()

        return self._workspace.manager.run_between(opened.lane, plain).result()

    def forget(self, subject_id: str | None = None) -> None:
        """Let go of the SAE of this id (of an SAE or a training); None: of everything."""
        with self._lock:
            if subject_id is None:
                self._saes.clear()
                self._kept = None
            else:
                for key in [key for key in self._saes if key[0] == subject_id]:
                    del self._saes[key]

    def close(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self.forget()

    @property
    def loaded(self) -> tuple[int, int]:
        with self._lock:
            return int(self._kept is not None), len(self._saes)

    def _own(self, subject: KnownSAE, extraction: ExtractionRecord | None) -> UserModel | ModelReference:
        """The model object that was given, else which one to load."""
        given = self._workspace.extractions.held(extraction.id) if extraction is not None else None
        needed = bool(extraction.facts.get("model_given")) if extraction is not None else subject.model_given
        if given is None and (needed or extraction is None):
            given = held_model(self._workspace, subject)
        if given is not None:
            return given
        if needed:
            where = extraction.id if extraction is not None else subject.id
            raise missing(where, "Give it: model=model, tokenizer=tokenizer.")
        if extraction is not None:
            config = extraction.config
            device = device_here(self._workspace, str(config.get("device") or "auto"))
            dtype = str(config.get("model_dtype") or "float32")
            return ModelReference(extraction.model, config.get("model_revision"), dtype, device)
        name = subject.own_model("Give it: model=model, tokenizer=tokenizer.")
        return ModelReference(name, subject.revision, subject.dtype, device_here(self._workspace, subject.device))

    def _load(self, wanted: UserModel | ModelReference) -> LiveModel:
        key = _key(wanted)
        with self._loading:
            with self._lock:
                if self._kept is not None and self._kept[0] == key:
                    known = self._kept[1]
                    if isinstance(wanted, ModelReference) or known.lm.model is wanted.model:
                        return known
                self._kept = None  # before the new one: both may be too much
            found = LiveModel(load(wanted))
            with self._lock:
                self._kept = key, found
        return found

    def _used(self) -> None:
        timer = threading.Timer(IDLE_SECONDS, self.forget)
        timer.daemon = True
        with self._lock:
            before, self._timer = self._timer, timer
        if before is not None:
            before.cancel()
        timer.start()


def _key(wanted: UserModel | ModelReference) -> Any:
    return wanted if isinstance(wanted, ModelReference) else (id(wanted.model), id(wanted.tokenizer))
