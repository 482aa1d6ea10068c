"""The Hugging Face hub: what SAEs a repository holds, previews by ranged reads, downloads, publishing.

All functions take a reference (``owner/name``, ``owner/name@revision``, ``owner/name/folder``, a pasted link, a SAELens
release; see `parse_reference`) and a `HubClient`, which holds the endpoint, the token (in memory only) and the cache.
Names load on first use: huggingface_hub takes half a second to import.
"""

import importlib
from typing import Any

_HOMES = {
    "browse": ("facets", "preview", "variants"),
    "client": ("HubClient",),
    "errors": (
        "ConflictError", "ConnectionLostError", "DiskFullError", "EntryNotFoundError", "FileChangedError",
        "ForbiddenError", "GatedRepositoryError", "HubError", "HubOfflineError", "HubServerError", "HubTimeoutError",
        "InvalidTokenError", "NoSAEError", "RateLimitError", "RepositoryNotFoundError", "RevisionNotFoundError",
        "TruncatedFileError", "UntrustedRedirectError", "WrongHashError", "WrongRepositoryTypeError",
    ),
    "publish": ("Pushed", "model_card", "push"),
    "reference": ("HubReference", "known_repos", "parse_reference"),
    "repository": ("repo_info",),
    "transfer": ("DownloadPlan", "Downloaded", "discard", "download", "plan_download"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
