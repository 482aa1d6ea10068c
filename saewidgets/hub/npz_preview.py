"""The dimensions of a Gemma Scope ``params.npz`` from two ranged reads.

A zip archive names its members and their sizes at its end, but NumPy writes an array's shape in front of its data, so
that reading all five headers of a 300 MB file takes five requests. The shape and number format of the first array and
the sizes of the others decide everything; the headers are read one by one when the file is loaded.
"""

from __future__ import annotations

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description
from saewidgets.formats.gemma_scope import notes
from saewidgets.formats.gemma_scope_path import read_path
from saewidgets.formats.npz import read_npz_header
from saewidgets.formats.source import Source
from saewidgets.formats.zips import ZipSource

NAME = "params.npz"
_ARRAYS = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
_DTYPES = {"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2)}


def describe(source: Source) -> Description:
    """As `gemma_scope.describe`, from the archive's directory and the header of its first array.

    Raises:
        FormatError: arrays are missing, or their sizes contradict each other or the folder's name.
    """
    archive = ZipSource(source, NAME)
    # Some files write w_enc and w_dec in lower case.
    sizes = {_name(name): member.size for name, member in archive.members.items()}
    if missing := [name for name in _ARRAYS if name not in sizes]:
        raise FormatError(f"The arrays {', '.join(missing)} are missing.", where=archive.where)
    first = min(archive.members.values(), key=lambda member: member.header_start)
    file_name = first.name.removesuffix(".npy")
    info = read_npz_header(source, NAME, [file_name]).tensors[file_name]
    dtype, item = _DTYPES.get(info.dtype, ("", 0))
    if not item:
        raise FormatError(f"The dtype is {info.dtype}, expected floats.", where=f"{archive.where}: {file_name}")
    header = first.size - info.nbytes  # NumPy pads headers to the same length
    count = {name: (size - header) // item for name, size in sizes.items()}
    d_sae, d_out = count["b_enc"], count["b_dec"]
    d_in = count["W_enc"] // d_sae if d_sae else 0
    expected = {
        "W_enc": d_in * d_sae, "W_dec": d_sae * d_out, "b_enc": d_sae, "b_dec": d_out, "threshold": d_sae,
    }
    path = read_path(source.label)
    wrong = [name for name in _ARRAYS if count[name] != expected[name] or not count[name]]
    shape = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_out)}.get(_name(first.name), (count[_name(first.name)],))
    if wrong or info.shape != shape or path.d_sae not in (None, d_sae):
        raise FormatError(
            f"The sizes of the arrays contradict each other{'' if not wrong else ': ' + ', '.join(wrong)}.",
            where=archive.where,
            hint="The file was cut off or altered; tell the owner of the repository.",
        )
    transcoder = path.site == "transcoders"
    settings: dict[str, object] = {"apply_b_dec_to_input": False}
    if path.site == "att":
        settings["reshape_activations"] = "hook_z"
    config = {"site": path.site, "layer": path.layer, "width": path.width, "average_l0": path.l0}
    return Description(
        format="gemma_scope",
        architecture="jumprelu_transcoder" if transcoder else "jumprelu",
        d_in=d_in,
        d_sae=d_sae,
        d_out=d_out,
        dtype=dtype,
        files=(NAME,),
        size_bytes=archive.size,
        model=path.model,
        hook_name=path.hook_name,
        settings=settings,
        config={key: value for key, value in config.items() if value is not None},
        notes=notes(path),
    )


def _name(member: str) -> str:
    name = member.removesuffix(".npy")
    return "W" + name[1:] if name.startswith("w_") else name
