"""What the steering widget does when something is set or pressed: each command is one call of the workspace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.widgets.base import Handler
from saewidgets.widgets.messages.steering import (
    PresetRow,
    PromptPiece,
    SteeringAdd,
    SteeringBrowse,
    SteeringChoose,
    SteeringClose,
    SteeringCopy,
    SteeringDemo,
    SteeringEdit,
    SteeringFind,
    SteeringGenerate,
    SteeringHit,
    SteeringHits,
    SteeringNext,
    SteeringNextData,
    SteeringPreset,
    SteeringPresets,
    SteeringPresetsData,
    SteeringRead,
    SteeringRemove,
    SteeringState,
    SteeringStop,
    SteeringTexts,
    SteeringTokens,
    SteeringTokensData,
)
from saewidgets.widgets.messages.wire import Command, Refresh
from saewidgets.widgets.page_words import on_threads
from saewidgets.widgets.steering.state import SteeringModel, label_of, problem_note
from saewidgets.widgets.steering.words import copied, failed_note, next_of, texts_of

REST = 0.15  # seconds without a change before the model is asked


class GaugeFollower:
    """Measures how strong the settings are, soon after they have changed.

    Args:
        model: the widget's state.
        wake: called when the gauge was set.
    """

    def __init__(self, model: SteeringModel, wake: Callable[[], None]) -> None:
        self._model, self._wake = model, wake
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._number = 0  # of the run that was the last one when something was set
        self._stale = -1  # the run after which settings have changed: what the gauge shows then is of others

    def changed(self) -> None:
        """Something was set."""
        self._ask(stale=True)

    def possible(self) -> None:
        """It can be measured now; what is already shown stays."""
        self._ask(stale=False)

    def _ask(self, stale: bool) -> None:
        with self._lock:
            self._changed.set()
            self._number = self._model.number
            if stale:
                self._stale = self._number
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._follow, name="saewidgets-gauge", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Measure nothing more."""
        self._closed.set()

    def _follow(self) -> None:
        while True:
            with self._lock:
                if not self._changed.is_set() or self._closed.is_set():
                    self._thread = None
                    return
                self._changed.clear()
                number = self._number
            if self._closed.wait(REST):
                continue
            with self._lock:
                if self._changed.is_set():
                    continue
                replace = self._stale == number
            if self._model.number == number:  # else a run is under way or has ended, which measures more
                self._model.set_gauge(self._measure(), number, replace=replace)
                self._wake()

    def _measure(self) -> float | None:
        try:
            ratio: float | None = self._model.workspace.steering.probe(self._model.config())
        except SAEWidgetsError as error:  # said in full when it is generated
            logger.info("The size of the change is not known: %s", error)
            return None
        except Exception:
            logger.exception("Measuring the size of the change failed")
            return None
        return ratio


logger = logging.getLogger("saewidgets.widgets")

HITS = 20  # features that a search shows


