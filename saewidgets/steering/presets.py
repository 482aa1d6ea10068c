"""Steering settings as a JSON file that can be shared: data only, checked when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from saewidgets.config.base import Config
from saewidgets.config.steering import MAX_FEATURES, SteeringConfig
from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.feature_records import check_index

VERSION: Literal[1] = 1
KIND: Literal["saewidgets-steering"] = "saewidgets-steering"
_MAX_BYTES = 8 << 20
_HINT = "Save the preset again, or choose another file."


class PresetSAE(Config):
    """An SAE that a preset's features belong to: enough to find it again, no weights and no paths."""

    id: str = Field(min_length=1, max_length=300)
    name: str = Field(default="", max_length=1000)
    model: str | None = Field(default=None, max_length=1000)
    hook_name: str | None = Field(default=None, max_length=300)
    d_sae: int | None = Field(default=None, ge=1, le=2**24)


class SteeringPreset(Config):
    """Settings with a name. Every feature names one of `saes`, or there is at most one."""

    kind: Literal["saewidgets-steering"] = KIND
    version: Literal[1] = VERSION
    name: str = Field(min_length=1, max_length=300)
    saes: tuple[PresetSAE, ...] = Field(default=(), max_length=MAX_FEATURES)
    config: SteeringConfig

    @model_validator(mode="after")
    def _features_have_their_sae(self) -> SteeringPreset:
        sizes = {sae.id: sae.d_sae for sae in self.saes}
        if len(sizes) < len(self.saes):
            raise ConfigError("An SAE is listed twice.", where="saes", hint="Keep one of the two.")
        for number, feature in enumerate(self.config.features):
            where = f"config.features.{number}"
            key = feature.sae
            if key is None and len(self.saes) > 1:
                raise ConfigError("The feature does not say which SAE it belongs to.", where=f"{where}.sae")
            if key is not None and key not in sizes:
                raise ConfigError(f"The SAE {key!r} is not listed under saes.", where=f"{where}.sae")
            size = sizes.get(key) if key is not None else next(iter(sizes.values()), None)
            if size is not None:
                check_index(feature.index, size, f"{where}.index", "the SAE")
        return self


def save_preset(preset: SteeringPreset, path: str | Path) -> Path:
    """Write `preset` as JSON, whole or not at all; a preset that is already there is replaced, any other file is not.
    Raises `StorageError`."""
    path = Path(path).expanduser().absolute()
    if path.exists():
        try:
            load_preset(path)
        except (FormatError, NotFoundError):
            raise StorageError(
                "There is another file of this name.", where=str(path), hint="Choose another name."
            ) from None
    text = json.dumps(preset.to_data(), ensure_ascii=False, indent=1, allow_nan=False)
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "replace").decode() + "\n")  # half a surrogate pair becomes a question mark
    return path


def load_preset(path: str | Path) -> SteeringPreset:
    """Read a preset. Raises `NotFoundError`, or `FormatError` where it is damaged or of a newer version; `where` names
    the field."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise NotFoundError("There is no such file.", where=str(path), hint="Check the path of the preset.")
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise FormatError(f"It cannot be read: {error.strerror or error}.", where=str(path), hint=_HINT) from error
    return parse_preset(raw, str(path))


def parse_preset(raw: bytes | str, where: str = "preset") -> SteeringPreset:
    """The same from the content of a file, which errors call `where`."""
    if len(raw) > _MAX_BYTES:
        raise FormatError(f"A preset has at most {_MAX_BYTES:,} bytes.", where=where, hint=_HINT)
    try:
        data: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:  # also covers broken UTF-8
        raise FormatError(f"This is not JSON ({error}).", where=where, hint=_HINT) from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise FormatError("This is not a steering preset.", where=where, hint=_HINT)
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        known = isinstance(version, int) and version > VERSION
        raise FormatError(
            f"The preset has version {version!r}, this is written for {VERSION}.", where=where,
            hint="Update saewidgets." if known else _HINT,
        )
    try:
        return SteeringPreset.from_data(data)
    except ConfigError as error:
        raise FormatError(error.what, where=f"{where}: {error.where}", hint=error.hint) from error
