"""The way of activations from where they are kept to where they are trained on: the one place that moves batches."""

from __future__ import annotations

import torch
from torch import Tensor


def handed_over(window: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
    """Rows of a window as a batch.

    They travel in the number format of the window. On the way from the CPU to a GPU the batch waits in pinned memory,
    so that the copy runs beside whatever the GPU is doing; torch keeps that memory until the copy is over.

    Args:
        window: ``[window, width]`` in any number format, on any device.
        chosen: row numbers ``[batch]`` on the same device.
        device: where the batch is trained on.

    Returns:
        ``[batch, width]`` float32 on `device`, a tensor of its own.
    """
    if window.device.type == "cpu" and device.type == "cuda":
        shape = (len(chosen), window.shape[1])
        rows = torch.empty(shape, dtype=window.dtype, pin_memory=True)
        torch.index_select(window, 0, chosen, out=rows)
    else:
        rows = window.index_select(0, chosen)
    return rows.to(device, non_blocking=device.type == "cuda").float()
