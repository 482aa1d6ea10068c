"""What went wrong while publishing, by the status that the hub gave, with what a person who publishes can do."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from saewidgets.hub import failures
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ConflictError,
    ConnectionLostError,
    ForbiddenError,
    HubError,
    HubTimeoutError,
    InvalidTokenError,
    RepositoryNotFoundError,
)

_AGAIN = "Publish again: the repository was not changed, and large files that arrived are not sent twice."


def explained(error: Exception, client: HubClient, repo_id: str) -> BaseException:
    """An exception of huggingface_hub as ours; its text is not kept, since it may hold headers.

    A status decides wherever there is one: the exceptions that carry it also count as broken connections.
    """
    cause: BaseException | None = error
    while cause is not None:  # uploads wrap what happened in a RuntimeError
        response = getattr(cause, "response", None)
        if response is not None and isinstance(getattr(response, "status_code", None), int):
            return _refused(response, client, repo_id)
        cause = cause.__cause__ or cause.__context__
    cause = error
    while cause is not None:
        found = failures.from_exception(cause, f"{client.endpoint}/api/models/{repo_id}", client.redact)
        if isinstance(found, HubError):
            if isinstance(found, ConnectionLostError | HubTimeoutError):
                found.hint = _AGAIN
            return found
        cause = cause.__cause__ or cause.__context__
    return HubError(
        f"The upload failed: {client.redact(str(error))[:300]}",
        where=f"{client.endpoint}/{repo_id}",
        hint="Look at the repository's page before you try again.",
    )


def _refused(response: Any, client: HubClient, repo_id: str) -> HubError:
    """The error for an answer that is not a success."""
    status, url, body = int(response.status_code), str(response.url), _body(response)
    said = failures.said(response.headers, body, client.redact)
    words = f": {said}" if said else "."
    owner = repo_id.partition("/")[0]
    if response.request.method == "PUT" and status in (400, 403, 404):
        return HubError(
            f"The hub's storage did not take a file (HTTP {status}).",
            where=urlsplit(url).hostname,
            hint=f"The address for it may have run out. {_AGAIN}",
        )
    if status == 401:
        return InvalidTokenError(
            "The hub does not know this access token.",
            where=repo_id,
            hint="Create one with write permission on the token page of your account.",
        )
    if status == 403:
        return ForbiddenError(
            f"The hub does not let this token write to {repo_id}{words}",
            where=repo_id,
            hint=f"Use a token with write permission for {owner}, or publish under the name of your own account.",
        )
    if status == 404:
        return RepositoryNotFoundError(
            f"The hub has no place {repo_id} to publish to{words}",
            where=urlsplit(client.endpoint).hostname,
            hint=f"Check that the account {owner} exists and that your token reaches it; and HF_ENDPOINT if it is set.",
        )
    if status in (409, 412):
        return ConflictError(
            f"{repo_id} was changed by somebody else meanwhile{words}",
            where=repo_id,
            hint=f"Look at the repository's page. {_AGAIN}",
        )
    found = failures.from_reply(status, response.headers, body, url, client.redact)
    if status >= 500:
        found.hint = f"Wait a little. {_AGAIN}"
    return found


def _body(response: Any) -> bytes:
    """The start of what the hub said; empty where it was not read."""
    try:
        return bytes(response.content[:100_000])
    except Exception:  # noqa: BLE001 - of two network libraries: the answer was streamed and has been closed
        return b""
