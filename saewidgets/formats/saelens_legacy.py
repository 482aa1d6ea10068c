"""SAELens' format before version 6: the same files with a flat ``cfg.json`` of other names and defaults.

Read as sae-lens 6 reads it, except where that loses something silently: an activation function that is not ReLU, a
top-k without k and a fine-tuned factor per latent are folded in or refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field

from saewidgets.errors import FormatError
from saewidgets.formats import saelens, saelens_read
from saewidgets.formats.base import Description, Format
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.saelens_read import CONFIG_FILE, FILES, Reading
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

NAME = "saelens_legacy"
_RENAMED = {
    "hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn",
}
_KEPT = frozenset({  # what SAELens carries over into metadata, and the layer, which it drops
    "model_name", "hook_name", "model_class_name", "hook_head_index", "model_from_pretrained_kwargs", "prepend_bos",
    "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice", "dataset_path", "sae_lens_version",
    "sae_lens_training_version", "hook_name_out", "hook_head_index_out", "hf_hook_name", "hf_hook_name_out",
})


class _Arguments(BaseModel):
    k: int | None = Field(default=None, ge=1)


class _Activation(BaseModel):
    activation_fn_kwargs: _Arguments | None = None


def _matches(source: Source) -> bool:
    if not all(name in source.files() for name in FILES):
        return False
    try:
        return not saelens.is_modern(read_json(source, CONFIG_FILE))
    except FormatError:  # version 6 claims it and says what is wrong
        return False


def reading(source: Source) -> Reading:
    """What cfg.json says."""
    where = f"{source.label}/{CONFIG_FILE}"
    data = read_json(source, CONFIG_FILE)
    new = _modernised(data, where)
    file = checked(saelens.Shared, new, where)
    found = saelens.from_shared(file, data, where)
    nested = data.get("metadata", {})
    if not isinstance(nested, dict):
        raise FormatError("This is not a JSON object.", where=f"{where}: metadata", hint="Export the SAE again.")
    found.metadata = {
        **nested, **{key: new[key] for key in sorted(_KEPT) if key in new},
    }
    found.finetuned = new.get("finetuning_scaling_factor") is True
    if "metadata" in data:
        found.notes.append(
            "cfg.json has the form of SAELens 6 but no version, so sae-lens reads it as an older one and forgets its "
            "metadata; it was kept here."
        )
    return saelens_read.with_heads(found)


def _modernised(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The flat configuration under the names and with the defaults of version 6."""
    new = {_RENAMED.get(key, key): value for key, value in data.items()}
    new.setdefault("prepend_bos", True)
    new.setdefault("architecture", "standard")
    hook = new.get("hook_name")
    new.setdefault("reshape_activations", "hook_z" if isinstance(hook, str) and "hook_z" in hook else "none")
    normalize = new.get("normalize_activations")
    if normalize is None or isinstance(normalize, bool):
        new["normalize_activations"] = "expected_average_only_in" if normalize else "none"
    activation = new.get("activation_fn") or "relu"
    if activation == "topk":
        arguments = checked(_Activation, new, where).activation_fn_kwargs
        if arguments is None or arguments.k is None:
            raise FormatError(
                "The activation function is topk, but k is missing.", where=f"{where}: activation_fn_kwargs.k",
                hint="sae-lens would load a plain ReLU here. Add {\"k\": …} to activation_fn_kwargs.",
            )
        new |= {"architecture": "topk", "k": arguments.k}
    elif activation != "relu" and new["architecture"] == "standard":
        raise FormatError(
            f"The activation function is {str(activation)[:40]!r}; version 6 of SAELens silently takes ReLU instead.",
            where=f"{where}: activation_fn_str", hint="Open it in the version of sae-lens that wrote it.",
        )
    return new


def _describe(source: Source) -> Description:
    return saelens_read.describe(source, reading(source), NAME)


def _load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    source = FolderSource(folder)
    return saelens_read.load(source, reading(source), device=device, dtype=dtype)


FORMAT = Format(NAME, "SAELens before version 6", _matches, _describe, _load, config_file=CONFIG_FILE)
