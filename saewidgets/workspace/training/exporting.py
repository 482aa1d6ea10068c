"""A run written into a folder of its own, for people and programs without this package.

    NAME/
        config.json    the configuration, as `TrainingConfig.from_data` reads it
        metrics.csv    one row per step: step, tokens, time (UTC), then every metric; empty where one was not recorded
        log.txt        the whole log
        sae/           the SAE in SAELens' format, once there is one
"""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.durable import reason
from saewidgets.errors import NotFoundError, StorageError
from saewidgets.workspace.files import draft_folder
from saewidgets.workspace.training.metrics import wide

if TYPE_CHECKING:
    from saewidgets.workspace.training.run import Run
    from saewidgets.workspace.workspace import Workspace

WHOLE_LOG = 1_000_000  # lines


def export_run(workspace: Workspace, run: Run, folder: Path) -> Path:
    """Write a run into `folder`, which must not exist or be empty: whole or not at all. Returns its absolute path.

    Raises:
        StorageError: the folder holds something, or cannot be written.
    """
    folder = folder.absolute()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StorageError("There is something already.", where=str(folder), hint="Choose another folder.")
        with draft_folder(folder.parent) as draft:
            _write(workspace, run, draft)
            if folder.exists():
                folder.rmdir()
            draft.rename(folder)
    except StorageError:  # which is an OSError, too
        raise
    except OSError as error:
        raise StorageError(
            f"The folder cannot be written: {reason(error)}.", where=str(folder),
            hint="Choose another folder, or free some space.",
        ) from error
    return folder


def _write(workspace: Workspace, run: Run, folder: Path) -> None:
    record = run.record
    try:
        config: Mapping[str, Any] = run.config.to_data()
    except NotFoundError:  # its text is on another machine: the row says which text it was
        config = record.config
    (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")
    workspace.manager.flush()
    names = workspace.catalog.metrics.names(record.id)
    columns = wide(workspace.catalog.metrics.query(record.id), names)
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            step, tokens, time, *values = row
            cells = ["" if math.isnan(value) else repr(value) for value in values]
            writer.writerow([int(step), int(tokens), datetime.fromtimestamp(time, UTC).isoformat(), *cells])
    (folder / "log.txt").write_text("".join(f"{line}\n" for line in run.log(WHOLE_LOG)), "utf-8")
    if record.sae_path is not None and (sae := Path(record.sae_path)).is_dir():
        shutil.copytree(sae, folder / "sae")
