"""Defines `Presets`, `ws.steering.presets`: named steering settings, each a JSON file in the workspace."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.config import SteeringConfig, arguments
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.records import Records, Shown
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.lookup import find_id
from saewidgets.workspace.subjects import find_subject

if TYPE_CHECKING:
    from saewidgets.steering import PresetSAE
    from saewidgets.workspace.workspace import Workspace

FOLDER = "presets/steering"
_MOST = 1000  # files that a list reads


@dataclass(frozen=True, slots=True, repr=False)
class PresetRecord(Shown):
    """A preset as the list shows it."""

    name: str
    features: int  # how many
    saes: tuple[str, ...]  # their names
    prompt: str
    saved_at: float  # Unix time
    path: str
    problem: str = ""  # why it cannot be loaded, as a sentence; its name is then that of its file


@checks_arguments
class Presets:
    """The steering presets of a workspace. What is in their files is checked whenever it is read."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = workspace.folder / FOLDER

    def save(self, name: str, config: SteeringConfig, *, replace: bool = False) -> PresetRecord:
        """Keep `config` under a name: settings and the ids of its SAEs, no weights and no paths.

        Raises `StateError` if there is a preset of this name and `replace` is not set, `ConfigError` or `NotFoundError`
        where features name no SAE, or none that is here.
        """
        from saewidgets.steering import PresetSAE, SteeringPreset, save_preset  # torch: seconds to import

        name = arguments.name(name, "a name for the preset")
        path = self._path(name)
        if path.exists() and not replace:
            raise StateError(f"There is a preset {name!r}.", where="name", hint="Choose another name, or replace it.")
        if any(feature.sae is None for feature in config.features):
            raise ConfigError("A feature does not say which SAE it belongs to.", where="features", hint="Set its sae.")
        ids = [find_id(self._workspace, ("sae", "training"), each.sae, "features") for each in config.features]
        features = [each.model_dump() | {"sae": sae} for each, sae in zip(config.features, ids, strict=True)]
        config = config.replace(features=features)
        saes = tuple(
            PresetSAE(id=one.id, name=one.name, model=one.model, hook_name=one.hook_name, d_sae=one.d_sae)
            for one in (find_subject(self._workspace, sae) for sae in dict.fromkeys(ids))
        )
        save_preset(SteeringPreset(name=name, saes=saes, config=config), path)
        return self._read(path)

    def list(self) -> Records[PresetRecord]:
        """All presets, newest first; damaged ones say so in `problem`."""
        return Records([self._read(path) for path in self._files()[:_MOST]], PresetRecord)

    def count(self) -> int:
        """The number of presets; no file is read."""
        return len(self._files())

    def load(self, name: str | PresetRecord) -> SteeringConfig:
        """The settings of a preset (its name or record), with the ids that its SAEs have in this workspace: one with
        another id counts as the same if its name, hook point and width are. Raises `NotFoundError` if the preset or
        one of its SAEs is not there, and `FormatError` if the file is damaged."""
        from saewidgets.steering import load_preset  # torch: seconds to import

        preset = load_preset(self._find(name))
        ids = {sae.id: self._here(sae) for sae in preset.saes}
        only = next(iter(ids.values())) if len(ids) == 1 else None
        features = [
            feature.model_dump() | {"sae": ids[feature.sae] if feature.sae is not None else only}
            for feature in preset.config.features
        ]
        return preset.config.replace(features=features)

    def delete(self, name: str | PresetRecord) -> None:
        """Remove a preset. Raises `NotFoundError` if there is none of this name."""
        path = self._find(name)
        with storage_errors("The preset cannot be deleted", path, "Check the permissions of the workspace."):
            path.unlink()

    def _files(self) -> Sequence[Path]:
        """Newest first."""
        found = (path for path in self._folder.glob("*.json") if path.is_file() and not path.is_symlink())
        return sorted(found, key=lambda path: -_time(path))

    def _path(self, name: str) -> Path:
        """A name of any characters as the name of a file: readable, and unlike that of any other name."""
        readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
        digest = hashlib.sha256(name.encode()).hexdigest()[:10]
        return self._folder / f"{readable or 'preset'}-{digest}.json"

    def _find(self, preset: str | PresetRecord) -> Path:
        named = preset.name if isinstance(preset, PresetRecord) else preset
        name = arguments.name(named, "the name of a preset")
        path = self._path(name)
        if path.is_file() and not path.is_symlink():
            return path
        # A file from elsewhere goes by the name inside, a damaged one by its own.
        for record in self.list():
            if record.name == name:
                return Path(record.path)
        hint = "List them with ws.steering.presets.list()."
        raise NotFoundError(f"There is no preset {name!r}.", where="name", hint=hint)

    def _read(self, path: Path) -> PresetRecord:
        from saewidgets.steering import load_preset  # torch: seconds to import

        try:
            preset = load_preset(path)
        except (FormatError, NotFoundError) as error:
            return PresetRecord(path.stem, 0, (), "", _time(path), str(path), problem=error.what)
        config = preset.config
        names = tuple(sae.name or sae.id for sae in preset.saes)
        return PresetRecord(preset.name, len(config.features), names, config.prompt, _time(path), str(path))

    def _here(self, sae: PresetSAE) -> str:
        with suppress(NotFoundError):
            return find_subject(self._workspace, sae.id).id
        wanted = sae.name, sae.hook_name, sae.d_sae
        same = [one.id for one in self._workspace.saes.list() if (one.name, one.hook_name, one.d_sae) == wanted]
        if len(same) == 1:
            return same[0]
        place = " ".join(filter(None, [sae.model, sae.hook_name]))
        raise NotFoundError(
            f"The preset needs the SAE {sae.name or sae.id}{f' ({place})' if place else ''}, which is not in this "
            "workspace.", where=sae.id, hint="Add it to the library, then load the preset again.",
        )


def _time(path: Path) -> float:
    with suppress(OSError):  # deleted meanwhile
        return path.stat().st_mtime
    return 0.0
