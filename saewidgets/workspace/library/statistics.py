"""Statistics of an SAE from its files alone, without text or model: norms, thresholds, densities."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats import detect_format, load_sae, read_log_density
from saewidgets.formats.tensors import read_header
from saewidgets.records import Comparison, LatentMatch, SAERecord
from saewidgets.workspace.library.sae_files import SPARSITY_FILE

BLOCK_BYTES = 16 * 1024**2
WEIGHTS_FILE = "sae_weights.safetensors"


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of floats of an SAE by SAELens' names. Those of its format stay on the disk until they are read."""
    if detect_format(folder) == "saelens":
        read_header(folder / WEIGHTS_FILE)  # raises where it is damaged
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    else:
        tensors = load_sae(folder).state_dict()
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}


def _blocks(matrix: Tensor, rows: int | None = None) -> Iterator[Tensor]:
    """Blocks of rows in float32, one after another, so that memory does not grow with the SAE."""
    rows = rows or max(1, BLOCK_BYTES // (4 * max(1, matrix.shape[1])))
    return (block.float() for block in matrix.split(rows))


BINS = 40
VERSION = 2  # of what is kept in rows; another number is computed again
_SAME = 1e-6  # relative: a norm of weights in float32 is not known better
_NEVER = -9.9  # SAELens stores log10(share + 1e-10): a latent that never fired has −10
_DENSE = -1.0  # fires on more than a tenth of the tokens
_MEASURED = ("l0", "fvu", "ce_loss_score", "dead", "mse")


def compute(folder: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics of the SAE in `folder` as plain JSON data; see `SAEs.statistics`."""
    weights = _weights(folder)
    encoder = decoder = None
    if (matrix := weights.get("W_dec")) is not None:
        decoder = torch.cat([block.norm(dim=1) for block in _blocks(matrix)])
    if (matrix := weights.get("W_enc")) is not None and matrix.dim() == 2:
        encoder = torch.zeros(matrix.shape[1], dtype=torch.float64)
        for block in _blocks(matrix):
            encoder += block.square().sum(dim=0).double()
        encoder = encoder.sqrt()
    b_dec, threshold = (weights[n].float() if n in weights and weights[n].dim() == 1 else None
                        for n in ("b_dec", "threshold"))  # fmt: skip
    norms = {"decoder_norms": decoder, "encoder_norms": encoder, "threshold": threshold}
    found: dict[str, Any] = {
        "version": VERSION, **{name: None if values is None else histogram(values) for name, values in norms.items()},
        "b_dec_norm": None if b_dec is None else _number(b_dec.norm()),
    }
    d_sae = 0 if decoder is None else len(decoder)
    fired = None
    try:  # the file that SAELens writes beside the weights: what they tell is worth having without it
        if (values := read_log_density(folder)) is not None and len(values) != d_sae:
            what = f"It has the densities of {len(values):,} latents, not of {d_sae:,}."
            raise FormatError(what, where=str(folder / SPARSITY_FILE), hint="Remove the file; it is optional.")
        fired = _by_logarithm(values) if values is not None else None
    except FormatError as error:
        found["density_note"] = str(error)
    found["density"] = fired
    found["measured"] = measured = _measured(metadata)
    found["l0"] = measured.get("l0")
    found["dead"] = fired["zeros"] if fired else round(measured["dead"] * d_sae) if "dead" in measured else None
    found["size_bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return found


def histogram(values: Tensor, bins: int = BINS) -> dict[str, Any]:
    """``edges counts min max mean sd`` of the finite values; those that differ by no more than rounding are in one bin.
    """
    values = values[values.isfinite()].double()
    if not len(values):
        return {"edges": [], "counts": [], "min": None, "max": None, "mean": None, "sd": None}
    low, high = float(values.min()), float(values.max())
    if high - low <= max(abs(low), abs(high)) * _SAME:
        margin = max(abs(low), abs(high)) * 1e-3 or 1e-3
        edges = torch.tensor([low - margin, high + margin], dtype=torch.float64)
    else:
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        edges[-1] = high  # whatever the last step's rounding: the largest value is in the last bin
    counts = torch.histogram(values, edges).hist
    return {
        "edges": edges.tolist(), "counts": [int(n) for n in counts.tolist()],
        "min": _number(values.min()), "max": _number(values.max()), "mean": _number(values.mean()),
        "sd": _number(values.std(correction=0)),
    }  # fmt: skip


def density_histogram(shares: Tensor) -> dict[str, Any]:
    """The histogram of densities, of the share of tokens on which each latent fires, ``[d_sae]``."""
    return _by_logarithm(shares.double().clamp_min(1e-10).log10())


def _by_logarithm(values: Tensor) -> dict[str, Any]:
    """A `histogram` of shares on a logarithmic axis; ``zeros`` and ``dense`` (above a tenth) count latents."""
    fired = values[values > _NEVER]
    logs, shares = histogram(fired), histogram(10.0 ** fired.double())
    return {
        **shares, "edges": [10.0**edge for edge in logs["edges"]], "counts": logs["counts"],
        "zeros": int(len(values) - len(fired)), "dense": int((fired > _DENSE).sum()),
    }  # fmt: skip


def with_evaluations(found: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics of files with what evaluations measured (`kept`), where the files do not say it."""
    evaluated, cross_entropy = kept.get("evaluated"), kept.get("cross_entropy")
    if not evaluated:
        return dict(found)
    known = {**(cross_entropy["metrics"] if cross_entropy else {}), **evaluated["metrics"]}
    metrics = {name: known.get(name) for name in _MEASURED}
    metrics = {name: value for name, value in metrics.items() if value is not None}
    fired = found["density"] or evaluated["density"]
    dead = found["dead"] if found["dead"] is not None else fired["zeros"]
    l0 = found["l0"] if found["l0"] is not None else metrics.get("l0")
    return {
        **found, "density": fired, "dead": dead, "l0": l0, "measured": metrics | found["measured"],
        "evaluated": dict(evaluated), **({"cross_entropy": dict(cross_entropy)} if cross_entropy else {}),
    }  # fmt: skip


def _measured(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of its training: the last evaluation of our own trainings, else what its files record."""
    latest = metadata.get("latest")
    latest = latest if isinstance(latest, Mapping) else {}
    found = {}
    for name in _MEASURED:
        for value in (latest.get(f"val_{name}"), latest.get(name), metadata.get(name)):
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:  # nor NaN
                found[name] = float(value)
                break
    return found


def _number(value: Tensor) -> float:
    return float(f"{float(value):.6g}")


BOUNDS = (0.9, 0.7)
ROWS = 2048  # of each SAE at a time: a block of cosines has 16 MB


def compare(a: SAERecord, b: SAERecord, folders: tuple[Path, Path], top: int) -> Comparison:
    """See `SAEs.compare`."""
    first, second = (_weights(folder).get("W_dec") for folder in folders)
    if first is None or second is None or first.shape[1] != second.shape[1]:
        widths = [f"{matrix.shape[1]:,}" if matrix is not None else "no known" for matrix in (first, second)]
        raise ConfigError(
            f"{a.name} writes to {widths[0]} dimensions, {b.name} to {widths[1]}.",
            hint="Compare SAEs of the same activations.",
        )
    best_a, partner_a, best_b = _matches(first, second)
    order = best_a.argsort(descending=True, stable=True)[:top].tolist()
    pairs = tuple(LatentMatch(i, int(partner_a[i]), round(float(best_a[i]), 6)) for i in order)
    return Comparison(
        a=a.id, b=b.id, matches=pairs, mean_max_cosine=float(best_a.mean()), mean_max_cosine_back=float(best_b.mean()),
        above={bound: int((best_a >= bound).sum()) for bound in BOUNDS}, histogram=histogram(best_a),
        histogram_back=histogram(best_b),
    )  # fmt: skip


def _matches(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each latent of the first its largest cosine and with which latent; for each of the second its largest."""
    best_a, best_b = (torch.full((len(matrix),), -2.0) for matrix in (first, second))
    partner = torch.zeros(len(first), dtype=torch.int64)
    for i, rows in enumerate(_blocks(first, ROWS)):
        ours = _unit(rows)
        here = slice(i * ROWS, i * ROWS + len(ours))
        for j, others in enumerate(_blocks(second, ROWS)):
            there = slice(j * ROWS, j * ROWS + len(others))
            cosines = ours @ _unit(others).T
            values, columns = cosines.max(dim=1)
            better = values > best_a[here]
            best_a[here] = torch.where(better, values, best_a[here])
            partner[here] = torch.where(better, columns + j * ROWS, partner[here])
            best_b[there] = torch.maximum(best_b[there], cosines.amax(dim=0))
    return best_a.clamp(-1, 1), partner, best_b.clamp(-1, 1)


def _unit(rows: Tensor) -> Tensor:
    """Rows of norm one; rows of zeros stay so: their cosine with anything is 0."""
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit
