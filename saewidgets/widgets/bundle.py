"""The JavaScript bundles and the style sheet of the widgets, read once per process.

The text of a bundle is part of every widget's state, so each family of widgets has its own.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from saewidgets.errors import NotFoundError

STATIC = Path(__file__).parent / "static"
_BUNDLES = {  # by view
    "sae_browser": "library.js",
    "download": "library.js",
    "extraction_viewer": "features.js",
    "steering": "steering.js",
}


@lru_cache(maxsize=16)
def load_bundle(view: str) -> tuple[str, str]:
    """`(javascript, css)` of the built frontend that draws `view`.

    Raises:
        NotFoundError: they were not built (a source checkout without `npm run build`).
    """
    texts = []
    for name in (_BUNDLES.get(view, "saewidgets.js"), "saewidgets.css"):
        try:
            texts.append((STATIC / name).read_text("utf-8"))
        except FileNotFoundError:
            raise NotFoundError(
                "The frontend of the widgets is not built.",
                where=str(STATIC / name),
                hint="In a source checkout run `npm ci && npm run build`; `pip install .` builds it by itself.",
            ) from None
    return texts[0], texts[1]
