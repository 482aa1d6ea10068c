"""Telling the library where the files of an SAE are now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import ConfigError, FormatError
from saewidgets.records import SAERecord
from saewidgets.workspace.library.sae_files import FOLDER, remove_files
from saewidgets.workspace.library.unlisted import unlisted

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_OWN = "Choose the folder of the same SAE, or add this one as an SAE of its own."


def locate(workspace: Workspace, record: SAERecord, path: str | Path) -> SAERecord:
    """Let a record stand for the files at `path`; see `SAEs.locate`."""
    # Torch: seconds to import.
    from saewidgets.formats import load_sae
    from saewidgets.formats.detect import locate as found_at

    wanted = Path(path).expanduser().absolute()
    library = (workspace.folder / FOLDER).resolve()
    if library in wanted.resolve().parents and wanted.resolve() != Path(record.path).resolve():
        raise ConfigError(
            "This folder belongs to the library, and so to another SAE.", where="path",
            hint="Choose a folder outside the workspace.",
        )
    found = found_at(wanted)
    description = found.format.describe(found.source())
    if found_at(found.source().folder).path != found.path:  # raises if there are several: a row names a folder
        raise FormatError("This folder holds other files of SAEs too.", where=str(path), hint="Move this one out.")
    sae = load_sae(found.path)  # checks every tensor
    for key in ("d_in", "d_sae", "d_out"):
        expected, here = getattr(record, key), getattr(sae, key)
        if expected is not None and expected != here:
            raise FormatError(
                f"The SAE here has {key} {here:,}; {record.name} has {expected:,}.", where=str(path), hint=_OWN
            )
    owned = library in Path(record.path).resolve().parents
    if owned and record.state == "ok" and Path(record.path).is_dir():  # a whole copy is about to be removed
        _refuse_another(record, sae, load_sae(record.path), path)
    with unlisted(workspace, Path(record.path)):
        located, before = workspace.catalog.saes.replace(
            record.id, path=found.source().folder, files=description.files, format=description.format, unused=True,
            architecture=sae.cfg.architecture, dtype=str(sae.W_dec.dtype).removeprefix("torch."), d_out=sae.d_out,
        )  # fmt: skip
        if Path(before) != Path(located.path):
            remove_files(workspace, Path(before))
    return located


def _refuse_another(record: SAERecord, here: Any, own: Any, path: str | Path) -> None:
    """Raises FormatError unless the two are the same SAE: the library's whole copy goes when its record moves on."""
    import torch  # seconds to import

    same = here.cfg.architecture == own.cfg.architecture and all(
        torch.allclose(getattr(here, name).float(), getattr(own, name).float(), rtol=1e-2, atol=1e-4)
        for name in ("W_enc", "b_enc", "W_dec", "b_dec")
        if isinstance(getattr(own, name, None), torch.Tensor) and isinstance(getattr(here, name, None), torch.Tensor)
    )
    if not same:
        raise FormatError(
            f"The files of {record.name} are where they belong, and the SAE here is another one.", where=str(path),
            hint=_OWN,
        )
