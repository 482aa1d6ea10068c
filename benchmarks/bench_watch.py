"""What being watched costs a run: tokens per second with a training panel drawing it, against nobody looking.

One run on the embedded model; a panel is opened and closed in turns, and every log window of the trainer (its own
``tokens_per_second``, language model included) counts for the turn in which it lies. Windows that touch a change are
left out. What the panel's own threads use of the processor is counted as well: neighbours on the machine do not disturb
that figure, though it leaves out what waiting for the interpreter costs the run.

    python benchmarks/bench_watch.py [--turns 6] [--seconds 15]

Prints the median of both kinds, their ratio, a 95 % interval of the ratio from resampling whole turns, and the share
of the machine's processor time. The target is a ratio of at least 0.98.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from saewidgets.widgets.training_panel.widget import TrainingPanel
from saewidgets.workspace import Workspace


def panel_seconds() -> float:
    """Processor time that the threads of panels have used so far (those that are alive)."""
    names = ("saewidgets-panel", "saewidgets-command")
    mine = [thread for thread in threading.enumerate() if thread.name.startswith(names)]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in mine if thread.ident)


def measure(turns: int, seconds: float, folder: Path) -> dict[str, float]:
    """Medians of tokens per second, watched and not, and their ratio."""
    with Workspace(folder) as ws:
        config = ws.trainings.demo_config().replace(
            tokens=10**9, log_every_steps=2,
            **{"evaluation.every_steps": 10**6, "checkpoints.every_steps": 10**6, "activations.shuffle_tokens": 8192},
        )  # fmt: skip
        run = ws.trainings.create(config)
        while run.record.step < 20:
            if run.status.is_final:
                raise SystemExit(str(run.error))
            time.sleep(0.5)
        marks: list[tuple[float, float, bool]] = []
        used = 0.0
        for turn in range(2 * turns):
            watched = turn % 2 == 1
            panel = TrainingPanel(ws) if watched else None
            time.sleep(1.0)
            began, before = time.time(), panel_seconds()
            time.sleep(seconds)
            used += panel_seconds() - before
            marks.append((began, time.time(), watched))
            if panel is not None:
                panel.close()
        run.cancel()
        run.wait(60)
        frame = run.metrics(["tokens_per_second"])
    at = frame["time"].astype("int64").to_numpy() / 1e9
    rate = frame["value"].to_numpy()
    groups: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for began, ended, watched in marks:
        inside = rate[(at > began) & (at < ended)][1:]  # the first window began before
        if len(inside):
            groups[watched].append(inside)
    ratios = []
    chance = np.random.default_rng(0)
    for _ in range(2000):
        medians = {}
        for kind, parts in groups.items():
            chosen = chance.integers(len(parts), size=len(parts))
            medians[kind] = np.median(np.concatenate([parts[i] for i in chosen]))
        ratios.append(medians[True] / medians[False])
    quiet, seen = (float(np.median(np.concatenate(groups[kind]))) for kind in (False, True))
    low, high = np.percentile(ratios, [2.5, 97.5])
    share = used / (turns * seconds) / (os.cpu_count() or 1)
    return {
        "unwatched": quiet, "watched": seen, "ratio": seen / quiet, "low": float(low), "high": float(high),
        "processor_share": share,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6, help="how often each kind is measured")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of one turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.turns, options.seconds, Path(folder))
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))


if __name__ == "__main__":
    main()
