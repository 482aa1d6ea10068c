"""Corpora given as text in memory: a short one is kept in the run's row, a long one in a file of its folder.

Rows are read at every look at a list. So a long text is there as its SHA-256, in the form that checkpoints use, and
is read from ``corpus.jsonl`` (one JSON string per line) when a run is started, resumed, retried or measured. Of runs
that start together it is one file with a name in the folder of each: it is gone with the last of them.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saewidgets.catalog import Catalog
from saewidgets.config import TextCorpus, TokensCorpus, TrainingConfig
from saewidgets.config.corpus import PATH_HINT, typed
from saewidgets.durable import storage_errors, whole_file
from saewidgets.errors import FormatError, NotFoundError, SAEWidgetsError
from saewidgets.records import TrainingRecord
from saewidgets.workspace.folders import link

FILE = "corpus.jsonl"
LARGE = 64 * 1024  # characters of text, and what a list of many short ones needs around them
_AROUND = 4
_SHOWN = 120  # characters of a name that is not there


def to_rows(configs: Sequence[TrainingConfig], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Configurations with one corpus as data for rows: long text is written once, and linked from each of the folders.
    """
    corpus = corpus_to_row(configs[0].to_data()["corpus"], folders[0])
    for folder in folders[1:] if is_reference({"corpus": corpus}) else ():
        with storage_errors("The text cannot be kept", folder / FILE, "Free some space."):
            link(folders[0] / FILE, folder / FILE)
    return [{**config.to_data(), "corpus": corpus} for config in configs]


def from_rows(rows: Iterable[tuple[Mapping[str, Any], str | Path]]) -> list[TrainingConfig]:
    """`from_row` of several (data, folder): a text that they share is read, and held, once."""
    known: dict[str, Any] = {}
    found = []
    for data, folder in rows:
        named = data["corpus"]["strings"] if is_reference(data) else None
        if named in known:
            found.append(TrainingConfig.from_data({**data, "corpus": known[named]}))
            continue
        found.append(from_row(data, folder))
        if named is not None:
            known[named] = found[-1].corpus
    return found


def from_row(data: Mapping[str, Any], folder: str | Path) -> TrainingConfig:
    """A configuration that `to_rows` was given."""
    return TrainingConfig.from_data(with_text(data, folder))


def exact_configs(catalog: Catalog, records: Sequence[TrainingRecord]) -> list[TrainingConfig]:
    """The configurations of runs that begin or go on, with the commit of their dataset of the hub, which is found out
    once and written into the row, so that later readers get the same text."""
    configs = from_rows((record.config, record.folder) for record in records)
    for at, (record, config) in enumerate(zip(records, configs, strict=True)):
        if (corpus := exact_corpus(catalog.trainings, record, config.corpus)) is not config.corpus:
            configs[at] = config.model_copy(update={"corpus": corpus})
    return configs


def exact_corpus(rows: Any, record: Any, corpus: Any) -> Any:
    """The corpus at a commit of its dataset of the hub: found out once, and written into the row of this table."""
    from saewidgets.activations.corpus import is_exact, with_exact_revision  # torch: seconds to import

    if is_exact(corpus):
        return corpus
    exact = with_exact_revision(corpus)
    rows.update(record.id, config={**record.config, "corpus": exact.to_data()})
    return exact


def located(corpus: Any) -> dict[str, Any]:
    """The fields of a corpus that name files, with absolute paths: they must mean the same elsewhere."""
    named = [_absolute(name) for name in paths_of(corpus)]
    if isinstance(corpus, TokensCorpus):
        return {"source": named[0]} if named else {}
    return {"files": named} if named else {}


def paths_of(corpus: Any) -> Sequence[str]:
    """The files and folders on this machine that a corpus names."""
    if isinstance(corpus, TextCorpus):
        return corpus.files
    return [corpus.source] if isinstance(corpus, TokensCorpus) and corpus.hub is None else []


def _absolute(name: str) -> str:
    if os.path.exists(os.path.expanduser(name)):  # not of `Path`: a text may be too long for a name
        return str(Path(name).expanduser().absolute())
    hint = PATH_HINT
    if name.startswith("acts_"):
        hint = "A store of activations is named by its whole id: see ws.activations.list() or "
        hint += "`saewidgets activations list`."
    elif len(name.split()) > 1:  # a sentence rather than a path
        hint += " Text itself goes into TextCorpus(strings=[...])."
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
    raise NotFoundError(f"There is no file or folder {shown!r}.", where="corpus", hint=hint)


def dataset_name(corpus: Any) -> str:
    """What the list of used datasets calls a corpus: where it can be, as a person would type it."""
    return typed(corpus.to_data()) or str(corpus.label)


def corpus_to_row(corpus: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The data of a corpus for a row; long text is written into `folder`."""
    strings = corpus.get("strings") or ()
    if sum(len(text) + _AROUND for text in strings) <= LARGE:
        return dict(corpus)
    from saewidgets.training.environment import text_digest  # torch: seconds to import

    path = folder / FILE
    with whole_file(path, "Free some space.") as file:  # never written into: other folders may have it, too
        for text in strings:
            file.write(json.dumps(text, ensure_ascii=False) + "\n")
    return {**corpus, "strings": text_digest(strings)}


def with_text(data: Mapping[str, Any], folder: str | Path) -> Mapping[str, Any]:
    """A configuration of a row with the text that `corpus_to_row` was given."""
    if not is_reference(data):
        return data
    from saewidgets.training.environment import text_digest  # torch: seconds to import

    path = Path(folder) / FILE
    strings = _read(path)
    if not all(isinstance(text, str) for text in strings) or text_digest(strings) != data["corpus"]["strings"]:
        raise FormatError(
            "The text was changed after it was saved.", where=str(path), hint="Start again with the text you want."
        )
    return {**data, "corpus": {**data["corpus"], "strings": strings}}


def is_reference(data: Mapping[str, Any]) -> bool:
    """Whether `data` names its text instead of holding it."""
    corpus = data.get("corpus")
    strings = corpus.get("strings") if isinstance(corpus, Mapping) else None
    return isinstance(strings, str) and strings.startswith("sha256:")


def _read(path: Path) -> list[Any]:
    if not path.exists():
        raise NotFoundError(
            "The text of this run is not here.", where=str(path),
            hint="It is in the run's folder on the machine that started it. Or start a new run with the text.",
        )
    hint = "Check its permissions."
    try:
        with storage_errors("The text cannot be read", path, hint), path.open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]
    except ValueError as error:
        raise FormatError(
            f"This is not the text of a run ({error}).", where=str(path), hint="Start a new run."
        ) from error


TEXT = "text_fingerprint"
"""From the facts of a store: the hash of its text, if that is in files of this machine."""


def text_stamp(corpus: Any) -> tuple[object, ...] | None:
    """Names, sizes and times of its files, which change with the text; None where it is in none, or they are gone."""
    try:
        return tuple((str(f), (stat := f.stat()).st_size, stat.st_mtime_ns) for f in text_files(corpus)) or None
    except OSError:
        return None


def text_fingerprint(corpus: Any) -> str | None:
    """The hash of a text that is in files, from whichever folder; None of any other, and of one that cannot be read."""
    from saewidgets.activations import open_corpus  # torch: seconds to import

    try:
        return open_corpus(corpus).fingerprint() if paths_of(corpus) else None
    except SAEWidgetsError:
        return None


def text_files(corpus: Any) -> list[Path]:
    """The files on this machine that a corpus reads; none of any other."""
    return [file for name in paths_of(corpus) for file in _files(Path(name).expanduser().absolute())]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
