"""Defines `sites_of`: where the activations of a hook name are in each block of a model, checked by one forward.

A hook name makes a promise, for example that ``hook_attn_out`` is what attention adds to the residual stream. Names of
modules do not keep it (MPT's `ffn` adds the residual itself), so a forward of a few tokens decides. It records what the
modules of a block read and return, and a module is a site only if the numbers fit one of these layouts:

==============  ==================================================================================================
sequential      ``resid_mid = resid_pre + attn_out``, ``resid_post = resid_mid + mlp_out``
parallel        ``resid_post = resid_pre + attn_out + mlp_out``
norm of sums    ``stream = norm(resid_pre + attn_out)``, ``resid_post = norm(stream + mlp_out)`` (BERT)
one sublayer    ``resid_post = resid_pre + attn_out``, or ``mlp_out``
==============  ==================================================================================================

What the MLP reads, the norm before it and the output projection of attention follow from these. The result is computed
once per model and kept as long as the model lives.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from saewidgets.config.hook_names import IN_BLOCK
from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.lm.forward import first_tensor, forward, input_device, input_of
from saewidgets.lm.model_config import context_of, text_config
from saewidgets.lm.norms import Norm

_TOKENS = 12
_STREAM = ("hook_resid_pre", "hook_resid_post")
_MLP = re.compile(r"mlp|ffn|ff|feed|moe|expert|fc|dense", re.IGNORECASE)
Kind = Literal["input", "output", "sum", "norm"]


class HookError(NotFoundError):
    """A hook name that does not exist in this model; the message lists those that do."""


@dataclass(frozen=True, slots=True)
class Site:
    """The place of one hook name in a block.

    Attributes:
        path: the module, below the block; empty for the block itself.
        kind: the activation is the input of the module, its output, the sum of its output and the block's input, or
            what the module, a norm, computes before its gain and bias.
        width: last dimension of the activation.
    """

    path: str
    kind: Kind
    width: int
    norm: Norm | None = None

    def module(self, block: nn.Module) -> nn.Module:
        return block.get_submodule(self.path)


@dataclass(slots=True)
class BlockSites:
    """The sites of one block by the last part of their hook names, and why it does not have the others."""

    sites: dict[str, Site] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def without(cls, reason: str) -> BlockSites:
        """A block that has no site, for one reason."""
        return cls(missing=dict.fromkeys(IN_BLOCK, reason))

    def refuse(self, reason: str, *names: str) -> None:
        """Record why the block has none of these sites (all inside the block if none is named), unless a reason is
        recorded already."""
        for name in names or IN_BLOCK:
            if name not in self.sites and (names or name not in _STREAM):
                self.missing.setdefault(name, reason)


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """The list of transformer blocks, in order. Raises `HookError` where there is none, or the model is an
    encoder-decoder."""
    config = text_config(model)
    if getattr(config, "is_encoder_decoder", False):
        raise HookError(
            f"{type(model).__name__} has an encoder and a decoder.", where="model",
            hint="Use a model with one of them: decoder-only such as GPT-2, or encoder-only such as BERT.",
        )
    count = getattr(config, "num_hidden_layers", None)
    get_decoder: Any = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else model
    # In a multimodal model a vision tower may have as many layers: the decoder is searched first.
    for root in (decoder, model):
        if not isinstance(root, nn.Module):
            continue
        for module in root.modules():  # outer lists come before those inside a block (experts)
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return module
    raise HookError(
        f"No list of {count} transformer blocks was found in {type(model).__name__}.",
        where="model",
        hint="Use a transformers model with a list of blocks, such as GPT-2, Pythia, Llama, Qwen, Gemma or BERT.",
    )


_known: WeakKeyDictionary[nn.Module, list[BlockSites]] = WeakKeyDictionary()
_lock = threading.Lock()


def sites_of(model: nn.Module) -> list[BlockSites]:
    """The sites of every block of `model`. The first call runs the model on a few tokens; later ones look it up.

    Raises `HookError` if the model has no list of blocks, or does not run."""
    blocks = find_blocks(model)
    with _lock:
        table = _known.get(model)
    if table is None or not _still_fits(table, blocks):
        table = _checked(model, blocks)
        with _lock:
            _known[model] = table
    return table


def _still_fits(table: Sequence[BlockSites], blocks: nn.ModuleList) -> bool:
    """Whether every module of the table is still there: adapters and quantisation replace modules."""
    try:
        for found, block in zip(table, blocks, strict=True):
            for site in found.sites.values():
                site.module(block)
    except (AttributeError, ValueError):
        return False
    return True


@dataclass(slots=True, eq=False)
class _Call:
    """What one module of a block read and returned; tensors are copies, ``[tokens, width]``, of those that are as wide
    as the residual stream."""

    path: str
    module: nn.Module
    began: int
    ended: int = -1
    read: Tensor | None = None
    read_width: int = 0
    wrote: Tensor | None = None
    same_as: int = 0  # address of what it read
    address: int = 0  # of what it returned
    alive: list[Tensor] = field(default_factory=list)  # so that no later tensor gets the same address

    @property
    def attends(self) -> bool:
        return any("att" in text.lower() for text in (self.path, type(self.module).__name__))

    @property
    def has_parameters(self) -> bool:
        return next(self.module.parameters(), None) is not None

    @property
    def multiplies(self) -> bool:
        """Whether it holds a matrix (of numbers in any format), as a projection does."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return any(tensor.dim() > 1 for tensor in tensors)

    def holds(self, other: _Call) -> bool:
        return other.path.startswith(f"{self.path}.")


