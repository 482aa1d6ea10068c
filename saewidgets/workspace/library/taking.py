"""SAEs on their way out: exported, converted, as code to copy."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import FormatError, SAEWidgetsError, StorageError
from saewidgets.records import SAERecord
from saewidgets.workspace.library.intake import ORIGIN_FILE
from saewidgets.workspace.library.sae_files import folder_of, place_of

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

# Architectures that `sae_lens.SAE.load_from_disk` opens.
_SAE_LENS = frozenset({
    "standard", "gated", "topk", "abstopk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
    "jumprelu_skip_transcoder", "temporal", "matching_pursuit",
})  # fmt: skip


def export(workspace: Workspace, record: SAERecord, dest: Path, format: str) -> Path:
    """See `SAEs.export`."""
    # Torch: seconds to import.
    from saewidgets.formats import convert, validate
    from saewidgets.formats.io import own_files, same_format
    from saewidgets.formats.whole import whole_folder

    folder = folder_of(record)
    target = Path(os.path.abspath(dest.expanduser()))
    if target.resolve().is_relative_to((workspace.folder).resolve()):
        raise StorageError(
            "This folder is inside the workspace, which looks after its files itself.", where=str(target),
            hint="Choose a folder outside it.",
        )
    if format != record.format:
        return convert(folder, target, format)
    if problems := validate(folder):
        raise FormatError(
            f"The SAE is damaged and was not exported. {problems[0]}", where=str(folder),
            hint="Say where whole files are (locate), or download or import it again.",
        )
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    replaceable = [*(name.split("/")[0] for name in names), *own_files(target, format)]
    with same_format(target, format), whole_folder(target, replaceable) as draft:
        for name in names:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, draft / name)
    return target


def config(record: SAERecord) -> dict[str, Any]:
    """See `SAEs.config`."""
    from saewidgets.formats.io import stored_config  # torch: seconds to import

    folder = place_of(record)
    try:
        found = dict(stored_config(folder, record.format))
    except SAEWidgetsError:
        folder_of(record)  # raises if a file is gone, which says more
        raise
    try:
        origin = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it came in the format it has, or from a training
        return found
    return {**found, "origin": origin}


def load_code(workspace: Workspace, record: SAERecord) -> dict[str, str]:
    """See `SAEs.load_code`."""
    home = "" if workspace.is_default else json.dumps(str(workspace.folder))
    ours = (
        "import saewidgets as sw\n\n"
        f"sae = sw.Workspace({home}).saes.load({json.dumps(record.id)})\n"
        f"# {record.architecture}, d_sae {record.d_sae:,} × d_in {record.d_in:,}\n"
    )
    theirs = ""
    if record.format == "saelens" and record.architecture in _SAE_LENS:
        theirs = f"from sae_lens import SAE\n\nsae = SAE.load_from_disk({json.dumps(record.path)})\n"
    return {"saewidgets": ours, "sae_lens": theirs}
