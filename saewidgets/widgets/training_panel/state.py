"""What a training panel shows: the workspace's runs, the selection, the charts' settings.

All state of a panel lives here, so that every view of it draws the same; the workspace holds the rest, so that two
panels agree as well.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saewidgets.errors import NotFoundError
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.widgets.charts.charts import slots_for
from saewidgets.widgets.charts.lineage import Earlier, begins, earlier_runs, has_line, in_order
from saewidgets.widgets.charts.pareto_points import scope_of
from saewidgets.widgets.charts.style import SLOTS
from saewidgets.widgets.messages.training import Card, ChartState, CompareState, PanelState, YAxis
from saewidgets.widgets.model import Devices, Model
from saewidgets.widgets.training_panel.cards import card_of
from saewidgets.widgets.training_panel.compare import compare_state

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace


class PanelModel(Model[PanelState]):
    """The state of one panel over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace, PanelState())
        self.devices = Devices(workspace)
        self._reading = threading.Lock()
        self._records: dict[str, TrainingRecord] = {}
        self._changed: set[str | None] = {None}
        self._loaded = False
        self._chart = ChartState()
        self._slots: dict[str, int] = {}
        self._waiting: tuple[str, ...] = ()  # run, but found all lines taken
        self._compared: tuple[str, ...] = ()
        self._y_axis: YAxis = "fvu"
        self._scope = ""
        self._pareto_zoomed = False
        self._sae_shown: str | None = None
        self._templates_revision = 0

    # --------------------------------------------------------------------------------------------- input

    def mark_changed(self, training_id: str | None = None) -> None:
        """A run changed (None: anything may have). Nothing is read yet."""
        with self._lock:
            self._changed.add(training_id)

    def mark_sae_changed(self, sae_id: str | None) -> None:
        """The library changed: runs whose SAE it is, or that may have got one, are to be read again."""
        with self._lock:
            owners = {i for i, record in self._records.items() if sae_id and record.sae_id == sae_id}
            self._changed |= owners or {None}

    def mark_templates_changed(self) -> None:
        """The page is to ask for the templates again."""
        with self._lock:
            self._templates_revision += 1

    def select(self, training_ids: Iterable[str]) -> None:
        """Select exactly these runs, and draw no others; unknown ids are ignored."""
        with self._lock:
            self._waiting = ()
            self._choose(self._known(training_ids), ())

    def _known(self, training_ids: Iterable[str]) -> list[str]:
        return [i for i in dict.fromkeys(training_ids) if i in self._records or not self._loaded]

    def _choose(self, selected: Sequence[str], followed: Iterable[str]) -> None:
        """What was selected, and what has a line by itself; the former go first where six are too few for both."""
        rest = [i for i in followed if i not in selected]
        drawn = [i for i in selected if self._has_line(i)]
        room = 0 if len(self._compared) > 1 else max(0, SLOTS - len(drawn))  # a comparison draws what it compares
        self._slots = slots_for([*drawn, *rest[:room]], self._slots)
        self._chart = self._chart.model_copy(update={"training_ids": tuple(selected), "followed": tuple(rest)})

    @property
    def selected(self) -> tuple[str, ...]:
        with self._lock:
            return self._chart.training_ids

    def set_chart(
        self, training_ids: Sequence[str] | None = None, followed: Sequence[str] | None = None, **changes: Any
    ) -> None:
        """Apply what the page changed; None means as it is."""
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

    def set_pareto(self, y_axis: YAxis | None = None, scope: str | None = None) -> None:
        """None leaves a setting as it is."""
        with self._lock:
            self._y_axis = y_axis or self._y_axis
            self._scope = self._scope if scope is None else scope

    def set_pareto_drawn(self, zoomed: bool) -> None:
        """What only the figure knows."""
        with self._lock:
            self._pareto_zoomed = zoomed

    def show_sae(self, sae_id: str | None) -> None:
        """Let this SAE stand in the place of the runs; None: the runs again."""
        with self._lock:
            self._sae_shown = sae_id

    @property
    def sae_shown(self) -> str | None:
        with self._lock:
            return self._sae_shown

    def records(self, training_ids: Iterable[str]) -> list[TrainingRecord]:
        """The records of these runs as last read; those that are gone are left out."""
        with self._lock:
            return [self._records[i] for i in training_ids if i in self._records]

    # --------------------------------------------------------------------------------------------- reading

    def look(self) -> None:
        """A page asks: runs of other processes may have changed as well."""
        self.mark_changed(None)
        self.read()

    def read(self) -> None:
        """Bring the records up to date: only those that changed, the whole list when anything may have."""
        with self._reading:
            with self._lock:
                changed, self._changed = self._changed, set()
                known = set(self._records)
            try:
                if None in changed or not changed <= known:
                    self._take({record.id: record for record in self.workspace.trainings.list()})
                else:
                    self._take_some(changed)
            except BaseException:
                self.mark_changed(None)  # nothing is known of what failed: read all again next time
                raise

    def _take_some(self, changed: set[str | None]) -> None:
        records = dict(self._records)
        self._read_again(changed, records)
        if any(self._status(self._records, str(i)) is not self._status(records, str(i)) for i in changed):
            # Whoever waits may have moved up, and nobody says so: their own records did not change.
            waiting = {i for i, record in records.items() if record.status is JobStatus.QUEUED}
            self._read_again(waiting - changed, records)
        self._take(records)

    def _read_again(self, training_ids: Iterable[str | None], records: dict[str, TrainingRecord]) -> None:
        for training_id in training_ids:
            try:
                records[str(training_id)] = self.workspace.trainings.get(str(training_id)).record
            except NotFoundError:  # deleted since: that is the news
                records.pop(str(training_id), None)

    @staticmethod
    def _status(records: Mapping[str, TrainingRecord], training_id: str) -> JobStatus | None:
        return records[training_id].status if training_id in records else None

    def _take(self, records: dict[str, TrainingRecord]) -> None:
        with self._lock:
            before = self._records
            self._records = dict(sorted(records.items(), key=lambda item: item[1].created_at, reverse=True))
            selected = [i for i in self._chart.training_ids if i in records]
            followed = [i for i in self._chart.followed if self._has_line(i)]
            begun = in_order(record for i, record in self._records.items() if begins(before.get(i), record))
            if not self._loaded:
                running = [i for i in begun if self._is_active(i)]
                newest = next((i for i in self._records if i in begun), None)
                begun = [] if selected else running or [i for i in begun if i == newest]
            # A run that begins gets a line, so that whoever pressed Start sees it. It is not selected: what is stopped
            # or deleted is what somebody chose. What has ended makes room; what was taken off the charts stays so. Who
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
        return training_id in self._records and has_line(self._records[training_id])

    # --------------------------------------------------------------------------------------------- output

    def charted(self) -> list[tuple[TrainingRecord, int]]:
        """The runs that have a line, with its slot, in the order of the slots."""
        with self._lock:
            found = [(self._records[i], slot) for i, slot in self._slots.items() if i in self._records]
        return sorted(found, key=lambda item: item[1])

    def earlier(self) -> dict[str, tuple[Earlier, ...]]:
        """The runs that those with a line go on from, by the ids of these."""
        with self._lock:
            found = {i: earlier_runs(self._records[i], self._records) for i in self._slots if i in self._records}
        return {i: chain for i, chain in found.items() if chain}

    @property
    def chart(self) -> ChartState:
        with self._lock:
            return self._chart

    def _shown(self) -> dict[str, Any]:
        cards = tuple(self._card(record) for record in self._records.values())
        return {
            "cards": cards,
            "total": len(cards),
            "jobs": len({card.group_id or card.id for card in cards}),
            "charts": self._chart,
            "devices": self.devices.found,
            "notice": self._notice or self.devices.note,
            "compare": self._comparison(),
            "templates_revision": self._templates_revision,
            "sae_shown": self._sae_shown,
        }

    def _comparison(self) -> CompareState | None:
        compared = [self._records[i] for i in self._compared if i in self._records]
        if len(compared) < 2:
            return None
        return compare_state(
            self._records.values(), compared, self._slots, y_axis=self._y_axis, scope=self._scope,
            zoomed=self._pareto_zoomed,
        )  # fmt: skip

    def _card(self, record: TrainingRecord) -> Card:
        source = record.facts.get("continued_from") or {}
        parent = self._records.get(str(source.get("training_id") or record.retry_of))
        return card_of(record, self._slots.get(record.id), parent.name if parent is not None else None)


def for_chart_bar(state: PanelState) -> PanelState:
    """What the bar above the charts needs: only the runs that have a line."""
    return state.model_copy(
        update={"cards": tuple(card for card in state.cards if card.series is not None), "compare": None}
    )


def for_footer(state: PanelState) -> PanelState:
    """What the line at the bottom needs: no runs, only their number."""
    return state.model_copy(update={"cards": (), "devices": (), "compare": None})
