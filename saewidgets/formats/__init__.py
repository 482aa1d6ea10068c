"""SAE files on disk: detecting the format, describing, loading, saving, converting."""

from saewidgets.formats.format import Description as Description
from saewidgets.formats.format import Format as Format
from saewidgets.formats.io import convert as convert
from saewidgets.formats.io import describe as describe
from saewidgets.formats.io import load_sae as load_sae
from saewidgets.formats.io import save_sae as save_sae
from saewidgets.formats.io import validate as validate
from saewidgets.formats.registry import detect_format as detect_format
from saewidgets.formats.registry import formats as formats
from saewidgets.formats.saelens import read_log_density as read_log_density
