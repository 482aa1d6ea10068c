"""Defines `open_hub_corpus`: a dataset of the hub as a corpus, streamed.

`datasets` finds out which files belong to a configuration and split. Parquet and JSON lines are then read from any row
group or byte on; files of other kinds by `datasets` itself, which keeps its own position. No code of a
repository is executed, and no file is read that is not in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from huggingface_hub import HfFileSystem, constants, try_to_load_from_cache

from saewidgets.activations.documents import (
    Chunk,
    Corpus,
    Position,
    Read,
    Shard,
    ShardPosition,
    ShardRow,
    What,
    arrow_columns,
    choose_column,
    chunked,
    kind_of,
    other_type,
)
from saewidgets.activations.text_files import documents_of, read_documents
from saewidgets.activations.tokenfiles import METADATA, equal_lengths, parse_metadata
from saewidgets.config import HubCorpus, TokensCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError
from saewidgets.hub.cache import is_hash, record_reference, reference_of, repo_folder
from saewidgets.hub.client import Attempts, HubClient
from saewidgets.hub.errors import (
    EntryNotFoundError,
    HubError,
    HubOfflineError,
    HubTimeoutError,
    RepositoryNotFoundError,
    TruncatedFileError,
    causes,
    explained,
    gated,
    switched_off,
)


def _snapshot(client: HubClient, path: str, commit: str) -> Path | None:
    """The copy of the repository in the cache of this machine, which may lack files."""
    folder = repo_folder(client.cache_dir, path, "datasets") / "snapshots" / commit
    return folder if folder.is_dir() else None


def _require_all(path: str, files: Sequence[str]) -> None:
    """Raise `HubOfflineError` where a copy lacks some of the files of a split, by what their names count."""
    counted = [found for file in files if (found := re.search(r"-(\d{5})-of-(\d{5})\.", file))]
    total = sum({file[: found.start()]: int(found[2]) for file, found in zip(files, counted, strict=False)}.values())
    if len(counted) == len(files) and len(files) < total:
        raise HubOfflineError(
            f"Of the {total:,} files of this split of {path} the cache has {len(files):,}; the hub cannot be reached.",
            where="corpus", hint=f"Download the others when online: hf download {path} --repo-type dataset.",
        )


def _inside(path: str, commit: str, address: str) -> str | None:
    """The file below the root of the repository; None where `address`, which the repository's card names, leads out of
    it."""
    start = f"hf://datasets/{path}@{commit}/"
    found = unquote(address)
    if not found.startswith(start) or "::" in found or ".." in found.split("/"):
        return None
    return found.removeprefix(start)


def _open(client: HubClient, system: HfFileSystem, path: str, commit: str, file: str) -> IO[bytes]:
    cached = try_to_load_from_cache(path, file, cache_dir=client.cache_dir, revision=commit, repo_type="dataset")
    if isinstance(cached, str):
        return open(cached, "rb")
    remote = system.open(f"datasets/{path}@{commit}/{file}", "rb")
    return io.BufferedReader(_CheckedFile(remote, f"{path}/{file}"), 1 << 16)


class _CheckedFile(io.RawIOBase):
    """A remote file that notices when it got fewer bytes than it asked for."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name, self._size = file, name, int(file.size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        place = self._file.tell()
        wanted = min(len(buffer), self._size - place)
        data = self._file.read(wanted) if wanted > 0 else b""
        if len(data) < wanted:
            raise TruncatedFileError(
                f"The hub sent {len(data):,} bytes where {wanted:,} were expected.", where=self._name, hint="Try again."
            )
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


_READERS = frozenset({"parquet", "json", "csv", "text", "arrow"})
"""Kinds of files that `datasets` is let read: of these none can run code."""
_CHARACTERS = 300  # of a library's own words
_FINDING = threading.Lock()  # `datasets` keeps module-wide state while it looks for files


def open_hub_corpus(
    config: HubCorpus, *, tokens: TokensCorpus | None = None, client: HubClient | None = None
) -> Dataset:
    """The dataset, at one commit. Its files are looked for when they are first needed."""
    client = client or HubClient()
    return Dataset(config, dataset_commit(client, config.path, config.revision), client, tokens)


