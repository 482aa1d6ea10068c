"""Defines `SteeringCommands`, the commands of the steering widget: each is one call of the workspace."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.config import SteeringConfig
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.widgets.commands import Commands, Table, command, slow_command
from saewidgets.widgets.extraction_viewer.feature_pages import feature_page
from saewidgets.widgets.messages import steering as messages
from saewidgets.widgets.messages.features import FeaturePage
from saewidgets.widgets.messages.wire import Index, Note
from saewidgets.widgets.shell import slow_workers
from saewidgets.widgets.steering.state import SteeringModel, label_of
from saewidgets.workspace.steering.presets import PresetRecord

REST = 0.15  # seconds without a change before the model is run


logger = logging.getLogger("saewidgets.widgets")

HITS = 20  # features that a search shows


class SteeringCommands(Commands):
    """What is written is written on a thread of its own, and what is measured on those for slow commands."""

    _model: SteeringModel

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
        self._steering = self._workspace.steering
        self._closed = threading.Event()
        self._settings_rest = threading.Timer(0, lambda: None)  # runs out when nothing was set for a moment
        self._asked = 0
        self._chat_of = ""  # the SAE of whose model it is known whether it takes a chat
        self._stale = -1  # the run after which settings have changed: what the gauge shows then is of others

    def close(self) -> None:
        self._closed.set()
        self._model.ask_stop()
        self._settings_rest.cancel()

    # --------------------------------------------------------------------------------------------- settings

    @command
    def steering_edit(
        self, rows: tuple[messages.SteeringEditRow, ...] = (), settings: messages.SteeringSettings | None = None
    ) -> dict[Literal["revision"], int]:
        """Apply settings from the page. Rows that are not named stay."""
        self._model.edit(rows, settings)
        for row in self._model.rows:
            if row.mode == "add_max" and row.a_max is None and not row.pending:
                self.measure(row.key)
        self.measure_gauge()
        self._wake()
        return {"revision": self._model.state().revision}

    @command
    def steering_add(
        self,
        sae_id: str,
        index: Annotated[int, Field(ge=0, le=2**24)],
        label: Annotated[str, Field(max_length=10_000)] = "",
    ) -> dict[Literal["key"], str]:
        """Add a feature. Its largest activation follows in the state."""
        record = self._workspace.saes.get(sae_id)
        return {"key": self.add_feature(record, index, None, "add_max", None, label)}

    def add_feature(
        self, record: Any, index: int, strength: float | None, mode: str, a_max: float | None, label: str
    ) -> str:
        """Add a feature and look for its largest activation and, if None was given, its strength; its row's key."""
        known, tokens = label_of(self._workspace, record.id, index)
        key = self._model.add(
            record, index, strength=strength, mode=mode, a_max=a_max, label=label or known, tokens=tokens
        )
        row = self._model.row(key)
        if row is not None and row.a_max is None and not row.pending:
            self.measure(key)
        self.measure_gauge()
        self._wake()
        return key

    def measure_gauge(self, *, stale: bool = True) -> None:
        """Measure how strong the settings are, soon after they have changed; `stale`: what is shown is of others."""
        number = self._model.run.number
        self._asked += 1
        if stale:
            self._stale = number
        self._settings_rest.cancel()
        self._settings_rest = threading.Timer(REST, self._measure_gauge, (number, self._asked))
        self._settings_rest.daemon = True
        self._settings_rest.start()

    def _measure_gauge(self, number: int, asked: int) -> None:
        ratio = None
        try:
            self._read_chat()
            if self._model.run.number == number:  # else a run is under way or has ended, which measures more
                ratio = self._steering.probe(self._model.config())
        except SAEWidgetsError as error:  # reported in full when it is generated
            logger.info("The size of the change is not known: %s", error)
        except Exception:
            logger.exception("Measuring the size of the change failed")
        if asked == self._asked and not self._closed.is_set():
            self._model.set_gauge(ratio, number, replace=self._stale == number)
            self._wake()

    def _sae_id(self) -> str:
        """The SAE whose model writes; "" for none."""
        rows = self._model.rows
        return rows[0].sae_id if rows else self._model.state().sae_id

    def _read_chat(self) -> None:
        """Find out whether the model takes a chat and a system prompt."""
        sae_id, loading = self._sae_id(), any(row.pending for row in self._model.rows)
        if sae_id in ("", self._chat_of) or loading:  # it is asked again once the model is loaded
            return
        self._chat_of = sae_id
        self._model.set_chat_problems("", "")
        self._model.set_chat_problems(*self._steering.chat_problems(sae_id))

    def measure(self, key: str) -> None:
        """Look for the largest activation of a feature, which may load the model; it shows in the state."""
        self._model.update_row(key, pending=True, problem=None)
        slow_workers().submit(self._measure, key)

    def _measure(self, key: str) -> None:
        row = self._model.row(key)
        if row is None or self._closed.is_set():
            return
        try:
            self._model.set_suggestion(key, self._steering.suggest(row.sae_id, row.index))
        except SAEWidgetsError as error:
            self._model.update_row(key, pending=False, problem=Note(what=error.what, hint=error.hint))
        except Exception as error:
            logger.exception("The largest activation of feature %s was not found", row.index)
            self._model.update_row(key, pending=False, problem=failed_note(error, 0))
        row = self._model.row(key)
        # Of another mode the model is in memory now, that is all.
        self.measure_gauge(stale=row is not None and row.mode == "add_max")
        self._wake()

    def find_maxima(self, on_phase: Callable[[str], None] | None = None) -> None:
        """Look up, in this thread, the largest activations that strengths need and that are not known yet."""
        for row in self._model.rows:
            if row.mode == "add_max" and row.a_max is None:
                if on_phase is not None:
                    on_phase("measuring")
                self._model.set_suggestion(row.key, self._steering.suggest(row.sae_id, row.index))
        self._wake()

    @command
    def steering_remove(self, key: str) -> None:
        self._model.remove(key)
        self.measure_gauge()
        self._wake()

    @command
    def steering_reset(self) -> None:
        self._model.reset()
        self._wake()

    @command
    def steering_chat(self, action: messages.ChatAction) -> None:
        self._model.chat(action)
        self._wake()

    @command
    def steering_choose(self, sae_id: str) -> None:
        self._model.choose(sae_id)
        self.measure_gauge(stale=False)
        self._wake()

    @slow_command
    def steering_demo(self) -> dict[Literal["sae_id"], str]:
        sae_id = str(self._workspace.extractions.demo().record.sae_id)
        self._model.mark_changed()
        self._model.read()
        self._model.choose(sae_id)
        self._wake()
        return {"sae_id": sae_id}

    @command
    def steering_find(self, sae_id: str, text: Annotated[str, Field(max_length=500)]) -> messages.SteeringHits:
        record = self._workspace.saes.get(sae_id)
        words = text.strip()
        plain = words.replace(",", "").replace("_", "")
        note, hits = "", tuple[messages.SteeringHit, ...]()
        if plain.isascii() and plain.isdigit():
            index = int(plain) if len(plain) < 12 else record.d_sae
            if index >= record.d_sae:
                note = f"There is no feature {plain}: {record.name} has {record.d_sae:,}."
            else:
                label, tokens = label_of(self._workspace, record.id, index)
                hits = (messages.SteeringHit(index=index, label=label, tokens=tokens),)
        elif words:
            try:
                found = self._workspace.features.list(sae_id=record.id, search=words, limit=HITS)
                hits = tuple(
                    messages.SteeringHit(index=each.index, label=each.label or "", tokens=each.top_tokens)
                    for each in found
                )
                note = "" if hits else "No label has these words."
            except (NotFoundError, StateError) as error:  # nothing was extracted: there are no labels
                note = error.what
            note = f"{note} An index goes from 0 to {record.d_sae - 1}." if note else ""
        return messages.SteeringHits(sae_id=record.id, text=text, hits=hits, note=note)

    @slow_command
    def steering_tokens(
        self, prompt: Annotated[str, Field(max_length=messages.PROMPT)], chat: bool = False
    ) -> tuple[str, ...]:
        if not (sae_id := self._sae_id()):
            raise StateError("Without an SAE the model is not known.", hint="Add a feature first.")
        found = self._steering.tokens(sae_id, **self._model.prompt_of(prompt, chat))
        return tuple(each.piece for each in found)

    @command
    def steering_preview(self, key: str) -> Table[FeaturePage]:
        """What a chosen feature fires on, in the newest extraction of its SAE; as the viewer's `open_feature`."""
        row, features, extractions = self._model.row(key), self._workspace.features, self._workspace.extractions
        record = extractions.latest(row.sae_id) if row is not None else None
        if row is None or record is None or not record.has_data:
            raise StateError("Its features were not extracted yet.", hint="Start an extraction in the viewer.")
        data, feature = features.data(record.id, row.index), features.feature(record.id, row.index)
        return feature_page(record, extractions.open(record.id).manifest, data, feature, link="")

    # --------------------------------------------------------------------------------------------- writing

    @command
    def steering_generate(self, what: messages.What = "generate") -> dict[Literal["number"], int]:
        return {"number": self.start(what)}

    def start(self, kind: messages.What) -> int:
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
            swept = model.swept() if sweep else 0
            key = model.rows[swept].key if sweep and model.rows else ""
            result = self._steering.run(
                model.config(sweep=sweep), steered=not sweep, swept=swept, on_token=self._wrote, on_phase=self._phase,
                stop=lambda: model.run.status == "stopping" or self._closed.is_set(),
            )
            model.finish(result, key)
        except Exception as error:  # shown; what is not ours has its traceback in the log
            if not isinstance(error, SAEWidgetsError):
                logger.exception("Steering failed")
            written = sum(text.tokens for text in model.run.texts)
            model.fail(failed_note(error, written))
        self._wake()

    def _wrote(self, event: Any) -> None:
        self._model.wrote(event)
        self._wake()

    def _phase(self, phase: str) -> None:
        self._model.change_run(phase=phase)
        self._wake()

    @command
    def steering_stop(self) -> None:
        self._model.ask_stop()
        self._wake()

    # --------------------------------------------------------------------------------------------- what was written

    @command
    def steering_read(self, what: messages.What = "generate") -> messages.SteeringTexts | None:
        number, result, key = self._model.result(what)
        if result is None:
            return None
        return texts_of(result, number, key if self._model.row(key) is not None else "")

    @command
    def steering_next(self, number: int, text: messages.TextName, token: Index) -> messages.SteeringNextData:
        newest, result, _ = self._model.result("generate")
        written = getattr(result, text, None) if newest == number else None
        if written is None or token >= len(written.tokens):
            raise StateError("Another text was written since.", hint="Click the token again.")
        picked = written.tokens[token]
        rows = tuple(map(messages.NextToken.of, picked.candidates))
        return messages.SteeringNextData(number=number, text=text, token=token, piece=picked.piece, rows=rows)

    @command
    def steering_copy(self) -> dict[Literal["text"], str]:
        """All of it as plain text: configuration, seed, texts."""
        results = (self._model.result("generate")[1], self._model.result("sweep")[1])
        state = self._model.state()
        names = {row.sae_id: row.sae for row in state.rows} | {sae.id: sae.name for sae in state.saes}
        return {"text": copied(self._model.config(sweep=True), names, *results)}

    # --------------------------------------------------------------------------------------------- presets

    @slow_command
    def steering_presets(self) -> tuple[PresetRecord, ...]:
        return tuple(self._steering.presets.list())

    @slow_command
    def steering_preset(
        self, action: messages.PresetAction, name: Annotated[str, Field(max_length=300)], replace: bool = False
    ) -> tuple[PresetRecord, ...]:
        """An action on a preset. `replace`: one of this name may go."""
        presets = self._steering.presets
        if action == "save":
            self.find_maxima()
            presets.save(name, self._model.config(sweep=True), replace=replace)
        elif action == "delete":
            presets.delete(name)
        else:
            if self._model.running:
                raise StateError("It is writing.", hint="Press Stop first.")
            self._model.apply(presets.load(name))
            self.measure_gauge()
        self._changed()
        return tuple(presets.list())

    @command
    def steering_close(self) -> None:
        if self._widget.on_close is None:
            raise StateError("The panel cannot close itself here.", hint="Clear the cell's output, or call close().")
        self._model.ask_stop()  # nobody would see what it writes
        self._widget.on_close()

    @command
    def steering_browse(self) -> None:
        if self._widget.on_browse is None:
            raise StateError("Nothing here shows features.", hint="Open them with sw.ExtractionViewer(ws).")
        self._widget.on_browse()


