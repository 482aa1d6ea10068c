"""SAE files on disk: which format a path holds, looking, loading, saving, converting."""

from saewidgets.formats.format import Description, Format
from saewidgets.formats.io import convert, describe, load_sae, save_sae, validate
from saewidgets.formats.registry import detect_format, formats
from saewidgets.formats.saelens import read_log_density

__all__ = [
    "Description",
    "Format",
    "convert",
    "describe",
    "detect_format",
    "formats",
    "load_sae",
    "read_log_density",
    "save_sae",
    "validate",
]