class Dataset(Corpus):
    """A split of a dataset at one commit."""

    def __init__(self, config: HubCorpus, commit: str, client: HubClient, tokens: TokensCorpus | None) -> None:
        self.label = config.label
        self.commit = commit
        self._config, self._client, self._tokens = config, client, tokens
        self.tokenizer_said = None if tokens is None else tokens.tokenizer
        self.chat = tokens is None and config.chat
        self._what: What = "tokens" if tokens is not None else "chat" if config.chat else "text"
        self._column = config.text_field

    @cached_property
    def facts(self) -> Mapping[str, Any]:  # type: ignore[override] # asked of the hub once it is needed
        config = self._config
        facts = {
            "kind": "hub", "path": config.path, "name": config.name, "split": config.split, "revision": self.commit,
        }  # fmt: skip
        if self._tokens is None:
            return facts
        metadata = self._metadata()
        made = self._tokens.tokenizer or metadata.get("tokenizer_name")
        return {**facts, "tokenizer": made, **({"pretokenized": metadata} if metadata else {})}

    @cached_property
    def whole_rows(self) -> bool:  # type: ignore[override] # the files are looked for once it is needed
        if self._tokens is None:
            return False
        try:
            shards = self._shards
            return shards is not None and equal_lengths(shards[0], self._column)
        except Exception as error:
            raise _explained(error, self._client, self._config) from error

    def fingerprint(self) -> str:
        """From the settings and the commit, without reading text."""
        config = self._config
        settings = [self._what, config.path, config.name, config.split, self.commit, self._column]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        """The text from `position` on. What breaks off is tried again from the last chunk on, as long as the client
        tries."""
        attempts = Attempts(self._client)
        while True:
            try:
                for chunk in chunked(self._read(position)):
                    position = chunk.position
                    attempts.count = 0
                    yield chunk
                return
            except Exception as error:  # noqa: BLE001 - of several libraries; sorted out in `_explained`
                found = _explained(error, self._client, self._config)
                attempts.failed(found, again=isinstance(found, TruncatedFileError))

    def _read(self, position: Position | None) -> Read:
        shards = self._shards
        if shards is not None:
            return read_documents(shards, self._what, self._column, position)
        return self._streamed(position)

    @cached_property
    def _builder(self) -> Any:
        """What `datasets` knows of the configuration: no data are read for it."""
        import datasets  # seconds to import

        config = self._config
        # Without the hub, `datasets` finds the files of a copy of the repository as it would those of the hub.
        copy = _snapshot(self._client, config.path, self.commit) if constants.HF_HUB_OFFLINE else None
        with _FINDING:
            if copy is not None:
                builder = datasets.load_dataset_builder(str(copy), name=config.name)
            else:
                builder = datasets.load_dataset_builder(config.path, name=config.name, revision=self.commit)
        reader = type(builder).__module__.rpartition(".")[2]
        if reader not in _READERS:
            raise FormatError(
                f"The dataset {self._config.path} holds {reader} files, not text.", where="corpus",
                hint="Datasets of Parquet, JSON, CSV and text files can be read.",
            )
        return builder

    @cached_property
    def _files(self) -> list[str]:
        """The split's files, in the order in which they are read."""
        found = self._builder.config.data_files
        path, split = self._config.path, self._config.split
        copy = _snapshot(self._client, path, self.commit)

        def address(file: str) -> str:
            if copy is None or "://" in file or not Path(file).is_relative_to(copy):
                return file
            return f"hf://datasets/{path}@{self.commit}/{Path(file).relative_to(copy).as_posix()}"

        files = {str(each): [address(str(file)) for file in found[each]] for each in found}
        if split not in files:
            raise ConfigError(
                f"The dataset {path} has no split {split!r}.", where="corpus.split",
                hint=f"It has {', '.join(files)[:_CHARACTERS] or 'none'}.",
            )
        _require_all(path, files[split])
        for file in files[split]:
            if _inside(path, self.commit, file) is None:
                raise _leads_out(path, file)
        return files[split]

    @cached_property
    def _shards(self) -> list[Shard] | None:
        """The files, where they are read here; None where `datasets` reads them."""
        client, path = self._client, self._config.path
        # Ranged reads, with the endpoint and token of the client.
        system = HfFileSystem(endpoint=client.endpoint, token=client.secret(), skip_instance_cache=True)
        shards = []
        for found in self._files:
            file = str(_inside(path, self.commit, found))
            if (kind := kind_of(file)) is None:
                return None
            shards.append(Shard(f"{path}/{file}", kind, partial(_open, client, system, path, self.commit, file)))
        return shards

    def _streamed(self, position: Position | None) -> Read:
        """Rows of files that only `datasets` reads. Its state says where to go on; within a file it reads again what is
        before that."""
        self._files  # noqa: B018 - which ones they are is checked first
        rows = self._builder.as_streaming_dataset(split=self._config.split)
        if (features := rows.features) is None:  # neither the card nor the first file says it
            first: dict[str, Any] = next(iter(rows), {})
            columns = {name: other_type(self._what, value) for name, value in first.items()}
        else:
            columns = arrow_columns(features.arrow_schema, self._what, self._column)
        column = choose_column(self._what, columns, self._column, self._config.path)
        rows = rows.select_columns([column])
        before = 0
        if position is not None:
            rows.load_state_dict(position["state"])
            before = int(position["rows"])
        for number, row in enumerate(rows, before + 1):
            read = ShardRow(row[column], number, ShardPosition(), column)
            found = documents_of(read, self._what, f"{self._config.path}: row {number:,}")
            yield found, lambda number=number: {"state": rows.state_dict(), "rows": number}  # type: ignore[misc]

    def _metadata(self) -> dict[str, Any]:
        """What SAELens' PretokenizeRunner put beside the tokens."""
        url = f"{self._client.endpoint}/datasets/{self._config.path}/resolve/{self.commit}/{METADATA}"
        try:
            data, _ = self._client.get_json(url)
        except EntryNotFoundError:
            return {}
        return parse_metadata(json.dumps(data).encode(), f"{self._config.path}/{METADATA}")


