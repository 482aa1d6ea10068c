"""What a run can compute on, and how much memory is free there."""

from __future__ import annotations

import os
from dataclasses import dataclass

from saewidgets.settings import free_memory, machine_memory


@dataclass(frozen=True, slots=True)
class Device:
    """One device: `id` is torch's name, sizes are in bytes (None when the system does not tell)."""

    id: str
    label: str
    total_bytes: int | None
    free_bytes: int | None


def devices() -> tuple[Device, ...]:
    """All devices of this machine, the preferred one first."""
    import torch  # seconds to import: only when the list is asked for

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(Device(f"cuda:{index}", f"cuda:{index} ({total / 1e9:.1f} GB)", total, free))
    memory, available = machine_memory(), free_memory()
    label = f"cpu ({os.cpu_count()} cores, {memory / 1e9:.1f} GB)" if memory else "cpu"
    return (*found, Device("cpu", label, memory, available))
