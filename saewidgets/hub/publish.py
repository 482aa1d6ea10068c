"""Publishes an SAE: pushes a folder with a model card to a repository of the hub, and writes the card."""

import contextlib
import io
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined] # public, not declared

from saewidgets.config.corpus import REPOSITORY
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.hub import errors
from saewidgets.hub.client import HubClient
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.version import __version__

_WEIGHTS = (".safetensors", ".npz", ".pt", ".pth")
IGNORED = ["*.incomplete", "*.tmp", ".*", "*/.*", "*.lock"]
_COMMITS = logging.getLogger("huggingface_hub._commit_api")


@dataclass(frozen=True, slots=True)
class Pushed:
    """A published SAE: where it is, at which commit, and the address of its page."""

    repo_id: str
    revision: str
    path: str
    url: str


def place_of(repo_id: str, path: str = "") -> HubReference:
    """Where an SAE would be published. Raises `ConfigError` unless that is a repository and a folder in it."""
    if REPOSITORY.fullmatch(repo_id) is None:
        hint = "Give owner/name, for example your-name/my-saes."
        raise ConfigError("This is not the name of a repository.", where="repo_id", hint=hint)
    return parse_reference(f"{repo_id}/{path}".rstrip("/"))


def push(
    folder: str | Path, repo_id: str, *, client: HubClient | None = None, path: str = "", card: str | None = None,
    private: bool = True, message: str = "Upload SAE", replace_card: bool = False,
) -> Pushed:
    """Upload `folder` into the model repository `repo_id`, which is created if need be (see
    `Workspace.saes.push_to_hub`).

    Files and card arrive in one commit or not at all. They are sent by plain requests, whether or not `hf_xet` is
    installed.

    Args:
        client: its token needs write access.
        path: where in the repository; ``""`` is the root.
        card: text of README.md (see `model_card`), written at the root; if the repository has one already, only with
            `replace_card`.
        private: whether a new repository is private; an existing one stays as it is.
    """
    client, place = client or HubClient(), place_of(repo_id, path)
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError("There is no such folder.", where=str(folder), hint="Check the path of the SAE.")
    if not client.signed_in():
        hint = "Give an access token with write permission, or run: hf auth login."
        raise errors.InvalidTokenError("Nobody is signed in.", where="token", hint=hint)
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    kept = filter_repo_objects(names, ignore_patterns=IGNORED)
    found: dict[str, Path | bytes] = {f"{place.path}/{name}".lstrip("/"): folder / name for name in kept}
    if not found:
        raise NotFoundError("The folder holds no files to publish.", where=str(folder), hint="Save the SAE first.")
    api = HfApi(client.endpoint, client.secret(), library_name="saewidgets", library_version=__version__)
    url = f"{client.endpoint}/{place.repo_id}"
    try:
        api.create_repo(place.repo_id, private=private, exist_ok=True)
        with contextlib.ExitStack() as stack:
            _COMMITS.addFilter(_is_not_about_xet)
            stack.callback(_COMMITS.removeFilter, _is_not_about_xet)
            has_card = not replace_card and api.file_exists(place.repo_id, "README.md")
            if card is not None and "README.md" not in found and not has_card:
                found["README.md"] = card.encode()
            # Open files are sent by plain requests. Paths would go through Xet wherever that is installed: in several
            # commits, to hosts that a company's hub may not have, and with errors that do not say the hub's status.
            files = {
                name: io.BytesIO(what) if isinstance(what, bytes) else stack.enter_context(what.open("rb"))
                for name, what in found.items()
            }
            additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
            commit = api.create_commit(place.repo_id, additions, commit_message=message)
    except Exception as error:  # noqa: BLE001 - of two network libraries; sorted out in `explained`
        raise _refusal(error, client, place.repo_id) from None
    client.refresh()
    shown = f"{url}/tree/main/{place.path}" if place.path else url
    return Pushed(place.repo_id, str(commit.oid), place.path, shown)


def _is_not_about_xet(record: logging.LogRecord) -> bool:
    """huggingface_hub warns that open files do not go through Xet."""
    return "Xet" not in record.getMessage()


_AGAIN = "Publish again: the repository was not changed, and large files that arrived are not sent twice."
# What a person who publishes can do: class of the error → what (None: as when one looks), hint.
_WORDS: dict[type[errors.HubError], tuple[str | None, str]] = {
    errors.InvalidTokenError: (None, "Create one with write permission on the token page of your account."),
    errors.ForbiddenError: (
        "The hub does not let this token write to {repo}{words}",
        "Use a token with write permission for {owner}, or publish under the name of your own account.",
    ),
    errors.RepositoryNotFoundError: (
        "The hub has no place {repo} to publish to.",
        "Check that the account {owner} exists and that your token reaches it; and HF_ENDPOINT if it is set.",
    ),
    errors.ConflictError: (None, f"Look at the repository's page. {_AGAIN}"),
    errors.HubServerError: (None, f"Wait a little. {_AGAIN}"),
    errors.ConnectionLostError: (None, _AGAIN),
    errors.HubTimeoutError: (None, _AGAIN),
}


