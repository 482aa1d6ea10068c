"""Whether a base model asks for a licence: by its name, or by asking the hub once."""

from __future__ import annotations

from urllib.parse import quote

from saewidgets.config.names import hub_model
from saewidgets.errors import NotFoundError
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import HubError
from saewidgets.hub.known import gated_by_name


def gated(model: str | None, client: HubClient, *, ask: bool = True) -> bool | None:
    """True or False; None where it is not known.

    Args:
        model: as a card or a configuration names it.
        client: keeps the answer.
        ask: whether a request may be spent on it where neither the name nor an earlier answer tells. It is tried once:
            only a warning depends on it.
    """
    repo = hub_model(model)
    if repo is None:
        return None
    known = gated_by_name(repo)
    if known is None:
        known = client.kept(("gated", repo))
    if known is not None or not ask:
        return known

    def look() -> bool | None:
        try:
            data, _ = client.get_json(f"{client.endpoint}/api/models/{quote(repo)}", tries=1)
        except NotFoundError:
            return None
        return bool(data.get("gated")) if isinstance(data, dict) else None

    try:
        return client.once(("gated", repo), look)
    except HubError:
        return None
