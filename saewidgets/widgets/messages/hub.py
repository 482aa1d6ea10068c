"""Messages and state of the download widget; see `wire.py` for the channels and the base classes.

An access token travels in one direction only: from the page, with the command `hub_token`. It is a `SecretStr` there,
so that no representation shows it, and no message of Python carries it.
"""

from typing import Literal

from saewidgets.hub_records import KnownRepo, RepoInfo
from saewidgets.records import DeviceInfo
from saewidgets.widgets.messages.wire import JobCard, State, Wire

PAGE = 2000  # rows of one answer: about 400 kB of JSON
DownloadAction = Literal["pause", "resume", "cancel", "retry", "clear"]


class DownloadCard(JobCard):
    """One download. Bytes count what the hub sends; a cached file counts as done."""

    name: str  # "owner/name / folder"
    repo_id: str
    path: str = ""
    revision: str | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    attempt: int | None = None  # of "retrying": which repetition comes, 1 is the first
    wait_seconds: float | None = None  # of "retrying": until it begins; 0: it is under way
    sae_id: str | None = None  # once it is in the library


class HubState(State):
    """The synced trait `state` of the download widget. `revision` grows with every change.

    What was found in a repository is not here: it is answered to who asked, in pages.
    """

    repository: str = ""  # what the box starts with
    downloads: tuple[DownloadCard, ...] = ()
    devices: tuple[DeviceInfo, ...] = ()
    known: int = 0  # how many known repositories there are
    has_token: bool = False  # an access token was typed in and is kept in memory
    account: str | None = None  # the name of the hub account that is used, once it is known
    can_open: bool = False  # somebody shows a downloaded SAE when asked
    embedded: bool = False  # it stands inside another widget, which draws the frame


class ListedSae(Wire):
    """One SAE of a listing."""

    repo_id: str
    revision: str
    path: str


class Release(Wire):
    """The repositories that belong to one model of Gemma Scope."""

    id: str
    label: str  # "Gemma 2 2B, pretrained"
    model: str
    repo_ids: tuple[str, ...]


class HubKnownData(Wire):
    """What to start from."""

    repositories: tuple[KnownRepo, ...] = ()
    releases: tuple[Release, ...] = ()


class VariantRow(Wire):
    """One SAE of a listing; `repo` is its place in `HubListing.repositories`."""

    repo: int
    path: str
    format: str
    size_bytes: int
    site: str | None = None
    layer: int | None = None
    width: str | None = None
    d_sae: int | None = None
    l0: float | None = None
    canonical: bool = False
    cached: bool = False


class Problem(Wire):
    """Why nothing can be shown: said in words, with what to try instead."""

    kind: str  # "not_found", "no_sae", "gated", … : the class of the error in snake case
    what: str
    hint: str | None = None
    suggestions: tuple[str, ...] = ()  # repositories to try, nearest first


class HubListing(Wire):
    """What was found, with the first page of rows; the command `hub_rows` asks for the others."""

    listing: int  # number of this listing, for `hub_rows`
    repositories: tuple[RepoInfo, ...] = ()
    total: int = 0
    rows: tuple[VariantRow, ...] = ()
    path: str = ""  # the folder that was asked for, if one was
    problems: tuple[Problem, ...] = ()  # of repositories that could not be listed
