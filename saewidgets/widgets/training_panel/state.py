"""Defines `PanelModel`, the state of a training panel: the workspace's runs, the selection, the charts' settings.

All state of a panel lives here, so that every view of it draws the same; the workspace holds the rest, so that two
panels agree as well. Events of runs are applied as they come; the catalog is read when the panel opens, when
anything else than progress and metrics changed, and now and then for what other processes do.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saewidgets.config.names import shown_model
from saewidgets.events import JobStatus, LogLine, Metrics, Progress
from saewidgets.records import ActivationStoreRecord, CheckpointRecord, TemplateRecord, TrainingRecord
from saewidgets.render.labels import architecture_label, choice_label
from saewidgets.render.static_views import tile_values
from saewidgets.widgets.charts.charts import slots_for
from saewidgets.widgets.charts.drawing import SLOTS
from saewidgets.widgets.charts.series import ChartedRun, earlier_runs
from saewidgets.widgets.messages.training import Card, ChartState, CheckpointData, PanelState, StoreRow, Tile, YAxis
from saewidgets.widgets.messages.wire import Deleted
from saewidgets.widgets.model import Devices, Model, deleted_of, place_of
from saewidgets.widgets.training_panel.compare import compare_state, scope_of
from saewidgets.widgets.values import finite, job_fields, number
from saewidgets.workspace import Workspace
from saewidgets.workspace.training.advice import advise
from saewidgets.workspace.training.estimates import dead_window_of, learning_rate_of

FIRST = 12  # cards, of which the list shows about four


class PanelModel(Model[PanelState]):
    """The state of one panel over one workspace. Until `show_all` it has the runs that are seen at once, those at work
    and the newest: a thousand take a second to be made, get to the page and be drawn."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace, PanelState())
        self.devices = Devices(workspace, of_jobs=True)
        self._records: dict[str, TrainingRecord] = {}
        self._read_last: dict[str, TrainingRecord] = {}  # without what was told since then
        self._places: dict[str, dict[str, Any]] = {}  # of each card: looking for files takes time
        self._cards: dict[str, tuple[Any, ...]] = {}  # what each is drawn from, and the card
        self._measured: dict[str, list[Metrics]] = {}  # events since the charts were drawn last
        self._missed: set[str] = set()  # the catalog holds more of these than their events brought
        self._deleted: tuple[Deleted, ...] = ()
        self._loaded = False
        self._shows_all = False
        self._chart = ChartState()
        self._slots: dict[str, int] = {}
        self._last_slots: dict[str, int] = {}  # of all runs that had a line
        self._waiting: tuple[str, ...] = ()  # run, but found all lines taken
        self._compared: tuple[str, ...] = ()
        self._y_axis: YAxis = "fvu"
        self._scope = ""
        self._pareto_zoomed = False

    # --------------------------------------------------------------------------------------------- input

    def tell(self, training_id: str | None, news: Sequence[object]) -> None:
        """Take news of a run, see `Tasks.follow`. Nothing is read yet."""
        with self._lock:
            record = self._records.get(training_id or "")
            for each in news:
                match each:
                    case Progress() if record is not None:
                        step = record.step if each.step is None else each.step
                        record = replace(record, progress=each, tokens_done=each.done, step=step)
                    case Metrics() if record is not None:
                        record = replace(record, latest={**record.latest, **each.values})
                        self._measured.setdefault(record.id, []).append(each)
                    case LogLine():
                        pass
                    case _:
                        self._changed = True
            if record is not None:
                self._records[record.id] = record

    def mark_templates_changed(self) -> None:
        with self._lock:
            self._put({"templates_revision": self._state.templates_revision + 1})

    def select(self, training_ids: Iterable[str]) -> None:
        """Select exactly these runs, and draw no others; unknown ids are ignored."""
        self.set_chart(training_ids=tuple(training_ids), followed=())

    def _known(self, training_ids: Iterable[str]) -> list[str]:
        return [i for i in dict.fromkeys(training_ids) if i in self._records or not self._loaded]

    def _choose(self, selected: Sequence[str], followed: Iterable[str]) -> None:
        """What was selected, and what has a line by itself; the former go first where six are too few for both."""
        rest = [i for i in followed if i not in selected]
        drawn = [i for i in selected if self._has_line(i)]
        room = 0 if len(self._compared) > 1 else max(0, SLOTS - len(drawn))  # a comparison draws what it compares
        self._slots = slots_for([*drawn, *rest[:room]], self._slots, self._last_slots)
        self._last_slots |= self._slots
        self._chart = self._chart.model_copy(update={"training_ids": tuple(selected), "followed": tuple(rest)})

    @property
    def selected(self) -> tuple[str, ...]:
        return self.chart.training_ids

    def set_chart(
        self, training_ids: Sequence[str] | None = None, followed: Sequence[str] | None = None, **changes: Any
    ) -> None:
        with self._lock:
            if followed is not None:
                self._waiting = ()
            if training_ids is not None or followed is not None:
                self._choose(
                    self._known(self._chart.training_ids if training_ids is None else training_ids),
                    self._known(self._chart.followed if followed is None else followed),
                )
            given = {name: value for name, value in changes.items() if value is not None}
            self._chart = self._chart.model_copy(update=given)

    def compare(self, training_ids: Sequence[str]) -> None:
        """Show these runs side by side; fewer than two close the comparison. Unknown ones are ignored."""
        with self._lock:
            self._compared = tuple(i for i in dict.fromkeys(training_ids) if i in self._records)
            if self._compared:
                places = Counter(scope_of(self._records[i]) for i in self._compared)
                self._scope = places.most_common(1)[0][0]  # of equally many, the place of the first
            self._choose(self._chart.training_ids, self._chart.followed)

    def set_pareto(self, y_axis: YAxis | None = None, scope: str | None = None, zoomed: bool | None = None) -> None:
        with self._lock:
            self._y_axis = y_axis or self._y_axis
            self._scope = self._scope if scope is None else scope
            self._pareto_zoomed = self._pareto_zoomed if zoomed is None else zoomed

    def show_all(self) -> None:
        """Have a card of every run from now on."""
        with self._lock:
            self._shows_all = True

    def show_sae(self, sae_id: str | None) -> None:
        """Show this SAE in the place of the runs; None: the runs again."""
        with self._lock:
            self.show_below("saes", sae_id is not None)
            self._put({"sae_shown": sae_id})

    def records(self, training_ids: Iterable[str] | None = None) -> list[TrainingRecord]:
        """The records of these runs (None: of all) as last known; those that are gone are left out."""
        with self._lock:
            wanted = self._records if training_ids is None else training_ids
            return [self._records[i] for i in wanted if i in self._records]

    # --------------------------------------------------------------------------------------------- reading

    def _read(self) -> None:
        deleted = self.workspace.deletions.pending()
        found = {record.id: record for record in self.workspace.trainings.list() if record.id not in deleted}
        places = {i: place_of(self.workspace, record) for i, record in found.items()}
        with self._lock:
            before, last = self._records, self._read_last
            self._places = places
            self._deleted = deleted_of(deleted, saes=False)
            self._read_last = found
            self._records = dict(sorted(found.items(), key=lambda item: item[1].created_at, reverse=True))
            known = found.keys() & before.keys()
            self._missed |= {i for i in known if _metrics_of(before[i]) != _metrics_of(found[i])}
            selected = [i for i in self._chart.training_ids if i in found]
            followed = [i for i in self._chart.followed if self._has_line(i)]
            drew = {i for i, record in last.items() if _has_line(record)}
            worked = {i for i, record in last.items() if record.status.is_active}
            # what has something to draw that had nothing when it was read before, or works again
            begun = _in_order(
                record for i, record in self._records.items()
                if _has_line(record) and (i not in drew or (record.status.is_active and i not in worked))
            )  # fmt: skip
            if not self._loaded:
                running = [i for i in begun if self._is_active(i)]
                newest = next((i for i in self._records if i in begun), None)
                begun = [] if selected else running or [i for i in begun if i == newest]
            # A run that begins gets a line, so that it is seen after Start. It is not selected: what is stopped
            # or deleted is what a person chose. What has ended makes room; what was taken off the charts stays so. Who
            # finds no room gets it when another one has ended.
            fresh = [i for i in dict.fromkeys([*begun, *self._waiting]) if i not in followed and self._has_line(i)]
            room = max(0, SLOTS - sum(map(self._has_line, selected)))
            ended = [i for i in followed if not self._is_active(i)]
            for i in ended[: max(0, len(followed) + len(fresh) - room)]:
                followed.remove(i)
            free = max(0, room - len(followed))
            followed += fresh[:free]
            self._waiting = tuple(i for i in fresh[free:] if self._is_active(i))
            self._loaded = True
            self._choose(selected, followed)

    def _is_active(self, training_id: str) -> bool:
        return self._records[training_id].status.is_active

    def _has_line(self, training_id: str) -> bool:
        return training_id in self._records and _has_line(self._records[training_id])

    # --------------------------------------------------------------------------------------------- output

    def charted(self) -> list[ChartedRun]:
        """The runs that have a line, in the order of their lines, and what is new of them since the last call."""
        with self._lock:
            measured, self._measured = self._measured, {}
            missed, self._missed = self._missed, set()
            return [
                ChartedRun(
                    self._records[i], slot, earlier_runs(self._records[i], self._records), measured.get(i, ()),
                    i in missed,
                )
                for i, slot in sorted(self._slots.items(), key=lambda item: item[1])
                if i in self._records
            ]  # fmt: skip

    @property
    def chart(self) -> ChartState:
        with self._lock:
            return self._chart

    def _shown(self) -> dict[str, Any]:
        drawn: dict[str, tuple[Any, ...]] = {}
        records = list(self._records.values())
        at_work_first = sorted(records, key=lambda each: not each.status.is_active)
        for record in records if self._shows_all else at_work_first[:FIRST]:
            source = record.facts.get("continued_from") or {}
            parent = self._records.get(str(source.get("training_id") or record.retry_of))
            earlier = parent.name if parent is not None else None
            known = (record, self._slots.get(record.id), earlier, self._places[record.id])
            before = self._cards.get(record.id)
            if before is None or before[:4] != known:
                before = (*known, card_of(*known[:3], **known[3]))
            drawn[record.id] = before
        self._cards, cards = drawn, tuple(card for *_, card in drawn.values())
        compared = self.records(self._compared)
        return {
            "cards": cards,
            "total": len(records),
            "deleted": self._deleted,
            "jobs": len({record.job_id or record.group_id or record.id for record in records}),
            "charts": self._chart,
            "devices": self.devices.found,
            "notice": self._notice or self.devices.note,
            "compare": None if len(compared) < 2 else compare_state(
                records, compared, self._slots, y_axis=self._y_axis, scope=self._scope,
                zoomed=self._pareto_zoomed,
            ),
        }  # fmt: skip


