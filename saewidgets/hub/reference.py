"""What a person types or pastes to name an SAE on the hub, taken apart.

Understood are ``owner/name``, ``owner/name@revision``, ``owner/name/sub/folder``, both together, links copied from the
hub's pages (``/tree/REVISION/folder``, ``/blob/…``, ``/resolve/…``), ``hf://`` addresses, and SAELens' releases:
``gpt2-small-res-jb`` or, with the id of one SAE, ``gpt2-small-res-jb/blocks.6.hook_resid_pre``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from saewidgets.config import arguments
from saewidgets.errors import ConfigError
from saewidgets.hub.errors import WrongRepositoryTypeError
from saewidgets.hub.known import find_release, is_canonical, release_names, release_path

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
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
    path = release_path(release, rest) if rest else ""
    if is_canonical(release) and rest not in release.ids:
        return HubReference(release.repo_id, None, path, release.name)
    return HubReference(release.repo_id, None, path)


def _from_name(text: str) -> HubReference:
    parts = text.split("/")
    if len(parts) > 2 and parts[0] in _OTHER_TYPES:  # a link without its host
        raise wrong_type("/".join(parts[1:3]), _OTHER_TYPES[parts[0]])
    if len(parts) < 2:
        near = difflib.get_close_matches(text, release_names(), 3)
        hint = f"SAELens releases with a similar name: {', '.join(near)}." if near else _HINT
        raise ConfigError("This is neither a repository nor a SAELens release.", where=text[:200], hint=hint)
    name, revision = parts[1], None
    rest = "/".join(parts[2:])
    if "@" in name:  # a revision may hold slashes itself (refs/pr/1): then nothing but the revision follows
        name, _, revision = name.partition("@")
        if revision == "refs" and rest:
            revision, rest = f"refs/{rest}", ""
    elif "@" in rest:  # owner/name/folder@revision
        rest, _, revision = rest.rpartition("@")
    if rest.split("/", 1)[0] in _WORDS and "/" in rest:  # owner/name/tree/main/folder, a link without its host
        _, revision, rest = (*rest.split("/", 2), "")[:3]
    return _checked(f"{parts[0]}/{name}", revision, rest, text)


def _from_link(text: str) -> HubReference:
    if text.startswith("hf://"):
        parts = text.removeprefix("hf://").split("/")
    else:
        link = urlsplit(text if "://" in text else f"https://{text}")
        if link.scheme not in ("http", "https") or not _is_hub(link.hostname or ""):
            raise ConfigError("This link does not lead to the hub.", where=text[:200], hint=_HINT)
        parts = unquote(link.path).split("/")
    parts = [part for part in parts if part]
    if parts[:1] == ["api"]:
        parts = parts[1:]
    if parts and parts[0] in _OTHER_TYPES:
        raise wrong_type("/".join(parts[1:3]), _OTHER_TYPES[parts[0]])
    if parts[:1] == ["models"]:
        parts = parts[1:]
    if len(parts) > 2 and parts[2] in _WORDS:
        after = parts[3:]
        if after[:1] == ["refs"]:  # refs/pr/1, refs/convert/parquet
            return _checked("/".join(parts[:2]), "/".join(after[:3]), "/".join(after[3:]), text)
        return _checked("/".join(parts[:2]), after[0] if after else None, "/".join(after[1:]), text)
    return _from_name("/".join(parts)) if text.startswith("hf://") else _checked("/".join(parts[:2]), None, "", text)


def _is_hub(host: str) -> bool:
    """Whether a link to this host means the hub: the public one, that of HF_ENDPOINT, or one on this machine."""
    from huggingface_hub import constants  # a quarter of a second, for pasted links only

    known = {"huggingface.co", "www.huggingface.co", "hf.co", "localhost", "127.0.0.1", "::1"}
    known.add(urlsplit(constants.ENDPOINT).hostname or "")
    return host.lower() in known


def wrong_type(repo_id: str, kind: str) -> WrongRepositoryTypeError:
    """The error for a dataset or Space."""
    return WrongRepositoryTypeError(
        f"This is a {kind}, not a model repository.", where=repo_id, hint="SAEs are kept in model repositories."
    )


def _checked(repo_id: str, revision: str | None, path: str, text: str) -> HubReference:
    path = path.strip("/")
    repo_id = repo_id.removesuffix(".git")
    if not _REPO.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id:
        raise ConfigError("This is not the name of a repository.", where=text[:200], hint=_HINT)
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
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
