"""The two files of the demo SAE: an archive, and what it must hold."""

import hashlib
import json
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ARCHIVE, ABOUT = "demo-sae.zip", "demo-sae.json"
LABELS = "labels.json"
_DERIVED = ("peak_tokens.npy",)  # computed again when it is first asked for
_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same content


def digest(*parts: bytes) -> str:
    """SHA-256 of the bytes after one another, in hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def write_archive(
    out: Path, about: Mapping[str, Any], parts: Mapping[str, Path], labels: Sequence[Mapping[str, Any]]
) -> int:
    """Pack the folders `parts` and the labels into `out`; returns the bytes of both files.

    The ids that the SAE and its extraction have in every workspace follow from the content.
    """
    content = {LABELS: json.dumps(labels, ensure_ascii=False, separators=(",", ":")).encode()}
    for part, folder in parts.items():
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name not in _DERIVED:
                content[f"{part}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()
    files = {name: {"size": len(data), "sha256": digest(data)} for name, data in sorted(content.items())}
    sae_id = f"sae_{uuid.uuid5(uuid.NAMESPACE_URL, digest(json.dumps(files).encode()))}"
    ids = {"sae_id": sae_id, "extraction_id": f"ext_{sae_id}_{time.time_ns() // 1000}"}
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_LZMA) as archive:
        for name in files:
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_LZMA
            archive.writestr(info, content[name])
        for info in archive.infolist():
            print(f"{info.filename:50} {info.file_size:10,} {info.compress_size:10,}")
    text = json.dumps({**ids, **about, "files": files}, indent=1)
    (out / ABOUT).write_text(text, encoding="utf-8")
    return (out / ARCHIVE).stat().st_size + len(text)
