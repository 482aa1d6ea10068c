"""The demo SAE, ready to read: trained on the demo model, its features extracted and labelled in advance.

Its files lie in one archive. `about_sae` says what they are, `unpack_sae` writes one part of them into a folder, and
`sae_labels` reads the labels; neither needs torch. A workspace decides where the parts go (`ws.extractions.demo()`).

    sae/           an SAE in SAELens' format
    extraction/    what an extraction has found (`saewidgets/features/store/layout.py`)
    tokens/        the text that it has read, packed
    labels.json    labels of the features, as the catalog keeps them
"""

import functools
import json
import lzma
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from saewidgets.errors import FormatError, NotFoundError

Part = Literal["sae", "extraction", "tokens"]
PARTS: tuple[Part, ...] = get_args(Part)

_FOLDER = Path(__file__).parent / "data" / "sae"
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
        return AboutSAE(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def unpack_sae(part: Part, folder: Path) -> None:
    """Write the files of `part` into `folder`, which is there and empty; what the disk refuses is an `OSError`."""
    for name, content in _read(f"{part}/"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sae_labels() -> list[dict[str, Any]]:
    """The labels of its features, each the fields of a `LabelRecord`."""
    ((_, text),) = _read("labels.json")
    return [dict(row) for row in json.loads(text)]


def _read(start: str) -> Iterator[tuple[str, bytes]]:
    """The files whose names begin so, less that: their contents, compared with the checksums of the archive."""
    path = _FOLDER / "demo-sae.zip"
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.startswith(start):
                    yield name.removeprefix(start), archive.read(name)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from error


def _missing(path: Path) -> NotFoundError:
    return NotFoundError("The demo SAE is missing from this installation.", where=str(path), hint=_AGAIN)


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(f"The demo SAE of this installation is damaged: {why}.", where=str(path), hint=_AGAIN)
