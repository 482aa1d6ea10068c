"""Defines `SAE`, the base class: four weights, encode, decode, a loss, and the upkeep around an optimiser step.

Shapes: `x` [..., d_in]; `f` [..., d_sae]; `W_enc` [d_in, d_sae]; `W_dec` [d_sae, d_out], where d_out is d_in except for
transcoders. An architecture supplies the activation function and the terms of its loss; everything here is shared.
Conventions follow SAELens: pre-activations are ``(x - b_dec) @ W_enc + b_enc`` and the reconstruction error is summed
over d_out and averaged over the batch.

Normalisation per token, and heads, are `sae/inputs.py`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Never

import torch
from torch import Tensor, nn

from saewidgets.config.sae import Penalised, SAEConfig
from saewidgets.errors import ConfigError
from saewidgets.products import product
from saewidgets.sae.inputs import Units, normalise, require_activations, require_tensor, restore
from saewidgets.sae.kernels.blocked import Loss as Loss
from saewidgets.sae.kernels.blocked import RowLoss, Whole, blocked_loss, whole_loss
from saewidgets.sae.kernels.dense import Activation, dense_step
from saewidgets.sae.kernels.select import SparseCode, few_code
from saewidgets.sae.kernels.sparse import Few, decode, encode
from saewidgets.sae.mesh import ALONE, Mesh
from saewidgets.sae.scaler import Whitening, fold_scales, fold_whitening

_START_ROWS = 1024  # of a first batch, on which it is measured where few latents are active
_BLOCK = 1 << 21  # decoder entries handled at once: 8 MiB, so that what is computed stays in cache


@dataclass(frozen=True, slots=True)
class LossState:
    """What a loss depends on besides weights and data.

    Attributes:
        sparsity_scale: factor on the sparsity penalty (0 → 1 during its warm-up).
        dead: bool [d_sae], latents that count as dead now; None when that is unknown or of no interest.
        progress: share of the run that is done, 0 to 1: finished optimiser steps / all steps, the same for all
            microbatches of a step. Annealed penalties follow it.
        steps: optimiser steps of the whole run; None: not known. Averages over a part of the run go by it.
        lift_scale: factor on `pre_act_coefficient`.
        dead_at_most: an upper bound of how many are dead, so that a GPU need not be asked; None: none is known.
        units: set by `loss` itself where the SAE normalises its input.
    """

    sparsity_scale: float = 1.0
    dead: Tensor | None = None
    progress: float = 0.0
    steps: int | None = None
    lift_scale: float = 1.0
    dead_at_most: int | None = None
    units: Units | None = None

    @property
    def weights(self) -> Tensor | None:
        """[rows]: how often each row's squared error counts; None: once."""
        return None if self.units is None else self.units.weights

    def dead_latents(self) -> tuple[Tensor, Tensor | None]:
        """The dead latents, int64 [n]. Where only a bound of their number is known, so many with all of them among
        them, and which of these are dead, bool [n]."""
        assert self.dead is not None
        if self.dead_at_most is None:
            return self.dead.nonzero().view(-1), None
        latents = self.dead.int().sort(descending=True, stable=True).indices[: self.dead_at_most]
        return latents, self.dead[latents]


