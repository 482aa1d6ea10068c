"""What latents fire on: one-pass statistics, top examples, snippets, a first reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saewidgets.features.snippets import Naming, Snippet, make_snippet, name_examples

if TYPE_CHECKING:
    from saewidgets.features.first_reading import Feature, FeatureReading, Features, read_features

__all__ = [
    "Feature",
    "FeatureReading",
    "Features",
    "Naming",
    "Snippet",
    "make_snippet",
    "name_examples",
    "read_features",
]


def __getattr__(name: str) -> Any:
    """What needs torch, which takes seconds to import: labels and lists do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from saewidgets.features import first_reading  # torch: seconds to import

    return getattr(first_reading, name)
