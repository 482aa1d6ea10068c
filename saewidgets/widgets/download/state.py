"""Defines `DownloadModel`, the state of a download widget, and turns records of the hub into cards, rows and sentences.

What was found on the hub belongs to the page that asked and is not kept here, except the rows of the newest listings,
which travel in pages.
"""

import difflib
import itertools
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.hub_records import KnownRepo, Preview, Variant
from saewidgets.records import JobRecord
from saewidgets.render.labels import architecture_label
from saewidgets.widgets.messages.hub import DownloadCard, HubState, Problem, Release, VariantRow
from saewidgets.widgets.model import Devices, Model
from saewidgets.widgets.values import finite, job_fields
from saewidgets.workspace import Workspace

RECENT = 24 * 3600.0  # seconds; what ended well before that is not listed: it is in the library
MOST = 100  # cards
_ENDED_WELL = (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED)
GEMMA_SCOPE = re.compile(r"/gemma-scope-")
CONFIG_BYTES = 100_000  # of a configuration that is shown; published ones have some hundred
LISTINGS = 8  # whose rows are kept, for several pages that show one widget


class DownloadModel(Model[HubState]):
    """The state of one download widget over one workspace; `fields` are those of its first state."""

    def __init__(self, workspace: Workspace, **fields: Any) -> None:
        super().__init__(workspace, HubState(**fields))
        self.devices = Devices(workspace)
        self.token: str | None = None  # that was typed in; None leaves it to the hub client's own rules
        self.downloads: tuple[JobRecord, ...] = ()  # what is listed, newest first
        self.cleared: set[str] = set()
        self._numbers = itertools.count(1)
        self._rows: dict[int, tuple[VariantRow, ...]] = {}

    def keep_token(self, token: str | None) -> None:
        """Hold `token` in memory, for this widget only; None or blank forgets it."""
        with self._lock:
            self.token = (token or "").strip() or None
            self._put({"has_token": self.token is not None, "account": None})

    def set_account(self, name: str | None, token: str | None) -> None:
        with self._lock:
            if token == self.token:
                self._put({"account": name})

    def _read(self) -> None:
        records, old = self.workspace.hub.downloads(), time.time() - RECENT
        with self._lock:
            listed = (
                record for record in records
                if record.id not in self.cleared
                # it ended as requested, long ago
                and not (record.status in _ENDED_WELL and (record.finished_at or record.created_at) < old)
            )  # fmt: skip
            self.downloads = tuple(itertools.islice(listed, MOST))
            self._put({"downloads": tuple(map(card_of, self.downloads))})

    def read_known(self) -> None:
        """Count the known repositories, once: the table ships with the package, but a second of imports precedes it."""
        if not self.state().known:
            known = len(self.workspace.hub.known())
            with self._lock:
                self._put({"known": known})

    def keep_listing(self, rows: Sequence[VariantRow]) -> int:
        """Keep the rows of a new listing, and those of the few before it; its number."""
        with self._lock:
            number = next(self._numbers)
            self._rows[number] = tuple(rows)
            self._rows.pop(number - LISTINGS, None)
            return number

    def rows(self, listing: int) -> tuple[VariantRow, ...] | None:
        """The rows of a listing; None when newer ones took its place."""
        return self._rows.get(listing)

    def _shown(self) -> dict[str, Any]:
        return {"devices": self.devices.found}


def download_name(repo_id: str, path: str) -> str:
    """ "owner/name / layer_12 / width_16k", as cards are named."""
    return " / ".join([repo_id, *(part for part in path.split("/") if part)])


def card_of(record: JobRecord) -> DownloadCard:
    """One download as the list shows it."""
    payload, progress = record.payload, record.progress
    repo_id, path = str(payload.get("repo_id") or ""), str(payload.get("path") or "")
    total = max(int(payload.get("total_bytes") or 0), progress.total if progress else 0)
    completed = record.status is JobStatus.COMPLETED
    done = total if completed else max(0, min(progress.done, total)) if progress else 0
    running = record.status is JobStatus.RUNNING
    return DownloadCard.of(
        record,
        name=download_name(repo_id, path) if repo_id else record.id,
        repo_id=repo_id,
        path=path,
        revision=payload.get("revision"),
        bytes_done=done,
        bytes_total=total,
        attempt=progress.attempt if progress and running else None,
        wait_seconds=finite(progress.wait_seconds) if progress and running else None,
        sae_id=record.result if completed else None,
        **job_fields(record, *((1, 1) if completed else (done, total))),
    )


def asked_path(text: str, variants: Sequence[Variant]) -> str:
    """The folder that `text` names, if it names one of `variants`."""
    if len(variants) == 1:
        return variants[0].path
    plain = text.strip().rstrip("/")
    found = [variant.path for variant in variants if variant.path and plain.endswith(f"/{variant.path}")]
    return max(found, key=len, default="")


