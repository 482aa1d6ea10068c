"""SAE files on disk: which format a path holds, loading, saving. One format per file."""

from saewidgets.formats.detect import detect_format
from saewidgets.formats.io import load_sae, save_sae

__all__ = ["detect_format", "load_sae", "save_sae"]