NOTHING = "Nothing was generated"
_ALIGNED = 1000  # longest text that is aligned: a long repetitive one would take minutes
# First words that are written small inside a sentence; anything else may be a name.
_SMALL = frozenset("A An Both Feature It No None Nothing One Several The There This Token Two Without You".split())


def texts_of(result: Any, number: int, swept: str) -> messages.SteeringTexts:
    """A `SteeringResult` as the page gets it: `number` is that of its run, `swept` the key of the swept row."""
    changed = changes(result.baseline.ids, result.steered.ids) if result.steered is not None else ((), ())
    name = "" if result.swept is None else f"feature {result.config.features[result.swept].index}"
    return messages.SteeringTexts.of(
        result,
        number=number,
        prompt_pieces=_prompt(result),
        turn=len(result.config.turns) if result.config.chat else None,
        baseline=_text(result.baseline, changed[0]),
        steered=_text(result.steered, changed[1]) if result.steered is not None else None,
        sweep=tuple(map(messages.SweptText.of, result.sweep)),
        swept=swept,
        swept_name=name,
    )


def _prompt(result: Any) -> tuple[str, ...]:
    """The pieces of the prompt as it was written: without the BOS that was put before it."""
    pieces: tuple[str, ...] = tuple(result.prompt_pieces)
    return pieces[1:] if "".join(pieces[1:]) == result.config.prompt else pieces


