"""Whether a folder is on a network drive or a full disk, where SQLite's WAL (shared memory, space) cannot be used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_REMOTE = (
    "nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse", "vboxsf", "prl_fs",
    "drvfs", "davfs", "ncpfs", "panfs", "wekafs", "ocfs2", "gfs2", "virtiofs",
)  # fmt: skip

_LITTLE = 1 << 18  # bytes: WAL takes 32 kB for its index, and a page for each that changes


def filesystem_type(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that holds `folder` (Linux), else None."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    target = os.path.realpath(folder)
    best, found = -1, None
    for line in lines:
        parts = line.split()
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ").replace("\\011", "\t")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # the later of two mounts on one point hides the earlier
            best, found = len(point), parts[2]
    return found


def is_remote(folder: Path) -> bool:
    """Whether `folder` is on a file system that other machines may write too (or that cannot be trusted to lock)."""
    if str(folder).startswith("\\\\"):
        return True  # a Windows share
    kind = filesystem_type(folder)
    # Block devices mounted through FUSE (ntfs-3g, exfat) are local.
    return kind is not None and kind.startswith(_REMOTE) and kind != "fuseblk"


def is_full(folder: Path) -> bool:
    """Whether the disk has no space for what SQLite writes beside a database."""
    try:
        return shutil.disk_usage(folder).free < _LITTLE
    except OSError:  # there is no such folder
        return False
