"""Files of hidden states that scripts save: ``layer_6_states.pt`` and the like, looked at without reading them.

A file holds one tensor of rows, ``[rows, d]`` or ``[sequences, length, d]``: a ``.pt`` of `torch.save` (a dict with the
tensor under ``hidden_states``, or with one tensor only, and maybe ``layer_idx``), or a ``.safetensors``. No code of it
runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from saewidgets.activations.store_write import StatesFile
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.formats.archives import read_pickled
from saewidgets.formats.tensors import FLOATS, read_header
from saewidgets.lm.model_info import stated_sizes

_KEY = "hidden_states"
_OF_THE_STREAM = ("hook_resid_pre", "hook_resid_post", "hook_mlp_out", "hook_attn_out")  # as wide as it
_LAYER = re.compile(r"layer_(\d{1,4})_states")


def look_at_states(path: Path | str) -> StatesFile:
    """What a file of hidden states holds."""
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(
            "There is no such file.", where=str(path), hint="Give the path of a layer_…_states.pt, or several."
        )
    layer: int | None = None
    if path.suffix == ".safetensors":
        tensors = dict(read_header(path).tensors)
    else:
        found = read_pickled(path)
        tensors = {name: info for name, info in found.header().tensors.items() if not info.turned}
        said = found.plain().get("layer_idx")
        layer = said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < 10_000 else None
    name = _KEY if _KEY in tensors else next(iter(tensors)) if len(tensors) == 1 else None
    if name is None:
        raise FormatError(
            f"The file holds {len(tensors)} tensors, and none is called {_KEY}.", where=str(path),
            hint="Save one tensor of rows per file.",
        )
    info = tensors[name]
    if len(info.shape) not in (2, 3) or 0 in info.shape or info.dtype not in FLOATS:
        raise FormatError(
            f"{name} has the shape {list(info.shape)} and the dtype {info.dtype}; hidden states are floats of shape "
            "[rows, d] or [sequences, length, d].",
            where=f"{path}: {name}", hint="Choose a file of hidden states.",
        )
    width = info.shape[-1]
    if layer is None and (match := _LAYER.search(path.name)):
        layer = int(match[1])
    rows = info.nbytes // info.torch_dtype.itemsize // width
    return StatesFile(path, rows, width, layer, info.torch_dtype, info.start)


def check_widths(model: str, states: Iterable[tuple[str, int]]) -> None:
    """Whether states are as wide as the residual stream of the model that they are said to be from.

    A model that is not on this machine is taken at its word.
    """
    try:
        stated = stated_sizes(resolve_model(model))
    except NotFoundError:  # a name that says nothing here; a training asks for the model itself
        return
    for hook_name, width in states:
        if stated.d_model is not None and width != stated.d_model and hook_name.split(".")[-1] in _OF_THE_STREAM:
            raise ConfigError(
                f"The states at {hook_name} have width {width:,}, but {model} has {stated.d_model:,} there.",
                where="model", hint="Name the model that they are from.",
            )
