"""What can go wrong between this machine and the hub: one class per cause, each with the next step as its hint."""

from __future__ import annotations

from saewidgets.errors import NotFoundError, SAEWidgetsError, StorageError


class HubError(SAEWidgetsError):
    """Base of everything that goes wrong with the hub; raised itself only for an answer nobody expects."""


class RepositoryNotFoundError(HubError, NotFoundError):
    """There is no such repository, or it is private and the token does not reach it.

    Attributes:
        suggestions: known repositories with a similar name, nearest first.
    """

    suggestions: tuple[str, ...] = ()


class RevisionNotFoundError(HubError, NotFoundError):
    """The repository has no such branch, tag or commit."""


class EntryNotFoundError(HubError, NotFoundError):
    """The repository has no such file or folder."""


class NoSAEError(HubError, NotFoundError):
    """Nothing in the repository (or the folder) is an SAE in a format that is known here.

    Attributes:
        suggestions: repositories with SAEs of the model that was found instead.
    """

    suggestions: tuple[str, ...] = ()


class WrongRepositoryTypeError(HubError):
    """It is a dataset or a Space; SAEs are looked for in model repositories."""


class GatedRepositoryError(HubError):
    """The account has not accepted the repository's licence, or nobody is signed in."""


class InvalidTokenError(HubError):
    """The hub does not know the access token, or it cannot be one."""


class ForbiddenError(HubError):
    """The account is known, but its token may not do this."""


class ConflictError(HubError):
    """What is to be published contradicts what somebody else did in the repository meanwhile (HTTP 409, 412)."""


class RateLimitError(HubError):
    """Too many requests, and the hub asks for a longer wait than a person would sit through.

    Attributes:
        retry_after: seconds until the hub answers again, where it said so.
    """

    retry_after: float | None = None


class HubTimeoutError(HubError):
    """The hub did not answer in time, several times in a row."""


class HubOfflineError(HubError):
    """No connection to the hub, or offline mode is switched on."""


class HubServerError(HubError):
    """The hub has trouble itself (HTTP 5xx), several times in a row."""

    retry_after: float | None = None


class ConnectionLostError(HubError):
    """A download broke off again and again; what arrived is kept for the next try."""


class TruncatedFileError(HubError):
    """The hub sent fewer or more bytes than the file has."""


class WrongHashError(HubError):
    """A file arrived in full but is not the one the repository lists; it was thrown away."""


class FileChangedError(HubError):
    """The hub serves another version of the file than the one that was listed."""


class UntrustedRedirectError(HubError):
    """The hub sent the client to a host that is not known to store its files."""


class DiskFullError(HubError, StorageError):
    """The download does not fit on the disk of the hub cache."""
