"""The Hugging Face hub: what SAEs a repository holds, previews by ranged reads, downloads, publishing.

All functions take a reference (``owner/name``, ``owner/name@revision``, ``owner/name/folder``, a pasted link, a SAELens
release; see `parse_reference`) and a `HubClient`, which holds the endpoint, the token (in memory only) and the cache.
"""

from saewidgets.hub.client import HubClient
from saewidgets.hub.download import Downloaded, DownloadPlan, discard, download, plan_download
from saewidgets.hub.errors import (
    ConflictError,
    ConnectionLostError,
    DiskFullError,
    EntryNotFoundError,
    FileChangedError,
    ForbiddenError,
    GatedRepositoryError,
    HubError,
    HubOfflineError,
    HubServerError,
    HubTimeoutError,
    InvalidTokenError,
    NoSAEError,
    RateLimitError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    TruncatedFileError,
    UntrustedRedirectError,
    WrongHashError,
    WrongRepositoryTypeError,
)
from saewidgets.hub.known import known_repos
from saewidgets.hub.listing import repo_info
from saewidgets.hub.preview import preview
from saewidgets.hub.publish import Pushed, model_card, push
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.hub.variants import facets, variants

__all__ = [
    "ConflictError",
    "ConnectionLostError",
    "DiskFullError",
    "DownloadPlan",
    "Downloaded",
    "EntryNotFoundError",
    "FileChangedError",
    "ForbiddenError",
    "GatedRepositoryError",
    "HubClient",
    "HubError",
    "HubOfflineError",
    "HubReference",
    "HubServerError",
    "HubTimeoutError",
    "InvalidTokenError",
    "NoSAEError",
    "Pushed",
    "RateLimitError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
    "TruncatedFileError",
    "UntrustedRedirectError",
    "WrongHashError",
    "WrongRepositoryTypeError",
    "discard",
    "download",
    "facets",
    "known_repos",
    "model_card",
    "parse_reference",
    "plan_download",
    "preview",
    "push",
    "repo_info",
    "variants",
]