def squared_error(reconstruction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over rows of the squared error summed over the row, in float32; `weights` [rows]: how often each counts."""
    errors = (reconstruction.float() - target.float()).pow(2).sum(-1)
    return (errors if weights is None else errors * weights).mean()


class SAE(nn.Module, ABC):
    """A sparse autoencoder.

    Args:
        cfg: the architecture's settings.
        d_in: width of the activations.
        d_out: width of the reconstruction. Only transcoders may have another than d_in; theirs is d_in, too, where
            neither this nor the configuration says otherwise.
        generator: source of the initial weights; None takes a private one with a fresh seed (the global generators
            are never touched).
        initialise: False leaves the weights unset, for a caller that fills them from a file.
        mesh: of the training that several workers share: the SAE then holds its part of the latents, and `d_sae` is how
            many those are.
    """

    architecture: ClassVar[str]
    _kernels_on: ClassVar[tuple[str, ...]] = ("cpu",)  # types of device
    _of_training: ClassVar[tuple[str, ...]] = ()  # parameters and buffers that an exported SAE has no more
    _start_density: ClassVar[float] = 8.0  # active latents at first, where L0 is steered, as a multiple of its target
    _start_mean: ClassVar[float] = 1.0  # b_dec at first, as a share of the mean
    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter

    def __init__(
        self, cfg: SAEConfig, d_in: int, *, d_out: int | None = None, generator: torch.Generator | None = None,
        initialise: bool = True, mesh: Mesh = ALONE,
    ) -> None:
        super().__init__()
        for name, width in (("d_in", d_in), ("d_out", d_out if d_out is not None else d_in)):
            if not hasattr(width, "__index__") or width < 1:
                raise ConfigError(
                    f"{name} is {width!r}.", where=name, hint="Give the width of the activations, at least 1."
                )
        self.cfg = self._resolved(cfg, d_in, d_out)
        self.d_in = d_in
        self.d_sae = cfg.d_sae // mesh.latents.size
        self.mesh = mesh
        self.metadata: dict[str, Any] = {}
        self._add_weights()
        self._add_state()
        if initialise:
            self.reset_parameters(generator)

    def _resolved(self, cfg: SAEConfig, d_in: int, d_out: int | None) -> SAEConfig:
        """The configuration with what follows from the widths filled in."""
        if d_out is not None and d_out != d_in:
            raise ConfigError(
                f"d_out is {d_out:,} but d_in is {d_in:,}: a {cfg.architecture} SAE reconstructs its input.",
                where="d_out", hint="Leave d_out out, or choose a transcoder.",
            )
        return cfg

    @property
    def d_out(self) -> int:
        """Width of the reconstruction: d_in, except for transcoders."""
        return self.d_in

    @property
    def is_transcoder(self) -> bool:
        """Whether it reconstructs another place in the model than the one it reads."""
        return False

    @property
    def needs_input(self) -> bool:
        """Whether `decode` needs the input besides the latents."""
        return self.cfg.normalize_activations != "none"

    def _add_weights(self) -> None:
        self.W_enc = nn.Parameter(torch.empty(self.d_in, self.d_sae))
        self.b_enc = nn.Parameter(torch.empty(self.d_sae))
        self.W_dec = nn.Parameter(torch.empty(self.d_sae, self.d_out))
        self.b_dec = nn.Parameter(torch.empty(self.d_out))

    def _add_state(self) -> None:
        """Register what the architecture has besides the four weights."""

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Decoder rows of norm `decoder_init_norm` in random directions, encoder its transpose, biases zero. The
        encoder of a transcoder has random directions of its own."""
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        rows = self._directions(self.d_out, generator)
        self.W_dec.copy_(rows)
        self.W_enc.copy_((self._directions(self.d_in, generator) if self.is_transcoder else rows).T)
        self._reset_encoder_biases()
        self.b_dec.zero_()

    def _reset_encoder_biases(self) -> None:
        self.b_enc.zero_()

    def _directions(self, width: int, generator: torch.Generator) -> Tensor:
        """[d_sae, width]: random directions of norm `decoder_init_norm`."""
        rows = torch.randn(self.d_sae, width, generator=generator, device=generator.device)
        return rows.mul_(self.cfg.decoder_init_norm / rows.norm(dim=1, keepdim=True).clamp_min(1e-8))

    # --- inference ---------------------------------------------------------------------------------------------------

    def encoder_input(self, x: Tensor) -> Tensor:
        """`x` [..., d_in] as it is multiplied with `W_enc`: in the dtype of the weights, normalised and without b_dec
        where the configuration says so. An SAE on hook_z also takes [..., heads, d_head]."""
        x = self._flat(x).to(self.W_dec.dtype)
        if self.cfg.normalize_activations != "none":
            x = self._normalise(x)
        return self._centred(x)

    def _centred(self, x: Tensor) -> Tensor:
        """`x` [..., d_in] in the SAE's own units, without b_dec where the configuration says so."""
        return x - self.b_dec if self.cfg.apply_b_dec_to_input else x

    def pre_activations(self, x: Tensor) -> Tensor:
        """``(x - b_dec) @ W_enc + b_enc`` (without b_dec where the configuration says so): [..., d_sae]."""
        return self._encoded(self.encoder_input(x))

    def _encoded(self, x: Tensor) -> Tensor:
        """Pre-activations of `x` [..., d_in] as `encoder_input` gives it."""
        return product(x, self.W_enc, self._encoder_bias())

    def _encoder_bias(self) -> Tensor | None:
        """[d_sae]: what pre-activations have besides the product of input and encoder."""
        return self.b_enc

    @abstractmethod
    def activate(self, pre: Tensor) -> Tensor:
        """Pre-activations [..., d_sae] → latents of the same shape, for inference."""

    def encode(self, x: Tensor) -> Tensor:
        """Activations [..., d_in] → latents [..., d_sae] in the dtype of the weights.

        An SAE on hook_z also takes [..., heads, d_head]; x of width d_in is always read as flat.

        Raises:
            ConfigError: the width does not fit, or these are whole numbers.
        """
        return self.activate(self.pre_activations(x))

    def decode(self, f: Tensor, x: Tensor | None = None) -> Tensor:
        """Latents [..., d_sae] → reconstruction [..., d_out].

        Args:
            f: what `encode` returned, possibly changed.
            x: the input it was encoded from. SAEs that normalise their input or have a linear path beside the latents
                (`needs_input`) cannot do without; an SAE on hook_z takes the output's shape from it.

        Raises:
            ConfigError: a width does not fit, or `x` is missing.
        """
        require_tensor(f, "f")
        if f.shape[-1:] != (self.d_sae,):
            found = "are a scalar" if f.dim() == 0 else f"have width {f.shape[-1]:,}"
            raise ConfigError(
                f"Latents {found}, but this SAE's d_sae is {self.d_sae:,}.", where="f",
                hint="Decode what encode of the same SAE returned.",
            )
        return self._finish(self._decode(f.to(self.W_dec.dtype)), x)

    def _decode(self, f: Tensor) -> Tensor:
        return self.mesh.latents.sum(product(f, self.W_dec)) + self.mesh.latents.once(self.b_dec)

    def _finish(self, y: Tensor, x: Tensor | None) -> Tensor:
        """What the decoder put out, in units and shape of the input."""
        if x is None:
            if self.needs_input:
                raise ConfigError(
                    "This SAE's reconstruction depends on its input, which is missing.", where="x",
                    hint="Call decode(f, x) with the x that f was encoded from, or sae(x).",
                )
            return y
        rows = self._flat(x)
        if rows.shape[:-1] != y.shape[:-1]:
            raise ConfigError(
                f"Latents are of shape {(*y.shape[:-1], self.d_sae)}, but x is of {tuple(x.shape)}.", where="x",
                hint="Give the x that f was encoded from.",
            )
        if self.needs_input:
            y = self._restore(y, rows.to(y.dtype))
        return y.unflatten(-1, x.shape[-2:]) if rows.dim() != x.dim() else y

    def _normalise(self, x: Tensor) -> Tensor:
        return normalise(self.cfg.normalize_activations, x)

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        """The decoder's output `y` [..., d_out] with what the input `x` [..., d_in] gives to it."""
        return restore(self.cfg.normalize_activations, y, x)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of `x` [..., d_in], in the dtype of `x`: all that this SAE makes of it, as [..., d_out]."""
        return self.decode(self.encode(x), x).to(x.dtype)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor | SparseCode]:
        """What `decode` makes of `x` [n, d_in] and its latents: all [n, d_sae] or, on the CPU where they are few, the
        active ones alone, in a fraction of the time."""
        rows = self._flat(x).to(self.W_dec.dtype)
        # BatchTopK has others in training
        has_kernels = rows.device.type == "cpu" and not self.training and SAE._fast_path(self, rows, rows)
        code = self._active(self._normalise(rows)) if has_kernels and len(rows) else None
        if code is None:
            f = self.encode(x)
            return self.decode(f, x), f
        return self._finish(decode(code.values, self.W_dec, self.b_dec, code, len(rows))[0], x), code

    def _active(self, x: Tensor) -> SparseCode | None:
        """The active latents of `x` [n, d_in], which is in the SAE's own units; None where they are not few."""
        few = self._few(x, 0.0)
        return None if few is None else replace(few.code, values=self._values(few))

    def _values(self, few: Few) -> Tensor:
        """[n]: what latents above their bar are, in evaluation mode."""
        return few.pre.relu()

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, x: Tensor, target: Tensor | None = None, *, step: LossState | None = None) -> Loss:
        """The training loss of one batch.

        Args:
            x: activations [..., d_in]; leading dimensions are flattened into the batch.
            target: what to reconstruct, [..., d_out] with the leading dimensions of `x`; None means `x` itself, which
                a transcoder does not take.
            step: sparsity scale, dead latents and progress; None means scale 1, none known dead, and the beginning.

        Raises:
            ConfigError: a width, the dtype or the number of rows does not fit, or the SAE reshapes its input.
        """
        if self.cfg.reshape_activations != "none":
            raise ConfigError(
                "SAEs that reshape their input can be loaded and used, not trained.", where="architecture"
            )
        require_activations(x, "x")
        self._check_width(x)
        if target is None:
            if self.is_transcoder:
                raise ConfigError(
                    "A transcoder reconstructs another place than it reads, and the target is missing.",
                    where="target", hint="Call loss(x, target) with the activations to reconstruct.",
                )
            target = x
        require_activations(target, "target")
        if target.shape != (*x.shape[:-1], self.d_out):
            raise ConfigError(
                f"The target has shape {tuple(target.shape)}, expected {(*x.shape[:-1], self.d_out)}.", where="target",
                hint="Give one target row of width d_out per input row.",
            )
        step = step or LossState()
        if step.dead is not None and step.dead.shape != (self.d_sae,):
            raise ConfigError(
                f"The mask of dead latents has shape {tuple(step.dead.shape)}, expected ({self.d_sae},).", where="dead"
            )
        rows = x.detach().reshape(-1, self.d_in) if not x.requires_grad else x.reshape(-1, self.d_in)
        if rows.shape[0] == 0:
            raise ConfigError("The batch is empty.", where="x", hint="Pass at least one row of activations.")
        rows, target = rows.to(self.W_enc.dtype), target.reshape(-1, self.d_out).to(self.W_enc.dtype)
        kind = self.cfg.normalize_activations
        if kind == "none":
            return self._lifting_dead(self._loss(rows, target, step), rows, step)
        units = self._units(rows)
        rows = normalise(kind, rows)
        loss = self._loss(rows, units.own(target), replace(step, units=units))
        loss = self._lifting_dead(loss, rows, step)
        return replace(loss, reconstruction=units.activations(loss.reconstruction))

    def _units(self, x: Tensor) -> Units:
        """The units in which encoder and decoder see `x` [rows, d_in] and its target."""
        return Units(x) if self.is_transcoder else Units.of(self.cfg.normalize_activations, x)

    def row_weights(self, x: Tensor) -> Tensor | None:
        """[rows]: how often the loss counts the squared error of each row of `x` [rows, d_in]; None: once."""
        return None if self.cfg.normalize_activations == "none" else self._units(x.to(self.W_dec.dtype)).weights

    def decoder_target(self, x: Tensor, target: Tensor) -> Tensor:
        """What the decoder has to put out for `target` [rows, d_out] where the SAE reads `x` [rows, d_in]."""
        target = target.to(self.W_dec.dtype)
        if self.cfg.normalize_activations == "none":
            return target
        return self._units(x.to(self.W_dec.dtype)).own(target)

    @torch.no_grad()
    def start_from(self, x: Tensor, target: Tensor | None = None) -> None:
        """Fit the biases to a first batch, `x` [rows, d_in] and its `target` [rows, d_out] (None: `x`): the decoder's
        becomes the mean or a share of it, and where L0 is steered those of the encoder let few latents be active."""
        rows = x.to(self.W_enc.dtype)
        wanted = (rows if target is None else target) - self._beside(rows)
        self.b_dec.copy_(self.decoder_target(rows, wanted).mean(0) * self._start_mean)
        if isinstance(self.cfg, Penalised) and self.is_steered:  # more than wanted: what never fires may never learn
            self._start_sparse(self._cut(self.encoder_input(rows), self._start_density * self.cfg.aim))

    def _beside(self, x: Tensor) -> Tensor:
        """What a path beside the latents makes of `x` [rows, d_in]."""
        return x.new_zeros(())

    def _start_sparse(self, cut: float) -> None:
        """Let those latents be active whose product of input and encoder exceeds `cut`."""
        self.b_enc.fill_(-cut)

    def _cut(self, x: Tensor, l0: float) -> float:
        """What about `l0` products per row of input `x` and encoder exceed; not negative."""
        products = product(x[:_START_ROWS], self.W_enc).flatten()
        most = min(products.numel() * self.mesh.latents.size, max(1, round(l0 * len(x[:_START_ROWS]))))
        largest = products.topk(min(most, products.numel()), sorted=False).values
        return max(0.0, float(self.mesh.latents.kth_largest(largest, most)))

    def scale_thresholds(self, factor: Tensor) -> None:
        """Multiply all thresholds, where the architecture has any."""

    @abstractmethod
    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        """The loss of `x` [batch, d_in] against `target` [batch, d_out], both in the dtype of the weights and in the
        SAE's own units; the squared error of every row counts `step.weights` times."""

    @property
    def is_steered(self) -> bool:
        """Whether training steers the sparsity coefficient, since none is given."""
        return self.cfg.is_steered

    def penalty_weight(self, step: LossState) -> float:
        """The weight of the sparsity penalty in this step."""
        own: float | None = getattr(self.cfg, "coefficient", None)
        return step.sparsity_scale * (1.0 if own is None else own)

    def _bar(self) -> Tensor:
        """[d_sae]: what the product of input and encoder has to exceed for a latent to be active."""
        return -self.b_enc

    def _lifting_dead(self, loss: Loss, x: Tensor, step: LossState) -> Loss:
        """`loss` with how far dead latents stay below what makes them active, weighted by their decoder rows: the sum
        over latents, averaged over `x` [rows, d_in] (Anthropic, Circuits Updates, January 2025)."""
        weight: float | None = getattr(self.cfg, "pre_act_coefficient", None)
        if weight is None:
            return loss
        weight *= step.lift_scale
        term, (latents, is_dead) = loss.mse.new_zeros(()), (None, None) if step.dead is None else step.dead_latents()
        if latents is not None and (latents.numel() or self.mesh.latents.size > 1):
            product = (self._centred(x) @ self.W_enc[:, latents]).float()  # the dead columns alone
            short = (self._bar()[latents].float() - product).relu() * self.W_dec[latents].float().norm(dim=1)
            short = short if is_dead is None else short * is_dead
            term = weight * self.mesh.latents.sum(short.sum(1)).mean()
        return replace(loss, total=loss.total + term, terms={**loss.terms, "pre_act": term.detach()})

    def _dense_loss(
        self, x: Tensor, target: Tensor, activation: Activation, name: str, linear: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Loss:
        """The loss by `kernels.dense`; `name` is what the penalty is called in `terms`. `linear` [batch, d_out] is what
        a path beside the latents reconstructs: they are left with the rest."""
        total, mse, penalty, reconstruction = dense_step(
            x, target if linear is None else target - linear, self.W_enc, self.b_enc, self.W_dec, self.b_dec,
            activation, self.cfg.apply_b_dec_to_input, weights,
        )
        if linear is not None:
            reconstruction += linear.detach()
        l0 = torch.tensor(activation.active / x.shape[0])
        return Loss(total, {"mse": mse, name: penalty}, mse, reconstruction, l0, activation.fired)

    def _row_loss(
        self, row_loss: RowLoss, x: Tensor, target: Tensor, weights: Tensor | None, *, below: float = 0.0,
        dense: Callable[[], Loss] | None = None,
    ) -> Loss:
        """The mean over the batch of a loss that is a sum over rows; one of its terms is ``"mse"``. Nothing of it
        depends on latents that stay `below` and more short of what makes them active. `dense` computes the same where
        many latents are active."""
        if not self._fast_path(x, target):
            return whole_loss(row_loss, self._view(x), target, weights)
        few = self._few(x, below)
        if few is not None:
            return whole_loss(row_loss, few, target, weights)
        if dense is not None:
            return dense()
        return blocked_loss(row_loss, self._view, x, target, weights, list(self.parameters()), self.d_sae)

    def _view(self, x: Tensor) -> Whole:
        """All latents of `x` [rows, d_in]."""
        return Whole(self._encoded(self._centred(x)), self._decode, self.mesh.latents)

    def _few(self, x: Tensor, below: float) -> Few | None:
        """Those that are active or at most `below` short of it; None where they are not few."""
        bar, bias = self._bar().detach(), self._encoder_bias()
        code = few_code(self._centred(x).detach(), self.W_enc.detach(), bar, below)
        if code is None:
            return None
        beside = bar if bias is None else bar + bias.detach()
        code = replace(code, values=code.values + beside[code.latents])
        pre = encode(x, self.W_enc, bias, self.b_dec, code, self.cfg.apply_b_dec_to_input)
        return Few(code, pre, self.W_dec, self.b_dec)

    def _fast_path(self, x: Tensor, target: Tensor) -> bool:
        """Whether the kernels apply; otherwise plain torch operations do the same."""
        return (
            x.device.type in self._kernels_on and x.device == self.W_enc.device and x.dtype == torch.float32
            and not x.requires_grad and not target.requires_grad and self.mesh.latents.size == 1
        )

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups for a torch optimiser, each with its learning rate; schedules multiply every group's own rate."""
        return [{"params": list(self.parameters()), "lr": lr}]

    @torch.no_grad()
    def before_step(self) -> None:
        """After backward, before clipping and the optimiser: remove the part of each decoder row's gradient that is
        parallel to the row, since its norm is fixed (Bricken et al. 2023)."""
        grad = self.W_dec.grad
        if grad is None:
            return
        for block in self._row_blocks():
            g, w = grad[block], self.W_dec[block]
            along = (g * w).sum(1, keepdim=True) / (w * w).sum(1, keepdim=True).clamp_min(1e-16)
            g.addcmul_(along, w, value=-1)

    @torch.no_grad()
    def after_step(self, unit_rows: bool = True) -> None:
        """After the optimiser: decoder rows back to norm one (a row of zeros stays), unless they are free."""
        for block in self._row_blocks() if unit_rows else ():
            w = self.W_dec[block]
            w.div_(w.norm(dim=1, keepdim=True).clamp_min_(1e-8))

    def _row_blocks(self) -> list[slice]:
        """Decoder rows in blocks on the CPU; all at once elsewhere."""
        step = self.d_sae if self.W_dec.is_cuda else max(1, _BLOCK // self.d_in)
        return [slice(start, start + step) for start in range(0, self.d_sae, step)]

    # --- export ------------------------------------------------------------------------------------------------------

    def fold_scale(self, s: float) -> None:
        """Make an SAE trained on ``s * x`` take raw `x` and reconstruct in its units. With W_enc·s, W_dec/s and b_dec/s
        the pre-activations, and so latents and thresholds, stay what they were. Raises `ConfigError`
        if the scale is not positive and finite, or cannot be folded in (a transcoder has two: see `fold_scales`)."""
        self._check_scale(s)
        self._fold(s, s)

    def fold_scales(self, scale_in: float, scale_out: float) -> None:
        """Make a transcoder trained from ``scale_in * x`` to ``scale_out * y`` lead from raw `x` to raw `y`. For an
        SAE that reconstructs its input both must be equal: see `fold_scale`. Raises `ConfigError` otherwise, and if a
        scale is not positive and finite, or cannot be folded in."""
        if scale_in != scale_out and not self.is_transcoder:
            raise ConfigError(
                f"The scales are {scale_in} and {scale_out}, but this SAE reconstructs its input.", where="scale_out",
                hint="Give the same scale twice, or call fold_scale(s).",
            )
        self._check_scale(scale_in)
        self._check_scale(scale_out)
        self._fold(scale_in, scale_out)

    @torch.no_grad()
    def fold_whitening(self, whitening: Whitening) -> None:
        """Make an SAE trained on whitened activations take raw ones; see `saewidgets.sae.scaler`. Latents and
        thresholds stay what they were; decoder rows lose the norms that they had in training. Raises
        `ConfigError` if the SAE reads or reconstructs anything but the whitened activations."""
        named = {name: value.detach() for name, value in self.named_parameters()}
        alone = "W_enc" in named and not self.is_transcoder and not self.needs_input
        if not alone or self.cfg.normalize_activations != "none":
            raise ConfigError(
                f"A whitening cannot be moved into the weights of a {self.cfg.architecture}"
                f"{'' if self.cfg.normalize_activations == 'none' else ' that normalises every token'}.",
                where="whitening", hint="It belongs to SAEs that reconstruct their input from their latents alone.",
            )
        fold_whitening(named, whitening, centred=self.cfg.apply_b_dec_to_input)

    @torch.no_grad()
    def _fold(self, scale_in: float, scale_out: float) -> None:
        fold_scales(dict(self.named_parameters()), scale_in, scale_out)

    def _check_scale(self, s: float) -> None:
        if not (s > 0 and s < float("inf")):
            raise ConfigError(f"The scale is {s}.", where="s", hint="Give a positive finite number.")
        if self.cfg.normalize_activations != "none":
            raise ConfigError(
                "This SAE brings its input to a scale of its own, so no scale can be folded in.", where="s",
                hint="Feed it raw activations.",
            )

    def to_inference(self) -> SAE:
        """A frozen copy in evaluation mode, as it is exported."""
        clone = copy.deepcopy(self)
        for parameter in clone.parameters():
            parameter.grad, parameter.data = None, parameter.data.contiguous()
        return clone.eval().requires_grad_(False)

    def _frozen_as(self, sae_class: type[SAE], cfg: SAEConfig, **more: Tensor) -> SAE:
        """A frozen SAE of another class with copies of these weights, and of `more`."""
        frozen = sae_class(cfg, self.d_in, initialise=False).to(self.W_enc.device, self.W_enc.dtype)
        frozen.load_state_dict({**self.inference_tensors(), **more})
        frozen.metadata = dict(self.metadata)
        return frozen.eval().requires_grad_(False)

    def inference_tensors(self) -> Mapping[str, Tensor]:
        """The tensors of an exported SAE by SAELens' names, detached: its weights and, where there is one, `threshold`.
        `inference_sae` makes the SAE of them again."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items() if name not in self._of_training}

    def _flat(self, x: Tensor) -> Tensor:
        """`x` [..., d_in], the heads of an SAE on hook_z laid side by side."""
        require_activations(x, "x")
        is_split = x.dim() > 1 and x.shape[-1] != self.d_in == x.shape[-1] * x.shape[-2]  # [..., heads, d_head]
        if self.cfg.reshape_activations == "hook_z" and is_split:
            x = x.flatten(-2)
        self._check_width(x)
        return x

    def _check_width(self, x: Tensor) -> None:
        if x.dim() == 0 or x.shape[-1] != self.d_in:
            found = "a scalar" if x.dim() == 0 else f"width {x.shape[-1]:,}"
            raise ConfigError(
                f"Activations have {found}, but this SAE's d_in is {self.d_in:,}.", where="x",
                hint="Check that model and hook_name are the ones the SAE belongs to.",
            )

    def extra_repr(self) -> str:
        out = f", d_out={self.d_out}" if self.d_out != self.d_in else ""
        return f"{self.cfg.architecture}, d_in={self.d_in}, d_sae={self.d_sae}{out}"


class LoadedSAE(SAE):
    """An SAE trained elsewhere. `inference_sae` makes it; it has no weights of its own to start from."""

    def _active(self, x: Tensor) -> None:
        return None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self._refuse("can be loaded and used, not trained")

    def loss(self, x: Tensor, target: Tensor | None = None, *, step: LossState | None = None) -> Loss:
        """Always raises `ConfigError`: this architecture is not trained here."""
        self._refuse("can be loaded and used, not trained")

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        self._refuse("can be loaded and used, not trained")

    def _refuse(self, why: str) -> Never:
        raise ConfigError(f"SAEs of the architecture {self.cfg.architecture!r} {why}.", where="architecture")