def dataset_commit(client: HubClient, path: str, revision: str | None = None) -> str:
    """The commit that `revision` (None: the default branch) stands for. Where the hub cannot be asked, what it stood
    for when somebody on this machine last did."""
    if is_hash(revision, 40):
        return str(revision)
    asked = revision or "main"
    try:
        if constants.HF_HUB_OFFLINE:
            raise switched_off()
        url = f"{client.endpoint}/api/datasets/{quote(path)}/revision/{quote(asked, safe='')}"
        data, _ = client.get_json(url)
    except (HubOfflineError, HubTimeoutError) as error:
        if (known := reference_of(client.cache_dir, "datasets", path, asked)) is not None:
            return known
        error.hint = f"{error.hint} With a commit as revision, packed tokens are used without the hub."
        raise
    except RepositoryNotFoundError as error:
        raise _missing(path) from error
    commit = data.get("sha") if isinstance(data, dict) else None
    if not is_hash(commit, 40):
        raise HubError("The hub does not say which commit this is.", where=path, hint="Try again in a moment.")
    record_reference(client.cache_dir, "datasets", path, asked, str(commit))
    return str(commit)


def _missing(path: str) -> RepositoryNotFoundError:
    return RepositoryNotFoundError(
        f"The hub has no dataset {path}.", where="corpus",
        hint="It does not exist, or is private and your token has no access to it. Write a local file or folder with "
        f"its full path, or as ./{path}.",
    )


def _explained(error: BaseException, client: HubClient, config: HubCorpus) -> BaseException:
    """An exception of `datasets`, huggingface_hub or a network library as ours; anything else as it is. The token of
    `client` is kept out of messages."""
    chain, path = list(causes(error)), config.path
    if (ours := next((cause for cause in chain if isinstance(cause, SAEWidgetsError)), None)) is not None:
        return ours
    names = {cls.__name__ for cause in chain for cls in type(cause).__mro__}
    text = client.redact(" ".join(str(cause) for cause in chain))
    if "GatedRepoError" in names or ("DatasetNotFoundError" in names and "gated" in text.lower()):
        return gated(f"datasets/{path}", client.endpoint)
    if "data files don't belong to" in text.lower():
        return _leads_out(path)
    if "scripts are no longer supported" in text:
        return FormatError(
            "This dataset needs code from its repository, which is never run.", where=path,
            hint='Many such datasets have a Parquet copy: try revision="refs/convert/parquet".',
        )
    if (found := re.search(r"Available: \[([^\]]*)\]|available configs: \[([^\]]*)\]", text)) is not None:
        listed = (found[1] or found[2] or "").replace("'", "")[:_CHARACTERS]
        problem = "has several configurations" if config.name is None else f"has no configuration {config.name!r}"
        return NotFoundError(f"The dataset {path} {problem}.", where="corpus.name", hint=f"Choose one of: {listed}.")
    if names & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return NotFoundError(
            f"The dataset {path} has no files that can be read as text.", where="corpus",
            hint="Parquet, JSON, CSV and text are.",
        )
    of_the_hub = explained(error, f"{client.endpoint}/datasets/{path}", client.redact)
    if isinstance(of_the_hub, HubError):
        return of_the_hub
    if "DatasetNotFoundError" in names:
        return _missing(path)
    if isinstance(error, ValueError | FileNotFoundError | RuntimeError | TypeError | KeyError):
        first = (client.redact(str(error)).strip().splitlines() or [type(error).__name__])[0][:_CHARACTERS]
        return FormatError(
            f"The dataset {path} cannot be read ({first.rstrip('.')}).", where="corpus",
            hint="Look at its page on the hub, or choose another one.",
        )
    return error


def _leads_out(path: str, file: str = "") -> FormatError:
    return FormatError(
        f"The card of the dataset {path} names a file that is not in it{f': {file[:200]}' if file else ''}.",
        where="corpus", hint="Such a file is not read. Choose another dataset.",
    )
