"""Defines `HubReference` and `parse_reference`, which takes apart what a person types or pastes to name an SAE on the
hub; and facts that ship with the package: public repositories with SAEs and SAELens' releases.

Understood are ``owner/name``, ``owner/name@revision``, ``owner/name/sub/folder``, both together, links copied from the
hub's pages (``/tree/REVISION/folder``, ``/blob/…``, ``/resolve/…``), ``hf://`` addresses, and SAELens' releases:
``gpt2-small-res-jb`` or, with the id of one SAE, ``gpt2-small-res-jb/blocks.6.hook_resid_pre``.

`data/releases.json` is made by `tools/build_releases.py` from the table that sae-lens ships. The ids of a release
follow few patterns (``layer_#_width_#k`` is the same folder below ``resid_post``): those are kept, and beside them only
the ids that follow none. A pattern also fits ids that were never published; the listing of the repository then says so.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import unquote, urlsplit

from saewidgets.config import arguments
from saewidgets.config.corpus import REPOSITORY, REVISION
from saewidgets.errors import ConfigError
from saewidgets.hub.errors import WrongRepositoryTypeError
from saewidgets.hub_records import KnownRepo

_HINT = (
    "Write owner/name, owner/name@revision or owner/name/folder, paste a link to a model repository, "
    "or name a SAELens release."
)
_OTHER_TYPES = {"datasets": "dataset", "spaces": "Space", "kernels": "kernel", "buckets": "bucket"}
_WORDS = ("tree", "blob", "resolve", "raw")  # between the name and the revision in links


@dataclass(frozen=True, slots=True)
class HubReference:
    """A place on the hub.

    Attributes:
        repo_id: ``owner/name``.
        revision: branch, tag or commit; None: the default branch.
        path: folder or file of the SAE, ``""`` for the root or for "whatever is in there".
        release: a SAELens release that has but some of the repository's SAEs, one of each layer and width
            (``…-canonical``): the others are not meant.
    """

    repo_id: str
    revision: str | None = None
    path: str = ""
    release: str | None = None

    def __str__(self) -> str:
        if self.release is not None:
            return self.release + (f"/{self.path}" if self.path else "")
        return self.repo_id + (f"@{self.revision}" if self.revision else "") + (f"/{self.path}" if self.path else "")


def parse_reference(text: str | HubReference, where: str = "reference") -> HubReference:
    """`text` as a place on the hub; no request is made. `where` is what errors call the argument.

    Raises:
        ConfigError: it cannot be read as one; the hint says what can.
        WrongRepositoryTypeError: it names a dataset or a Space.
    """
    if isinstance(text, HubReference):
        return text
    arguments.text(text, where, "a repository of the hub")
    text = text.strip().strip("\"'").strip()
    if not text:
        raise ConfigError("No repository is named.", where="repository", hint=_HINT)
    if "://" in text or re.match(r"(www\.)?(huggingface\.co|hf\.co)/", text):
        return _from_link(text)
    if (found := _from_release(text)) is not None:
        return found
    return _from_name(text)


def _from_release(text: str) -> HubReference | None:
    name, _, rest = text.partition("/")
    if (release := find_release(name)) is None:
        return None
    rest = rest.strip("/")
    named = release.name if release.canonical and rest not in release.ids else None
    return HubReference(release.repo_id, None, release.path(rest) if rest else "", named)


def _from_name(text: str) -> HubReference:
    parts = text.split("/")
    if len(parts) > 2 and parts[0] in _OTHER_TYPES:  # a link without its host
        raise wrong_type("/".join(parts[1:3]), _OTHER_TYPES[parts[0]])
    if len(parts) < 2:
        near = difflib.get_close_matches(text, _data("releases.json")["releases"], 3)
        hint = f"SAELens releases with a similar name: {', '.join(near)}." if near else _HINT
        raise ConfigError("This is neither a repository nor a SAELens release.", where=text[:200], hint=hint)
    name, revision = parts[1], None
    rest = "/".join(parts[2:])
    if len(parts) > 3 and parts[2] in _WORDS:  # owner/name/tree/main/folder
        end = 6 if parts[3] == "refs" else 4  # refs/pr/1, refs/convert/parquet
        revision, rest = "/".join(parts[3:end]), "/".join(parts[end:])
    elif "@" in name:  # a revision may hold slashes itself (refs/pr/1): then nothing but the revision follows
        name, _, revision = name.partition("@")
        if revision == "refs" and rest:
            revision, rest = f"refs/{rest}", ""
    elif "@" in rest:  # owner/name/folder@revision
        rest, _, revision = rest.rpartition("@")
    return _checked(f"{parts[0]}/{name}", revision, rest, text)


def _from_link(text: str) -> HubReference:
    if own := text.startswith("hf://"):
        path = text.removeprefix("hf://")
    else:
        link = re.match(r"(?:https?://)?([^/?#]+)([^?#]*)", text, re.IGNORECASE)
        if link is None or not _is_hub(link[1]):
            raise ConfigError("This link does not lead to the hub.", where=text[:200], hint=_HINT)
        path = unquote(link[2])
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        parts = parts[1:]
    if parts and parts[0] in _OTHER_TYPES:
        raise wrong_type("/".join(parts[1:3]), _OTHER_TYPES[parts[0]])
    if parts[:1] == ["models"]:
        parts = parts[1:]
    if not own and (len(parts) < 4 or parts[2] not in _WORDS):  # another page: discussions, settings
        del parts[2:]
    return _from_name("/".join(parts))


def _is_hub(place: str) -> bool:
    """Whether a link to this host and port means the hub: the public one, that of HF_ENDPOINT, or one on this machine.
    """
    from huggingface_hub import constants  # a quarter of a second, for pasted links only

    host = re.sub(r":\d+$", "", place.rpartition("@")[2]).lower()
    known = ("huggingface.co", "www.huggingface.co", "hf.co", "localhost", "127.0.0.1", "[::1]")
    return host in known or host == urlsplit(constants.ENDPOINT).hostname


def wrong_type(repo_id: str, kind: str) -> WrongRepositoryTypeError:
    """The error for a dataset or Space."""
    return WrongRepositoryTypeError(
        f"This is a {kind}, not a model repository.", where=repo_id, hint="SAEs are kept in model repositories."
    )


def _checked(repo_id: str, revision: str | None, path: str, text: str) -> HubReference:
    path = path.strip("/")
    repo_id = repo_id.removesuffix(".git")
    if not REPOSITORY.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id:
        raise ConfigError("This is not the name of a repository.", where=text[:200], hint=_HINT)
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        raise ConfigError("This is not a branch, tag or commit.", where=(revision or text)[:200], hint=_HINT)
    if path and not is_plain_path(path):
        raise ConfigError("This is not a path inside a repository.", where=path[:200], hint=_HINT)
    return HubReference(repo_id, revision, path)


def is_plain_path(path: str) -> bool:
    """Whether a path of a repository may become a path on this machine: relative, without ``..`` and control marks."""
    parts = path.split("/")
    return (
        0 < len(path) <= 1000
        and all(part not in ("", ".", "..") for part in parts)
        and not any(ord(char) < 32 or char in "\\\x7f" for char in path)
        and re.match(r"[A-Za-z]:", path) is None  # a drive of Windows
    )


# --- Known repositories ----------------------------------------------------------------------------------------------

_GATED = re.compile(r"google/gemma-\w.*|meta-llama/.*", re.IGNORECASE)
_OPEN = re.compile(
    r"openai-community/.*|EleutherAI/(pythia|gpt-neo).*|Qwen/.*|deepseek-ai/.*|openai/gpt-oss.*", re.IGNORECASE
)


@functools.cache
def _data(name: str) -> Any:
    return json.loads(resources.files("saewidgets.hub").joinpath(f"data/{name}").read_text(encoding="utf-8"))


@functools.cache
def known_repos() -> tuple[KnownRepo, ...]:
    """The table that ships with the package, in the order in which it is shown."""
    lists = ("sites", "widths")
    rows = (row | {name: tuple(row.get(name, ())) for name in lists} for row in _data("known.json"))
    return tuple(KnownRepo(**row) for row in rows)


def gated_by_name(model: str) -> bool | None:
    """Whether a model's repository is known to be behind a licence; None where its owner decides case by case."""
    return True if _GATED.fullmatch(model) else False if _OPEN.fullmatch(model) else None


