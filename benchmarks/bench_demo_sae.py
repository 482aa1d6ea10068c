"""How long the demo SAE takes to be there: put into a fresh workspace, asked for again, its first page read, a text
read with the model, and what a feature does to the loss on one token.

Every round is a process of its own, after the imports that each step needs; what a step imports is not counted.

    python benchmarks/bench_demo_sae.py [--rounds 7]

Prints medians in milliseconds, of the clock and of the processor. The target is 1,000 of the processor for putting it
into a fresh workspace, and 300 for a text and for a loss effect.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

ROUND = """
import json, sys, time
import lzma, zipfile
from saewidgets.workspace import Workspace
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.read import FeatureStore

told = {}
def timed(name, work):
    clock, processor = time.perf_counter(), time.process_time()
    value = work()
    told[name] = (1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor))
    return value

with Workspace(sys.argv[1]) as ws:
    found = timed("put into a fresh workspace", ws.extractions.demo)
    timed("asked for again", ws.extractions.demo)
    store = timed("opened", found.store)
    timed("the peaks of all features", lambda: store.peak_tokens)
    timed("a feature", lambda: feature_data(store, 1))
    sae, text = found.record.sae_id, "Every man and every woman went down to the river."
    timed("a text, the first (the model is loaded)", lambda: ws.features.run_on(sae, text))
    timed("a text", lambda: ws.features.run_on(sae, text + " Again."))
    timed("a loss effect, the first", lambda: ws.features.loss_effect(sae, 397, text=text, token=2))
    timed("a loss effect", lambda: ws.features.loss_effect(sae, 397, text=text, token=3))
print(json.dumps(told))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run([sys.executable, "-c", ROUND, home], capture_output=True, text=True, check=True)
        for name, times in json.loads(done.stdout).items():
            found.setdefault(name, []).append(times)
    print(f"{'':30} {'clock':>8} {'processor':>10}   medians of {rounds}, ms")
    for name, times in found.items():
        clock, processor = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:42} {clock:8.1f} {processor:10.1f}")


if __name__ == "__main__":
    main()