def _metrics_of(record: TrainingRecord) -> tuple[object, ...]:
    return record.step, record.started_at, len(record.latest)


def _has_line(record: TrainingRecord) -> bool:
    """Whether there is anything to draw of a run, or will be soon: one that waits for its turn takes no line."""
    return record.status.is_active or bool(record.latest)


def _in_order(newest_first: Iterable[TrainingRecord]) -> list[str]:
    """The ids of these runs: the newest job first, its runs in the order in which they were made."""
    jobs: dict[str, list[str]] = {}
    for record in newest_first:
        jobs.setdefault(record.group_id or record.id, []).insert(0, record.id)
    return [i for runs in jobs.values() for i in runs]


def for_chart_bar(state: PanelState) -> PanelState:
    """What the bar above the charts needs: only the runs that have a line."""
    cards = tuple(card for card in state.cards if card.series is not None)
    return state.model_copy(update={"cards": cards, "compare": None})


def for_footer(state: PanelState) -> PanelState:
    """What the line at the bottom needs: no runs, only their number."""
    return state.model_copy(update={"cards": (), "devices": (), "compare": None})


BEST = "checkpoints.best_metric"
HELD_OUT = {"fvu": "val_fvu", "mse": "val_mse", "ce_loss_score": "ce_loss_score", "tokens": "val_tokens"}
"""Metrics that are measured on held-out text and the number of its tokens, and what they are recorded as."""