@lru_cache(maxsize=1)
def readers() -> ThreadPoolExecutor:
    """The threads that load models for a question, so that the threads of short commands stay free."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="saewidgets-steering")


_slow = partial(on_threads, readers)


class SteeringCommands:
    """Handlers of one widget. They run on worker threads and write no trait.

    Args:
        model: the widget's state.
        wake: asks the publisher thread to show what changed.
        browse: shows the features browser; None if nobody does.
        close: takes the widget away from where it stands; None if nobody does.
    """

    def __init__(
        self, model: SteeringModel, wake: Callable[[], None], browse: Callable[[], object] | None = None,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._model = model
        self._workspace = model.workspace
        self._steering = model.workspace.steering
        self._wake = wake
        self._browse, self._take_away = browse, close
        self._closed = threading.Event()
        self.gauge = GaugeFollower(model, wake)

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        return {
            Refresh: self.refresh,
            SteeringEdit: self.edit,
            SteeringAdd: self.add,
            SteeringRemove: self.remove,
            SteeringChoose: self.choose,
            SteeringFind: self.find,
            SteeringTokens: _slow(self.tokens),
            SteeringGenerate: self.generate,
            SteeringStop: self.stop,
            SteeringRead: self.read,
            SteeringNext: self.next,
            SteeringCopy: self.copy,
            SteeringPresets: _slow(self.presets),
            SteeringPreset: _slow(self.preset),
            SteeringBrowse: self.browse,
            SteeringDemo: _slow(self.demo),
            SteeringClose: self.take_away,
        }

    def close(self) -> None:
        """Stop what is being written."""
        self._closed.set()
        self._model.ask_stop()
        self.gauge.close()

    # --------------------------------------------------------------------------------------------- settings

    def refresh(self, command: Refresh) -> SteeringState | None:
        """The page pulls: pages that miss updates are covered by this."""
        state = self._model.state()
        self._wake()
        return state if state.revision > command.revision else None

    def edit(self, command: SteeringEdit) -> dict[str, int]:
        self._model.edit(command.rows, command.settings)
        for row in self._model.rows:
            if row.mode == "add_max" and row.a_max is None and not row.pending:
                self.measure(row.key)
        self.gauge.changed()
        self._wake()
        return {"revision": self._model.state().revision}

    def add(self, command: SteeringAdd) -> dict[str, str]:
        record = self._workspace.saes.get(command.sae_id)
        label = command.label or label_of(self._workspace, record.id, command.index)
        return {"key": self.add_feature(record, command.index, None, "add_max", None, label)}

    def add_feature(
        self, record: Any, index: int, strength: float | None, mode: str, a_max: float | None, label: str
    ) -> str:
        """Add a feature and look for its largest activation and, if None was given, its strength; its row's key."""
        key = self._model.add(record, index, strength=strength, mode=mode, a_max=a_max, label=label)
        row = self._model.row(key)
        if row is not None and row.a_max is None and not row.pending:
            self.measure(key)
        self.gauge.changed()
        self._wake()
        return key

    def measure(self, key: str) -> None:
        """Look for the largest activation of a feature, which may load the model; it shows in the state."""
        self._model.update_row(key, pending=True, problem=None)
        readers().submit(self._measure, key)

    def _measure(self, key: str) -> None:
        row = self._model.row(key)
        if row is None or self._closed.is_set():
            return
        try:
            self._model.set_suggestion(key, self._steering.suggest(row.sae_id, row.index))
        except SAEWidgetsError as error:
            self._model.update_row(key, pending=False, problem=problem_note(error))
        except Exception as error:
            logger.exception("The largest activation of feature %s was not found", row.index)
            self._model.update_row(key, pending=False, problem=failed_note(error, 0))
        row = self._model.row(key)
        if row is not None and row.mode == "add_max":
            self.gauge.changed()
        else:  # nothing depends on it, but the model is in memory now
            self.gauge.possible()
        self._wake()

    def find_maxima(self, on_phase: Callable[[str], None] | None = None) -> None:
        """Look up, in this thread, the largest activations that strengths need and that nobody has found yet: of a
        feature that was just added.

        Args:
            on_phase: told ``"measuring"`` where there is something to look up.

        Raises:
            SAEWidgetsError: the SAE or its model cannot be loaded.
        """
        for row in self._model.rows:
            if row.mode == "add_max" and row.a_max is None:
                if on_phase is not None:
                    on_phase("measuring")
                self._model.set_suggestion(row.key, self._steering.suggest(row.sae_id, row.index))
        self._wake()

    def remove(self, command: SteeringRemove) -> None:
        self._model.remove(command.key)
        self.gauge.changed()
        self._wake()

    def choose(self, command: SteeringChoose) -> None:
        self._model.choose(command.sae_id)
        self._wake()

    def demo(self, command: SteeringDemo) -> dict[str, str]:
        sae_id = str(self._workspace.extractions.demo().record.sae_id)
        self._model.read()
        self._model.choose(sae_id)
        self._wake()
        return {"sae_id": sae_id}

    def find(self, command: SteeringFind) -> SteeringHits:
        record = self._workspace.saes.get(command.sae_id)
        text = command.text.strip()
        found = SteeringHits(sae_id=record.id, text=command.text)
        if not text:
            return found
        plain = text.replace(",", "").replace("_", "")
        if plain.isascii() and plain.isdigit():
            index = int(plain) if len(plain) < 12 else record.d_sae
            if index >= record.d_sae:
                note = f"There is no feature {plain}: {record.name} has {record.d_sae:,}."
                return found.model_copy(update={"note": note})
            hit = SteeringHit(index=index, label=label_of(self._workspace, record.id, index))
            return found.model_copy(update={"hits": (hit,)})
        return found.model_copy(update=self._labelled(record, text))

    def _labelled(self, record: Any, text: str) -> dict[str, Any]:
        features = getattr(self._workspace, "features", None)
        nothing = {"note": f"No label has these words. An index goes from 0 to {record.d_sae - 1}."}
        if features is None:
            return nothing
        try:
            records = features.list(sae_id=record.id, search=text, limit=HITS)
        except (NotFoundError, StateError) as error:  # nothing was extracted: there are no labels
            return {"note": f"{error.what} An index goes from 0 to {record.d_sae - 1}."}
        hits = tuple(SteeringHit(index=each.index, label=each.label or "") for each in records)
        return {"hits": hits} if hits else nothing

    def tokens(self, command: SteeringTokens) -> SteeringTokensData:
        rows, settings = self._model.rows, self._model.settings
        sae_id = rows[0].sae_id if rows else self._model.state().sae_id
        if not sae_id:
            raise StateError("Without an SAE the model is not known.", hint="Add a feature first.")
        found = self._steering.tokens(sae_id, command.prompt, prepend_bos=settings.prepend_bos)
        return SteeringTokensData(
            prompt=command.prompt, tokens=tuple(PromptPiece(piece=each.piece, bos=each.is_bos) for each in found)
        )

    # --------------------------------------------------------------------------------------------- writing

    def generate(self, command: SteeringGenerate) -> dict[str, int]:
        return {"number": self.start(command.what)}

    def start(self, kind: str) -> int:
        """Begin to write on a thread of its own; the number of the run."""
        if not self._model.rows:
            raise StateError("No feature is chosen.", hint="Add a feature by its index or label.")
        if kind == "sweep" and (swept := self._model.rows[self._model.swept()]).mode == "ablate":
            raise ConfigError(
                f"Feature {swept.index} is ablated, which has no strength.", where="Feature to sweep",
                hint="Choose another mode, or another feature to sweep.",
            )
        number = self._model.begin(kind)
        threading.Thread(target=self._write, args=(kind,), name="saewidgets-steer", daemon=True).start()
        self._wake()
        return number

    def _write(self, kind: str) -> None:
        model = self._model
        try:
            self.find_maxima(self._phase)
            sweep = kind == "sweep"
            swept = model.swept()
            key = model.rows[swept].key if sweep and model.rows else ""
            result = self._steering.run(
                model.config(sweep=sweep), steered=not sweep, swept=swept if sweep else 0, stop=self._asked_to_stop,
                on_token=self._wrote, on_phase=self._phase,
            )
            model.finish(result, key)
        except SAEWidgetsError as error:
            model.fail(failed_note(error, model.written))
        except Exception as error:  # shown, with its traceback in the log
            logger.exception("Steering failed")
            model.fail(failed_note(error, model.written))
        self._wake()

    def _asked_to_stop(self) -> bool:
        return self._model.stopping or self._closed.is_set()

    def _wrote(self, event: Any) -> None:
        self._model.wrote(event)
        self._wake()

    def _phase(self, phase: str) -> None:
        self._model.set_phase(phase)
        self._wake()

    def stop(self, command: SteeringStop) -> None:
        self._model.ask_stop()
        self._wake()

    # --------------------------------------------------------------------------------------------- what was written

    def read(self, command: SteeringRead) -> SteeringTexts | None:
        found = self._model.result(command.what)
        if found is None:
            return None
        number, result, key = found
        return texts_of(result, number, key if self._model.row(key) is not None else "")

    def next(self, command: SteeringNext) -> SteeringNextData:
        found = self._model.result("generate")
        data = None
        if found is not None and found[0] == command.number:
            data = next_of(found[1], command.number, command.text, command.token)
        if data is None:
            raise StateError("Another text was written since.", hint="Click the token again.")
        return data

    def copy(self, command: SteeringCopy) -> dict[str, str]:
        generated, swept = self._model.result("generate"), self._model.result("sweep")
        text = copied(
            self._model.config(sweep=True), self._model.names, generated[1] if generated else None,
            swept[1] if swept else None,
        )
        return {"text": text}

    # --------------------------------------------------------------------------------------------- presets

    def presets(self, command: SteeringPresets) -> SteeringPresetsData:
        return self._presets()

    def preset(self, command: SteeringPreset) -> SteeringPresetsData:
        presets = self._steering.presets
        if command.action == "save":
            self.find_maxima()
            presets.save(command.name, self._model.config(sweep=True), replace=command.replace)
        elif command.action == "delete":
            presets.delete(command.name)
        else:
            if self._model.running:
                raise StateError("It is writing.", hint="Press Stop first.")
            self._model.apply(presets.load(command.name))
            self.gauge.changed()
        self._model.read()
        self._wake()
        return self._presets()

    def _presets(self) -> SteeringPresetsData:
        return SteeringPresetsData(
            presets=tuple(
                PresetRow(
                    name=each.name, features=each.features, saes=each.saes, prompt=each.prompt[:200],
                    saved_at=each.saved_at, problem=each.problem,
                )
                for each in self._steering.presets.list()
            )
        )

    def take_away(self, command: SteeringClose) -> None:
        if self._take_away is None:
            raise StateError("It stands by itself here.", hint="Clear the cell's output, or call its close().")
        self._model.ask_stop()  # nobody would see what it writes
        self._take_away()

    def browse(self, command: SteeringBrowse) -> None:
        if self._browse is None:
            raise StateError("Nothing here shows features.", hint="Open them with sw.ExtractionViewer(ws).")
        self._browse()
