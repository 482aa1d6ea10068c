"""Configurations of other packages as a `TrainingConfig`, with a list of what could not be taken over."""

from saewidgets.config.translate.ghosttrack_config import from_ghosttrack, is_ghosttrack
from saewidgets.config.translate.mistudio_config import from_mistudio
from saewidgets.config.translate.saelens_config import from_saelens
from saewidgets.config.translate.translation import Remark, Translation

__all__ = ["Remark", "Translation", "from_ghosttrack", "from_mistudio", "from_saelens", "is_ghosttrack"]
