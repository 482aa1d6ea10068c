"""What loading an SAE costs: against reading its bytes, and against its size in memory.

    python benchmarks/bench_load_sae.py [--d-in 2304] [--d-sae 16384] [--rounds 7] [--formats saelens …]

Every measurement is a process of its own that has already imported everything and loaded a tiny SAE. Files are in the
page cache, and memory has been touched before, so that a virtual machine need not get it from its host while the clock
runs; reading the files into memory and loading the SAE take turns. Processor time is compared, system included: with
files in the cache nothing waits, and other programs disturb it least. Goals: at most 1.3 times the reading and 1.1
times the size in memory. Archives (``.npz``, ``.pt``) have a checksum of every byte: measured with and without it, with
the goal for the rest. Formats that store matrices the other way may take the largest tensor more; turning it costs
time of its own, which is shown. Ends with exit code 1 where a goal is missed. Linux only.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
TIME, MEMORY = 1.3, 1.1
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from saewidgets.formats import archives, load_sae
what, folder, tiny = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])

def memory(what):
    return int(Path("/proc/self/status").read_text().split(what + ":")[1].split()[0]) << 10

load_sae(tiny)
files = [path for path in folder.rglob("*") if path.is_file()]
# A virtual machine gives freed memory back to its host, and who touches it next waits for the host.
touched = bytearray(2 * sum(path.stat().st_size for path in files))
del touched
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before, start = memory("VmRSS"), time.process_time()
if what == "unsummed":
    check = archives.ZipSource.__init__
    def unsummed(self, *arguments):
        check(self, *arguments)
        for info in self.members.values():
            info.CRC = None
    archives.ZipSource.__init__ = unsummed
kept = load_sae(folder) if what != "read" else [path.read_bytes() for path in files]
print(time.process_time() - start, memory("VmHWM") - before)
"""


def tensors(d_in: int, d_sae: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,), "threshold": (d_sae,),
    }
    return {name: torch.rand(*shape, generator=generator) for name, shape in shapes.items()}


def saelens(folder: Path, d_in: int, d_sae: int, dtype: torch.dtype = torch.float32) -> Path:
    weights = {name: tensor.to(dtype) for name, tensor in tensors(d_in, d_sae).items()}
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "jumprelu", "d_in": d_in, "d_sae": d_sae, "dtype": str(dtype).removeprefix("torch."),
        "metadata": {"sae_lens_version": "6.54.12"},
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def bfloat16(folder: Path, d_in: int, d_sae: int) -> Path:
    return saelens(folder, d_in, d_sae, torch.bfloat16)


def gemma_scope(folder: Path, d_in: int, d_sae: int) -> Path:
    folder = folder / "layer_3" / f"width_{d_sae // 1024 or 1}k" / "average_l0_50"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in tensors(d_in, d_sae).items()})
    return folder


def dictionary_learning(folder: Path, d_in: int, d_sae: int) -> Path:
    found = tensors(d_in, d_sae)
    torch.save({
        "encoder.weight": found["W_enc"].T.contiguous(), "encoder.bias": found["b_enc"],
        "decoder.weight": found["W_dec"].T.contiguous(), "b_dec": found["b_dec"],
        "k": torch.tensor(32, dtype=torch.int32), "threshold": torch.tensor(0.5),
    }, folder / "ae.pt")
    trainer = {"dict_class": "BatchTopKSAE", "activation_dim": d_in, "dict_size": d_sae, "k": 32, "layer": 3}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    return folder


ARCHIVES = ("gemma_scope", "dictionary_learning")  # zip files: the checksum of every byte is compared
# name → how to make it, whether matrices lie the other way
FORMATS: dict[str, tuple[Callable[[Path, int, int], Path], bool]] = {
    "saelens": (saelens, False),
    "saelens, bfloat16": (bfloat16, False),
    "gemma_scope": (gemma_scope, False),
    "dictionary_learning": (dictionary_learning, True),
}


def measure(what: str, folder: Path, tiny: Path) -> tuple[float, float]:
    """Seconds, and bytes that the process grew by at its largest."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOT), what, str(folder), str(tiny)], check=True, capture_output=True,
        text=True,
    )
    seconds, grown = done.stdout.split()
    return float(seconds), float(grown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-in", type=int, default=2304)
    parser.add_argument("--d-sae", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    args = parser.parse_args()
    largest = args.d_in * args.d_sae * 4
    missed = False
    print(f"{args.d_sae:,} latents of width {args.d_in:,}\n")
    print("| format | MB | read s | load s | without checksum s | its ratio (range) | memory | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.formats:
        make, transposed = FORMATS[name]
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "big").mkdir()
            (Path(home) / "tiny").mkdir()
            folder, tiny = make(Path(home) / "big", args.d_in, args.d_sae), make(Path(home) / "tiny", 8, 1024)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            ways = ("read", "load", "unsummed") if name in ARCHIVES else ("read", "load")
            rounds = [[measure(way, folder, tiny) for way in ways] for _ in range(args.rounds)]
        ratios = [turn[-1][0] / turn[0][0] for turn in rounds]  # the goal is for what is not the checksum
        memory = max(turn[1][1] for turn in rounds) / size
        goal = MEMORY + (largest / size if transposed else 0)
        missed |= (statistics.median(ratios) > TIME and not transposed) or memory > goal
        read_s, load_s, bare_s = (statistics.median(turn[i][0] for turn in rounds) for i in (0, 1, -1))
        print(
            f"| {name} | {size / 1e6:,.0f} | {read_s:.3f} | {load_s:.3f} | {bare_s:.3f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {memory:.2f} | {'' if transposed else f'{TIME}, '}{goal:.2f} |"
        )
    sys.exit(missed)


if __name__ == "__main__":
    main()
