"""Configurations of other packages as a `TrainingConfig`, with a list of what could not be taken over."""

from saewidgets.config.translate.mistudio import from_mistudio
from saewidgets.config.translate.result import Remark, Translation
from saewidgets.config.translate.saelens import from_saelens

__all__ = ["Remark", "Translation", "from_mistudio", "from_saelens"]