def _refusal(error: Exception, client: HubClient, repo_id: str) -> BaseException:
    """An exception of huggingface_hub as ours; its text is not kept, since it may hold headers."""
    replies = (getattr(cause, "response", None) for cause in errors.causes(error))  # uploads wrap what happened
    reply = next((reply for reply in replies if reply is not None), None)
    if reply is not None and reply.request.method == "PUT" and reply.status_code in (400, 403, 404):
        what = f"The hub's storage did not take a file (HTTP {reply.status_code})."
        hint = f"The address for it may have run out. {_AGAIN}"
        return errors.HubError(what, where=errors.host_of(str(reply.url)), hint=hint)
    found = errors.explained(error, f"{client.endpoint}/api/models/{repo_id}", client.redact)
    if reply is not None and reply.status_code == 401:  # a missing repository gives 401, too
        found = errors.InvalidTokenError("The hub does not know this access token.")
    if not isinstance(found, errors.HubError):
        what, hint = f"The upload failed: {client.redact(str(error))[:300]}", "Look at the repository's page first."
        return errors.HubError(what, where=f"{client.endpoint}/{repo_id}", hint=hint)
    if type(found) not in _WORDS:
        return found
    said, hint = _WORDS[type(found)]
    words = found.what.removeprefix("The hub refuses this")  # its own, as a sentence
    what = found.what if said is None else said.format(repo=repo_id, words=words)
    return type(found)(what, where=repo_id, hint=hint.format(owner=repo_id.partition("/")[0]))


@dataclass(frozen=True, slots=True)
class CardSource:
    """Where a published SAE was downloaded from, for its card: repository, exact commit, folder or file in it, and the
    page of that. `converted_from` is the format that it had there, None if the files are the same here."""

    repo_id: str
    revision: str
    path: str
    url: str
    converted_from: str | None = None
    license: str | None = None


def source_url(endpoint: str, repo_id: str, revision: str, path: str) -> str:
    """The page of a folder, or of the one file that an SAE is, at a commit. No name or password of the endpoint."""
    hub = urlsplit(endpoint)
    kind = "blob" if path.endswith(_WEIGHTS) else "tree"
    place = "/".join(quote(part, safe="/") for part in (repo_id, kind, revision, path) if part)
    return f"{hub.scheme}://{hub.netloc.rpartition('@')[2]}{hub.path.rstrip('/')}/{place}"


def model_card(
    *, title: str, model: str | None = None, description: str = "", facts: Mapping[str, Any] | None = None,
    load_code: Mapping[str, str] | None = None, license: str = "mit",
    tags: tuple[str, ...] = ("sparse-autoencoder", "saelens"), source: CardSource | None = None,
) -> str:
    """README.md of a published SAE: front matter that the hub reads, a table of `facts`, how to load it (name of a
    library → lines of Python), and where it was downloaded from; None: it is the publisher's own, as far as known."""
    lines = ["---", "library_name: saelens", f"license: {_yaml(license)}"]
    if model and re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        lines.append(f"base_model: {_yaml(model)}")
    lines += ["tags:", *(f"- {_yaml(tag)}" for tag in tags), "---", "", f"# {_plain(title)}", ""]
    if description:
        lines += [_plain(description), ""]
    if facts:
        lines += ["| | |", "|---|---|", *(f"| {_plain(key)} | {_plain(value)} |" for key, value in facts.items()), ""]
    if source is not None:
        lines += ["## Source", "", *_source_lines(source, license), ""]
    for library, code in (load_code or {}).items():
        lines += [f"## Load with {_plain(library)}", "", "```python", code.replace("```", "'''").strip(), "```", ""]
    return "\n".join(lines)


def _source_lines(source: CardSource, license: str) -> Iterator[str]:
    folder = f", {_plain(source.path)}" if source.path else ""
    yield (
        f"This SAE was published in [{_plain(source.repo_id)}]({source.url}){folder}, at commit "
        f"{_plain(source.revision)}, and downloaded from there with saewidgets."
    )
    if source.converted_from is None:
        yield "Its files are those of the source."
    else:
        yield f"It was converted from the format {_plain(source.converted_from)} with saewidgets."
    if source.license is None:
        yield "The licence of the source is not recorded; look at its page."
    elif source.license.strip().lower() == license.strip().lower():
        yield f"The licence of the source is {_plain(source.license)}, as here."
    else:
        yield f"The licence of the source is {_plain(source.license)}; this repository was given {_plain(license)}."


def _yaml(text: str) -> str:
    return '"' + re.sub(r"[\x00-\x1f\"\\]", " ", str(text)) + '"'


def _plain(value: Any) -> str:
    """Text that Markdown leaves alone: no tags, no table columns, no links out of a name."""
    text = re.sub(r"\s+", " ", str(value))
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
