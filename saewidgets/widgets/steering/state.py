"""What a steering widget shows: features, settings, what was written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.widgets.messages.steering import (
    LIVE,
    NEW_TOKENS,
    Gauge,
    LiveText,
    SteeringEditRow,
    SteeringRow,
    SteeringRun,
    SteeringSae,
    SteeringSettings,
    SteeringState,
)
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.model import Model, name_of_workspace

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

MOST_ROWS = 32
MOST_SAES = 500
STRENGTH = 1.0  # of a feature that is added, until it is known which one to begin with
_SWEEP = SteeringSettings().strengths
_SHARES = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of the strength to begin with: what a sweep begins with


class SteeringModel(Model[SteeringState]):
    """The state of one steering widget over one workspace.

    Args:
        can_browse: somebody shows the features browser when asked.
        can_close: somebody takes it away when asked.
        embedded: it stands inside another widget.
    """

    def __init__(
        self, workspace: Workspace, *, can_browse: bool = False, can_close: bool = False, embedded: bool = False
    ) -> None:
        super().__init__(
            workspace,
            SteeringState(
                code=name_of_workspace(workspace), can_browse=can_browse, can_close=can_close, embedded=embedded
            ),
        )
        self._keys = itertools.count(1)
        self._rows: dict[str, SteeringRow] = {}
        self._unset: set[str] = set()  # rows whose strength nobody has chosen: they get the one to begin with
        self._settings = SteeringSettings()
        self._saes: tuple[SteeringSae, ...] = ()
        self._sae_id = ""
        self._gauge = Gauge()
        self._run = SteeringRun()
        self._results: dict[str, tuple[int, Any, str]] = {}  # kind → number of the run, result, key of the swept row
        self._presets = 0

    # --------------------------------------------------------------------------------------------- reading

    def look(self) -> None:
        """A page asks whether anything is new: what is written tells by itself, and the library as well."""

    def read(self) -> None:
        """Bring the lists of SAEs and presets up to date."""
        records = self.workspace.saes.list(limit=MOST_SAES)
        presets = self.workspace.steering.presets.count()
        saes = tuple(
            SteeringSae(id=r.id, name=r.name, model=r.model, hook_name=r.hook_name, d_sae=r.d_sae) for r in records
        )
        with self._lock:
            self._saes, self._presets = saes, presets
            names = {sae.id: sae.name for sae in saes}
            for key, row in self._rows.items():
                if (name := names.get(row.sae_id, row.sae)) != row.sae:
                    self._rows[key] = row.model_copy(update={"sae": name})
            if not self._sae_id and saes:
                self._sae_id = saes[0].id

    # --------------------------------------------------------------------------------------------- features

    @property
    def rows(self) -> tuple[SteeringRow, ...]:
        with self._lock:
            return tuple(self._rows.values())

    def row(self, key: str) -> SteeringRow | None:
        with self._lock:
            return self._rows.get(key)

    def choose(self, sae_id: str) -> None:
        """Look features up in this SAE. Raises `NotFoundError` if there is none."""
        record = self.workspace.saes.get(sae_id)
        with self._lock:
            self._sae_id = record.id

    def add(
        self, record: Any, index: int, *, strength: float | None = None, mode: str = "add_max",
        a_max: float | None = None, label: str = "",
    ) -> str:
        """Add a feature of an SAE (a record of the library); the key of its row, also where it was there before.

        Args:
            strength: None gives it the one to begin with as soon as that is known (`set_suggestion`).

        Raises:
            ConfigError: the SAE has no such feature.
            StateError: there are as many rows as there may be.
        """
        if not 0 <= index < record.d_sae:
            raise ConfigError(
                f"There is no feature {index}: {record.name} has {record.d_sae:,}.", where="index",
                hint=f"Enter one from 0 to {record.d_sae - 1}.",
            )
        with self._lock:
            for key, row in self._rows.items():
                if (row.sae_id, row.index) == (record.id, index):
                    return key
            if len(self._rows) >= MOST_ROWS:
                raise StateError(f"There are {MOST_ROWS} features already.", hint="Remove one first.")
            key = f"f{next(self._keys)}"
            self._rows[key] = SteeringRow.model_validate(
                {"key": key, "sae_id": record.id, "sae": record.name, "index": index, "label": label, "mode": mode,
                 "strength": STRENGTH if strength is None else strength, "a_max": a_max,
                 "basis": "as given" if a_max is not None else ""}
            )  # fmt: skip
            if strength is None:
                self._unset.add(key)
            self._sae_id = record.id
        return key

    def remove(self, key: str) -> None:
        with self._lock:
            self._rows.pop(key, None)
            self._unset.discard(key)

    def update_row(self, key: str, **changes: Any) -> None:
        """Change a row that may be gone."""
        with self._lock:
            if (row := self._rows.get(key)) is not None:
                self._rows[key] = row.model_copy(update=changes)

    def edit(self, rows: Sequence[SteeringEditRow], settings: SteeringSettings | None) -> None:
        """What was set on the page. Raises `ConfigError` where no generation could follow from it."""
        if settings is not None:
            _checked(settings)
        with self._lock:
            for each in rows:
                if (row := self._rows.get(each.key)) is not None and row.strength != each.strength:
                    self._unset.discard(each.key)
                self.update_row(each.key, mode=each.mode, strength=0.0 if each.mode == "ablate" else each.strength)
            if settings is not None:
                self._settings = settings

    def set_suggestion(self, key: str, found: Any) -> None:
        """The largest activation of a feature was found, and the strength to begin with (a `Suggestion`).

        A row whose strength nobody has chosen gets it, and a sweep that is as it was goes around it. A feature that
        never fired is added by activation instead.
        """
        maximum = found.maximum
        with self._lock:
            if (row := self._rows.get(key)) is None:
                return
            changes: dict[str, Any] = {"pending": False, "problem": None, "basis": maximum.basis}
            if maximum.value > 0:
                changes |= {"a_max": maximum.value, "usual": found.strength}
                if key in self._unset and row.mode == "add_max":
                    changes["strength"] = found.strength
                if len(self._rows) == 1 and self._settings.strengths == _SWEEP:
                    strengths = tuple(round(share * found.strength, 6) for share in _SHARES)
                    self._settings = self._settings.model_copy(update={"strengths": strengths})
            elif row.mode == "add_max":
                changes |= {"mode": "add", "strength": 0.0}
            if maximum.value <= 0:
                changes["problem"] = Note(
                    what=f"Feature {row.index} did not fire {maximum.basis}.", kind="warn",
                    hint="Its largest activation is not known, so its strength is an activation.",
                )
            self._unset.discard(key)
            self._rows[key] = row.model_copy(update=changes)

    # --------------------------------------------------------------------------------------------- configuration

    @property
    def settings(self) -> SteeringSettings:
        with self._lock:
            return self._settings

    def config(self, *, sweep: bool = False) -> SteeringConfig:
        """All that is set, as `ws.steering` takes it. Raises `ConfigError` where a largest activation is missing."""
        with self._lock:
            rows, settings = tuple(self._rows.values()), self._settings
        features = tuple(
            SteeringFeature(
                index=row.index, strength=row.strength, mode=row.mode, sae=row.sae_id, label=row.label, a_max=row.a_max
            )
            for row in rows
        )
        values = settings.model_dump(exclude={"swept", "strengths"})
        return SteeringConfig(features=features, strengths=settings.strengths if sweep else (), **values)

    def swept(self) -> int:
        """Place of the feature that is swept."""
        with self._lock:
            keys = list(self._rows)
            return keys.index(self._settings.swept) if self._settings.swept in keys else 0

    def apply(self, config: SteeringConfig) -> None:
        """Take over the settings of a preset. Raises `ConfigError` where the widget cannot show them."""
        if config.new_tokens > NEW_TOKENS:
            raise ConfigError(
                f"The preset asks for {config.new_tokens:,} new tokens.", where="new_tokens",
                hint=f"Here are at most {NEW_TOKENS:,}; ws.steer writes more.",
            )
        if len(config.features) > MOST_ROWS:
            raise ConfigError(
                f"The preset has {len(config.features)} features.", where="features",
                hint=f"Here are at most {MOST_ROWS}; ws.steer takes more.",
            )
        values = config.model_dump(exclude={"features", "strengths"})
        strengths = config.strengths or SteeringSettings().strengths
        settings = SteeringSettings.model_validate({**values, "strengths": strengths[:12]})
        records = [self.workspace.saes.get(feature.sae or "") for feature in config.features]
        with self._lock:
            self._rows = {}
            self._unset = set()
            for record, feature in zip(records, config.features, strict=True):
                self.add(
                    record, feature.index, strength=feature.strength, mode=feature.mode, a_max=feature.a_max,
                    label=feature.label,
                )
            self._settings = settings
            self._gauge = Gauge()

    @property
    def names(self) -> dict[str, str]:
        """Names of SAEs by id."""
        with self._lock:
            return {row.sae_id: row.sae for row in self._rows.values()} | {sae.id: sae.name for sae in self._saes}

    def set_prompt(self, prompt: str) -> None:
        with self._lock:
            self._settings = SteeringSettings.model_validate({**self._settings.model_dump(), "prompt": prompt})

    # --------------------------------------------------------------------------------------------- runs

    @property
    def running(self) -> bool:
        with self._lock:
            return self._run.status in ("running", "stopping")

    @property
    def stopping(self) -> bool:
        with self._lock:
            return self._run.status == "stopping"

    def begin(self, kind: str) -> int:
        """A new run; its number. Raises `StateError` while another one is under way."""
        with self._lock:
            if self.running:
                raise StateError("It is writing already.", hint="Press Stop first.")
            number = self._run.number + 1
            self._run = SteeringRun.model_validate({"number": number, "kind": kind, "status": "running"})
            return number

    def ask_stop(self) -> None:
        with self._lock:
            if self._run.status == "running":
                self._run = self._run.model_copy(update={"status": "stopping"})

    def set_phase(self, phase: str) -> None:
        with self._lock:
            self._run = self._run.model_copy(update={"phase": phase})

    def wrote(self, event: Any) -> None:
        """A token was written."""
        text = LiveText(
            run=event.run, strength=event.strength, tokens=event.step + 1, text=event.text.rstrip("\ufffd")[-LIVE:]
        )
        with self._lock:
            others = [one for one in self._run.texts if (one.run, one.strength) != (text.run, text.strength)]
            self._run = self._run.model_copy(update={"texts": (*others, text)})

    @property
    def written(self) -> int:
        """Tokens that the present run has so far."""
        with self._lock:
            return sum(text.tokens for text in self._run.texts)

    def finish(self, result: Any, swept: str) -> None:
        """The run has ended with a result, whole or stopped."""
        with self._lock:
            number, kind = self._run.number, self._run.kind
            self._results[kind] = number, result, swept
            self._run = self._run.model_copy(
                update={"status": "stopped" if result.stopped else "done", "seconds": result.seconds}
            )
            if result.steered is not None:
                self._gauge = Gauge(ratio=result.steered.change_ratio, over="steered tokens")

    def fail(self, note: Note) -> None:
        """The run has ended without a result."""
        with self._lock:
            self._run = self._run.model_copy(update={"status": "failed", "problem": note})

    def result(self, kind: str) -> tuple[int, Any, str] | None:
        """Number, result and key of the swept row of the last run of a kind that has one."""
        with self._lock:
            return self._results.get(kind)

    @property
    def number(self) -> int:
        """Number of the last run."""
        with self._lock:
            return self._run.number

    def set_gauge(self, ratio: float | None, number: int, *, replace: bool = True) -> None:
        """What was measured on the prompt, unless a run has begun since the one of this number.

        Without `replace` only where nothing is known yet.
        """
        with self._lock:
            if self._run.number != number or self.running or (self._gauge.ratio is not None and not replace):
                return
            self._gauge = Gauge(ratio=ratio, over="steered tokens of the prompt" if ratio is not None else "")

    def _shown(self) -> dict[str, Any]:
        numbers = {kind: number for kind, (number, _, _) in self._results.items()}
        return {
            "saes": self._saes,
            "sae_id": self._sae_id,
            "rows": tuple(self._rows.values()),
            "settings": self._settings,
            "gauge": self._gauge,
            "run": self._run,
            "generated": numbers.get("generate", 0),
            "swept": numbers.get("sweep", 0),
            "presets": self._presets,
        }


def label_of(workspace: Any, sae_id: str, index: int) -> str:
    """What a feature is called in the workspace; "" if nobody has named it, or nothing is known of it."""
    features = getattr(workspace, "features", None)
    if features is not None:
        with suppress(NotFoundError, StateError):  # no extraction yet: there are no labels
            return str(features.get(f"feat_{sae_id}_{index}").label or "")
    return ""


def problem_note(error: SAEWidgetsError) -> Note:
    """An error below a row."""
    return Note(what=error.what, hint=error.hint)


def _checked(settings: SteeringSettings) -> None:
    values: Mapping[str, Any] = settings.model_dump(exclude={"swept", "strengths"})
    SteeringConfig.from_data(values)
