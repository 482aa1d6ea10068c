"""`take_demo`: puts the package's demo SAE into a workspace, with its features and labels. Used by `ws.extractions`.

Its ids follow from its files, so that a workspace has it once, however many processes request it.
Deleted parts come back with the next request.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.catalog.database import file_lock
from saewidgets.config.names import free_name
from saewidgets.demo.sae import AboutSAE, Part, about_sae, sae_labels, unpack_sae
from saewidgets.durable import storage_errors
from saewidgets.errors import NotFoundError
from saewidgets.feature_records import LabelRecord
from saewidgets.workspace.folders import TOKENS, draft_folder
from saewidgets.workspace.library.sae_files import FOLDER as SAES
from saewidgets.workspace.library.sae_files import unlisted

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

EXTRACTIONS = "extractions"
WHERE = "the demo SAE of the saewidgets package"
_LOCK = ".demo-sae.lock"
_SECONDS = 60.0  # that another process may take


def take_demo(workspace: Workspace) -> tuple[str, bool]:
    """The id of the demo SAE's extraction, and whether it, or a part of it, was put into the workspace just now."""
    about = about_sae()
    if _is_there(workspace, about):
        return about.extraction_id, False
    with file_lock(workspace.folder / _LOCK, _SECONDS):
        if missing := not _is_there(workspace, about):
            _take(workspace, about)
    return about.extraction_id, missing


def _is_there(workspace: Workspace, about: AboutSAE) -> bool:
    try:  # the extraction's row is written last
        record = workspace.catalog.extractions.get(about.extraction_id)
        sae = workspace.catalog.saes.get(about.sae_id)
    except NotFoundError:
        return False
    return record.has_data and all(
        folder.is_dir() for folder in (Path(sae.path), Path(record.folder), _tokens(workspace, about))
    )


def _take(workspace: Workspace, about: AboutSAE) -> None:
    _place("tokens", _tokens(workspace, about))
    _place("extraction", _extraction(workspace, about))
    folder = workspace.folder / SAES / about.sae_id
    with unlisted(workspace, folder):
        sae = None
        with suppress(NotFoundError):
            sae = workspace.catalog.saes.get(about.sae_id)
        if sae is None or not Path(sae.path).is_dir():
            _place("sae", folder)
        if sae is None:
            _list_sae(workspace, about, folder)
        elif not Path(sae.path).is_dir():
            workspace.catalog.saes.replace(about.sae_id, path=folder)
    found, rows, features = about.extraction, workspace.catalog.extractions, workspace.catalog.features
    if not rows.existing([about.extraction_id]):
        from saewidgets.workspace.features import newer  # torch: seconds to import

        labels = [LabelRecord(**{**row, "scores": tuple(row["scores"])}) for row in sae_labels()]
        features.put_labels(features.origin(about.sae_id), labels, newer)
        rows.create(
            id=about.extraction_id, sae_id=about.sae_id, config=found["config"], model=about.model,
            hook_name=about.hook_name, layer=about.layer, d_sae=about.d_sae, tokens_total=found["config"]["tokens"],
            folder=_extraction(workspace, about),
            facts={"prepend_bos": True, "validation_share": 0.0, "model_given": False, "seconds": found["seconds"]},
        )  # fmt: skip
    rows.update(  # the results that the extraction's row gets at the end
        about.extraction_id, n_tokens=found["n_tokens"], seen=found["seen"], dead=found["dead"], dense=found["dense"],
        size_bytes=about.size_of("extraction"),
    )  # fmt: skip
    workspace.saes.changes.tell(about.sae_id)


def _tokens(workspace: Workspace, about: AboutSAE) -> Path:
    return workspace.folder / TOKENS / about.tokens


def _extraction(workspace: Workspace, about: AboutSAE) -> Path:
    return workspace.folder / EXTRACTIONS / about.extraction_id


def _place(part: Part, target: Path) -> None:
    """Write the files of a part to `target`, whole or not at all; existing ones are the same."""
    if target.is_dir():
        return
    hint = "Free some disk space, or choose another workspace folder."
    with draft_folder(target.parent) as draft, storage_errors("The demo SAE cannot be written", target, hint):
        unpack_sae(part, draft)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was quicker
                raise


def _list_sae(workspace: Workspace, about: AboutSAE, folder: Path) -> None:
    figures = about.figures
    rows = workspace.catalog.saes
    rows.add(
        id=about.sae_id, name=free_name(about.name, rows.names()), source="local", architecture=about.architecture,
        d_in=about.d_in, d_sae=about.d_sae, d_out=about.d_in, dtype=about.dtype, format="saelens", path=folder,
        model=about.model, hook_name=about.hook_name, layer=about.layer, tags=("demo",),
        metadata={
            "origin": {"format": "saelens", "where": WHERE}, "settings": dict(about.training["sae"]),
            **{name: figures[name] for name in ("l0", "fvu", "ce_loss_score")},
            "training_tokens": about.training["tokens"], "context_size": about.training["context_size"],
            "config": dict(about.training), "model_given": False,
        },
    )  # fmt: skip
