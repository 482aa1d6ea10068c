"""One pass over the text that fills an extraction's folder for all latents at once."""

from saewidgets.features.extraction.accumulate import NotFiniteError
from saewidgets.features.extraction.extractor import extract

__all__ = ["NotFiniteError", "extract"]
