"""Defines `find_id`, which turns everything that names a row into its id, for all public methods of a workspace: an
id, the beginning of one, a name, a record or a handle; for a feature also `(sae, 397)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Origin, split_feature_id
from saewidgets.config import arguments
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.feature_records import RelatedRecord
from saewidgets.records import SAERecord, TrainingRecord
from saewidgets.workspace.handle import JobHandle

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

Ref = str | Any
"""The id of something, the beginning of its id, its name, its record, or its handle."""

_LEAST = 4  # characters of an id behind its prefix: shorter ones are typing errors
_ULID, _UUID = "[0-9A-HJKMNP-TV-Z]{26}", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WHOLE = re.compile(rf"(?:train|acts|group)_{_ULID}|(?:sae|job|tmpl)_{_UUID}|ext_.+_\d{{16,}}")
_FORM = "Give an id, the beginning of one, a name, a record or a handle."
_FEATURE_FORM = "Give (sae, 397), a record, or feat_{id of the SAE or training}_{number}."


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of row: its name with an article and in the plural, how a user lists the rows, and what its ids begin
    with. `rows` returns the id and the name of every row."""

    one: str
    several: str
    listed: str
    prefix: str
    rows: Callable[[Any], Iterable[tuple[str, str]]]


def _table(name: str) -> Callable[[Any], Iterable[tuple[str, str]]]:
    return lambda ws: [(row.id, row.name) for row in getattr(ws.catalog, name).list()]


def _jobs(workspace: Workspace, kind: str | None = None) -> Iterable[tuple[str, str]]:
    return [(job.id, str(job.payload.get("name") or "")) for job in workspace.manager.list(kind=kind)]


NOUNS = {
    "sae": Noun("an SAE", "SAEs", "ws.saes.list() or `saewidgets saes list`", "sae_", _table("saes")),
    "training": Noun(
        "a training", "trainings", "ws.trainings.list() or `saewidgets list`", "train_", _table("trainings")
    ),
    "group": Noun(
        "a group", "groups", "ws.trainings.list()", "group_",
        lambda ws: {(r.group_id, r.group_name or "") for r in ws.catalog.trainings.list() if r.group_id is not None},
    ),
    "extraction": Noun(
        "an extraction", "extractions", "ws.extractions.list() or `saewidgets extractions list`", "ext_",
        _table("extractions"),
    ),
    "store": Noun(
        "a store of activations", "stores of activations",
        "ws.activations.list() or `saewidgets activations list`", "acts_", _table("activations"),
    ),
    "template": Noun(
        "a template", "templates", "ws.templates.list() or `saewidgets templates list`", "tmpl_", _table("templates")
    ),
    "job": Noun("a job", "jobs", "ws.jobs.list()", "job_", _jobs),
    "download": Noun(
        "a download", "downloads", "ws.hub.downloads() or `saewidgets hub downloads`", "job_",
        lambda ws: _jobs(ws, "download"),
    ),
}  # fmt: skip


def find_id(
    workspace: Workspace, nouns: Sequence[str], value: Ref, where: str, *, beginnings: bool = True
) -> str:
    """The id of the row that `value` names, of the first of the `nouns` that has one.

    A whole id passes unchanged, whether or not there is such a row: the method that uses it raises. A beginning of an
    id has four characters or more behind the prefix.

    Raises:
        ConfigError: it names nothing: a number, an empty text.
        NotFoundError: no row has this name or id, or several; the message lists them, or names that are near.
    """
    if "feature" in nouns:
        return _feature_id(workspace, value, where)
    text = value if isinstance(value, str) else _id_of(value, nouns)
    text = arguments.text(text, where, "an id or a name", hint=_FORM)
    if _WHOLE.fullmatch(text):
        return text
    first = NOUNS[nouns[0]]
    if not text.strip():
        raise ConfigError(f"The id of {first.one} is empty.", where=where, hint="Give an id or a name.")
    near: list[str] = []
    hint = ""
    for noun in map(NOUNS.__getitem__, nouns):
        rows = list(noun.rows(workspace))
        if any(row_id == text for row_id, _ in rows):
            return text
        is_beginning = text.startswith(noun.prefix) and len(text) >= len(noun.prefix) + _LEAST
        found = [row_id for row_id, name in rows if name == text]
        found = found or [row_id for row_id, _ in rows if beginnings and is_beginning and row_id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            matching = ", ".join(found[:5])
            what = f"{len(found)} {noun.several} match {text!r}: {matching}."
            raise NotFoundError(what, hint="Give the whole id.")
        near += get_close_matches(text, {name for _, name in rows}, 3)
        if any(row_id.startswith(text) for row_id, _ in rows):
            needs = f"at least four characters after {noun.prefix}" if beginnings else "the whole id, or the name"
            hint = f"This is the beginning of an id; give {needs}."
    noun = next((NOUNS[name] for name in nouns if text.startswith(NOUNS[name].prefix)), first)
    if not hint:
        names = " or ".join(map(repr, dict.fromkeys(near[:3])))
        hint = f"Did you mean {names}? " * bool(near) + f"List them with {noun.listed}."
    raise NotFoundError(f"There is no {noun.one.partition(' ')[2]} {text!r}.", hint=hint)


def is_ref(value: Any) -> bool:
    """Whether `value` names an SAE or a training of a workspace, and is no SAE itself."""
    is_run = isinstance(value, JobHandle) and getattr(value, "_what", "") == "training"
    return is_run or isinstance(value, str | SAERecord | TrainingRecord)


def short_name(workspace: Workspace, noun: str, row_id: str) -> str:
    """What a copied snippet calls a row: its name where that is unique, else the shortest unambiguous beginning of its
    id."""
    rows = dict(NOUNS[noun].rows(workspace))
    name = rows.get(row_id, "")
    if name and list(rows.values()).count(name) == 1 and name not in rows:
        return name
    others: Collection[str] = rows.keys() - {row_id}
    shortest = len(NOUNS[noun].prefix) + 2 * _LEAST
    return next(
        (row_id[:n] for n in range(shortest, len(row_id)) if not any(each.startswith(row_id[:n]) for each in others)),
        row_id,
    )


def _id_of(value: Any, nouns: Sequence[str]) -> Any:
    """The id that a record or a handle has; `value` if it has none."""
    if "job" in nouns and (job_id := getattr(value, "job_id", None) or getattr(value, "_job_id", None)):
        return job_id
    return getattr(value, "id", value)


def _feature_id(workspace: Workspace, value: Any, where: str) -> str:
    if isinstance(value, tuple | list) and len(value) == 2:
        owner, index = value[0], arguments.count(value[1], where, "the number of a feature")
    else:
        record = value.feature if isinstance(value, RelatedRecord) else value
        owner, index = split_feature_id(
            arguments.text(_id_of(record, ()), where, "a feature", hint=_FEATURE_FORM)
        )
    found = find_id(workspace, ("sae", "training", "extraction"), owner, where)
    return Origin(found, None).feature_id(index)
