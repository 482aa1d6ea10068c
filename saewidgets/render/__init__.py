"""Static HTML and inline SVG from plain values: fallbacks and exports. All text is escaped by `html.escape`."""

from saewidgets.render.html import Html, escape, facts_card, tag
from saewidgets.render.records import list_html  # fills `records.views`
from saewidgets.render.static_views import runs_html, runs_page

__all__ = ["Html", "escape", "facts_card", "list_html", "runs_html", "runs_page", "tag"]
