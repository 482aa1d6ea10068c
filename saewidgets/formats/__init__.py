"""SAE files on disk: which format a path holds, looking, loading, saving, converting. One format per file."""

from saewidgets.formats.base import Description, Format
from saewidgets.formats.convert import convert
from saewidgets.formats.density import read_log_density
from saewidgets.formats.detect import detect_format
from saewidgets.formats.io import describe, load_sae, save_sae
from saewidgets.formats.registry import formats
from saewidgets.formats.validate import validate

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
