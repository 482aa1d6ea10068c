"""How fast batches come out of a store of activations, and what capturing costs beside the bare forward.

Reading: a store of made-up rows, in the page cache; MB/s of batches (shuffled, float32) against copying the same bytes
once out of a plain memory map from beginning to end. Capturing: the demo model at several hook points, tokens per
second against the same forwards without a store. Both sides take turns.

    python benchmarks/bench_activation_store.py [--megabytes 400] [--width 768] [--rounds 5] [--contexts 512]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from saewidgets.activations import PackedTokens, open_corpus, pack
from saewidgets.activations.row_format import row_bytes, stored
from saewidgets.activations.store import StoredActivations, StoredHook, StoreFacts, rows_per_shard
from saewidgets.activations.store_stream import StoredStream
from saewidgets.activations.store_write import (
    CaptureSettings,
    Piece,
    StorePlan,
    StoreWriter,
    capture_store,
    chosen_contexts,
)
from saewidgets.config import DemoCorpus, TrainingConfig
from saewidgets.demo import model_path
from saewidgets.lm import LoadedModel, capture, load_model

HOOK = "blocks.1.hook_resid_post"
CONTEXT, BATCH = 256, 4096


def fill(folder: Path, dtype: str, width: int, megabytes: int) -> StoredActivations:
    """A store of random rows."""
    contexts = max(2 * BATCH // CONTEXT, megabytes * 10**6 // (CONTEXT * row_bytes(width, dtype)))
    facts = StoreFacts(
        source="captured", model="made up", model_revision=None, model_class=None, model_fingerprint=None,
        model_dtype=None, tokenizer=None, tokenizer_fingerprint=None, corpus="made up", corpus_fingerprint=None,
        context_size=CONTEXT, prepend_bos=True, special_ids=(0,), tokens="<u2", dtype=dtype, n_contexts=contexts,
        n_rows=contexts * CONTEXT, n_held_out=0, n_special=0, rows_per_shard=rows_per_shard(CONTEXT, width, dtype),
        hooks={HOOK: StoredHook(width, 0.0)}, files={},
    )  # fmt: skip
    writer = StoreWriter(folder, StorePlan(facts, {}), resume=False)
    generator = torch.Generator().manual_seed(0)
    special = np.arange(CONTEXT) == 0  # BOS, as in real stores
    for _ in range(contexts):
        rows = stored(torch.randn(CONTEXT, width, generator=generator), dtype, "random rows")
        writer.append(Piece({HOOK: rows}, {HOOK: 1.0}, np.zeros(CONTEXT, dtype=np.int64), special))
    writer.finish()
    writer.close()
    return StoredActivations(folder)


Rates = tuple[float, float]
"""Per second of the clock, and per second of the processor (of all threads): the machine may have other work."""


def plain(store: StoredActivations) -> Rates:
    """Bytes per second of copying every file out of a fresh memory map."""
    piece = np.empty((1 << 13, store.width(HOOK)), dtype=store.rows(HOOK).dtype)
    piece.fill(0)  # its pages are there
    begin, used, done = time.perf_counter(), time.process_time(), 0
    for shard in range(len(store.facts.shards(HOOK))):
        rows = store.rows(HOOK, shard)
        for start in range(0, len(rows), len(piece)):
            part = rows[start : start + len(piece)]
            np.copyto(piece[: len(part)], part)
            done += part.nbytes
    return done / (time.perf_counter() - begin), done / (time.process_time() - used)


def batches(store: StoredActivations) -> Rates:
    """Bytes per second (as stored) of shuffled float32 batches, once both windows have their memory."""
    stream = StoredStream(store, TrainingConfig(hook_name=HOOK, batch_size=BATCH))
    per_window = stream.window // BATCH
    reader = stream.batches()
    for _ in range(2 * per_window):
        next(reader)
    steps = 6 * per_window
    begin, used = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(reader)
    done = steps * BATCH * row_bytes(store.width(HOOK), store.facts.dtype)
    rates = done / (time.perf_counter() - begin), done / (time.process_time() - used)
    reader.close()  # type: ignore[attr-defined]
    return rates


def forwards(lm: LoadedModel, packed: PackedTokens, hooks: tuple[str, ...], tokens: int) -> Rates:
    """Tokens per second of the bare forward."""
    chosen, _ = chosen_contexts(packed, tokens)
    begin, used = time.perf_counter(), time.process_time()
    for start in range(0, len(chosen), 16):
        capture(lm.model, hooks, torch.from_numpy(packed.contexts(chosen[start : start + 16])))
    done = len(chosen) * packed.context_size
    return done / (time.perf_counter() - begin), done / (time.process_time() - used)


def captured(lm: LoadedModel, packed: PackedTokens, hooks: tuple[str, ...], tokens: int) -> Rates:
    """Tokens per second of a capture."""
    with tempfile.TemporaryDirectory() as folder:
        begin, used = time.perf_counter(), time.process_time()
        facts = capture_store(lm, packed, CaptureSettings(hooks, tokens), Path(folder) / "s")
        return facts.n_rows / (time.perf_counter() - begin), facts.n_rows / (time.process_time() - used)


def turns(rounds: int, one: Callable[[], Rates], other: Callable[[], Rates]) -> tuple[float, float, str]:
    """Medians of both by the clock, and in words the ratio other / one."""
    one(), other()  # the page cache, kernels
    found = [(one(), other()) for _ in range(rounds)]
    clock, cpu = (sorted(b[n] / a[n] for a, b in found) for n in (0, 1))
    told = f"ratio {statistics.median(clock):.2f} ({clock[0]:.2f} to {clock[-1]:.2f}), of processor time "
    told += f"{statistics.median(cpu):.2f} ({cpu[0]:.2f} to {cpu[-1]:.2f})"
    return statistics.median(a[0] for a, _ in found), statistics.median(b[0] for _, b in found), told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contexts", type=int, default=512)
    asked = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "bfloat16", "int8"):
            store = fill(Path(folder) / dtype, dtype, asked.width, asked.megabytes)
            base, ours, told = turns(asked.rounds, partial(plain, store), partial(batches, store))
            rows = ours / row_bytes(asked.width, dtype)
            print(f"read {dtype}: map {base / 1e6:,.0f} MB/s, batches {ours / 1e6:,.0f} MB/s", end=" ")
            print(f"({rows:,.0f} rows/s), {told}")
        lm = load_model(str(model_path()))
        packed = pack(open_corpus(DemoCorpus()), lm.tokenizer, folder=Path(folder) / "tokens", context_size=CONTEXT)
        for hooks in ((HOOK,), tuple(f"blocks.{layer}.hook_resid_post" for layer in range(lm.n_layers))):
            both = (partial(run, lm, packed, hooks, asked.contexts * CONTEXT) for run in (forwards, captured))
            base, ours, told = turns(asked.rounds, *both)
            print(f"capture of {len(hooks)}: forward {base:,.0f} tokens/s, capture {ours:,.0f} tokens/s, {told}")


if __name__ == "__main__":
    main()
