"""Which version of its text a run reads: found out once, and the same ever after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saewidgets.activations.exact import is_exact, with_exact_revision
from saewidgets.config.training import TrainingConfig

_LARGEST = 1 << 26  # bytes of run.json


def with_exact_text(config: TrainingConfig, folder: Path, *, resume: bool) -> TrainingConfig:
    """`config` with the commit of its dataset in place of a branch: when it is resumed the one it was started with,
    else the newest. Other text, and a dataset whose commit is named, stay as they are.

    Raises:
        HubError: there is no such dataset or revision, or the hub cannot be reached.
    """
    if is_exact(config.corpus):
        return config
    before = _recorded(folder) if resume else None
    if before is not None and before == {**config.corpus.to_data(), "revision": before.get("revision")}:
        known = config.replace(**{"corpus.revision": before["revision"]})
        if is_exact(known.corpus):
            return known
    return config.model_copy(update={"corpus": with_exact_revision(config.corpus)})


def _recorded(folder: Path) -> dict[str, Any] | None:
    """The text in the run's record; None if there is none that can be read."""
    path = folder / "run.json"
    try:
        if path.stat().st_size > _LARGEST:
            return None
        corpus = json.loads(path.read_text(encoding="utf-8"))["config"]["corpus"]
    except (OSError, ValueError, KeyError, TypeError):  # it was never started, or is written again at once
        return None
    return corpus if isinstance(corpus, dict) else None
