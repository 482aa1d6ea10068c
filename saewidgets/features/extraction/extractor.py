"""Defines `extract`: a single pass over the text that leaves a whole store, or a checkpoint to go on from."""

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.activations import PackedTokens
from saewidgets.activations.stream import check_text
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError, FormatError, StateError
from saewidgets.evaluation.place import fitting_point
from saewidgets.events import (
    CheckpointSaved,
    Control,
    Emit,
    Facts,
    Interruption,
    LogLine,
    Meter,
    NullControl,
    Request,
    ignore,
)
from saewidgets.features.extraction.accumulate import Accumulator, NotFiniteError
from saewidgets.features.extraction.encoding import Encoder, make_chunk
from saewidgets.features.extraction.extraction_checkpoint import (
    checkpoints,
    compare,
    read_checkpoint,
    remove_checkpoints,
    sae_fingerprint,
    write_checkpoint,
)
from saewidgets.features.store.layout import MANIFEST, MAX_POSITION, VERSION, Manifest, vocabulary_of, write_store
from saewidgets.features.store.read import read_manifest
from saewidgets.lm import LoadedModel, TokenText, capture, evaluating
from saewidgets.lm.tokens import TokenMask
from saewidgets.sae import SAE


# A separator begins a document. A context that does not follow the one read before it in the packed tokens begins one
# too, since something is missing between them. Where every context starts with BOS, that token is no separator, even if
# it has the same id: it belongs to the document that goes on, or after a gap to the one that begins.
class Documents:
    """Numbers the documents of contexts in reading order; `count` have begun, `previous` was the context read last.

    Args:
        separator: token id that begins a document; None: nothing is known but which contexts follow each other.
        prepend_bos: whether the first token of every context is BOS.
        joined: documents follow one another; else each context is one.
    """

    def __init__(self, separator: int | None, prepend_bos: bool, joined: bool = True) -> None:
        self._separator, self._prepend_bos, self._joined = separator if joined else None, prepend_bos, joined
        self.count, self.previous = 0, -2

    def number(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """The document of every position of the next `ids` ``[contexts, length]``, the contexts `numbers`; int64."""
        before = numbers.roll(1)
        before[0] = self.previous
        jump = (numbers != before + 1) | (not self._joined)
        starts = ids == self._separator if self._separator is not None else torch.zeros_like(ids, dtype=torch.bool)
        if self._prepend_bos:
            starts[:, 0] = False
            starts[:, 1] &= ~jump  # BOS belongs to the document that begins with it
        starts[:, 0] |= jump
        documents = starts.view(-1).cumsum(0).view(ids.shape) + (self.count - 1)
        self.count = int(documents[-1, -1]) + 1
        self.previous = int(numbers[-1])
        return documents


CHECKPOINT = "checkpoint"
_KEPT = (
    "examples", "per_interval", "per_document", "min_activation", "exclude_special_tokens", "max_norm_ratio", "seed",
)
NORM_TOKENS = 16_384  # of the first contexts, whose norms the median is of: 128 contexts of 128, eight batches of 16

_MEASURED_ELEMENTS = 1 << 25  # activations kept from measuring until they are read: 128 MiB
_SECONDS = 30.0  # of work between two checkpoints,
_SHARE = 20.0  # or so many times as long as writing the last one took, if that is more
RANGES = 64  # of a text, at most, whose sums are added one after the other; a part of it is some of them


def extract(
    sae: SAE,
    lm: LoadedModel,
    packed: PackedTokens,
    contexts: npt.NDArray[np.int64],
    hook_name: str,
    config: ExtractionConfig,
    folder: Path | str,
    *,
    control: Control | None = None,
    emit: Emit = ignore,
    resume: bool = False,
    facts: Mapping[str, Any] | None = None,
    parts: Sequence[Path] = (),
) -> Manifest:
    """Read all latents of `sae` in one pass over the text and write what `store.layout` describes to `folder`.

    Args:
        sae: the autoencoder, on raw activations (scale folded in), on the device that does the work; left as it was.
        lm: the language model; left as it was.
        packed: the text.
        contexts: int64 [n], which of its contexts to read, in this order; none twice.
        hook_name: where the SAE belongs.
        config: what to keep; corpus, tokens, model and device were dealt with by the caller.
        folder: the extraction's own. It holds an extraction when ``extraction.json`` is there, and ``checkpoint/``
            while there is something to resume.
        control: asked before every batch of the language model. After a stop the store holds what was read so far.
        emit: receives `Progress` in tokens (phases "measuring", "reading", "saving", "writing"), `CheckpointSaved`
            (step: contexts), `Facts` with ``seen``, the latents that have fired so far, and `LogLine`.
        resume: go on from the checkpoint in `folder` (from the beginning if there is none). On the same device, torch,
            thread count and batch size every array comes out bit for bit as it would have without the break.
        facts: about the SAE, for the reader; seconds, device and whether it was stopped early are added.
        parts: folders of `extract_part`, of the same arguments and from the beginning of the contexts on: they are not
            read again.

    Returns:
        The manifest; ``n_contexts`` is less than requested if it was stopped.

    Raises:
        Interruption: paused (a checkpoint was written, unless nothing was read yet), cancelled (nothing is left of it),
            or stopped before anything was read.
        ConfigError, HookError: SAE, model, text and checkpoint do not fit, or there is nothing to read.
        NotFiniteError: activations or latents are NaN or infinite; it names hook point and context.
        StateError: the folder already holds an extraction, or a checkpoint and `resume` is False.
        FormatError, StorageError: a damaged checkpoint; a disk that refuses: nothing half-written is left.
    """
    numbers = np.asarray(contexts, dtype=np.int64)
    return _Extraction(
        sae, lm, packed, numbers, hook_name, config, Path(folder), control or NullControl(), emit, dict(facts or {}),
        parts=parts,
    ).run(resume)


def borders(sae: SAE, packed: PackedTokens, contexts: int, parts: int) -> list[int]:
    """The contexts between which so many `parts` of a text may lie, the first and the last included."""
    size = _range(Encoder(sae, packed.context_size), contexts)
    ranges = -(-contexts // size)
    return sorted({min(ranges * n // parts * size, contexts) for n in range(parts + 1)})


def _range(encoder: Encoder, contexts: int) -> int:
    """Contexts in a range: whole chunks, so that no batch of the model is in two of them."""
    return encoder.contexts * -(-contexts // (encoder.contexts * RANGES))


def extract_part(
    sae: SAE, lm: LoadedModel, packed: PackedTokens, contexts: npt.NDArray[np.int64], hook_name: str,
    config: ExtractionConfig, folder: Path, part: tuple[int, int], *, control: Control, emit: Emit,
) -> None:
    """Read the contexts from the first of `part` to before the last, two `borders`, and leave a checkpoint for the
    `parts` of `extract`; go on from one that is there. The other arguments, and errors, are those of `extract`."""
    numbers = np.asarray(contexts, dtype=np.int64)
    _Extraction(sae, lm, packed, numbers, hook_name, config, folder, control, emit, {}, part=part).run_part()


@dataclass(eq=False)
class _Extraction:
    """One call of `extract`."""

    sae: SAE
    lm: LoadedModel
    packed: PackedTokens
    contexts: npt.NDArray[np.int64]
    hook_name: str
    config: ExtractionConfig
    folder: Path
    control: Control
    emit: Emit
    facts: dict[str, Any]
    parts: Sequence[Path] = ()
    part: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self._check()
        packed = self.packed
        self.device = self.sae.W_enc.device
        self.encoder = Encoder(self.sae, packed.context_size)
        self.range = _range(self.encoder, len(self.contexts))
        self.first, self.last = self.part or (0, len(self.contexts))
        self.documents = Documents(packed.facts.separator, packed.facts.prepend_bos, packed.facts.joined)
        for start in range(0, self.first, 1024):  # which documents begin before does not need the model
            before = self.contexts[start : min(start + 1024, self.first)]
            self.documents.number(torch.from_numpy(packed.contexts(before)), torch.from_numpy(before))
        self.accumulator = self._accumulator(self.device, self.documents.count - 1)
        self.meter = Meter(self.emit, (self.last - self.first) * packed.context_size)
        self.done = self.first  # contexts that are accumulated, or were read by who has the parts before
        self.saved = self.first  # of them in the checkpoint
        self.measured: dict[int, tuple[Tensor, Tensor]] = {}  # batches that were only measured so far, by first context
        self.counts = {"tokens": 0, "special": 0, "norm": 0}
        self.norm_limit: float | None = None
        self.seconds = 0.0  # of work before the checkpoint that was resumed
        self.started = time.monotonic()

    def _accumulator(self, device: torch.device, begins_in: int) -> Accumulator:
        return Accumulator(self.sae.d_sae, self.config, device, self.hook_name, begins_in)

    def _check(self) -> None:
        fitting_point(self.lm.model, self.hook_name, self.sae.d_in)
        check_text(self.lm, self.packed)
        contexts = self.contexts
        if contexts.ndim != 1 or len(contexts) == 0:
            raise ConfigError("There are no contexts to read.", where="tokens", hint="Ask for at least one context.")
        if contexts.min() < 0 or contexts.max() >= self.packed.n_contexts or len(np.unique(contexts)) < len(contexts):
            raise ConfigError(
                f"Context numbers have to be distinct and from 0 to {self.packed.n_contexts - 1}.", where="contexts"
            )
        if (tokens := len(contexts) * self.packed.context_size) > MAX_POSITION:
            raise ConfigError(
                f"{tokens:,} tokens are more than one extraction reads.", where="tokens",
                hint=f"Read at most {MAX_POSITION:,}.",
            )

    # --- the run --------------------------------------------------------------------------------------

    def run(self, resume: bool) -> Manifest:
        made = not self.folder.exists()
        if (self.folder / MANIFEST).exists():
            if not resume:
                raise StateError("The folder already holds an extraction.", where=str(self.folder))
            manifest = read_manifest(self.folder)  # killed between the manifest and the clean-up
            remove_checkpoints(self.folder / CHECKPOINT)
            return manifest
        hint = "Choose a workspace folder that can be written."  # found out before hours of work rather than after
        with storage_errors("The extraction's folder cannot be made", self.folder, hint):
            (self.folder / CHECKPOINT).mkdir(parents=True, exist_ok=True)
        try:
            with evaluating(self.sae), torch.no_grad():
                self._begin(resume)
                self._read()
        except Interruption as interruption:
            if interruption.request is Request.CANCEL:
                remove_checkpoints(self.folder / CHECKPOINT)
            if interruption.request is not Request.STOP or self.done == 0:
                self._remove_empty(made)
                raise
        except BaseException:  # whatever it was, it is raised again; only folders without content are taken back
            self._remove_empty(made)
            raise
        return self._finish()

    def run_part(self) -> None:
        with evaluating(self.sae), torch.no_grad():
            self._begin(resume=True)
            self._read()
        if self.done > self.saved:
            self._save()

    def _begin(self, resume: bool) -> None:
        settings = self.config.to_data()
        belongs = {  # what has to be the same
            **{name: settings[name] for name in _KEPT}, "sae": sae_fingerprint(self.sae),
            "model": self.lm.fingerprint(), "tokens": self.packed.fingerprint, "hook_name": self.hook_name,
            "contexts": hashlib.sha256(np.ascontiguousarray(self.contexts, "<i8").tobytes()).hexdigest(),
        }
        around = {  # what may differ, but then the last bits of an activation may too
            "torch": torch.__version__, "device": self.device.type, "threads": torch.get_num_threads(),
            "batch_size": self.config.batch_size, "chunk": self.encoder.contexts,
        }
        self.state: dict[str, Any] = {"identity": belongs, "environment": around, "first": self.first}
        if not resume and checkpoints(self.folder / CHECKPOINT):
            raise StateError(
                "The folder holds an extraction that was interrupted.", where=str(self.folder),
                hint="Resume it, or use another folder.",
            )
        found = read_checkpoint(self.folder / CHECKPOINT)
        if found is None:
            self._join()
            if self.done == self.first:
                self._measure_norms()
            return
        self._take(self.accumulator, *found)
        self.saved = self.done

    def _take(self, into: Accumulator, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on behind a checkpoint, whose tables get into an accumulator that is empty."""
        if note := compare(state, self.state["identity"], self.state["environment"]):
            self.emit(LogLine(note, "warning"))
        try:
            into.load(tensors)
        except (KeyError, RuntimeError) as error:
            raise FormatError(
                f"The checkpoint's tables do not fit ({error}).", where=str(self.folder / CHECKPOINT),
                hint="Start the extraction again.",
            ) from error
        self.done, self.norm_limit = int(state["done"]), state["norm_limit"]
        self.counts = {name: count + state["counts"][name] for name, count in self.counts.items()}
        self.documents.count, self.documents.previous = state["documents"]
        self.seconds += float(state["seconds"])

    def _join(self) -> None:
        """Take in the parts, up to the first that is not there, is damaged, or is of another extraction, or of a device
        that measured another norm."""
        here = torch.device("cpu")  # the tables of two parts may be too much for the device
        whole: Accumulator | None = None
        for folder in self.parts:
            part = self._accumulator(here, self.documents.count - 1)
            try:
                found = read_checkpoint(folder / CHECKPOINT)
                if found is None or found[0]["first"] != self.done:
                    break
                if whole is not None and found[0]["norm_limit"] != self.norm_limit:
                    break
                self._take(part, *found)
            except (FormatError, ConfigError):
                break
            if whole is None:
                whole = part
            else:
                whole.add_part(part)
        if whole is not None:
            self.accumulator.load(whole.tensors())

    def _read(self) -> None:
        last_save, cost = time.monotonic(), 0.0
        length = self.packed.context_size
        while self.done < self.last:
            batches: list[tuple[Tensor, Tensor]] = []
            read = 0
            chunk = self.done
            wanted = self.contexts[chunk : min(chunk + self.encoder.contexts, self.last)]
            try:
                while read < len(wanted):
                    self.control.check()
                    batches.append(self._forward(chunk + read))
                    read += len(batches[-1][0])
                    self.meter.at((chunk + read - self.first) * length, "reading")
            except Interruption as interruption:
                if interruption.request is Request.STOP and batches:
                    self._accumulate(batches, wanted[:read])
                if interruption.request is Request.PAUSE and self.done > self.saved:
                    self._save()
                raise
            self._accumulate(batches, wanted)
            due = time.monotonic() - last_save > max(_SECONDS, _SHARE * cost)
            if self.done < self.last and (self.control.take_checkpoint_request() or due):
                before = time.monotonic()
                self._save()
                last_save = time.monotonic()
                cost = last_save - before

    def _forward(self, first: int) -> tuple[Tensor, Tensor]:
        """(token ids, activations) of the batch that begins with context `first`; the ids on the CPU.

        A batch ends with its chunk, so that the model sees the same ones whatever came before.
        """
        if first in self.measured:
            return self.measured.pop(first)
        chunk_ends = (first // self.encoder.contexts + 1) * self.encoder.contexts
        numbers = self.contexts[first : min(first + self.config.batch_size, chunk_ends)]
        ids = torch.from_numpy(self.packed.contexts(numbers))
        x = capture(self.lm.model, [self.hook_name], ids)[self.hook_name]
        return ids, x.to(self.device, torch.float32)

    def _accumulate(self, batches: list[tuple[Tensor, Tensor]], numbers: npt.NDArray[np.int64]) -> None:
        ids = torch.cat([ids for ids, _ in batches])
        x = torch.cat([x for _, x in batches]) if len(batches) > 1 else batches[0][1]
        batches.clear()
        which = torch.from_numpy(numbers.copy())
        counted = self._counted(ids, x, which)
        documents = self.documents.number(ids, which)
        chunk = make_chunk(x, ids, which, counted, documents, self.done, self.config.seed)
        self.accumulator.update(chunk, self.encoder)
        self.done += len(ids)
        if self.done % self.range == 0:
            self.accumulator.end_range()
        seen = int((self.accumulator.context_counts > 0).sum())
        self.emit(Facts({"seen": seen}))

    # --- which positions count ------------------------------------------------------------------------

    def _measure_norms(self) -> None:
        """The norm above which a position does not count, from the first contexts."""
        if self.config.max_norm_ratio is None:
            return
        self.meter.enter("measuring")
        wanted = min(len(self.contexts), -(-NORM_TOKENS // self.packed.context_size))
        found, start = [], 0
        while start < wanted:
            self.control.check()
            ids, x = self._forward(start)
            if self.first == 0 and (wanted * self.packed.context_size) * self.sae.d_in <= _MEASURED_ELEMENTS:
                self.measured[start] = (ids, x)
            norms = torch.linalg.vector_norm(x, dim=-1).cpu()
            kept = torch.from_numpy(self.packed.kept(ids.numpy()))
            found.append(norms[: wanted - start][kept[: wanted - start]].numpy())
            start += len(ids)
        norms_of_text = np.concatenate(found).astype(np.float64)
        median = float(np.median(norms_of_text)) if len(norms_of_text) else 0.0
        if median > 0 and np.isfinite(median):  # what is not finite is found, and named, when it is read
            self.norm_limit = self.config.max_norm_ratio * median

    def _counted(self, ids: Tensor, x: Tensor, numbers: Tensor) -> Tensor:
        """bool ``[contexts, length]`` on the CPU: which positions count."""
        kept = torch.from_numpy(self.packed.kept(ids.numpy(), TokenMask(self.config.exclude_special_tokens)))
        norms = torch.linalg.vector_norm(x, dim=-1).cpu().double()
        high = norms > self.norm_limit if self.norm_limit is not None else torch.zeros_like(kept)
        counted = kept & high.logical_not()
        if not bool(norms[counted].isfinite().all()):
            context = int(numbers[(counted & norms.isfinite().logical_not()).nonzero()[0, 0]])
            raise NotFiniteError(
                f"Activations of the language model are NaN or infinite in context {context:,} of the text.",
                where=self.hook_name, hint="Use bfloat16 or float32 for the model.",
            )
        self.counts["special"] += int(kept.logical_not().sum())
        self.counts["norm"] += int((kept & high).sum())
        self.counts["tokens"] += int(counted.sum())
        return counted

    # --- checkpoints and the end ----------------------------------------------------------------------

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def _save(self) -> None:
        self.meter.enter("saving")
        state = {
            **self.state, "counts": self.counts, "norm_limit": self.norm_limit, "seconds": self._elapsed(),
            "documents": [self.documents.count, self.documents.previous],
        }
        folder = self.folder / CHECKPOINT
        size = write_checkpoint(folder, self.done, self.accumulator.tensors(), state)
        self.saved = self.done
        self.emit(CheckpointSaved(
            step=self.done, tokens=self.done * self.packed.context_size, path=str(folder.absolute()),
            kinds=("latest",), size_bytes=size,
        ))

    def _remove_empty(self, made: bool) -> None:
        """Leave no folder without content; `made`: the extraction's own was not there before."""
        for folder in (self.folder / CHECKPOINT, self.folder)[: 2 if made else 1]:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()

    def _finish(self) -> Manifest:
        self.meter.at((self.done - self.first) * self.packed.context_size, "writing")
        contexts = self.contexts[: self.done]
        tokens: set[int] = set()
        for part in np.array_split(contexts, max(1, len(contexts) // 1024)):
            tokens.update(np.unique(self.packed.contexts(part)).tolist())
        vocabulary, text = vocabulary_of(sorted(tokens), TokenText(self.lm.tokenizer))
        config, sae = self.config, self.sae
        settings = config.to_data()
        if settings["corpus"] and settings["corpus"].get("strings"):
            settings["corpus"].pop("strings")  # maybe megabytes; the packed tokens hold the text
        manifest = Manifest(
            version=VERSION, d_sae=sae.d_sae, d_in=sae.d_in, hook_name=self.hook_name, model=self.lm.name,
            architecture=sae.architecture, tokens=self.packed.fingerprint, context_size=self.packed.context_size,
            n_contexts=self.done, n_documents=self.documents.count, n_tokens=self.counts["tokens"],
            n_excluded_special=self.counts["special"], n_excluded_norm=self.counts["norm"], norm_limit=self.norm_limit,
            examples=config.examples, per_interval=config.per_interval, per_document=config.per_document,
            min_activation=config.min_activation, coactivation_rate=self.accumulator.sample.rate, settings=settings,
            facts={
                **self.facts, "seconds": round(self._elapsed(), 3), "device": str(self.device),
                "stopped": self.done < len(self.contexts),
            },
        )
        arrays = {"contexts": contexts, "vocabulary": vocabulary, **self.accumulator.finish()}
        write_store(self.folder, arrays, manifest, text)
        remove_checkpoints(self.folder / CHECKPOINT)
        return manifest
