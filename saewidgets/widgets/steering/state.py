"""Defines `SteeringModel`, the state of a steering widget: features, settings and texts."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.feature_records import check_index
from saewidgets.widgets.messages import steering as messages
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.model import Model, name_of_workspace
from saewidgets.workspace import Workspace

MOST_ROWS = 32
MOST_SAES = 500
STRENGTH = 1.0  # of a feature that is added, until it is known which one to begin with
_SWEEP = messages.SteeringSettings().strengths
_SHARES = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of the strength to begin with: what a sweep begins with


class SteeringModel(Model[messages.SteeringState]):
    """The state of one steering widget over one workspace; `fields` are those of its first state."""

    def __init__(self, workspace: Workspace, **fields: Any) -> None:
        super().__init__(workspace, messages.SteeringState(code=name_of_workspace(workspace), **fields))
        self._keys = itertools.count(1)
        self._unset: set[str] = set()  # rows without a chosen strength: they get the one to begin with
        self._before: tuple[tuple[messages.SteeringTurn, ...], str] = (), ""  # turns and prompt before the run
        self._results: dict[str, tuple[int, Any, str]] = {}  # kind → number of the run, result, key of the swept row

    def _read(self) -> None:
        saes = tuple(map(messages.SteeringSae.of, self.workspace.saes.list(limit=MOST_SAES)))
        presets = self.workspace.steering.presets.count()
        names = {sae.id: sae.name for sae in saes}
        with self._lock:
            rows = tuple(row.model_copy(update={"sae": names.get(row.sae_id, row.sae)}) for row in self.rows)
            first = saes[0].id if saes else ""
            self._put({"saes": saes, "presets": presets, "rows": rows, "sae_id": self._state.sae_id or first})

    @property
    def rows(self) -> tuple[messages.SteeringRow, ...]:
        return self._state.rows

    def row(self, key: str) -> messages.SteeringRow | None:
        return next((row for row in self.rows if row.key == key), None)

    def choose(self, sae_id: str) -> None:
        record = self.workspace.saes.get(sae_id)
        with self._lock:
            self._use_sae(record.id)

    def _use_sae(self, sae_id: str) -> None:
        """Look features up in this SAE; a sweep of another one is no longer shown."""
        if sae_id != self._state.sae_id and not self.running:
            self._forget("sweep")
        self._put({"sae_id": sae_id})

    def _forget(self, *kinds: messages.What) -> None:
        for kind in kinds:
            self._results.pop(kind, None)
            self._put({"generated" if kind == "generate" else "swept": 0})

    def reset(self) -> None:
        """No features, no texts, and the settings of a new widget. Raises `StateError` while it writes."""
        with self._lock:
            if self.running:
                raise StateError("It is writing.", hint="Press Stop first.")
            self._unset = set()
            self._forget("generate", "sweep")
            self._put({"rows": (), "settings": messages.SteeringSettings(), "gauge": messages.Gauge(), "turns": ()})
            self.change_run(status="idle", texts=(), problem=None)

    def chat(self, action: messages.ChatAction) -> None:
        """Begin a new chat, or take the last message back into the prompt. Raises `StateError` while it writes."""
        with self._lock:
            if self.running:
                raise StateError("It is writing.", hint="Press Stop first.")
            self._forget("generate", "sweep")
            turns = self._state.turns
            if action == "edit" and turns:
                self._put({"settings": self.settings.model_copy(update={"prompt": turns[-1].user})})
            self._put({"turns": turns[:-1] if action == "edit" else ()})

    def prompt_of(self, prompt: str, chat: bool) -> dict[str, Any]:
        """What a `SteeringConfig` says of the prompt."""
        known = {"chat": chat, "prepend_bos": self.settings.prepend_bos, "prompt": prompt}
        if not chat:
            return known
        turns, message = self._chat(prompt)
        earlier = [each.model_dump() for each in turns]
        return known | {"prompt": message, "turns": earlier, "system": self.settings.system}

    def _chat(self, prompt: str) -> tuple[tuple[messages.SteeringTurn, ...], str]:
        """Earlier turns, and the message that is answered: with an empty prompt again that of the last turn."""
        turns = self._state.turns
        at = self.run.turn if self.running else None
        if at is None and turns and not prompt.strip():
            at = len(turns) - 1
        return (turns, prompt) if at is None else (turns[:at], turns[at].user)

    def add(
        self, record: Any, index: int, *, strength: float | None = None, mode: str = "add_max",
        a_max: float | None = None, label: str = "", tokens: Sequence[str] = (),
    ) -> str:
        """The key of its row, also where it was there; without a strength it gets one as soon as that is known."""
        check_index(index, record.d_sae, owner=record.name)
        with self._lock:
            for row in self.rows:
                if (row.sae_id, row.index) == (record.id, index):
                    return row.key
            if len(self.rows) >= MOST_ROWS:
                raise StateError(f"There are {MOST_ROWS} features already.", hint="Remove one first.")
            added = messages.SteeringRow.model_validate(
                {"key": f"f{next(self._keys)}", "sae_id": record.id, "sae": record.name, "index": index,
                 "label": label, "tokens": tuple(tokens), "mode": mode,
                 "strength": STRENGTH if strength is None else strength, "a_max": a_max,
                 "basis": "as given" if a_max is not None else ""}
            )  # fmt: skip
            if strength is None:
                self._unset.add(added.key)
            self._use_sae(record.id)
            self._put({"rows": (*self.rows, added)})
        return added.key

    def remove(self, key: str) -> None:
        with self._lock:
            if self.result("sweep")[2] == key and not self.running:
                self._forget("sweep")
            self._put({"rows": tuple(row for row in self.rows if row.key != key)})

    def update_row(self, key: str, **changes: Any) -> None:
        with self._lock:
            rows = tuple(row.model_copy(update=changes) if row.key == key else row for row in self.rows)
            self._put({"rows": rows})

    def edit(self, rows: Sequence[messages.SteeringEditRow], settings: messages.SteeringSettings | None) -> None:
        """The settings of the page. Raises `ConfigError` if they cannot be used for a generation."""
        if settings is not None:
            SteeringConfig.from_data(settings.model_dump(exclude={"swept", "strengths", "system"}))
        with self._lock:
            for each in rows:
                if (row := self.row(each.key)) is not None and row.strength != each.strength:
                    self._unset.discard(each.key)
                self.update_row(each.key, mode=each.mode, strength=0.0 if each.mode == "ablate" else each.strength)
            if settings is not None:
                self._put({"settings": settings})

    def set_suggestion(self, key: str, found: Any) -> None:
        """The largest activation of a feature was found, and the strength to begin with (a `StrengthSuggestion`).

        A row without a chosen strength gets it, and a sweep that is as it was goes around it. A feature that
        never fired is added by activation instead.
        """
        maximum = found.maximum
        with self._lock:
            if (row := self.row(key)) is None:
                return
            changes: dict[str, Any] = {"pending": False, "problem": None, "basis": maximum.basis}
            if maximum.value > 0:
                changes |= {"a_max": maximum.value, "usual": found.strength}
                if key in self._unset and row.mode == "add_max":
                    changes["strength"] = found.strength
                if len(self.rows) == 1 and self.settings.strengths == _SWEEP:
                    strengths = tuple(round(share * found.strength, 6) for share in _SHARES)
                    self._put({"settings": self.settings.model_copy(update={"strengths": strengths})})
            else:
                changes["problem"] = Note(
                    what=f"Feature {row.index} did not fire {maximum.basis}.", kind="warn",
                    hint="Its largest activation is not known, so its strength is an activation.",
                )
                if row.mode == "add_max":
                    changes |= {"mode": "add", "strength": 0.0}
            self._unset.discard(key)
            self.update_row(key, **changes)

    @property
    def settings(self) -> messages.SteeringSettings:
        return self._state.settings

    def config(self, *, sweep: bool = False) -> SteeringConfig:
        """All that is set, as `ws.steering` takes it. Raises `ConfigError` where a largest activation is missing."""
        state = self._state
        features = tuple(
            SteeringFeature(
                index=row.index, strength=row.strength, mode=row.mode, sae=row.sae_id, label=row.label, a_max=row.a_max
            )
            for row in state.rows
        )
        values = state.settings.model_dump(exclude={"swept", "strengths", "system"})
        values |= self.prompt_of(state.settings.prompt, state.settings.chat)
        return SteeringConfig(features=features, strengths=state.settings.strengths if sweep else (), **values)

    def swept(self) -> int:
        keys = [row.key for row in self.rows]
        return keys.index(self.settings.swept) if self.settings.swept in keys else 0

    def apply(self, config: SteeringConfig) -> None:
        """Take over the settings of a preset. Raises `ConfigError` where the widget cannot show them."""
        for count, most, what, where, hint in (
            (config.new_tokens, messages.NEW_TOKENS, "asks for {} new tokens", "new_tokens", "ws.steer writes more"),
            (len(config.features), MOST_ROWS, "has {} features", "features", "ws.steer takes more"),
        ):
            if count > most:
                raise ConfigError(
                    f"The preset {what.format(f'{count:,}')}.", where=where, hint=f"Here are at most {most:,}; {hint}."
                )
        values = config.model_dump(exclude={"features", "strengths", "turns"})
        turns = tuple(map(messages.SteeringTurn.of, config.turns))
        strengths = config.strengths or _SWEEP
        settings = messages.SteeringSettings.model_validate({**values, "strengths": strengths[:12]})
        records = [self.workspace.steering.record(feature.sae or "") for feature in config.features]
        with self._lock:
            self._unset = set()
            if turns or self._state.turns:
                self._forget("generate")
            self._put({"rows": (), "settings": settings, "gauge": messages.Gauge(), "turns": turns})
            for record, each in zip(records, config.features, strict=True):
                self.add(
                    record, each.index, strength=each.strength, mode=each.mode, a_max=each.a_max, label=each.label
                )

    @property
    def run(self) -> messages.SteeringRun:
        return self._state.run

    @property
    def running(self) -> bool:
        return self.run.status in ("running", "stopping")

    def change_run(self, **changes: Any) -> None:
        with self._lock:
            self._put({"run": self.run.model_copy(update=changes)})

    def begin(self, kind: messages.What) -> int:
        with self._lock:
            if self.running:
                raise StateError("It is writing already.", hint="Press Stop first.")
            number, turn = self.run.number + 1, None
            self._before = self._state.turns, self.settings.prompt
            if kind == "generate" and self.settings.chat:
                turns, message = self._chat(self.settings.prompt)
                turn, settings = len(turns), self.settings.model_copy(update={"prompt": ""})
                self._put({"turns": (*turns, messages.SteeringTurn(user=message)), "settings": settings})
            self._put({"run": messages.SteeringRun(number=number, kind=kind, status="running", turn=turn)})
            return number

    def fail(self, problem: Note) -> None:
        """The run has failed: a chat is what it was before, with its message in the prompt."""
        with self._lock:
            if self.run.turn is not None:
                turns, prompt = self._before
                settings = self.settings.model_copy(update={"prompt": self.settings.prompt or prompt})
                self._put({"turns": turns, "settings": settings})
            self.change_run(status="failed", problem=problem)

    def ask_stop(self) -> None:
        with self._lock:
            if self.run.status == "running":
                self.change_run(status="stopping")

    def wrote(self, event: Any) -> None:
        newest = event.text.rstrip("\ufffd")[-messages.LIVE :]
        text = messages.LiveText(run=event.run, strength=event.strength, tokens=event.step + 1, text=newest)
        with self._lock:
            others = [one for one in self.run.texts if (one.run, one.strength) != (text.run, text.strength)]
            self.change_run(texts=(*others, text))

    def finish(self, result: Any, swept: str) -> None:
        with self._lock:
            number, kind = self.run.number, self.run.kind
            self._results[kind] = number, result, swept
            changes: dict[str, Any] = {"generated" if kind == "generate" else "swept": number}
            if self.run.turn is not None:
                changes["turns"] = tuple(map(messages.SteeringTurn.of, result.turns))
            if result.steered is not None:
                changes["gauge"] = messages.Gauge(ratio=result.steered.change_ratio, over="steered tokens")
            self._put(changes)
            self.change_run(status="stopped" if result.stopped else "done", seconds=result.seconds)

    def result(self, kind: str) -> tuple[int, Any, str]:
        """Number, result and key of the swept row of the last run of a kind; 0 and None before one has ended."""
        return self._results.get(kind, (0, None, ""))

    def set_chat_problems(self, chat: str, system: str) -> None:
        with self._lock:
            self._put({"chat_problem": chat, "system_problem": system})

    def set_gauge(self, ratio: float | None, number: int, *, replace: bool = True) -> None:
        """What was measured on the prompt, unless a run has begun since; without `replace` only where none is."""
        with self._lock:
            if self.run.number == number and not self.running and (replace or self._state.gauge.ratio is None):
                over = "steered tokens of the prompt" if ratio is not None else ""
                self._put({"gauge": messages.Gauge(ratio=ratio, over=over)})


def label_of(workspace: Workspace, sae_id: str, index: int) -> tuple[str, tuple[str, ...]]:
    """The label of a feature in the workspace ("" if it has none, or is unknown), and its top tokens."""
    with suppress(NotFoundError, StateError):  # no extraction yet: there are no labels
        record = workspace.features.get(f"feat_{sae_id}_{index}")
        return str(record.label or ""), record.top_tokens
    return "", ()