def card_of(
    record: TrainingRecord, series: int | None = None, earlier: str | None = None, **place: Any
) -> Card:
    """One training as the list shows it; `earlier` is the name of the run that it goes on from, or repeats."""
    source = record.facts.get("continued_from")
    done, advised = max(record.tokens_done, 0), advise(record)
    hopeless = record.error is not None and not record.error.resumes
    return Card.of(
        record,
        model=shown_model(record.model),
        hook_name_out=record.config.get("hook_name_out"),
        stored=dict(record.config.get("corpus") or {}).get("kind") == "activations",
        architecture=architecture_label(record.config.get("sae", {}), record.architecture),
        device=record.lane.rpartition("/")[2],  # as torch calls it, and which one that is on a cluster
        tokens_done=done,
        **job_fields(record, done, record.tokens_total),
        tiles=Tile(**{name: number(value) for name, value in tile_values(record).items()}),
        dead_window_tokens=dead_window_of(record),
        lr=learning_rate_of(record),
        **place,
        series=series,
        retry_of=earlier if source is None else None,
        continued_from=earlier if source is not None else None,
        continued_step=int(source["step"]) if source else None,
        retry=next((dict(advice.changes) for advice in advised), {}) if hopeless else None,
        advice=next((advice.title for advice in advised), None) if record.error is None else None,
    )