def shown_preview(preview: Preview) -> Preview:
    """`preview` for a page: the architecture by its name, with its settings; a configuration that can be sent."""
    name = preview.architecture
    label = architecture_label({"architecture": name, **preview.settings}) if name else None
    return replace(preview, architecture=label, settings={}, config=shown_config(preview.config))


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as JSON that a page can carry: NaN and other types as text; what is too long is left out with a note."""
    shown: dict[str, Any] = {}
    left = CONFIG_BYTES
    for key, value in config.items():
        text = json.dumps(value, default=str, skipkeys=True)
        left -= len(str(key)) + len(text)
        if left < 0:
            shown["…"] = f"{len(config) - len(shown)} more settings are not shown"
            break
        shown[str(key)] = json.loads(text, parse_constant=str)
    return shown


def releases_of(known: Iterable[KnownRepo]) -> tuple[Release, ...]:
    """The known Gemma Scope repositories by the model they belong to."""
    repos: dict[str, list[str]] = {}
    for repo in known:
        if GEMMA_SCOPE.search(repo.repo_id):
            repos.setdefault(repo.model, []).append(repo.repo_id)
    return tuple(Release(id=m, label=release_label(m), model=m, repo_ids=tuple(ids)) for m, ids in repos.items())


def release_label(model: str) -> str:
    """ "google/gemma-2-9b-it" → "Gemma 2 9B, instruction-tuned"."""
    match = re.fullmatch(r"(?:[\w.-]+/)?gemma-(\d)-(\d+[bm])(?:-(it|pt))?", model, re.IGNORECASE)
    if match is None:
        return model
    generation, size, kind = match.groups()
    return f"Gemma {generation} {size.upper()}, {'instruction-tuned' if kind == 'it' else 'pretrained'}"


# Problems that another repository would not have.
_ELSEWHERE = frozenset({"not_found", "repository_not_found", "wrong_repository_type", "no_sae", "config"})


CACHED_ONLY = Problem(
    kind="cached", what="Offline mode is switched on: this is what the cache of this machine has.",
    hint="The repository may hold more. To ask the hub, unset HF_HUB_OFFLINE and restart the kernel.",
)  # above a listing for which the hub was not asked


def problem_of(error: SAEWidgetsError, text: str, known: Iterable[KnownRepo]) -> Problem:
    """Why the repository `text` could not be listed, with others to try instead; `known` is empty where none help."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
    repos = list(known)
    named = [str(repo_id) for repo_id in getattr(error, "suggestions", ())]
    found = [repo_id for repo_id in named if repo_id != text] if repos else []
    suggestions = tuple(found[:3]) or (suggestions_for(text, repos) if name in _ELSEWHERE else ())
    what, _, more = error.what.partition(". ")  # the first sentence is the title
    what = f"{what}." if more else what
    if error.where and error.where not in error.what:
        what = f"{what.removesuffix('.')} ({error.where})."
    hint = " ".join(filter(None, [more, _without(error.hint, named)]))
    return Problem(kind=name or "error", what=what, hint=hint or None, suggestions=suggestions)


def _without(text: str | None, names: Sequence[str]) -> str:
    """`text` without the sentences that list `names`: the page offers those as buttons."""
    sentences = re.split(r"(?<=\.) ", text or "")
    return " ".join(sentence for sentence in sentences if not any(name in sentence for name in names))


def nothing_found(text: str, repo_id: str, known: Iterable[KnownRepo]) -> Problem:
    """A repository without SAEs."""
    return Problem(
        kind="no_sae",
        what=f"No SAE found in {repo_id}.",
        hint="None of its folders holds files of a known format.",
        suggestions=suggestions_for(repo_id, known) or suggestions_for(text, known),
    )


def suggestions_for(text: str, known: Iterable[KnownRepo]) -> tuple[str, ...]:
    """Known repositories trained on the model `text`, else those whose name is near to it; at most three."""
    match = re.search(r"([\w.-]+)/([\w.-]+?)(?:@|/|$)", re.sub(r"^\w+://[^/]+/", "", text.strip()))
    if match is None:
        return ()
    asked, repos = f"{match[1]}/{match[2]}".lower(), list(known)
    on_model = [repo.repo_id for repo in repos if repo.model.lower() in (asked, match[2].lower())]
    if on_model:
        return tuple(on_model[:3])
    by_name = {repo.repo_id.lower(): repo.repo_id for repo in repos}
    return tuple(by_name[name] for name in difflib.get_close_matches(asked, by_name, 3, 0.75) if name != asked)
