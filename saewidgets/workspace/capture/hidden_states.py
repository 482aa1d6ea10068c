"""Files of hidden states that scripts save: ``layer_6_states.pt`` and the like, looked at without reading them. Used by
`ws.activations`.

A file holds one tensor of rows, ``[rows, d]`` or ``[sequences, length, d]``: a ``.pt`` of `torch.save` (a dict with the
tensor under ``hidden_states``, or with one tensor only, and maybe ``layer_idx``), or a ``.safetensors``. No code of it
runs.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from saewidgets.activations.store_write import StatesFile
from saewidgets.config import arguments
from saewidgets.config.hook_names import HOOK_NAME
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.formats.archives import read_pickled
from saewidgets.formats.tensors import FLOATS, read_header
from saewidgets.lm.model_config import stated_sizes

_KEY = "hidden_states"
_OF_THE_STREAM = ("hook_resid_pre", "hook_resid_post", "hook_mlp_out", "hook_attn_out")  # as wide as it
_LAYER = re.compile(r"layer_(\d{1,4})_states")


def look_at_states(path: Path | str) -> StatesFile:
    """The content of a file of hidden states."""
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
        tensors = {name: info for name, info in found.header(besides=None).tensors.items() if not info.turned}
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
    """Raises `ConfigError` if no hook point of the model is as wide as the states; a model not here is not checked."""
    try:
        stated = stated_sizes(model)
    except NotFoundError:  # a name that says nothing here; a training asks for the model itself
        return
    for hook_name, width in states:
        if stated.d_model is not None and width != stated.d_model and hook_name.split(".")[-1] in _OF_THE_STREAM:
            raise ConfigError(
                f"The states at {hook_name} have width {width:,}, but {model} has {stated.d_model:,} there.",
                where="model", hint="Name the model that they are from.",
            )


_STATES = (".pt", ".pth", ".safetensors")


def paths_of(given: str | Path | Sequence[str | Path]) -> Sequence[Path]:
    """Files, those of a folder in the order of their layers."""
    wanted = [given] if isinstance(given, str | Path) else given
    if not isinstance(wanted, Sequence) or not wanted:
        arguments.refuse(given, "paths", "the path of a file, or several", "Give at least one.")
    found: list[Path] = []
    for each in wanted:
        path = arguments.path(each, "paths", "a file of hidden states")
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in path.glob("layer_*_states.*") if file.suffix in _STATES and not file.is_symlink()]
        if not inside:
            raise NotFoundError(
                "The folder holds no layer_…_states.pt.", where=str(path), hint="Give the paths of the files."
            )
        found += sorted(inside, key=lambda file: (len(file.name), file.name))
    return found


def hook_names_of(given: str | Sequence[str] | None, files: Sequence[StatesFile]) -> tuple[str, ...]:
    """The hook point of every file."""
    if given is None:
        if (silent := next((file.path.name for file in files if file.layer is None), None)) is not None:
            raise ConfigError(
                f"The name {silent} does not say which layer it is from.", where="hook_names",
                hint='Give it: hook_names="blocks.6.hook_resid_post".',
            )
        names = tuple(f"blocks.{file.layer}.hook_resid_post" for file in files)
    else:
        names = (given,) if isinstance(given, str) else tuple(given)
    if len(names) != len(files):
        raise ConfigError(
            f"There are {len(files):,} files and {len(names):,} hook names.", where="hook_names",
            hint="Name one for each file, in their order.",
        )
    for name in names:
        if not isinstance(name, str) or not HOOK_NAME.fullmatch(name):
            arguments.refuse(name, "hook_names", "a hook name", "Use names such as blocks.6.hook_resid_post.")
    if len(set(names)) < len(names):
        raise ConfigError("Two files are from the same hook point.", where="hook_names", hint="Import each once.")
    return names
