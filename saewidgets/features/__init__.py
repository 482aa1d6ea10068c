"""What latents fire on: one-pass statistics, top examples, labels, exports, a first reading (`read_features`)."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`read_features` needs torch, which takes seconds to import: labels and lists do without."""
    if name != "read_features":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from saewidgets.features.first_reading import read_features  # torch: seconds to import

    return read_features