def similar(repo_id: str, others: Iterable[str] = ()) -> tuple[str, ...]:
    """Repositories, known ones or `others`, whose names are nearest to one that does not exist."""
    names = {name.lower(): name for name in (*others, *(known.repo_id for known in known_repos()))}
    return tuple(names[name] for name in difflib.get_close_matches(repo_id.lower(), list(names), 3, 0.75))


def repos_for_model(model: str) -> tuple[str, ...]:
    """Known repositories with SAEs of a model, by the end of its name."""
    short = model.lower().rpartition("/")[2]
    return tuple(known.repo_id for known in known_repos() if known.model.lower().rpartition("/")[2] == short)[:4]


def trained_on(repo_id: str, base_models: Iterable[str] = ()) -> str | None:
    """The model of a repository's SAEs, from its card, the table of known ones, or SAELens' releases."""
    known = (row.model for row in known_repos() if row.repo_id == repo_id)
    return next(known, None) or next(iter(base_models), None) or model_of(repo_id)


# --- SAELens' releases -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SAELensRelease:
    """A SAELens release, as `SAE.from_pretrained` takes it."""

    name: str
    repo_id: str
    patterns: Mapping[str, str]  # ids with # for every number → folder with {n} for the n-th number of the id
    ids: Mapping[str, str]  # ids that follow no pattern → folder

    def path(self, sae_id: str) -> str:
        """The folder of one SAE; an id that is already a folder stays as it is."""
        if sae_id in self.ids:
            return self.ids[sae_id]
        pattern = self.patterns.get(re.sub(r"\d+", "#", sae_id))
        return pattern.format(*re.findall(r"\d+", sae_id)) if pattern is not None else sae_id

    @property
    def canonical(self) -> bool:
        """Whether it has one SAE of each layer and width of its repository, and no more."""
        return bool(self.ids) and all(sae_id.endswith("/canonical") for sae_id in self.ids)


