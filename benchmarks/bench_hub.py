"""What a look at the hub and a download cost, against a hub on the loopback interface in a process of its own.

    python benchmarks/bench_hub.py [--megabytes 300] [--rounds 3] [--limit 100]

Previews: requests and bytes after the listing, per format (targets: 3 requests, 200 kB; pickled formats: size only).
Downloads: the rate with hashing, writing and checks, as a share of the server's limit (100 MB/s; target 95 %), in turns
with reading the same bytes over one connection and dropping them.
"""

import argparse
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from multiprocessing.connection import Connection
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


def serve(asked: Connection, megabytes: int, limit: float) -> None:
    """Serve until the process is ended; what `asked` receives, it answers with what came in since the last time."""
    from tests.hub.repos import large
    from tests.hub.server import Hub

    with Hub() as hub:
        hub.state.add([large(megabytes)])
        hub.state.bandwidth = limit
        asked.send(hub.endpoint)
        while asked.recv():
            asked.send([seen.sent for seen in hub.requests()])
            hub.forget()


def previews(endpoint: str, asked: Connection, cache: Path) -> None:
    from saewidgets.hub.browse import preview, variants
    from saewidgets.hub.client import HubClient

    def received() -> list[int]:
        asked.send(True)
        sent: list[int] = asked.recv()
        return sent

    print(f"{'format':32} {'requests':>8} {'bytes':>9} {'seconds':>8}")
    for name, text in PREVIEWS.items():
        client = HubClient(endpoint=endpoint, cache_dir=cache)
        variants(text, client=client)
        received()
        started = time.perf_counter()
        preview(text, client=client)
        took = time.perf_counter() - started
        sent = received()
        print(f"{name:32} {len(sent):8} {sum(sent):9,} {took:8.3f}")


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
    sys.path.insert(0, str(ROOT))  # for the loopback hub of the tests
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, options.megabytes, options.limit * 1e6), daemon=True)
    server.start()
    endpoint = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        previews(endpoint, ours, Path(folder) / "previews")
        downloads(endpoint, Path(folder), options.rounds, options.limit * 1e6)
    server.terminate()


if __name__ == "__main__":
    main()
