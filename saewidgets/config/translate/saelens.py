"""SAELens (version 6) → `TrainingConfig`: a runner's configuration, or what an SAE's own cfg.json records of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saewidgets.config.changed import with_changes
from saewidgets.config.translate.result import Translation
from saewidgets.config.translate.saelens_cfg import of_sae
from saewidgets.config.translate.saelens_runner import runner_of
from saewidgets.config.translate.saelens_several import of_several
from saewidgets.config.translate.source import Settings, read
from saewidgets.errors import ConfigError

WHAT = "a SAELens configuration (runner_cfg.json or cfg.json)"


def from_saelens(
    source: str | Path | Mapping[str, Any], *, saes: Sequence[str] | None = None, **changes: Any
) -> Translation:
    """Translate a SAELens training configuration.

    Args:
        source: ``runner_cfg.json`` as SAELens writes it beside checkpoints and outputs, the ``cfg.json`` of an SAE
            (which records less: what is missing gets this package's defaults), the path of either, or
            ``to_dict()`` of a ``LanguageModelSAERunnerConfig`` or ``MultiSAETrainingRunnerConfig``.
        saes: which SAEs of a configuration of several; None: all.
        changes: settings of `TrainingConfig` by dotted name that replace what was translated, or supply what the
            source lacks: ``from_saelens(path, corpus="notes.txt", tokens=1_000_000)``.

    Returns:
        the configuration, every setting that was lost or changed its meaning, and in `over` what tells its SAEs apart
        where it is one of several.

    Raises:
        ConfigError: an architecture or hook point that cannot be trained here, or a value that makes no sense; `where`
            is the name in SAELens' configuration, or in ours.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = read(source, WHAT)
    if data.get("saes") is not None:
        return of_several(data, saes, changes)
    if saes is not None:
        raise ConfigError(
            "There are no several SAEs in it to choose from.", where="saes",
            hint="Leave out saes, or --saes: the settings are one SAE's.",
        )
    if isinstance(data.get("sae"), Mapping):
        settings = Settings(data)
        config = runner_of(settings, changes)
    else:
        settings, config = of_sae(data, changes)
    return Translation(with_changes(config, changes), tuple(settings.remarks), "SAELens")
