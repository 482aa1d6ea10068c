"""The dialog *Start extraction*: its fields, and what was typed into them as an `ExtractionConfig`.

Labels and bounds are those of the configuration model. Values travel as text, as they were typed ("1,000,000",
"1 % of max"); a field that is not among the values keeps its default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from saewidgets.config.corpus import parsed
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.validation import config_errors
from saewidgets.errors import ConfigError, visible
from saewidgets.widgets.commands import FieldsError
from saewidgets.widgets.messages.features import ExtractionField
from saewidgets.widgets.values import LARGEST_SAFE, corpus_text

Kind = Literal["text", "count", "share", "ratio", "boolean"]
_DEFAULTS = ExtractionConfig()
_THOUSANDS = re.compile(r"\A([+-]?[1-9]\d{0,2})((?:[,\s]\d{3})+)(?!\d)", re.ASCII)
_COUNT = re.compile(r"([+-]?\d+(?:\.\d+)?)(?:([km])|e\+?(\d\d?))?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_OF_MAX = re.compile(r"(of\s+(the\s+)?max(imum)?|×\s*max(imum)?)\.?$", re.IGNORECASE)
_ZEROS = {None: 0, "k": 3, "m": 6}
_LONGEST_NUMBER = 60  # characters; no number of a form is longer


@dataclass(frozen=True, slots=True)
class Field:
    """One field of `ExtractionConfig` in the dialog.

    Attributes:
        kind: how its text is read; ``ratio`` is a checkbox that says whether there is a limit.
        hint: below the box.
        more: behind the "?" besides the model's description.
        extra: shown only when an extraction is to be tried again, or the SAE does not say it.
    """

    name: str
    kind: Kind
    hint: str = ""
    more: str = ""
    extra: bool = False


FIELDS: tuple[Field, ...] = (
    Field("corpus", "text", "empty: as in training", 'A public-domain text comes with the package: "demo".'),
    Field("tokens", "count", "rare features need more"),
    Field("context_size", "count", "empty: as in training"),
    Field("examples", "count", "", "At most two from one document."),
    Field("per_interval", "count", "16 activation intervals"),
    Field("min_activation", "share"),
    Field("exclude_special_tokens", "boolean"),
    Field("max_norm_ratio", "ratio"),
    Field("model", "text", "an id on Hugging Face, or a folder", extra=True),
    Field("batch_size", "count", "fewer take less memory", extra=True),
    Field("device", "text", '"cpu", "cuda:0", …', extra=True),
)
_BY_NAME = {field.name: field for field in FIELDS}


def form_fields(
    defaults: Mapping[str, Any] | None = None, *, again: bool = False, needs_model: bool = False
) -> tuple[ExtractionField, ...]:
    """The fields of the dialog with what they start with.

    `again`: an extraction is tried again, perhaps with less memory or elsewhere; `needs_model`: the SAE does not say
    which model it belongs to.
    """
    data = {**_DEFAULTS.to_data(), **{k: v for k, v in (defaults or {}).items() if k in ExtractionConfig.model_fields}}
    shown = [f for f in FIELDS if not f.extra or (needs_model if f.name == "model" else again)]
    return tuple(_field(field, data[field.name]) for field in shown)


def _field(field: Field, value: Any) -> ExtractionField:
    info = ExtractionConfig.model_fields[field.name]
    label = str(info.title)
    if field.kind == "ratio":
        label = f"Skip tokens with norm above {value or _DEFAULTS.max_norm_ratio:g} × median"
    help_text = " ".join(part for part in (info.description, field.more) if part)
    return ExtractionField(name=field.name, label=label, value=_shown(field, value), hint=field.hint, help=help_text)


def _shown(field: Field, value: Any) -> str | bool:
    if field.kind in ("boolean", "ratio"):
        return bool(value)
    if value is None:
        return ""
    if field.name == "corpus":
        return corpus_text(value)
    if field.kind == "share":
        return shown_share(float(value))
    return f"{value:,}" if field.kind == "count" else str(value)


def read_values(
    values: Mapping[str, str | bool], base: Mapping[str, Any] | None = None
) -> tuple[ExtractionConfig | None, dict[str, str]]:
    """What was typed as a configuration: ``(config, {})`` when good, ``(None, {field: sentence})`` when not.

    `base` has what the dialog does not show.
    """
    data = dict(base or {})
    errors: dict[str, str] = {}
    for name, typed in values.items():
        field = _BY_NAME.get(name)
        if field is None:
            errors[str(name)[:100]] = "There is no such setting."
            continue
        try:
            data[name] = _read(field, typed, data.get(name))
        except ValueError as error:
            data.pop(name, None)
            errors[name] = str(error)
    try:
        config = ExtractionConfig.model_validate(data)
    except ValidationError as error:
        for name, sentence in config_errors(error, ExtractionConfig).items():
            errors.setdefault(name.split(".")[0], sentence)
        return None, errors
    return (None, errors) if errors else (config, {})


def _read(field: Field, typed: str | bool, before: Any) -> Any:
    """The value for the configuration. Raises ValueError with a sentence for the person."""
    info = ExtractionConfig.model_fields[field.name]
    if field.kind == "boolean":
        return typed
    if field.kind == "ratio":
        return (before or _DEFAULTS.max_norm_ratio) if typed else None
    text = str(typed).strip()
    if "\0" in text:
        raise ValueError(f'{info.title} is "{_cut(text)}", which holds a null character. Remove it.')
    if field.name == "corpus":
        return _corpus(text, before)
    if not text:
        if info.default is None:
            return None
        raise ValueError(f"{info.title} is missing. {_usual(field)} is usual.")
    if field.kind == "count":
        count = whole(text)
        if count is None:
            raise ValueError(f"“{_cut(text)}” is not a whole number. {_usual(field)} is usual.")
        return count
    if field.kind == "share":
        number = share(text)
        if number is None:
            raise ValueError(f"“{_cut(text)}” is not a share. Enter one such as {_usual(field)}, or 0.")
        return number
    return text


def _usual(field: Field) -> str:
    value = ExtractionConfig.model_fields[field.name].default
    return str(_shown(field, 128 if value is None else value))


def _corpus(text: str, before: Any) -> Any:
    """The corpus that `text` names; what the form could not show as text stays as it was."""
    if before is not None and text == corpus_text(before):
        return before
    if not text or text == "demo":
        return text or None
    try:
        if parsed(text)["kind"] == "hub":
            return text
    except ConfigError as error:
        raise ValueError(f"{error.what} {error.hint}") from error
    try:
        there = Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # a name that no file can have; ~nobody
        there = False
    if not there:
        raise ValueError(
            f'There is no file or folder "{_cut(text)}". '
            'Enter "demo", a file or folder, or owner/name of the hub; leave it empty for the text of the training.'
        )
    return text


def refuse(errors: Mapping[str, str]) -> FieldsError:
    """The errors of a form as one: "2 fields need attention."."""
    count = len(errors)
    return FieldsError(f"{count} field{'s need' if count != 1 else ' needs'} attention.", dict(errors))


def _cut(text: str) -> str:
    return visible(text if len(text) <= 60 else f"{text[:60]}…")


# Numbers as people type them; `js/src/lib/format.ts` reads them by the same rules.


def whole(text: str) -> int | None:
    """ "16,384", "16_384", "16 384", "1M", "1.5k", "1e6" → an integer; None when it is none."""
    found = _COUNT.fullmatch(_plain(text))
    if found is None:
        return None
    value = Decimal(found[1]).scaleb(int(found[3] or _ZEROS[found[2] and found[2].lower()]))
    return int(value) if value == value.to_integral_value() and abs(value) <= LARGEST_SAFE else None


def decimal(text: str) -> float | None:
    """ "3e-4", "0.5", "1,000.5" → a number; None when it is none."""
    plain = _plain(text)
    return float(plain) if _NUMBER.fullmatch(plain) else None


def share(text: str) -> float | None:
    """ "1 % of max", "1%", "0.01", "0.01 of max" → 0.01; None when it is none."""
    rest = _OF_MAX.sub("", text.strip()).strip()
    percent = rest.endswith("%")
    value = decimal(rest.removesuffix("%"))
    if value is None:
        return None
    return float(Decimal(str(value)) / 100) if percent else value


def shown_share(value: float) -> str:
    """0.01 → "1 % of max": what `share` reads again."""
    return f"{float(Decimal(str(value)) * 100):.10g} % of max"


def _plain(text: str) -> str:
    """Without what stands between thousands: "0,001" and "16, 32" are no numbers, nor is what is too long."""
    if len(text) > _LONGEST_NUMBER:
        return ""
    return _THOUSANDS.sub(lambda found: re.sub(r"[,\s]", "", found[0]), text.strip().replace("_", ""), count=1)