class _Recorder:
    """Records one forward, block by block, and works out the sites of a block when it ends."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        self.table = [BlockSites() for _ in blocks]
        self.entered: list[Tensor | None] = [None] * len(blocks)
        self.left: list[Tensor | None] = [None] * len(blocks)
        self._runs = [0] * len(blocks)
        self._blocks = blocks
        self._owner = threading.get_ident()  # another thread may use the model meanwhile
        self._layer: int | None = None  # the block that runs
        self._calls: dict[str, list[_Call]] = {}
        self._clock = 0

    def hooks(self) -> Iterator[Any]:
        for layer, block in enumerate(self._blocks):
            yield block.register_forward_pre_hook(self._enter(layer), with_kwargs=True)
            for path, module in block.named_modules():
                if path:
                    yield module.register_forward_pre_hook(self._before(layer, path), with_kwargs=True)
                    yield module.register_forward_hook(self._after(layer, path))
            yield block.register_forward_hook(self._leave(layer))

    def _enter(self, layer: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == self._owner:
                self._layer, self._calls, self._clock = layer, {}, 0
                self._runs[layer] += 1
                self.entered[layer] = input_of(args, kwargs).detach().clone()

        return hook

    def _before(self, layer: int, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._layer != layer or threading.get_ident() != self._owner:
                return
            self._clock += 1
            call = _Call(path, module, self._clock)
            try:
                x = input_of(args, kwargs)
            except SAEWidgetsError:  # it reads no hidden states
                x = None
            if x is not None and x.dim():
                call.read_width, call.same_as = x.shape[-1], x.data_ptr()
                call.read = self._copied(x)
                call.alive.append(x)
            self._calls.setdefault(path, []).append(call)

        return hook

    def _after(self, layer: int, path: str) -> Any:
        def hook(_: nn.Module, __: object, output: Any) -> None:
            if self._layer != layer or threading.get_ident() != self._owner:
                return
            self._clock += 1
            call = self._calls[path][-1]
            call.ended = self._clock
            y = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(y, Tensor):
                call.wrote, call.address = self._copied(y), y.data_ptr()
                call.alive.append(y)

        return hook

    def _leave(self, layer: int) -> Any:
        def hook(block: nn.Module, _: object, output: Any) -> None:
            if threading.get_ident() != self._owner or self._layer != layer:
                return
            self._layer = None
            before, after = self.entered[layer], first_tensor(output).detach().clone()
            self.left[layer] = after
            calls = [call for (call, *more) in self._calls.values() if not more and call.ended > 0]
            self._calls = {}
            if before is not None and before.shape == after.shape and before.dim() == 3:
                self.table[layer] = _Block(before, after, calls).sites()

        return hook

    def _copied(self, x: Tensor) -> Tensor | None:
        stream = self.entered[self._layer] if self._layer is not None else None
        if stream is None or x.numel() != stream.numel() or x.shape[-1] != stream.shape[-1]:
            return None
        return x.detach().reshape(-1, x.shape[-1]).clone()

    def finished(self) -> list[BlockSites]:
        """The table, with the residual stream where each block reads what the one before it returns."""
        follows = all(
            after is not None and before is not None and after.shape == before.shape and _close(after, before)
            for after, before in zip(self.left, self.entered[1:], strict=False)
        )
        for layer, found in enumerate(self.table):
            before, after = self.entered[layer], self.left[layer]
            if before is None or after is None or self._runs[layer] > 1:
                runs = "several times" if self._runs[layer] > 1 else "not at all"
                self.table[layer] = BlockSites.without(f"the block runs {runs} in one forward")
            elif before.dim() != 3 or before.shape != after.shape:
                shape = list(after.shape)
                self.table[layer] = BlockSites.without(
                    f"its activations have the shape {shape}, not [batch, context, width]"
                )
            elif not follows:
                found.refuse("the blocks do not read what the blocks before them return", *_STREAM)
            else:
                found.sites["hook_resid_pre"] = Site("", "input", before.shape[-1])
                found.sites["hook_resid_post"] = Site("", "output", after.shape[-1])
        return self.table


def _checked(model: nn.Module, blocks: nn.ModuleList) -> list[BlockSites]:
    config = text_config(model)
    count = min(_TOKENS, context_of(config) or _TOKENS)
    vocabulary = int(config.vocab_size)
    ids = (vocabulary // 2 + torch.arange(count, device=input_device(model))) % vocabulary
    recorder = _Recorder(blocks)
    with ExitStack() as stack:
        for handle in recorder.hooks():
            stack.callback(handle.remove)
        try:
            forward(model, ids[None])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model raises, its sites are not known
            raise HookError(
                f"{type(model).__name__} does not run on {count} token ids: {error}", where="model",
                hint="Use a language model of transformers that runs on input_ids alone.",
            ) from error
    return recorder.finished()


def _close(a: Tensor, b: Tensor) -> bool:
    same = torch.isclose(a.float(), b.to(a.device).float(), rtol=1e-2, atol=1e-6, equal_nan=True)
    return float(same.float().mean()) > 0.99


class _Block:
    """Works out the sites of one block from what its modules read and returned."""

    def __init__(self, before: Tensor, after: Tensor, calls: list[_Call]) -> None:
        self._width = before.shape[-1]
        self._pre, self._post = (x.reshape(-1, self._width) for x in (before, after))
        self._eps = torch.finfo(before.dtype).eps
        self._calls = calls
        self._found = BlockSites()
        # Modules that return the same numbers (a projection and the dropout behind it) are one candidate.
        self._outputs: list[_Call] = []
        for call in sorted(calls, key=lambda call: (not call.has_parameters, call.path.count("."), call.began)):
            if call.wrote is not None and not any(_same(call.wrote, other.wrote) for other in self._outputs):
                self._outputs.append(call)
        self._outputs.sort(key=lambda call: call.ended)

    def sites(self) -> BlockSites:
        attention, mid = self._first_sum()
        if mid is not None:
            self._sequential(attention, mid)
        elif not (self._parallel() or self._single()):
            self._found.refuse("no module returns what the block adds to the residual stream")
        return self._found

    # ------------------------------------------------------------------------------------------------- layouts

    def _first_sum(self) -> tuple[tuple[_Call, float] | None, _Call | None]:
        """(what returns the first addend and its factor, what reads the sum) of blocks that add one after another."""
        sums = self._distinct_inputs()
        pairs = [
            (fit[0], number, writer, fit[1], reader)
            for number, writer in enumerate(self._outputs)
            for reader in sums
            if reader.began > writer.ended and (fit := self._fit(reader.read, self._pre, writer.wrote))
        ]
        if pairs:
            _, _, writer, factor, reader = min(pairs, key=lambda pair: pair[:2])
            return (writer, factor), reader
        # Several modules share the first sum (Falcon-H1), but the second one starts from it.
        later = [
            (fit[0], number, reader)
            for number, writer in enumerate(self._outputs)
            for reader in sums
            if writer.ended > reader.began and (fit := self._fit(self._post, reader.read, writer.wrote))
        ]
        return None, (min(later, key=lambda pair: pair[:2])[2] if later else None)

    def _sequential(self, attention: tuple[_Call, float] | None, mid: _Call) -> None:
        readers = [call for call in self._calls if call.began >= mid.began and _same(call.read, mid.read)]
        norm = next((call for call in readers if self._norm(call)), None)
        self._attention(attention)
        mlp = self._addend(self._post, mid.read, mid.began)
        if mlp is None and norm is not None and self._norm_of_sums(norm):
            return
        if attention is not None and attention[1] == 1.0 and "hook_attn_out" in self._found.sites:
            self._found.sites["hook_resid_mid"] = Site(attention[0].path, "sum", self._width)
        self._found.refuse("no module returns what attention adds to the residual stream", "hook_resid_mid")
        self._mlp_out(mlp)
        self._reading(mid.read if norm is None else norm.wrote, norm, (norm or mid).began)

    def _norm_of_sums(self, first: _Call) -> bool:
        """BERT's layout, where `first` normalises the first sum."""
        lasts = [call for call in self._calls if _same(call.wrote, self._post) and self._norm(call)]
        for last in lasts:
            mlp = self._addend(last.read, first.wrote, first.ended)
            if mlp is not None:
                self._mlp_out(mlp)
                self._reading(first.wrote, None, first.ended)
                self._found.refuse("the norms of this block follow the sums", "ln2.hook_normalized", "hook_resid_mid")
                return True
        return False

    def _parallel(self) -> bool:
        for writer in self._outputs:
            if not writer.attends or writer.wrote is None:
                continue
            others = [
                (fit[0], number, other)
                for number, other in enumerate(self._outputs)
                if other is not writer and not other.attends
                and (fit := self._fit(self._post, self._pre.double() + writer.wrote.double(), other.wrote, 1.0))
            ]
            if others:
                mlp = min(others, key=lambda pair: pair[:2])[2]
                self._attention((writer, 1.0))
                self._mlp_out((mlp, 1.0))
                shared = {call.same_as for call in self._calls if call.attends and call.read is not None}
                norms = [
                    call for call in self._calls
                    if call.ended < mlp.began and _same(call.read, self._pre) and _same(call.wrote, mlp.read)
                    and self._norm(call)
                ]
                # With equal gains two norms return the same numbers: the MLP's own is the one whose tensor it reads.
                norms.sort(key=lambda call: (call.address == mlp.same_as, call.began))
                norm = norms[-1] if norms else None
                if norm is not None and norm.address in shared:
                    self._found.refuse("attention and MLP read the same norm", "ln2.hook_normalized")
                    norm = None
                self._found.refuse("attention and MLP read the same residual stream", "hook_resid_mid")
                self._reading(mlp.read, norm, 0 if norm is None else norm.began)
                return True
        return False

    def _single(self) -> bool:
        only = self._addend(self._post, self._pre, 0)
        if only is None:
            return False
        if only[0].attends:
            self._attention(only)
            self._found.refuse("the block has no MLP")
        elif _MLP.search(only[0].path):
            self._mlp_out(only)
            self._reading(only[0].read, None, 0)
            self._found.refuse("the block has no attention")
        else:
            self._found.refuse(f"the block adds the output of {type(only[0].module).__name__} alone")
        return True

    # --------------------------------------------------------------------------------------------------- sites

    def _attention(self, addend: tuple[_Call, float] | None) -> None:
        if addend is None:
            self._found.refuse("no module returns what is added before the MLP", "hook_attn_out", "attn.hook_z")
            return
        call, factor = addend
        if not (call.attends or any(other.attends and _same(other.wrote, call.read) for other in self._calls)):
            reason = f"the block has {type(call.module).__name__} instead of attention"
            self._found.refuse(reason, "hook_attn_out", "attn.hook_z")
            return
        self._out("hook_attn_out", call, factor)
        projection = self._projection(call)
        if projection is None:
            self._found.refuse("no projection returns what attention adds", "attn.hook_z")
        else:
            self._found.sites["attn.hook_z"] = Site(projection.path, "input", projection.read_width)

    def _projection(self, addend: _Call) -> _Call | None:
        """The innermost module with a matrix that returns the addend, or what a norm makes the addend from."""
        targets = [addend.wrote]
        targets += [call.read for call in self._calls if _same(call.wrote, addend.wrote) and self._norm(call)]
        for target in targets:
            found = [call for call in self._calls if call.multiplies and call.read_width and _same(call.wrote, target)]
            if found:
                return max(found, key=lambda call: call.path.count("."))
        return None

    def _mlp_out(self, addend: tuple[_Call, float] | None) -> None:
        if addend is None:
            self._found.refuse("no module returns what the MLP adds to the residual stream", "hook_mlp_out")
        else:
            self._out("hook_mlp_out", *addend)

    def _out(self, name: str, call: _Call, factor: float) -> None:
        if factor == 1.0:
            self._found.sites[name] = Site(call.path, "output", self._width)
        else:
            self._found.refuse(f"the block multiplies the output of {call.path} by {factor:.3g}", name)

    def _reading(self, x: Tensor | None, norm: _Call | None, since: int) -> None:
        """The sites in front of the MLP, which reads `x`, the output of `norm` if there is one."""
        if norm is not None:
            self._found.sites["ln2.hook_normalized"] = Site(norm.path, "norm", self._width, self._norm(norm))
        self._found.refuse("no norm of its own stands before the MLP", "ln2.hook_normalized")
        readers = [
            call for call in self._calls
            if call.began >= since and not call.attends and call is not norm and _same(call.read, x)
        ]
        if norm is not None and any(call.same_as == norm.address for call in readers):
            readers = [call for call in readers if call.same_as == norm.address]
        outer = [call for call in readers if not any(other.holds(call) for other in readers)]
        if len(outer) == 1:
            self._found.sites["mlp.hook_in"] = Site(outer[0].path, "input", self._width)
        elif norm is not None and outer:
            self._found.sites["mlp.hook_in"] = Site(norm.path, "output", self._width)
        self._found.refuse("no module reads what enters the MLP", "mlp.hook_in")

    # -------------------------------------------------------------------------------------------------- numbers

    def _addend(self, total: Tensor | None, base: Tensor | None, since: int) -> tuple[_Call, float] | None:
        fits = [
            (fit[0], number, call, fit[1])
            for number, call in enumerate(self._outputs)
            if call.ended > since and (fit := self._fit(total, base, call.wrote))
        ]
        return min(fits, key=lambda entry: entry[:2])[2:] if fits else None

    def _fit(
        self, total: Tensor | None, base: Tensor | None, addend: Tensor | None, factor: float | None = None
    ) -> tuple[float, float] | None:
        """(error, factor) if ``total = base + factor · addend`` up to rounding, in every channel."""
        if total is None or base is None or addend is None:
            return None
        total, base, addend = (x.cpu().double() for x in (total, base, addend))  # without overflow, on any device
        rounding = self._eps * (total.abs() + base.abs() + addend.abs()) + 1e-30
        change, part = (total - base) / rounding, addend / rounding
        if factor is None:
            factor = float((change * part).sum() / part.pow(2).sum().clamp_min(1e-30))
            factor = 1.0 if abs(factor - 1) < 0.01 else factor
        error = change - factor * part
        share = float(error.norm() / change.norm().clamp_min(1e-30))
        return (share, factor) if share < 0.5 and float((error.abs() < 2).float().mean()) > 0.98 else None

    def _norm(self, call: _Call) -> Norm | None:
        if call.read is None or call.wrote is None:
            return None
        return Norm.between(call.module, call.read, call.wrote)

    def _distinct_inputs(self) -> list[_Call]:
        """One call for each tensor that modules read, other than the block's input."""
        found: list[_Call] = []
        for call in self._calls:
            if not (call.read is None or any(_same(call.read, x) for x in (self._pre, *(c.read for c in found)))):
                found.append(call)
        return found


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)
