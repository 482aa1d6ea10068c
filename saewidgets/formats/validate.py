"""Is what a path holds an SAE that can be used?"""

from __future__ import annotations

from pathlib import Path

import torch

from saewidgets.config import arguments
from saewidgets.errors import SAEWidgetsError
from saewidgets.formats.detect import locate

_ROWS = 2
_CONTEXT = 3


def validate(path: str | Path) -> list[str]:
    """Problems of the SAE at `path`, one sentence each with the file and key it concerns; empty if there are none.

    Checked are the format, the configuration, the headers of all files against it, every weight (no NaN, no infinity),
    and that encoding and reconstructing two activations gives numbers. It reads all weights and takes their memory
    meanwhile.

    Raises:
        ConfigError: `path` is no path.
    """
    arguments.path_text(path, "path", "where an SAE is")
    try:
        found = locate(path)
        found.format.describe(found.source())
        sae = found.format.load(found.path, device=torch.device("cpu"))
        x = torch.ones(_ROWS, _CONTEXT, sae.d_in, dtype=sae.W_dec.dtype)
        x[1:] = torch.linspace(-1, 1, sae.d_in, dtype=sae.W_dec.dtype)
        with torch.no_grad():
            f = sae.encode(x)
            y = sae(x)
    except SAEWidgetsError as error:
        return [str(error)]
    if f.isfinite().all() and y.isfinite().all():
        return []
    return [f"{found.path}: Its latents or reconstructions are not finite numbers, although its weights are."]
