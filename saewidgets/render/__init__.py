"""Static HTML and inline SVG from plain values: fallbacks and exports. Escaping happens in `html.escape` alone."""

from saewidgets.render.chart import Line, line_chart, sparkline
from saewidgets.render.html import Html, escape, tag
from saewidgets.render.runs import facts_card, runs_html, runs_page, runs_table
from saewidgets.render.saes import saes_page, saes_table

__all__ = [
    "Html",
    "Line",
    "escape",
    "facts_card",
    "line_chart",
    "runs_html",
    "runs_page",
    "runs_table",
    "saes_page",
    "saes_table",
    "sparkline",
    "tag",
]
