"""The one JavaScript and CSS bundle that every widget shares, read once per process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from saewidgets.errors import NotFoundError

STATIC = Path(__file__).parent / "static"


@lru_cache(maxsize=1)
def load_bundle() -> tuple[str, str]:
    """`(javascript, css)` of the built frontends.

    Raises:
        NotFoundError: they were not built (a source checkout without `npm run build`).
    """
    texts = []
    for name in ("saewidgets.js", "saewidgets.css"):
        try:
            texts.append((STATIC / name).read_text("utf-8"))
        except FileNotFoundError:
            raise NotFoundError(
                "The frontend of the widgets is not built.",
                where=str(STATIC / name),
                hint="In a source checkout run `npm ci && npm run build`; `pip install .` builds it by itself.",
            ) from None
    return texts[0], texts[1]
