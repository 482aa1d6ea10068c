"""How much room there is: on the disk of the cache, and in the memory of a device."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any


def free_bytes(folder: Path) -> int | None:
    """Free space on the disk of `folder`, which need not exist yet; None if the system does not say."""
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def free_memory(device: str) -> int | None:
    """Free bytes of a device; None if that cannot be found out."""
    if device.startswith("cuda"):
        import torch  # seconds to import, and only needed for a GPU

        try:
            return int(torch.cuda.mem_get_info(device)[0])
        except (RuntimeError, AssertionError, ValueError):
            return None
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            facts: dict[str, Any] = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
