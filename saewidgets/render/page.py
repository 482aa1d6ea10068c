"""A whole page around a piece of HTML, readable in light and dark, without script."""

from __future__ import annotations

from saewidgets.render.html import Html, tag

STYLE = Html(
    "body{margin:24px;color-scheme:light dark;background:Canvas;color:CanvasText;font:13px/1.5 system-ui,sans-serif}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def html_document(title: str, body: Html) -> str:
    """A complete HTML file."""
    meta = Html('<meta charset="utf-8">') + f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head = tag("head", Html(meta), tag("title", title), tag("style", STYLE))
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"
