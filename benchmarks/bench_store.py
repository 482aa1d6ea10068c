"""How long an extraction on disk takes to open and to answer, and how large it is: 131,072 latents with 20 examples.

The extraction is made up: a million tokens of the demo corpus, activations of a gamma distribution, densities from 1e-6
to 0.1, a third of the latents with labels. Opening is measured in a fresh process after the imports, with the pages of
the files in the system's cache.

    python benchmarks/bench_store.py [--latents 131072] [--examples 20] [--rounds 15]
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from saewidgets.activations import open_corpus, pack
from saewidgets.config import DemoCorpus
from saewidgets.demo import model_path
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.layout import BINS, INTERVALS, WINDOW, Manifest, write_store
from saewidgets.features.store.query import LatentNote, LatentNotes, find
from saewidgets.features.store.read import FeatureStore
from saewidgets.lm import TokenText, load_model

OPEN = """
import sys, time
from saewidgets.features.store.read import FeatureStore
start = time.perf_counter()
store = FeatureStore(sys.argv[1], sys.argv[2])
from saewidgets.features.store.query import LatentNotes, find
rows = find(store, LatentNotes({}, store.d_sae))[:100]
texts = [store.text_of(int(t)) for t in store.peak_tokens[rows].ravel() if t >= 0]
print(1000 * (time.perf_counter() - start))
"""


def fill(folder: Path, tokens: Path, d: int, k: int, m: int) -> None:
    """An extraction of `d` latents."""
    lm = load_model(str(model_path()))
    packed = pack(open_corpus(DemoCorpus()), lm.tokenizer, folder=tokens, context_size=128)
    n = min(packed.n_contexts, 8192)
    rng = np.random.default_rng(0)
    counted = n * 128
    fired = np.minimum((10 ** rng.uniform(-6, -1, d) * counted).astype(np.int64), counted)
    w = 2 * WINDOW + 1
    top = -np.sort(-rng.gamma(2, 3, (d, k)).astype(np.float32), axis=1) + 0.1
    top *= np.arange(k) < fired[:, None]
    positions = np.where(top > 0, rng.integers(0, counted, (d, k)), -1)
    largest = top[:, 0]
    scale = np.where(largest > 0, np.ceil(np.log2(np.maximum(largest, 1e-9))), 0).astype(np.int16)
    histogram = np.zeros((d, BINS), np.int64)
    bins = np.maximum(1, np.ceil(largest / 2.0**scale * BINS)).astype(int)
    for b in range(BINS):
        histogram[:, b] = np.where(b < bins, fired // bins, 0)
    per_interval = histogram.reshape(d, INTERVALS, -1).sum(-1)
    filled = np.arange(m) < per_interval[..., None]
    shares = rng.random((d, INTERVALS, m), dtype=np.float32)
    values = filled * (np.arange(INTERVALS)[None, :, None] + shares) * (2.0 ** scale[:, None, None] / INTERVALS)

    def windows(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        around = np.zeros((*values.shape, w), np.float16)
        around[..., WINDOW] = values
        for offset in (-5, 1, 2):  # three neighbours fire as well in one case of two
            chosen = (rng.random(values.shape, dtype=np.float32) < 0.5) * values
            around[..., WINDOW + offset] = 0.5 * chosen
        return around

    ids = np.unique(packed.contexts(range(n)))
    text = TokenText(lm.tokenizer)
    table, data = [], b""
    for token in ids:
        own = text.bytes(int(token))
        table.append((int(token), len(data), len(data) + len(own)))
        data += own
    arrays = {
        "contexts": np.arange(n), "firing_counts": fired, "context_counts": fired, "document_counts": fired,
        "sums": fired * 1.0, "max": largest, "scale": scale, "histogram": histogram, "top_values": top,
        "top_positions": positions, "top_windows": windows(top), "interval_values": values,
        "interval_positions": np.where(filled, rng.integers(0, counted, filled.shape), -1),
        "interval_windows": windows(values), "sample_positions": np.arange(10_000) * 100,
        "sample_offsets": np.arange(10_001) * 64, "sample_latents": rng.integers(0, d, 640_000),
        "vocabulary": np.asarray(table),
    }
    manifest = Manifest(
        version=1, d_sae=d, d_in=256, hook_name="blocks.1.hook_resid_post", model="demo", architecture="topk",
        tokens=packed.fingerprint, context_size=128, n_contexts=n, n_documents=packed.facts.n_documents,
        n_tokens=counted, n_excluded_special=0, n_excluded_norm=0, norm_limit=None, examples=k, per_interval=m,
        per_document=2, min_activation=0.01, coactivation_rate=0.01, settings={}, facts={},
    )
    write_store(folder, arrays, manifest, data)


def milliseconds(ask: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median and worst of `rounds` calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), max(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=int, default=131_072)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--per-interval", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder, tokens = Path(home) / "extraction", Path(home) / "tokens"
        start = time.perf_counter()
        fill(folder, tokens, asked.latents, asked.examples, asked.per_interval)
        print(f"made in {time.perf_counter() - start:.0f} s")
        store = FeatureStore(folder, tokens)
        assert store.peak_tokens.shape
        print(f"size: {store.size_bytes / 1e6:.0f} MB (target 400 MB)")
        times = []
        for _ in range(3):
            command = [sys.executable, "-c", OPEN, str(folder), str(tokens)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            times.append(float(done.stdout))
        print(f"open and show the first 100 rows: {statistics.median(times):.0f} ms (target 300 ms)")
        indices = range(0, asked.latents, 3)
        noted = {i: LatentNote(f"label {i % 977} of ships", i % 100 / 100, i % 50 == 0) for i in indices}
        notes = LatentNotes(noted, asked.latents)
        rng = np.random.default_rng(1)
        print(f"{'':42} median   worst (ms; target 50, a page 100)")
        for label, ask in {
            "sort by density": lambda: find(store, notes, sort="density", descending=True),
            "sort by max": lambda: find(store, notes, sort="max"),
            "sort by label": lambda: find(store, notes, sort="label"),
            "sort by score": lambda: find(store, notes, sort="score", descending=True),
            "search labels and tokens: 'ship'": lambda: find(store, notes, search="ship"),
            "search: 'label 12 ships'": lambda: find(store, notes, search="label 12 ships"),
            "dead, by index": lambda: find(store, notes, show="dead"),
            "dense, by density": lambda: find(store, notes, show="dense", sort="density"),
            "labelled, searched, by score": lambda: find(store, notes, search="7", show="labelled", sort="score"),
            "starred": lambda: find(store, notes, show="starred"),
            "a feature page": lambda: feature_data(store, math.floor(rng.random() * store.d_sae)),
        }.items():
            middle, worst = milliseconds(ask, asked.rounds)
            print(f"{label:42} {middle:6.1f}  {worst:6.1f}")


if __name__ == "__main__":
    main()
