"""Small SAEs on the disk, as other programs leave them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saewidgets.formats import save_sae
from saewidgets.sae.architectures import inference_sae
from tests.hub.repos import npz, safetensors, weights

MODEL = "gpt2"
HOOK = "blocks.6.hook_resid_post"


def saelens(
    folder: Path, d_in: int = 8, d_sae: int = 32, seed: int = 0, architecture: str = "topk", **settings: Any
) -> Path:
    """A SAELens SAE with random weights."""
    tensors = {name: torch.from_numpy(value) for name, value in weights(d_in, d_sae, seed).items()}
    settings = {"d_sae": d_sae, **({"k": 4} if architecture == "topk" else {}), **settings}
    sae = inference_sae(architecture, d_in, tensors, **settings)
    sae.metadata = {"model_name": MODEL, "hook_name": HOOK, "l0": 4.0}
    return save_sae(sae, folder)


def with_density(folder: Path, values: np.ndarray) -> Path:
    """The same with SAELens' file of densities beside it."""
    (folder / "sparsity.safetensors").write_bytes(safetensors({"sparsity": values.astype(np.float32)}))
    return folder


def gemma_scope(folder: Path, d_in: int = 8, d_sae: int = 16_384) -> Path:
    """``params.npz`` in folders that say which one it is."""
    inner = folder / "layer_6" / "width_16k" / "average_l0_82"
    inner.mkdir(parents=True)
    (inner / "params.npz").write_bytes(npz(weights(d_in, d_sae, 1, threshold=True)))
    return inner


def zipped(path: Path, files: Mapping[str, bytes], **kinds: Any) -> Path:
    """An archive; names go in as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = kinds.get(name, 0o100644) << 16
            archive.writestr(info, data)
    return path


def contents(folder: Path, prefix: str = "") -> dict[str, bytes]:
    """Names below `folder` → bytes."""
    return {
        prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
