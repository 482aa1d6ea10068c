"""How long the library of SAEs takes to answer when it holds thousands: what the browser asks for at every keystroke.

A workspace is filled with rows of SAEs (as downloads and local files leave them, with small files on the disk, so that
the look at their state is part of it). Then the questions of the browser are asked many times in turns.

    python benchmarks/bench_library.py [--saes 5000] [--rounds 15]

Prints the median and the worst time of each in milliseconds, and the processor's, which depends less on what else the
machine does. The target is 100 ms for each with 5,000 SAEs, and for a keystroke: a page, its count and the facets.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saewidgets.catalog import Catalog

MODELS = ("gpt2", "google/gemma-2-2b", "google/gemma-2-9b", "EleutherAI/pythia-70m-deduped", "Qwen/Qwen3-0.6B", "demo")
ARCHITECTURES = ("standard", "topk", "jumprelu", "gated", "transcoder")
SITES = ("hook_resid_post", "hook_mlp_out", "hook_attn_out")


def fill(catalog: Catalog, count: int) -> None:
    """`count` SAEs of all sources."""
    chance = random.Random(0)
    for i in range(count):
        model, layer = chance.choice(MODELS), chance.randrange(26)
        source = chance.choice(("huggingface", "gemma_scope", "local"))
        folder = catalog.files.folder / "saes" / f"sae_{i:05d}"
        folder.mkdir(parents=True)
        (folder / "cfg.json").write_text("{}")
        (folder / "sae_weights.safetensors").write_bytes(b"x" * 64)
        place = f"layer_{layer}/width_16k/average_l0_{i}"
        online = source != "local"
        catalog.saes.add(
            name=f"{model.split('/')[-1]}-l{layer}-{i}", source=source, architecture=chance.choice(ARCHITECTURES),
            d_in=2304, d_sae=16_384, d_out=2304, dtype="float32", format="saelens", path=folder, model=model,
            hook_name=f"blocks.{layer}.{chance.choice(SITES)}", layer=layer,
            repo_id="somebody/saes" if online else None, revision="0" * 40 if online else None,
            repo_path=place if online else None, tags=("good",) if i % 7 == 0 else (),
            metadata={
                "origin": {"format": "gemma_scope", "where": f"https://huggingface.co/somebody/saes/tree/main/{place}"},
                "settings": {"apply_b_dec_to_input": False, "normalize_activations": "none"}, "l0": 82.0,
            },
        )  # fmt: skip


def timed(ask: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Milliseconds of `rounds` calls, after one that is not counted: by the clock, and of the processor."""
    ask()
    clock, processor = [], []
    for _ in range(rounds):
        begin, spent = time.perf_counter(), time.process_time()
        ask()
        clock.append((time.perf_counter() - begin) * 1e3)
        processor.append((time.process_time() - spent) * 1e3)
    found = {"median_ms": statistics.median(clock), "worst_ms": max(clock), "cpu_ms": statistics.median(processor)}
    return {name: round(value, 1) for name, value in found.items()}


def measure(count: int, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Question → milliseconds."""
    with Catalog(folder) as catalog:
        begin = time.perf_counter()
        fill(catalog, count)
        print(f"{count:,} SAEs added in {time.perf_counter() - begin:.0f} s")
        saes = catalog.saes

        def keystroke() -> None:
            asked = {"source": "huggingface", "search": "gemma 1"}
            saes.list(limit=60, **asked)
            saes.count(**asked)
            saes.facets(**asked)

        questions: dict[str, Callable[[], Any]] = {
            "all of them": saes.list,
            "first 60": lambda: saes.list(limit=60),
            "60 in the middle, by name": lambda: saes.list(sort="name", limit=60, offset=count // 2),
            "filtered": lambda: saes.list(source="gemma_scope", model="gpt2", layer=6),
            "by tag": lambda: saes.list(tag="good"),
            "searched": lambda: saes.list(search="pythia 12"),
            "facets": saes.facets,
            "a keystroke": keystroke,
        }
        return {name: timed(ask, rounds) for name, ask in questions.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saes", type=int, default=5_000, help="how many rows")
    parser.add_argument("--rounds", type=int, default=15, help="how often each question is asked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.saes, options.rounds, Path(folder))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
