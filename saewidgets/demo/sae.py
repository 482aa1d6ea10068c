"""The demo SAE, ready to read: trained on the demo model, its features extracted and labelled in advance.

Its files lie in one archive. `about_sae` says what they are, `unpack_sae` writes one part of them into a folder, and
`sae_labels` reads the labels; neither needs torch. A workspace decides where the parts go (`ws.extractions.demo()`).

    sae/           an SAE in SAELens' format
    extraction/    what an extraction has found (`saewidgets/features/store/layout.py`)
    tokens/        the text that it has read, packed
    labels.json    labels of the features, as the catalog keeps them
"""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from saewidgets.errors import FormatError, NotFoundError, StorageError

Part = Literal["sae", "extraction", "tokens"]
PARTS: tuple[Part, ...] = get_args(Part)

_FOLDER = Path(__file__).parent / "data" / "sae"
_LABELS = "labels.json"
_MOST_BYTES = 64 * 1024**2  # of everything, unpacked
_AGAIN = "Install saewidgets again from its wheel, or build these files with tools/make_demo_sae.py."


@dataclass(frozen=True, slots=True)
class AboutSAE:
    """The packaged SAE: the ids that it has in every workspace, the fingerprint of its packed text (`tokens`), and
    the configuration it was trained with. `figures` were measured on held-out text; `files`: name → size in bytes
    and SHA-256."""

    sae_id: str
    extraction_id: str
    name: str
    model: str
    hook_name: str
    layer: int
    architecture: str
    d_in: int
    d_sae: int
    dtype: str
    tokens: str
    training: Mapping[str, Any]
    figures: Mapping[str, float]
    extraction: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]

    def size_of(self, part: Part) -> int:
        return sum(int(file["size"]) for name, file in self.files.items() if name.startswith(f"{part}/"))


def about_sae() -> AboutSAE:
    """The description of the packaged SAE; reads a small file."""
    return _about(_FOLDER)


@functools.cache
def _about(folder: Path) -> AboutSAE:
    path = folder / "demo-sae.json"
    try:
        about = AboutSAE(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    if sum(int(file["size"]) for file in about.files.values()) > _MOST_BYTES:
        raise _damaged(path, "it names files that are too large")
    return about


def unpack_sae(part: Part, folder: Path) -> None:
    """Write the files of `part` into `folder`, which is there and empty, each checked before it is written."""
    about = about_sae()
    wanted = {name: name.removeprefix(f"{part}/") for name in about.files if name.startswith(f"{part}/")}
    for name, content in _read(about, tuple(wanted)).items():
        path = folder / wanted[name]
        if folder.resolve() not in path.resolve().parents:
            raise _damaged(_FOLDER / "demo-sae.json", f"the file {name!r} leads out of its folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise StorageError(
                f"The demo SAE cannot be written: {error.strerror or error}.", where=str(path),
                hint="Free some disk space, or choose another workspace folder.",
            ) from error


def sae_labels() -> list[dict[str, Any]]:
    """The labels of its features, each the fields of a `LabelRecord`."""
    rows = json.loads(_read(about_sae(), (_LABELS,))[_LABELS])
    return [dict(row) for row in rows]


def _read(about: AboutSAE, names: tuple[str, ...]) -> dict[str, bytes]:
    path = _FOLDER / "demo-sae.zip"
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                if archive.getinfo(name).file_size != about.files[name]["size"]:
                    raise _damaged(path, f"{name} has another size")
                with archive.open(name) as file:
                    found[name] = file.read(int(about.files[name]["size"]))
                if hashlib.sha256(found[name]).hexdigest() != about.files[name]["sha256"]:
                    raise _damaged(path, f"{name} was altered")
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, lzma.LZMAError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from error
    return found


def _missing(path: Path) -> NotFoundError:
    return NotFoundError("The demo SAE is missing from this installation.", where=str(path), hint=_AGAIN)


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(f"The demo SAE of this installation is damaged: {why}.", where=str(path), hint=_AGAIN)