def _before(result: Any, side: Any) -> str:
    """What stands before a text: the prompt, or the chat of its side."""
    if not result.config.chat:
        return "".join(_prompt(result))
    return "".join(f"{each['role']}: {each['content']}\n" for each in result.config.messages(side)) + "assistant: "


def _text(text: Any, changed: Sequence[int]) -> messages.SteeringText:
    return messages.SteeringText.of(text, pieces=tuple(text.pieces), changed=tuple(changed))


def changes(one: Sequence[int], other: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which tokens of each of two texts the other does not have at the corresponding place, once they are aligned."""
    if max(len(one), len(other)) > _ALIGNED:
        same = {at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a == b}
        return tuple(at for at in range(len(one)) if at not in same), tuple(
            at for at in range(len(other)) if at not in same
        )
    left: list[int] = []
    right: list[int] = []
    for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            left += range(a, b)
            right += range(c, d)
    return tuple(left), tuple(right)


def copied(config: SteeringConfig, names: dict[str, str], generated: Any, swept: Any) -> str:
    """Everything as plain text; each result names its settings where they differ from the current ones."""
    parts = ["# Steering", _settings(config, names)]
    if generated is not None:
        parts.append(f"\n## Texts of {generated.model}, seed {generated.config.seed}")
        if _made_with(generated.config) != _made_with(config):
            parts.append("made with\n" + _settings(generated.config, names))
        for name, text in (("Baseline", generated.baseline), ("Steered", generated.steered)):
            if text is not None:
                parts.append(f"\n### {name} ({text.numbers})\n{_before(generated, name.lower())}{text.text}")
        parts += list(generated.notes)
    if swept is not None and swept.sweep:
        feature = swept.config.features[swept.swept]
        parts.append(f"\n## Strength sweep of feature {feature.index}, seed {swept.config.seed}")
        if _made_with(swept.config) != _made_with(config):
            parts.append("made with\n" + _settings(swept.config, names))
        parts += [f"\n### {each.strength:g} ({each.numbers})\n{each.text}" for each in swept.sweep]
    return "\n".join(parts) + "\n"


def _made_with(config: SteeringConfig) -> dict[str, Any]:
    data = config.to_data()
    data.pop("strengths")
    return data


def _settings(config: SteeringConfig, names: dict[str, str]) -> str:
    data = config.to_data()
    used = {feature.sae for feature in config.features}
    data = {"saes": {sae: name for sae, name in names.items() if sae in used}, **data}
    return json.dumps(data, ensure_ascii=False, indent=1)


def failed_note(error: BaseException, tokens: int) -> Note:
    """Why a run ended early; `tokens` is how many there were by then."""
    where: str | None = None
    what, hint = f"{type(error).__name__}: {error}", "The traceback is in the log of the kernel."
    if isinstance(error, SAEWidgetsError):
        what, where, hint = error.what, error.where, error.hint or ""
    lead = NOTHING if tokens == 0 else f"An error ended it after {tokens:,} token{'s' * (tokens != 1)}"
    first, blank, rest = what.partition(" ")
    if first in _SMALL:
        what = f"{first.lower()}{blank}{rest}"
    return Note(what=f"{lead}: {what}", where=None if where == NOTHING else where, hint=hint or None)
