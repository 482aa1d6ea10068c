"""A repository looked at: the hub is asked, or where that is switched off, the cache on this machine."""

from __future__ import annotations

from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import GatedRepositoryError, HubOfflineError
from saewidgets.hub.failures import SWITCH
from saewidgets.hub.listing import Listing, card, fresh_for, list_repository
from saewidgets.hub.offline import cached_listing
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.hub_records import RepoInfo

NOT_HERE = "It is not in the cache of this machine either."


def look(place: HubReference, client: HubClient) -> Listing:
    """Every file of the repository; in offline mode (``HF_HUB_OFFLINE=1``) those that are cached, if any are.

    `Listing.complete` and `RepoInfo.from_cache` tell them apart. A connection that fails is not taken for offline mode:
    whoever wants the repository's own list should hear of it.

    Raises:
        HubError: as `list_repository`; `HubOfflineError` in offline mode if nothing of it is cached.
    """
    try:
        return list_repository(place, client=client)
    except HubOfflineError as error:
        if error.where != SWITCH:
            raise
        key = ("cached", place.repo_id, place.revision, fresh_for())
        # A cache without links has to be read to know what its files are.
        listing: Listing | None = client.once(key, lambda: cached_listing(client.cache_dir, place))
        if listing is None:
            error.hint = f"{error.hint or ''} {NOT_HERE}".strip()
            raise
        return listing


def repo_info(reference: str | HubReference, *, client: HubClient | None = None) -> RepoInfo:
    """What a repository is: commit, licence, gate, base models, number and size of its files.

    In offline mode what the cache on this machine has of it: `from_cache`.

    Raises:
        HubError: as one of its children (missing, private, gated, another type, unreachable, …).
        ConfigError: `reference` cannot be read.
    """
    client = client or HubClient()
    place = parse_reference(reference)
    try:
        return look(place, client).info
    except GatedRepositoryError:  # the files are behind the gate, the card is not
        return card(place, client)
