"""Named training configurations: files of templates (versioned JSON, read as untrusted input), and presets,
settings for well-known models that the literature reports, kept as data in `presets.json`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from saewidgets.config.arguments import whole_text
from saewidgets.config.base import Config, require
from saewidgets.config.names import MAX_NAME, one_line
from saewidgets.config.strict import loads
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.version import __version__

FORMAT: Final = "saewidgets.training_templates"
VERSION = 1
MAX_BYTES = 8 << 20
MAX_TEMPLATES = 1_000
MAX_DESCRIPTION = 4_000
MAX_TEXT = 65_536  # characters of a corpus that is held in memory
_PARTS = "Export them in parts: name some of them, or search for some in the list."


class TrainingTemplate(Config):
    """One template: a name, what it is good for, and its configuration, without the name of a run."""

    name: str = Field(title="Name")
    description: str = Field(default="", max_length=MAX_DESCRIPTION, title="Description")
    favorite: bool = Field(default=False, strict=True, title="Favorite")
    config: TrainingConfig = Field(title="Configuration")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        """One line without blanks around it."""
        name = one_line(name)
        if not name or len(name) > MAX_NAME:
            raise ConfigError(f"A template's name has 1 to {MAX_NAME} characters.", hint="Enter another name.")
        return name

    @field_validator("description")
    @classmethod
    def _is_storable(cls, description: str) -> str:
        return whole_text(description.strip(), "")

    @field_validator("config")
    @classmethod
    def _is_short_and_nameless(cls, config: TrainingConfig) -> TrainingConfig:
        length = sum(map(len, getattr(config.corpus, "strings", ())))
        if length > MAX_TEXT:
            raise ConfigError(
                f"This holds {length:,} characters of text in memory; a template keeps at most {MAX_TEXT:,}.",
                where="corpus.strings", hint="Write the text into a file, and use TextCorpus(path).",
            )
        return config.replace(name=None) if config.name is not None else config


class _TemplateFile(Config):
    format: Literal["saewidgets.training_templates"] = FORMAT
    version: int = Field(default=VERSION, ge=1, le=VERSION, strict=True, title="Version")
    package: Any = __version__  # the version of the writer: shown, never needed
    templates: tuple[TrainingTemplate, ...]

    @field_validator("templates", mode="before")
    @classmethod
    def _are_some(cls, entries: Any) -> Any:
        if not isinstance(entries, list | tuple) or not 1 <= len(entries) <= MAX_TEMPLATES:
            raise ConfigError(f"This is not a list of 1 to {MAX_TEMPLATES:,} templates.")
        return entries


def write_templates(templates: Sequence[TrainingTemplate]) -> str:
    """The text of a file that `read_templates` reads. Raises `ConfigError` if these are more than it takes."""
    said = f"These are {len(templates):,} templates; a file holds at most {MAX_TEMPLATES:,}."
    require((len(templates) <= MAX_TEMPLATES, "ids", said, _PARTS))
    data = _TemplateFile(templates=tuple(templates)).to_data()
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    size = len(text.encode())
    said = f"These templates have {size:,} bytes; a file holds at most {MAX_BYTES:,}."
    require((size <= MAX_BYTES, "ids", said, _PARTS))
    return text


def read_templates(raw: bytes, where: str) -> tuple[list[TrainingTemplate], str]:
    """The templates in a file, and the version of the package that wrote it (empty where it does not say).

    Raises `FormatError`, which calls the file `where`: not a file of templates, too large, of a newer version, or one
    template of it cannot work; then the message names the field, and none is returned.
    """
    if len(raw) > MAX_BYTES:
        raise FormatError(f"The file has more than {MAX_BYTES:,} bytes, too many for templates.", where=where)
    try:
        data = loads(raw)  # no key twice, since two readers could take different ones
    except ValueError as error:
        raise FormatError(f"This is not JSON ({error}).", where=where, hint="Export the templates again.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise FormatError(
            "This is not a file of training templates.", where=where,
            hint="Export one with ws.templates.export_json. A configuration file becomes a template with "
            "`saewidgets templates save NAME --config FILE`.",
        )
    package, version = data.get("package"), data.get("version")
    package = one_line(package)[:40] if isinstance(package, str) else ""
    if isinstance(version, int) and version > VERSION:
        raise FormatError(
            f"The file has version {version}{f', written by saewidgets {package}' if package else ''}; saewidgets "
            f"{__version__} reads versions up to {VERSION}.",
            where=where, hint="Update saewidgets (pip install -U saewidgets). Nothing was imported.",
        )
    try:
        return list(_TemplateFile.from_data({"version": None, **data}).templates), package
    except ConfigError as error:
        wrong, way = error.where or "", "Correct the file."
        if package not in ("", __version__):
            way = f"It was written by saewidgets {package}; this is {__version__}. Use that one, or correct the file."
        hint = " ".join(filter(None, [error.hint, way, "Nothing was imported."]))
        if match := re.fullmatch(r"templates\.(\d+)(?:\.(.+))?", wrong):  # templates[1] ('b'): config.sae.kk
            entry = data["templates"][int(match[1])]
            name = entry.get("name") if isinstance(entry, dict) else None
            wrong = f"templates[{match[1]}]{f' ({one_line(name)[:MAX_NAME]!r})' if isinstance(name, str) else ''}"
            wrong += f": {match[2][:200]}" if match[2] else ""
        raise FormatError(error.what, where=f"{where}: {wrong}", hint=hint) from error


@dataclass(frozen=True, slots=True)
class Preset:
    """A configuration with where it is from.

    Attributes:
        sources: papers and code, each with what was taken from it.
        ours: what no source says, or says in other units, and what it is here.
    """

    name: str
    description: str
    sources: tuple[str, ...]
    ours: str
    config: TrainingConfig


@cache
def _all() -> Mapping[str, Preset]:
    text = resources.files("saewidgets.config").joinpath("presets.json").read_text(encoding="utf-8")
    return {
        name: Preset(
            name, raw["description"], tuple(raw["sources"]), raw["ours"], TrainingConfig.from_data(raw["config"])
        )
        for name, raw in json.loads(text).items()
    }


def presets() -> list[Preset]:
    """All presets with their sources."""
    return list(_all().values())


def preset(name: str, **changes: Any) -> TrainingConfig:
    """The configuration of a preset.

    Args:
        name: ``"gpt2-small"``, ``"pythia-70m"``, ``"gemma-2-2b"``, …; `presets` lists them.
        changes: settings by dotted name: ``preset("gpt2-small", tokens=10_000_000, **{"sae.k": 16})``.

    Raises:
        NotFoundError: there is no such preset.
        ConfigError: a change is invalid.
    """
    found = _all().get(name)
    if found is None:
        raise NotFoundError(f"There is no preset {name!r}.", where="preset", hint=f"There are {', '.join(_all())}.")
    return found.config.replace(**changes)
