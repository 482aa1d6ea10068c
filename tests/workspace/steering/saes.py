"""A workspace with a small SAE of the demo model."""

from pathlib import Path

import torch

from saewidgets.formats import save_sae
from saewidgets.sae import create_sae
from saewidgets.workspace import Workspace

HOOK = "blocks.1.hook_resid_post"
D_SAE = 256
DEAD = 255  # never fires


def demo_sae(folder: Path, seed: int = 0, d_in: int = 256) -> Path:
    """A random TopK SAE whose encoder reads what its decoder writes."""
    sae = create_sae("topk", d_in=d_in, d_sae=D_SAE, k=8)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        directions = torch.randn(D_SAE, d_in, generator=generator)
        directions /= directions.norm(dim=1, keepdim=True)
        sae.W_dec.copy_(directions)
        sae.W_enc.copy_(directions.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
        sae.b_enc[DEAD] = -1e6
    sae.metadata = {"model_name": "demo", "hook_name": HOOK}
    return save_sae(sae, folder)


def add_demo_sae(ws: Workspace, folder: Path, name: str = "demo-l1-topk", seed: int = 0) -> str:
    """Put it into the library; its id."""
    return ws.saes.add_local(demo_sae(folder, seed), name=name, model="demo", hook_name=HOOK).id
