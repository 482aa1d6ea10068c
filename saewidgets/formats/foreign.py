"""What the formats of other packages share: reading checked tensors and making an SAE of them.

A format's own module says how its files are named, which way its matrices lie and what its settings mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats.base import Description
from saewidgets.formats.header import Header
from saewidgets.formats.pickled import read_pickled
from saewidgets.formats.source import FolderSource, OfOneFile, Source
from saewidgets.formats.tensors import read_tensors
from saewidgets.sae import SAE
from saewidgets.sae.inference import inference_sae

Width = Annotated[int, Field(ge=1, le=2**24)]


class Settings(BaseModel):
    """The part of a configuration that decides what is computed. Unknown keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def dtype_name(header: Header, name: str) -> str:
    """``"float32"`` for the tensor `name`."""
    return str(header.tensors[name].torch_dtype).removeprefix("torch.")


def total(source: Source, names: Iterable[str]) -> int:
    """Bytes in the files `names`."""
    files = source.files()
    return sum(files.get(name, 0) for name in names)


def read(
    source: FolderSource, header: Header, name: str, names: Mapping[str, str], *, device: torch.device,
    transposed: Collection[str] = (),
) -> dict[str, Tensor]:
    """Tensors of the file `name`, whose `header` was checked: our name → the file's; see `read_tensors`."""
    return read_tensors(source.path(name), header, names, transposed=transposed, device=device)


def only(source: Source, pattern: re.Pattern[str], what: str) -> str:
    """The one file of the folder itself that fits `pattern`. Raises `FormatError` naming them if there are several."""
    files = [name for name in source.files() if "/" not in name]
    names = sorted(name for name in files if pattern.fullmatch(name)) or (files if len(files) == 1 else [])
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise FormatError(
        f"The folder holds {f'several SAEs: {listed}' if names else f'no {what}'}.", where=source.label,
        hint="Give the path of one of the files.",
    )


def beside(source: Source) -> Source | None:
    """The files beside the one file that `source` is; None for folders, and where nothing is known of its folder."""
    return source.around() if isinstance(source, OfOneFile) else None


def renamed(source: Source, keys: set[str]) -> bool:
    """Whether the source is one ``.pt`` file on this machine whose table has `keys`, whatever the file is called."""
    names = list(source.files())
    if not isinstance(source, FolderSource) or len(names) != 1 or not names[0].endswith((".pt", ".pth")):
        return False
    try:
        return keys <= set(read_pickled(source, names[0]).value)
    except FormatError:  # not a file of tensors, so not this format either
        return False


def build(
    description: Description,
    tensors: dict[str, Tensor],
    *,
    where: str,
    device: torch.device,
    dtype: torch.dtype | None,
    metadata: Mapping[str, Any] | None = None,
) -> SAE:
    """The SAE that `description` and `tensors` (our names and orientation) stand for; `tensors` is emptied.

    All weights get `dtype`, or the number format of W_dec. Raises `FormatError` where the settings cannot work.
    """
    if description.architecture is None or description.d_in is None:
        raise FormatError("The weights did not tell what kind of SAE this is.", where=where)
    dtype = dtype or tensors["W_dec"].dtype
    # One after the other, so that only one of them is ever there in both number formats.
    ready = {name: tensors.pop(name).to(device, dtype) for name in list(tensors)}
    settings = {"d_sae": description.d_sae, **description.settings}
    if "transcoder" in description.architecture:
        settings["d_out"] = description.d_out
    try:
        sae = inference_sae(description.architecture, description.d_in, ready, **settings)
    except ConfigError as error:
        raise FormatError(error.what, where=f"{where}: {error.where}", hint=error.hint) from error
    sae.metadata = {
        "model_name": description.model, "hook_name": description.hook_name, "source_format": description.format,
        **(metadata or {}),
    }
    add_notes(sae, description.notes)
    return sae


def add_notes(sae: SAE, notes: Iterable[str]) -> None:
    """Say `notes` in its metadata, after those that are there, none of them twice."""
    earlier = sae.metadata.get("notes")
    if found := list(dict.fromkeys([*(earlier if isinstance(earlier, list) else []), *notes])):
        sae.metadata["notes"] = found


def scaled(tensor: Tensor, factor: float | Tensor) -> Tensor:
    """``tensor · factor``, computed in at least float32 and returned in the tensor's number format; `tensor` itself, if
    that is its number format."""
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor.mul_(factor)
    return (tensor.to(torch.promote_types(tensor.dtype, torch.float32)) * factor).to(tensor.dtype)


def fold_decoder_norm(tensors: dict[str, Tensor], *, above: float = 1e-6) -> bool:
    """Scale latents in place so that decoder rows have norm one; the reconstruction stays. True if that changed much.

    Latent i becomes ``f_i · ‖W_dec,i‖``: what is selected by the norms, or reported in them, then is so without them.
    """
    norms = tensors["W_dec"].to(torch.float32).norm(dim=1).clamp_min(1e-8)
    if torch.allclose(norms, torch.ones_like(norms), rtol=0, atol=above):
        return False
    for name in ("W_enc", "b_enc", "threshold"):
        if name in tensors:
            tensors[name] = scaled(tensors[name], norms)
    tensors["W_dec"] = scaled(tensors["W_dec"], 1 / norms[:, None])
    return True


_SITES = {"": "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out", "self_attn": "hook_attn_out",
          "attention": "hook_attn_out"}
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(mlp|attn|self_attn|attention))?")


def hook_of_module(path: str) -> str | None:
    """The hook name of the output of a transformers module: ``layers.10`` → ``blocks.10.hook_resid_post``."""
    if path.rsplit(".", 1)[-1] in {"embed_tokens", "wte", "embed_in"}:
        return "hook_embed"
    match = _MODULE.fullmatch(path)
    return f"blocks.{match[1]}.{_SITES[match[2] or '']}" if match else None


def fold_scales(tensors: dict[str, Tensor], scale_in: float, scale_out: float) -> None:
    """Let an SAE of ``scale_in · x`` that reconstructs ``scale_out · y`` take x and give y; latents stay the same."""
    tensors["W_enc"] = scaled(tensors["W_enc"], scale_in)
    for name in ("W_dec", "b_dec"):
        tensors[name] = scaled(tensors[name], 1 / scale_out)
