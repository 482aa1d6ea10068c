"""Defines `Scaler` and `Whitening`, which activations pass before training, and folds them into the exported weights.

A common factor s: the SAE sees ``s · x``. A whitening (Saraswatula and Klindt, arXiv 2511.13981): it sees

    z = (x - mean) · matrix,    x = z · inverse + mean,    matrix = E (Λ + ε)^(-1/2),  inverse = (Λ + ε)^(1/2) Eᵀ

where E and Λ are the eigenvectors and eigenvalues of the covariance of x, so that z has mean zero and about the
identity for covariance. Both are affine, so an SAE of raw x with the same latents exists; the formulas are SAELens'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

EPSILON = 1e-3  # ε, SAELens' as well: directions that hardly vary are not blown up without bound
_BLOCK = 1 << 21  # weights handled at once in float64: 16 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """An affine map and its inverse, see above; float64 where they are kept, float32 where they are applied."""

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor) -> Whitening:
        """The whitening of activations with this mean [d] and covariance [d, d], float64."""
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(0) + EPSILON  # rounding may leave tiny negative ones
        return cls(mean, vectors * values.rsqrt(), values.sqrt()[:, None] * vectors.T)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Whitening:
        return Whitening(*(each.to(device, dtype).contiguous() for each in (self.mean, self.matrix, self.inverse)))

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by SAELens' names."""
        return {"mean": self.mean, "matrix": self.matrix, "inverse_matrix": self.inverse}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Whitening:
        """The opposite of `tensors`. Raises `KeyError` where one is missing."""
        return cls(tensors["mean"], tensors["matrix"], tensors["inverse_matrix"])


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """The scaling of activations for an SAE in training: a `factor`, or a `whitening` in its place. `factor_out` is for
    the target of a transcoder; None: it has that of the activations, or is not a transcoder."""

    factor: float = 1.0
    factor_out: float | None = None
    whitening: Whitening | None = None

    @property
    def out(self) -> float:
        return self.factor if self.factor_out is None else self.factor_out

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Scaler:
        return self if self.whitening is None else replace(self, whitening=self.whitening.to(device, dtype))

    def apply(self, x: Tensor) -> Tensor:
        """What the SAE sees of `x` [..., d_in]; `x` itself where nothing happens."""
        if self.whitening is not None:
            return (x - self.whitening.mean) @ self.whitening.matrix
        return x if self.factor == 1.0 else x * self.factor

    def apply_(self, x: Tensor) -> Tensor:
        """The same; `x` may be overwritten."""
        if self.whitening is not None:
            return x.sub_(self.whitening.mean) @ self.whitening.matrix
        return x if self.factor == 1.0 else x.mul_(self.factor)

    def apply_out_(self, target: Tensor) -> Tensor:
        """The target of a transcoder, [..., d_out], as it trains on it; `target` may be overwritten."""
        return target if self.out == 1.0 else target.mul_(self.out)

    def undo(self, y: Tensor) -> Tensor:
        """A reconstruction [..., d_out] in the units of the raw activations."""
        if self.whitening is not None:
            return y @ self.whitening.inverse + self.whitening.mean
        return y if self.out == 1.0 else y / self.out


RAW = Scaler()
"""Activations as they are."""


def fold_scales(tensors: Mapping[str, Tensor], scale_in: float, scale_out: float) -> None:
    """Let the SAE of `tensors` (by SAELens' names), trained from ``scale_in · x`` to ``scale_out · y``, lead from raw x
    to raw y, in place; latents stay what they were."""
    for name, factor in (("W_enc", scale_in), ("W_skip", scale_in / scale_out)):
        if name in tensors:
            tensors[name].mul_(factor)
    for name in ("W_dec", "b_dec"):
        tensors[name].div_(scale_out)


def fold_decoder_norm(tensors: Mapping[str, Tensor], *, above: float = 1e-6) -> bool:
    """Scale latents in place so that decoder rows have norm one; the reconstruction stays. True if that changed much.

    Latent i becomes ``f_i · ‖W_dec,i‖``: what is selected by the norms, or reported in them, then is so without them.
    """
    norms = tensors["W_dec"].to(torch.float32).norm(dim=1).clamp_min(1e-8)
    if torch.allclose(norms, torch.ones_like(norms), rtol=0, atol=above):
        return False
    for name in ("W_enc", "b_enc", "threshold"):
        if name in tensors:
            tensors[name].mul_(norms)
    tensors["W_dec"].div_(norms[:, None])
    return True


def fold_whitening(tensors: Mapping[str, Tensor], whitening: Whitening, *, centred: bool) -> None:
    """Let the SAE of `tensors` (by SAELens' names), trained on z, take raw x, in place; latents stay what they were.

    ``W_enc' = matrix · W_enc,  W_dec' = W_dec · inverse,  b_dec' = b_dec · inverse + mean``, and where the encoder does
    not subtract b_dec (`centred`), ``b_enc' = b_enc - mean · W_enc'``. Computed in float64, in blocks of latents."""
    encoder, decoder, bias = tensors["W_enc"], tensors["W_dec"], tensors["b_dec"]
    maps = whitening.to(encoder.device, torch.float64)
    step = max(1, _BLOCK // encoder.shape[0])
    for start in range(0, encoder.shape[1], step):
        columns = slice(start, start + step)
        block = maps.matrix @ encoder[:, columns].double()
        encoder[:, columns] = block
        decoder[columns] = decoder[columns].double() @ maps.inverse
        if not centred:
            shift_biases(tensors, -(maps.mean @ block), columns)
    bias.copy_(bias.double() @ maps.inverse + maps.mean)


def unfold_whitening(tensors: Mapping[str, Tensor], whitening: Whitening, *, centred: bool) -> None:
    """The opposite of `fold_whitening`: an SAE of raw x becomes one of z."""
    maps = whitening.to(tensors["W_enc"].device, torch.float64)
    if not centred:
        shift_biases(tensors, maps.mean @ tensors["W_enc"].double())
    tensors["W_enc"].copy_(maps.inverse @ tensors["W_enc"].double())
    tensors["W_dec"].copy_(tensors["W_dec"].double() @ maps.matrix)
    tensors["b_dec"].copy_((tensors["b_dec"].double() - maps.mean) @ maps.matrix)


def shift_input(tensors: Mapping[str, Tensor], shift: Tensor) -> None:
    """Let the encoder of `tensors` add `shift` [d_in] to its input, by its biases, in place. Computed in float64."""
    encoder = tensors["W_enc"]
    step = max(1, _BLOCK // encoder.shape[0])
    for start in range(0, encoder.shape[1], step):
        columns = slice(start, start + step)
        shift_biases(tensors, shift.double() @ encoder[:, columns].double(), columns)


def shift_biases(tensors: Mapping[str, Tensor], shift: Tensor, columns: slice = slice(None)) -> None:
    """Add `shift` to the pre-activations of the latents in `columns`, in place."""
    for name in ("b_enc", "b_gate"):
        if name in tensors:
            tensors[name][columns] += shift
    if "b_mag" in tensors:  # its path multiplies the encoder by exp(r_mag)
        tensors["b_mag"][columns] += shift * tensors["r_mag"][columns].to(shift.dtype).exp()