def checkpoint_rows(
    records: Iterable[CheckpointRecord], best_metric: str, columns: Mapping[str, Any]
) -> tuple[CheckpointData, ...]:
    """The table of checkpoints, newest first; `columns`: the metrics `HELD_OUT` of the run."""
    at: dict[int, dict[str, float]] = {}
    for metric, column in HELD_OUT.items():
        for step, value in zip(columns["step"], columns[column], strict=True):
            if math.isfinite(value):
                at.setdefault(int(step), {})[metric] = float(value)
    words = {"best": f"best {choice_label(BEST, best_metric)}", "manual": "saved by you"}
    rows = []
    for record in sorted(records, key=lambda row: (row.step, row.created_at), reverse=True):
        number_of_step = f"step {record.step:,}"
        held_out = at.get(record.step, {})
        chosen = record.metrics if not at or best_metric == "loss" else held_out
        kinds = [number_of_step if kind == "every" else words.get(kind, kind) for kind in record.kinds]
        row = CheckpointData.of(
            record,
            label=", ".join(kinds) or number_of_step,
            best="best" in record.kinds,
            fvu=finite(record.metrics.get("fvu")),
            val_fvu=finite(held_out.get("fvu")),
            val_tokens=int(held_out["tokens"]) if "tokens" in held_out else None,
            best_by=None if best_metric == "fvu" else finite(chosen.get(best_metric)),
            saved_at=record.created_at,
        )
        rows.append(row)
    return tuple(rows)


def store_row(record: ActivationStoreRecord, settings: dict[str, Any], *, two_hooks: bool = False) -> StoreRow:
    """One store as the form lists it; `settings`: what a training takes from it, by dotted name."""
    return StoreRow.of(
        record,
        model=record.model or "",
        tokens=record.n_tokens if record.n_tokens is not None else record.tokens_total,
        problem=problem_of(record, two_hooks),
        values={**settings, "corpus": record.id},
    )


def problem_of(record: ActivationStoreRecord, two_hooks: bool) -> str:
    """Why a training cannot read it, as a sentence or two; ``""`` if it can."""
    if not record.is_whole:
        status = record.status
        if status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.STOPPED):
            ended = "failed" if status is JobStatus.FAILED else f"was {status.value}"
            return f"Its capture {ended}. Capture the activations again."
        if status in (JobStatus.INTERRUPTED, JobStatus.PAUSED):
            verb = "is" if status is JobStatus.PAUSED else "was"
            return f"Its capture {verb} {status.value}. Resume it: saewidgets activations resume {record.id}."
        return f"Its capture is {status.value}. Wait until it has completed."
    if record.state != "ok":
        return record.state_note
    if two_hooks and len(record.hook_names) < 2:
        return "A transcoder reads one hook point and reconstructs another; this store holds only one."
    return ""


def template_row(record: TemplateRecord) -> TemplateRecord:
    """`record` as the list shows it: with the architecture's name, without the configuration."""
    label = architecture_label(record.config.get("sae", {}), record.architecture)
    return replace(record, architecture=label, config={}, metadata={})
