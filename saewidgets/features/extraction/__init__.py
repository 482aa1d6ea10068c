"""One pass over the text that fills an extraction's folder for all latents at once."""

from saewidgets.features.extraction.accumulate import NotFiniteError
from saewidgets.features.extraction.extractor import borders, extract, extract_part

__all__ = ["NotFiniteError", "borders", "extract", "extract_part"]
