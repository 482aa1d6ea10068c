"""TopK: keep the k largest pre-activations of every token (Gao et al. 2024, arXiv:2406.04093).

Dead latents learn through an auxiliary loss: the largest pre-activations among them explain what the reconstruction
left over.
"""

import torch
from torch import Tensor

from saewidgets.config.inference import AbsTopKConfig, GroupMaxConfig
from saewidgets.config.sae import BatchTopKConfig, MatryoshkaConfig, TopKConfig
from saewidgets.sae.base import SAE, LoadedSAE, Loss, LossState, squared_error
from saewidgets.sae.kernels.blocked import View
from saewidgets.sae.kernels.select import GPU_FEW, SparseCode, topk_code
from saewidgets.sae.kernels.sparse import Few, decode, encode
from saewidgets.sae.mesh import ALONE, Group


def top_k(pre: Tensor, k: int, latents: Group = ALONE.latents) -> Tensor:
    """The `k` largest pre-activations of every row through a ReLU; the rest 0. `latents`: the ranks that have others,
    which compete with these."""
    indices, values = _largest(pre, k, latents)
    return torch.zeros_like(pre).scatter(-1, indices, values.relu())


def _largest(pre: Tensor, k: int, latents: Group) -> tuple[Tensor, Tensor]:
    """Where the largest of every row are, and what they are; 0 where those of other ranks are larger."""
    values, indices = pre.topk(min(k, pre.shape[-1]), dim=-1, sorted=False)
    if latents.size > 1:
        values = values * (values >= latents.kth_largest(values, k))
    return indices, values


class TopKBase(SAE):
    """What TopK and BatchTopK share: a loss on few active latents, and the auxiliary loss."""

    _kernels_on = ("cpu", "cuda")
    cfg: TopKConfig | BatchTopKConfig | MatryoshkaConfig

    def _fast_path(self, x: Tensor, target: Tensor) -> bool:
        """On a GPU, too: how many are active is known there without asking it."""
        is_few = x.device.type == "cpu" or self.cfg.k <= GPU_FEW * self.d_sae
        return is_few and super()._fast_path(x, target)

    def _select(self, x: Tensor) -> SparseCode:
        """Active latents of the centred input `x` [batch, d_in] in float32."""
        raise NotImplementedError

    def _activate_batch(self, pre: Tensor) -> Tensor:
        """Pre-activations [batch, d_sae] → latents, as in training."""
        raise NotImplementedError

    def _observe(self, kept: Tensor, step: LossState) -> None:
        """Learn from the activations that one training batch kept (values of any shape; zeros do not count)."""

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        if self._fast_path(x, target):
            code = self._by_width(self._select(self._centred(x).detach()))
            pre = encode(x, self.W_enc, self.b_enc, self.b_dec, code, self.cfg.apply_b_dec_to_input)
            view: View = Few(code, pre, self.W_dec, self.b_dec)
            f = pre.relu()
            nested = decode(f, self.W_dec, self.b_dec, code, x.shape[0]).unbind(0)
        else:
            view = self._view(x)
            f = self._activate_batch(view.pre)
            nested = self._nested_of(f)
        active, fired = view.active(f)
        if self.training and torch.is_grad_enabled():
            self._observe(f.detach(), step)
        weights = step.weights
        total = mse = squared_error(nested[-1], target, weights)
        terms = {"mse": mse.detach()}
        if len(nested) > 1:
            inner = torch.stack([squared_error(part, target, weights) for part in nested[:-1]]).sum()
            total, terms["inner_mse"] = total + inner, inner.detach()
        aux = self._aux(x, target, nested, step)
        total = total if aux is None else total + aux
        terms["aux"] = torch.zeros_like(terms["mse"]) if aux is None else aux.detach()
        return Loss(total, terms, terms["mse"], nested[-1].detach(), active / x.shape[0], fired)

    def _by_width(self, code: SparseCode) -> SparseCode:
        """`code` split by nested widths: here there are none."""
        return code

    def _nested_of(self, f: Tensor) -> tuple[Tensor, ...]:
        """What the first of the latents `f` [batch, d_sae] reconstruct, from the smallest nested width to all: here all
        of them alone."""
        return (self._decode(f).float(),)

    def _aux(self, x: Tensor, target: Tensor, nested: tuple[Tensor, ...], step: LossState) -> Tensor | None:
        """The auxiliary loss, None where nothing is dead."""
        return self._aux_loss(x, (target - nested[-1]).detach(), step)

    def _aux_loss(self, x: Tensor, residual: Tensor, step: LossState) -> Tensor | None:
        """aux_coefficient · min(n_dead / k_aux, 1) · mean ‖ê − residual‖², ê from the k_aux largest dead latents.

        Pre-activations are taken as they are (no ReLU), as in SAELens; None where nothing is dead.
        """
        if step.dead is None or self.cfg.aux_coefficient == 0:
            return None
        (latents, is_dead), others = step.dead_latents(), self.mesh.latents
        number = int(others.add(torch.tensor(latents.numel())))
        if number == 0:
            return None
        wanted = self.cfg.aux_k or max(1, self.d_in // 2)
        k = min(wanted, number)
        pre = self._centred(x) @ self.W_enc[:, latents] + self.b_enc[latents]  # [batch, n_dead]: the dead columns alone
        if k < number:
            indices, values = _largest(pre if is_dead is None else pre.masked_fill(~is_dead, -torch.inf), k, others)
            pre = torch.zeros_like(pre).scatter(1, indices, values)
        share = min(number / wanted, 1.0) if is_dead is None else (is_dead.sum() / wanted).clamp_max(1.0)
        if is_dead is not None:  # fewer than k can be
            pre = pre.where(is_dead, 0.0)
        error = squared_error(others.sum(pre @ self.W_dec[latents]), residual, step.weights)
        return self.cfg.aux_coefficient * share * error


class TopKSAE(TopKBase):
    """TopK autoencoder; fewer than k latents are active where fewer pre-activations are positive."""

    architecture = "topk"
    cfg: TopKConfig

    def activate(self, pre: Tensor) -> Tensor:
        return top_k(pre, self.cfg.k)

    def _activate_batch(self, pre: Tensor) -> Tensor:
        return top_k(pre, self.cfg.k, self.mesh.latents)

    def _select(self, x: Tensor) -> SparseCode:
        return topk_code(x, self.W_enc.detach(), self.b_enc.detach(), self.cfg.k)

    def _active(self, x: Tensor) -> SparseCode:
        return self._select(self._centred(x))


class AbsTopKSAE(LoadedSAE):
    """AbsTopK autoencoder."""

    architecture = "abstopk"
    cfg: AbsTopKConfig

    def activate(self, pre: Tensor) -> Tensor:
        chosen = pre.abs().topk(self.cfg.k, dim=-1, sorted=False).indices
        return torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))


# GroupMax, of EleutherAI's sparsify: latents stand in k equal groups, and each group keeps its largest.
def group_max(pre: Tensor, k: int) -> Tensor:
    """Of each of `k` runs of neighbouring latents of `pre` [..., d_sae] the largest, through a ReLU; the rest 0."""
    groups = pre.relu().unflatten(-1, (k, -1))
    best = groups.max(-1, keepdim=True)
    return torch.zeros_like(groups).scatter(-1, best.indices, best.values).flatten(-2)


class GroupMaxSAE(LoadedSAE):
    """GroupMax autoencoder; a group whose pre-activations are all negative has no active latent."""

    architecture = "groupmax"
    cfg: GroupMaxConfig

    def activate(self, pre: Tensor) -> Tensor:
        return group_max(pre, self.cfg.k)