def find_release(name: str) -> SAELensRelease | None:
    """The release of that name, None if there is none."""
    row = _data("releases.json")["releases"].get(name)
    return None if row is None else SAELensRelease(name, row["repo"], row.get("patterns", {}), row.get("ids", {}))


@functools.cache
def canonical_paths(repo_id: str) -> frozenset[str]:
    """Folders of a Gemma Scope repository that SAELens gives as the ones to take for their layer and width."""
    return frozenset(
        path
        for row in _data("releases.json")["releases"].values()
        if row["repo"] == repo_id
        for sae_id, path in row.get("ids", {}).items()
        if sae_id.endswith("/canonical")
    )


def published_l0(repo_id: str, path: str) -> float | None:
    """Mean active latents of a Gemma Scope 2 folder, whose name says only ``small``, ``medium`` or ``big``."""
    found = re.fullmatch(r"(.+)/layer_(\d+)_width_[^_]+_l0_(small|medium|big)(?:_.*)?", path)
    if found is None:
        return None
    value = _data("releases.json")["l0"].get(repo_id, {}).get(found[1], {}).get(found[3], {}).get(found[2])
    return None if value is None else float(value)


@functools.cache
def model_of(repo_id: str) -> str | None:
    """The model that SAELens names for the SAEs of a repository, if all its releases agree."""
    models = {row["model"] for row in _data("releases.json")["releases"].values() if row["repo"] == repo_id}
    return models.pop() if len(models) == 1 else None
