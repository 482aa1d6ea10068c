"""Publishes an SAE of the library on the hub: its files and a model card, without a path of this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from saewidgets.config.corpus import REPOSITORY
from saewidgets.config.names import hub_model, shown_model
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError
from saewidgets.formats.registry import locate
from saewidgets.hub.client import HubClient
from saewidgets.hub.publish import CardSource, model_card, place_of, source_url
from saewidgets.hub.publish import push as upload
from saewidgets.records import SAERecord
from saewidgets.render.numbers import metric
from saewidgets.version import __version__
from saewidgets.workspace.folders import draft_folder, link
from saewidgets.workspace.library.sae_files import FOLDER, SPARSITY_FILE, folder_of, hide_paths

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


# Key of a training's last evaluation, the metric that it is, how the card calls it.
_MEASURED = (("val_l0", "l0", "L0"), ("val_fvu", "fvu", "FVU"), ("ce_loss_score", "ce_loss_score", "CE recovered"))


def base_of(record: SAERecord, base_model: str | None) -> str | None:
    """The hub id of the SAE's model; None if it has none. Raises `ConfigError` if only the user knows it."""
    name = shown_model(record.model or "")
    if base_model is None and name != (record.model or ""):
        raise ConfigError(
            f"The model of {record.name} is a folder of this machine, {name}.", where="base_model",
            hint='Give the id of that model on the hub, base_model="owner/name", or base_model="" to leave it out.',
        )
    if base_model and REPOSITORY.fullmatch(base_model) is None:
        hint = "Give owner/name, for example openai-community/gpt2."
        raise ConfigError("This is not the name of a repository.", where="base_model", hint=hint)
    return hub_model(record.model) if base_model is None else base_model or None


def push(
    workspace: Workspace, record: SAERecord, client: HubClient, repo_id: str, *, private: bool, path: str, license: str,
    base_model: str | None, card_text: str | None,
) -> str:
    """See `SAEs.push_to_hub`."""
    base = base_of(record, base_model)
    found = locate(folder_of(workspace, record))
    source = found.source()
    names = [*found.format.describe(source).files]
    names += [SPARSITY_FILE] if SPARSITY_FILE in source.files() and SPARSITY_FILE not in names else []
    with draft_folder(workspace.folder / FOLDER) as draft:
        with storage_errors("The SAE cannot be prepared for its upload", draft, "Free some space."):
            for name in names:
                link(source.path(name).resolve(), draft / name)
            hide_paths(draft, {record.model: base} if record.model and base else None)
        pushed = upload(
            draft, repo_id, client=client, path=path, private=private, message=f"Upload {record.name}",
            card=card_text or card(record, repo_id, path, license, client.endpoint, base),
            replace_card=card_text is not None,
        )  # fmt: skip
    return pushed.url


def card(record: SAERecord, repo_id: str, path: str, license: str, endpoint: str, base_model: str | None) -> str:
    """The text of README.md. Raises `ConfigError` if nothing can be published there."""
    place_of(repo_id, path)
    known = record.metadata.get("origin")
    origin = known if isinstance(known, dict) else {}
    was = str(origin["format"]) if origin.get("format") not in (None, "", record.format) else None
    facts: dict[str, Any] = {
        "Architecture": record.architecture,
        "Dimensions": f"d_sae {record.d_sae:,} × d_in {record.d_in:,}",
        "Model": base_model or shown_model(record.model or "not known"),
        "Hook point": record.hook_name or "not known",
        "Format": record.format + (f", converted from {was} with saewidgets {__version__}" if was else ""),
    }
    latest = record.metadata.get("latest")
    measured = latest if isinstance(latest, dict) else {}
    for key, name, label in _MEASURED:
        if isinstance(value := measured.get(key), int | float):
            facts[label] = metric(name, value)
    where = json.dumps(repo_id) + (f", {json.dumps(path)}" if path else "")
    ours = f"import saewidgets as sw\n\nws = sw.Workspace()\nsae = ws.saes.load(ws.hub.download({where}).result())"
    code = {"saewidgets": ours}
    if record.format == "saelens" and path:  # sae-lens names an SAE by repository and folder
        code["sae-lens"] = f"from sae_lens import SAE\n\nsae = SAE.from_pretrained({where})"
    source = None
    if record.repo_id:  # what came from files of this machine or a training has no such place
        revision, place = record.revision or "main", record.repo_path or ""
        source = CardSource(
            record.repo_id, revision, place, source_url(endpoint, record.repo_id, revision, place), was,
            str(origin["license"]) if origin.get("license") else None,
        )  # fmt: skip
    return model_card(
        title=record.name, model=base_model, facts=facts, load_code=code, license=license,
        description="A sparse autoencoder of a language model.", source=source,
        tags=("sparse-autoencoder", "saelens") if record.format == "saelens" else ("sparse-autoencoder",),
    )  # fmt: skip
