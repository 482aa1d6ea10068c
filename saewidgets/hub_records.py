"""Repositories and SAEs found on the Hugging Face hub, as frozen values that the API returns and the widgets draw.

A download is a job (`records.JobRecord` of kind ``"download"``), whose `payload` has

    repo_id, revision (the exact commit), path (folder in the repository, ``""`` for the root),
    name (what the SAE will be called), total_bytes, model, format (each None where a look did not tell),
    token_given (a token was typed; the token itself is nowhere),
    files (path, size and hashes of each file, by which the download goes on without asking the hub for them again)

and whose `progress` counts bytes (see `events.Progress`). Its `result` is the id of the SAE in the library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from saewidgets.records import Shown


@dataclass(frozen=True, slots=True, repr=False)
class RepoInfo(Shown):
    """A repository at one revision.

    Attributes:
        revision: the commit (40 hexadecimal digits) that the requested revision names now.
        gated: ``False``, ``"auto"`` or ``"manual"``.
        from_cache: the hub was not asked (offline mode): commit, files and size are those that the cache of this
            machine has; what the card says is not known.
    """

    repo_id: str
    revision: str
    private: bool = False
    gated: bool | str = False
    library: str | None = None
    license: str | None = None
    base_models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    downloads: int | None = None
    likes: int | None = None
    last_modified: float | None = None
    files: int = 0
    size_bytes: int = 0
    url: str = ""
    from_cache: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Variant(Shown):
    """One SAE in a repository, found by the names of its files.

    Attributes:
        path: its folder in the repository, ``""`` for the root.
        format: as `detect_format` names it.
        site: ``"resid_post"``, ``"mlp_out"``, ``"attn_out"``, ``"transcoder"``, …, where the path or repository says.
        width: ``"16k"`` as the path writes it; `d_sae` is the number.
        l0: mean active latents where the path says.
        canonical: SAELens' registry gives it as the one to take for its layer and width.
        cached: all its files are in the hub cache of this machine.
        from_cache: the hub was not asked (offline mode): the repository may have others, and a newer commit.
    """

    repo_id: str
    revision: str
    path: str
    format: str
    size_bytes: int
    files: tuple[str, ...] = ()
    site: str | None = None
    layer: int | None = None
    width: str | None = None
    d_sae: int | None = None
    l0: float | None = None
    canonical: bool = False
    cached: bool = False
    from_cache: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class HubWarning(Shown):
    """Something to know before a download: `kind` is ``gated_model``, ``memory``, ``disk``, ``pickle`` or ``note``."""

    kind: str
    what: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Preview(Shown):
    """One SAE of a repository before it is downloaded: configuration and headers only, no weights.

    Attributes:
        download_bytes: what a download would fetch now; `total_bytes` less what the cache has.
        memory_bytes: weights in memory as float32 on the CPU; `gpu_bytes` on an accelerator in their own number format.
        disk_free_bytes: where the download would go; None if that could not be found out.
        gated_model: whether the base model asks for a licence; None: not known (no model is named, or the hub does not
            say).
        requests: how many requests this preview took.
        from_cache: the hub was not asked (offline mode): the files in the cache of this machine were looked at.
    """

    repo_id: str
    revision: str
    path: str
    format: str
    architecture: str | None
    d_in: int | None
    d_sae: int | None
    d_out: int | None
    dtype: str | None
    model: str | None
    hook_name: str | None
    layer: int | None
    total_bytes: int
    download_bytes: int
    memory_bytes: int | None
    gpu_bytes: int | None
    cached: bool
    gated_model: bool | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[HubWarning, ...] = ()
    requests: int = 0
    disk_free_bytes: int | None = None
    from_cache: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class KnownRepo(Shown):
    """A public repository with SAEs, from the table that ships with the package."""

    repo_id: str
    name: str
    model: str
    sites: tuple[str, ...] = ()
    layers: str = ""
    widths: tuple[str, ...] = ()
    format: str = ""
    gated_model: bool = False
