"""What extracting all features costs: against the language model's forward and the encoder's product alone.

    python benchmarks/bench_extraction.py [--d-sae 4096 16384] [--arch topk jumprelu] [--tokens 262144] [--rounds 3]
    python benchmarks/bench_extraction.py --memory [--memory-d-sae 131072]

Both sides read the same contexts of the embedded corpus with the embedded model up to the same hook, in the same
process, in turns: one side only multiplies with the encoder, the other is the whole `extract`, from measuring norms to
the written store. The SAEs are random ones with decoder directions drawn from the activations themselves; about `--k`
latents fire per token. Goal: at most 1.5 times. The ratio is the median over turns; on a CPU it is one of processor
time, which other programs disturb least (on a quiet machine `--threads 2` and the clock show what is not parallel).

With `--memory`, an extraction of many latents in a process of its own, and the most memory that process ever had.
Goal: 4 GB. Ends with exit code 1 where a goal is missed.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
HOOK, CONTEXT = "blocks.1.hook_resid_post", 128
RATIO, MEMORY_GB = 1.5, 4.0


def prepared(folder: Path, tokens: int, device: str) -> tuple[Any, Any, Any]:
    """(model, packed tokens, contexts to read)."""
    from saewidgets.activations import open_corpus, pack
    from saewidgets.config import DemoCorpus
    from saewidgets.demo import model_path
    from saewidgets.lm import load_model

    lm = load_model(str(model_path()), device=device)
    packed = pack(open_corpus(DemoCorpus()), lm.tokenizer, folder=folder / "tokens", context_size=CONTEXT)
    return lm, packed, packed.train[: tokens // CONTEXT]


def random_sae(arch: str, d_sae: int, k: int, lm: Any, packed: Any, device: str) -> Any:
    """An SAE of which about `k` latents fire per token, some far more often than others, as trained ones do."""
    import torch

    from saewidgets.lm import capture
    from saewidgets.sae import create_sae

    generator = torch.Generator().manual_seed(0)
    ids = torch.from_numpy(packed.contexts(packed.validation[:64]))
    x = capture(lm.model, [HOOK], ids)[HOOK].float().cpu()[:, 1:].reshape(-1, lm.d_model)
    sae = create_sae(arch, lm.d_model, d_sae=d_sae, **({"k": k} if arch == "topk" else {}))
    with torch.no_grad():
        sae.b_dec.copy_(x.mean(0))
        which = torch.randint(len(x), (2, d_sae), generator=generator)
        rows = x[which[0]] - x[which[1]] * torch.rand(d_sae, 1, generator=generator)
        rows /= rows.norm(dim=1, keepdim=True)
        sae.W_dec.copy_(rows)
        sae.W_enc.copy_(rows.T)
        if arch == "jumprelu":
            pre = sae.pre_activations(x[:512])
            bound = pre.view(-1).topk(512 * k).values[-1].clamp_min(1e-3)
            sae.set_threshold(bound.expand(d_sae))
    return sae.to(device).eval()


def alone(sae: Any, lm: Any, packed: Any, contexts: Any, batch: int) -> None:
    """The forward and the product, nothing else."""
    import torch

    from saewidgets.lm import capture

    out = torch.empty(1024, sae.d_sae, device=sae.W_enc.device)
    with torch.no_grad():
        for start in range(0, len(contexts), batch):
            ids = torch.from_numpy(packed.contexts(contexts[start : start + batch]))
            x = capture(lm.model, [HOOK], ids)[HOOK].reshape(-1, sae.d_in)
            for part in x.split(1024):
                torch.addmm(sae.b_enc, part - sae.b_dec, sae.W_enc, out=out[: len(part)])
    if out.device.type == "cuda":
        torch.cuda.synchronize()


def extraction(sae: Any, lm: Any, packed: Any, contexts: Any, batch: int, folder: Path) -> Any:
    from saewidgets.config import ExtractionConfig
    from saewidgets.features.extraction import extract

    return extract(sae, lm, packed, contexts, HOOK, ExtractionConfig(batch_size=batch), folder)


def compare(arch: str, d_sae: int, arguments: argparse.Namespace, folder: Path) -> float:
    lm, packed, contexts = prepared(folder, arguments.tokens, arguments.device)
    sae = random_sae(arch, d_sae, arguments.k, lm, packed, arguments.device)
    seconds: dict[str, list[float]] = {"alone": [], "extract": []}
    clock: dict[str, list[float]] = {"alone": [], "extract": []}
    now = time.process_time if arguments.device == "cpu" else time.perf_counter
    alone(sae, lm, packed, contexts[:256], arguments.batch)
    extraction(sae, lm, packed, contexts[:256], arguments.batch, folder / f"warm-{arch}-{d_sae}")
    for number in range(arguments.rounds):
        for name in seconds:
            start, started = now(), time.perf_counter()
            if name == "alone":
                alone(sae, lm, packed, contexts, arguments.batch)
            else:
                extraction(sae, lm, packed, contexts, arguments.batch, folder / f"{arch}-{d_sae}-{number}")
            seconds[name].append(now() - start)
            clock[name].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(seconds["alone"], seconds["extract"], strict=True)]
    by_clock = statistics.median(b / a for a, b in zip(clock["alone"], clock["extract"], strict=True))
    rate = {name: len(contexts) * CONTEXT / statistics.median(values) for name, values in seconds.items()}
    print(f"| {arch} | {d_sae:,} | {rate['alone']:,.0f} | {rate['extract']:,.0f} | {statistics.median(ratios):.2f}x "
          f"({min(ratios):.2f} to {max(ratios):.2f}) | {by_clock:.2f}x |", flush=True)
    return statistics.median(ratios)


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """In a process of its own: one extraction, then the peak."""
    arch, d_sae = arguments.arch[0], arguments.memory_d_sae
    lm, packed, contexts = prepared(folder, arguments.memory_tokens, arguments.device)
    sae = random_sae(arch, d_sae, arguments.k, lm, packed, arguments.device)
    started = time.perf_counter()
    extraction(sae, lm, packed, contexts, arguments.batch, folder / "memory")
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    size = sum(path.stat().st_size for path in (folder / "memory").iterdir()) / 1e9
    print(f"{arch}, {d_sae:,} latents of width 256, {arguments.memory_tokens:,} tokens: {seconds:.0f} s, "
          f"at most {peak:.2f} GB of memory, {size:.2f} GB on the disk", flush=True)
    sys.exit(peak > MEMORY_GB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["topk", "jumprelu"])
    parser.add_argument("--d-sae", nargs="+", type=int, default=[4096, 16_384])
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--memory-d-sae", type=int, default=131_072)
    parser.add_argument("--memory-tokens", type=int, default=65_536)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.memory and not arguments.worker:
            environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
            sys.exit(subprocess.call([sys.executable, __file__, *sys.argv[1:], "--worker"], env=environment))
        import torch

        torch.set_num_threads(arguments.threads)
        if arguments.memory:
            memory(arguments, Path(name))
        print(f"embedded model, {HOOK}, {arguments.tokens:,} tokens, about {arguments.k} latents per token, "
              f"{arguments.threads} threads, {arguments.device}, load {os.getloadavg()[0]:.1f}")
        print("| architecture | latents | forward and product tok/s | extraction tok/s | ratio (range) | clock |")
        print("|---|---|---|---|---|---|")
        ratios = [compare(arch, d_sae, arguments, Path(name)) for arch in arguments.arch for d_sae in arguments.d_sae]
    sys.exit(max(ratios) > RATIO)


if __name__ == "__main__":
    main()
