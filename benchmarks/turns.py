"""Takes turns with the processes of `sides`: ours and a peer a few steps at a time, so that whatever else the machine
does meets both. `bench_train_step` has the cases, `report` the tables."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEERS = {"sae-lens": "saelens", "dictionary_learning": "dictionary_learning", "sparsify": "sparsify"}
ROWS = 16_384
TURN = 0.5  # seconds that a turn takes at least, where one step is shorter


@dataclass(frozen=True, slots=True)
class Case:
    """What all sides train. `l0`: biases or thresholds let that many latents be active, where the architecture does not
    keep k, and the learning rate is so small that it stays so; None: all start dense, as peers do."""

    arch: str
    peers: tuple[str, ...]
    precision: str = "float32"
    l0: float | None = None
    d_in: int = 768
    d_sae: int = 16_384
    batch: int = 4096
    k: int = 32
    threads: int = 2

    @property
    def label(self) -> str:
        is_dense = self.l0 is None and self.arch not in ("topk", "batchtopk", "matryoshka")
        usual = {"batch": 4096, "k": 32, "threads": 2}
        more = [f", {name} {getattr(self, name):,}" for name, value in usual.items() if getattr(self, name) != value]
        return f"{self.arch} {self.d_in}→{self.d_sae:,}{', dense start' if is_dense else ''}{''.join(more)}"

    def job(self, data: Path) -> dict[str, Any]:
        """It as a side reads it."""
        fields = {field: getattr(self, field) for field in self.__slots__ if field != "peers"}
        return fields | {"lr": 3e-4 if self.l0 is None else 1e-6, "data": str(data)}


def python_of(side: str) -> Path:
    """The interpreter of a side; leaves with what to do where there is none."""
    if side not in PEERS:
        return Path(sys.executable)
    python = ROOT / ".venvs" / PEERS[side] / "bin" / "python"
    if not python.exists():
        sys.exit(f"There is no {python.relative_to(ROOT)}: run `make peers` first.")
    return python


class Side:
    """A process of `sides` that waits for its turns."""

    def __init__(self, name: str, case: Case, data: Path) -> None:
        self.name, self._errors = name, tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [python_of(name), Path(__file__).with_name("sides.py"), name, json.dumps(case.job(data))], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=os.environ | {"OMP_NUM_THREADS": str(case.threads)},
        )  # fmt: skip
        self.steps = 1  # of the first turn, which warms up

    def turn(self, steps: int | None = None) -> dict[str, float]:
        """What it reports after so many steps; after none it ends."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(self.steps if steps is None else steps, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it has said why
        for line in self._process.stdout:
            if line.startswith("TURN "):
                found: dict[str, float] = json.loads(line[5:])
                return found
        self._errors.seek(0)
        sys.exit(f"{self.name} failed:\n{self._errors.read()[-3000:]}")

    def close(self) -> float:
        """Its L0 at the end."""
        found = self.turn(0).get("l0", 0.0)
        self._process.communicate()
        return found


def measure(case: Case, seconds: float, least: int, folder: Path) -> dict[str, Any]:
    """One case as `report` has it: turns of ours and every peer for so many seconds, `least` rounds at least, after one
    that warms up. One peer after the other: beside several waiting processes, which hold GBs, those that allocate much
    per step were slower by a quarter."""
    data, load, limits = activations(folder, case.d_in), os.getloadavg()[0], []
    turns: dict[str, dict[str, list[int]]] = {}
    peak: dict[str, int] = {}
    l0: dict[str, float] = {}
    for peer in case.peers or ("",):
        limits += machine_limits(case, data)
        sides = [Side(name, case, data) for name in ("ours", peer) if name]
        times: dict[str, list[int]] = {side.name: [] for side in sides}
        for side in sides:
            side.steps = max(1, min(10, round(TURN / side.turn()["seconds"])))
        begun = time.perf_counter()
        while len(times["ours"]) < least or time.perf_counter() - begun < seconds:
            for side in sides:
                found = side.turn()
                times[side.name].append(round(case.batch / found["seconds"]))
                peak[side.name] = max(peak.get(side.name, 0), round(found["peak_mb"]))
        l0 |= {side.name: round(side.close(), 1) for side in sides}
        turns[peer] = times
    limits += machine_limits(case, data)
    product = "seconds" if case.precision == "float32" else "bfloat16"
    return {
        "case": case.label, "precision": case.precision, "d_in": case.d_in, "d_sae": case.d_sae, "batch": case.batch,
        "k": case.k, "threads": case.threads, "load": round(max(load, os.getloadavg()[0]), 1), "peak_mb": peak,
        "l0": l0, "product": [round(case.batch / each[product]) for each in limits],
        "gb_per_second": [round(1e-9 / each["byte"], 1) for each in limits], "turns": turns,
    }  # fmt: skip


def machine_limits(case: Case, data: Path) -> list[dict[str, float]]:
    """See `sides.limits`, twice."""
    side = Side("limits", case, data)
    found = [side.turn(2) for _ in range(2)]
    side.close()
    return found


def activations(folder: Path, d_in: int) -> Path:
    """A file with rows [ROWS, d_in] of low-rank structure and noise, mean norm √d_in."""
    import numpy as np

    path = folder / f"{d_in}.npy"
    if not path.exists():
        rng = np.random.default_rng(0)
        x = rng.standard_normal((ROWS, 64)) @ rng.standard_normal((64, d_in)) / 8
        x += 0.3 * rng.standard_normal((ROWS, d_in))
        np.save(path, (x * d_in**0.5 / np.linalg.norm(x, axis=1).mean()).astype(np.float32))
    return path
