"""Random weights, and what they compute, in plain NumPy: the sources' own formulas, independent of the package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saewidgets.sae import SAE

Array = NDArray[Any]
D_IN, D_SAE = 12, 40


def draw(seed: int = 0, d_in: int = D_IN, d_sae: int = D_SAE, d_out: int | None = None) -> dict[str, Array]:
    """float32 weights in general position, by our names and in our orientation."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return (0.4 * generator.standard_normal(shape)).astype(np.float32)

    d_out = d_in if d_out is None else d_out
    return {
        "W_enc": normal(d_in, d_sae), "b_enc": normal(d_sae), "W_dec": normal(d_sae, d_out), "b_dec": normal(d_out),
        "threshold": np.abs(normal(d_sae)) + np.float32(0.1),
    }


def inputs(seed: int = 100, rows: int = 20, d_in: int = D_IN) -> Array:
    """Activations of different norms, float32."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, d_in)) * generator.uniform(0.5, 3.0, (rows, 1))
    return x.astype(np.float32)


def relu(p: Array) -> Array:
    return np.maximum(p, 0)


def jump(p: Array, threshold: Array | float) -> Array:
    """p where it exceeds the threshold."""
    return p * (p > threshold)


def largest(p: Array, k: int) -> Array:
    """The k largest of every row, the rest 0."""
    f = np.zeros_like(p)
    best = np.argsort(-p, axis=-1)[..., :k]
    np.put_along_axis(f, best, np.take_along_axis(p, best, -1), -1)
    return f


def torched(arrays: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}


def write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def edit(path: Path, **changes: Any) -> None:
    """Change keys of the JSON file at `path`; ... takes a key away."""
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def assert_computes(sae: SAE, x: Array, f: Array, y: Array, tolerance: float = 1e-5) -> None:
    """`sae` gives the latents `f` and the reconstruction `y` for `x`, each within `tolerance` of its scale."""
    given = torch.from_numpy(x)
    found = sae.encode(given)
    assert np.count_nonzero(f) > 0
    assert_close(found.numpy(), f, tolerance)
    assert_close(sae(given).numpy(), y, tolerance)
    assert_close(sae.decode(found, given).numpy(), y, tolerance)


def assert_close(found: Array, expected: Array, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))
