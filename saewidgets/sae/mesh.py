"""Defines `Group`, ranks that combine tensors, and `Mesh`, the ranks of one training: those of `data` read different
rows of every batch, those of `latents` hold different latents.

A training on one worker has the mesh `ALONE`, whose operations give back what they got: architectures and the trainer
are written once. On several, every rank computes the same loss from sums over the others. Through a sum a gradient goes
back unchanged, since every rank differentiates the whole loss with respect to its own part; what all ranks of `latents`
have (b_dec, say) counts `once`, and gradients of it are added up afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from saewidgets.errors import TrainingError

dist: Any = torch.distributed  # whose stubs leave out half of its names
_PATIENCE = timedelta(days=1)  # the first rank packs text and evaluates while the others wait
DISCONNECTED = "The connection to another worker broke."
_OF_ALL = ("b_dec", "W_skip", "skip")  # parameters that every rank of `latents` has


class LostWorkerError(TrainingError):
    """A worker ended before the run did."""


class Group:
    """Ranks 0 to `size - 1`, of which this process is `rank`. Every method is called by all of them, in one order.

    Args:
        channels: by the type of device whose tensors they carry.
    """

    def __init__(self, rank: int = 0, size: int = 1, channels: Mapping[str, Any] | None = None) -> None:
        self.rank, self.size, self._channels = rank, size, channels or {}

    def _transfer(self, operation: str, tensor: Tensor, *arguments: Any) -> None:
        """Run a collective operation on the channel of `tensor`'s device. Raises `LostWorkerError`."""
        try:
            getattr(self._channels[tensor.device.type], operation)(*arguments).wait()
        except RuntimeError as error:
            raise LostWorkerError(DISCONNECTED, where="parallel", hint="Resume the run.") from error

    def add(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` in place by the sum over the ranks; without a gradient. Returns it."""
        if self.size > 1:
            self._transfer("allreduce", tensor, [tensor if tensor.is_contiguous() else tensor.T])
        return tensor

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks; every rank's own share gets the gradient of the sum."""
        return tensor if self.size == 1 else _Sum.apply(tensor, self)  # type: ignore[no-untyped-call]

    def once(self, tensor: Tensor) -> Tensor:
        """`tensor`, which all ranks have; it gets its gradient on the first."""
        return tensor if self.rank == 0 else tensor.detach()

    @torch.no_grad()
    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, which are of one shape and dtype, in their order."""
        if self.size == 1:
            return [tensor]
        mine = tensor.detach().contiguous()
        found = [torch.empty_like(mine) for _ in range(self.size)]
        raw = [each.view(-1).view(torch.uint8) for each in (mine, *found)]
        self._transfer("allgather", mine, [raw[1:]], raw[:1])
        return found

    def kth_largest(self, values: Tensor, k: int) -> Tensor:
        """[..., 1]: the k-th largest of the ranks' `values` [..., n] together, of which n = k are enough."""
        missing = k - values.shape[-1]
        padded = torch.nn.functional.pad(values.detach(), (0, missing), value=-torch.inf) if missing > 0 else values
        return torch.cat(self.gather(padded), -1).topk(k, dim=-1).values[..., -1:]

    def send(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` in place by that of the first rank. Returns it."""
        if self.size > 1:
            self._transfer("broadcast", tensor, tensor, 0)
        return tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.dtype = tensor.dtype
        return group.add(tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.to(ctx.dtype), None


class Mesh:
    """The ranks of one training: rank ``d · latents + l`` reads share d of the rows and holds part l of the latents."""

    def __init__(self, world: Group | None = None, data: Group | None = None, latents: Group | None = None) -> None:
        self.world, self.data, self.latents = world or Group(), data or Group(), latents or Group()

    def __deepcopy__(self, memo: Any) -> Mesh:
        return ALONE  # a copy of an SAE takes no part in its training

    @classmethod
    def join(cls, store: Any, rank: int, data: int, latents: int, device: str) -> Mesh:
        """Meet the other ranks at `store`; gloo carries what is on the CPU, nccl what is on GPUs."""

        def group(name: str, ranks: Sequence[int]) -> Group:
            place, count = ranks.index(rank), len(ranks)
            if count == 1:
                return Group()
            channels = {"cpu": dist.ProcessGroupGloo(dist.PrefixStore(f"cpu{name}", store), place, count, _PATIENCE)}
            if device.startswith("cuda"):
                torch.cuda.set_device(device)
                options = dist.ProcessGroupNCCL.Options()
                options._timeout = _PATIENCE
                prefixed = dist.PrefixStore(f"cuda{name}", store)
                channels["cuda"] = dist.ProcessGroupNCCL(prefixed, place, count, options)
            return Group(place, count, channels)

        row, column = divmod(rank, latents)
        return cls(
            group("world", range(data * latents)),
            group(f"data{column}", range(column, data * latents, latents)),
            group(f"latents{row}", range(row * latents, (row + 1) * latents)),
        )

    @property
    def size(self) -> int:
        return self.world.size

    @property
    def leads(self) -> bool:
        """Whether this rank reports, evaluates and writes."""
        return self.world.rank == 0

    def rows(self, tensor: Tensor) -> Tensor:
        """This rank's share of the rows of a batch."""
        return tensor if self.data.size == 1 else tensor[self.data.rank :: self.data.size].contiguous()

    def part(self, start: int, end: int, d_sae: int) -> slice:
        """Which of the `d_sae` latents that this rank holds are latents `start` to `end` of all."""
        first = self.latents.rank * d_sae
        return slice(min(max(start - first, 0), d_sae), min(max(end - first, 0), d_sae))

    def told(self, answer: Callable[[], Any]) -> Any:
        """What `answer`, JSON data, is on the first rank, which alone computes it."""
        if self.size == 1:
            return answer()
        said = json.dumps(answer()).encode() if self.leads else b""
        length = self.world.send(torch.tensor([len(said)]))
        content = torch.frombuffer(bytearray(said or bytes(int(length))), dtype=torch.uint8)
        return json.loads(self.world.send(content).numpy().tobytes())

    @torch.no_grad()
    def shared(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The first rank's `tensors` by name, one after the other, on the CPU. Those of other ranks are not looked at.
        """
        about = self.told(lambda: [[k, list(t.shape), str(t.dtype).removeprefix("torch.")] for k, t in tensors.items()])
        for name, shape, dtype in about:
            given = torch.empty(shape, dtype=getattr(torch, dtype))
            if self.leads:
                given.copy_(tensors[name])
            yield name, self.world.send(given)

    def spread(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each of the first rank's `tensors` this rank's part, as in `shared`."""
        if self.size == 1:
            return dict(tensors)
        found = {}
        for name, whole in self.shared(tensors):
            dim = _dim_of(name, whole)
            found[name] = whole if dim is None else whole.chunk(self.latents.size, dim)[self.latents.rank].clone()
        return found

    def whole(self, tensors: Mapping[str, Tensor], *, on_first: bool = False) -> dict[str, Tensor]:
        """The opposite: the tensors of which the ranks of `latents` have parts. `on_first`: only the first rank keeps
        them."""
        if self.latents.size == 1:
            return dict(tensors)
        found = {}
        for name, tensor in tensors.items():
            dim = _dim_of(name, tensor)
            parts = [tensor] if dim is None else self.latents.gather(tensor.detach().cpu())
            if self.leads or not on_first:
                found[name] = tensor if dim is None else torch.cat(parts, dim)
        return found

    @torch.no_grad()
    def average_gradients(self, parameters: Mapping[str, Tensor]) -> None:
        """After backward: the mean over `data`, and of what all ranks of `latents` have the sum over those."""
        for name, parameter in parameters.items() if self.size > 1 else ():
            if parameter.grad is None:  # it counts on the first rank alone
                parameter.grad = torch.zeros_like(parameter)
            if name in _OF_ALL:
                self.latents.add(parameter.grad)
            self.data.add(parameter.grad).div_(self.data.size)

    def norm(self, grads: Mapping[str, Tensor]) -> Tensor:
        """The norm of the gradients, by parameter, of all ranks together."""
        if self.latents.size == 1:
            return torch.nn.utils.get_total_norm(grads.values())
        own, common = (
            torch.nn.utils.get_total_norm([g for name, g in grads.items() if (name in _OF_ALL) == is_common]).square()
            for is_common in (False, True)
        )
        return (self.latents.add(own) + common).sqrt()


def _dim_of(name: str, tensor: Tensor) -> int | None:
    """Along which dimension the latents of a weight, of one of its moments, or of a counter lie; None: along none."""
    of = name.partition(".")[0]
    if tensor.dim() == 0 or of in _OF_ALL:
        return None
    return 1 if of == "W_enc" else 0


ALONE = Mesh()
