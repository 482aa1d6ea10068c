"""What a look at the hub and a download cost, against a hub on the loopback interface in a process of its own.

    python benchmarks/bench_hub.py [--megabytes 300] [--rounds 3] [--limit 100]

Previews: requests and bytes after the listing, per format (targets: 3 requests, 200 kB; pickled formats: size only).
Downloads: the rate with hashing, writing and checks, as a share of the server's limit (100 MB/s; target 95 %), in turns
with reading the same bytes over one connection and dropping them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREVIEWS = {
    "saelens": "jbloom/GPT2-Small-SAEs-Reformatted/blocks.1.hook_resid_pre",
    "gemma_scope": "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82",
    "gemma_scope_2": "google/gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_small",
    "sparsify": "EleutherAI/sae-pythia-70m-32k/layers.2",
    "dictionary_learning (pickled)": "canrager/lm_sae",
    "qwen_scope (pickled)": "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer14.sae.pt",
}


def serve(megabytes: int, limit: float) -> tuple[subprocess.Popen[str], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.hub.server", "--port", str(port), "--large", str(megabytes)]
    server = subprocess.Popen([*command, "--bandwidth", str(limit)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip().partition("=")[2]


def received(endpoint: str, forget: bool = False) -> list[dict[str, object]]:
    """What the server was asked since the last `forget`."""
    with urllib.request.urlopen(f"{endpoint}/_seen{'?forget=1' if forget else ''}") as answer:
        rows: list[dict[str, object]] = json.load(answer)
    return rows


def previews(endpoint: str, cache: Path) -> None:
    from saewidgets.hub.browse import preview, variants
    from saewidgets.hub.client import HubClient

    print(f"{'format':32} {'requests':>8} {'bytes':>9} {'seconds':>8}")
    for name, text in PREVIEWS.items():
        client = HubClient(endpoint=endpoint, cache_dir=cache)
        variants(text, client=client)
        received(endpoint, forget=True)
        started = time.perf_counter()
        preview(text, client=client)
        took = time.perf_counter() - started
        rows = received(endpoint, forget=True)
        print(f"{name:32} {len(rows):8} {sum(int(str(row['sent'])) for row in rows):9,} {took:8.3f}")


def plain(url: str) -> tuple[int, float]:
    """Bytes and seconds of reading a file over one connection and dropping it."""
    started, count = time.perf_counter(), 0
    with urllib.request.urlopen(url) as answer:
        while block := answer.read(1 << 18):
            count += len(block)
    return count, time.perf_counter() - started


def downloads(endpoint: str, cache: Path, rounds: int, limit: float) -> None:
    from saewidgets.hub.client import HubClient
    from saewidgets.hub.transfer import download, plan_download

    ours, theirs = [], []
    for turn in range(rounds):
        client = HubClient(endpoint=endpoint, cache_dir=cache / str(turn))
        plan = plan_download("lab/large/sae", client=client)
        url = f"{endpoint}/lab/large/resolve/{plan.revision}/sae/sae_weights.safetensors"
        count, seconds = plain(url)
        theirs.append(count / seconds)
        done = download("lab/large/sae", client=client)
        ours.append(done.fetched_bytes / done.seconds)
        print(f"turn {turn + 1}: plain {theirs[-1] / 1e6:6.1f} MB/s, download {ours[-1] / 1e6:6.1f} MB/s", flush=True)
        shutil.rmtree(cache / str(turn))
    rate, base = statistics.median(ours), statistics.median(theirs)
    print(f"download: {rate / limit:.1%} of the limit of {limit / 1e6:.0f} MB/s, {rate / base:.1%} of plain reading")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=100, help="of the server, in MB/s")
    options = parser.parse_args()
    server, endpoint = serve(options.megabytes, options.limit * 1e6)
    try:
        with tempfile.TemporaryDirectory() as folder:
            previews(endpoint, Path(folder) / "previews")
            downloads(endpoint, Path(folder), options.rounds, options.limit * 1e6)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
