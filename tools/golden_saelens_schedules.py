"""Writes `tests/golden/saelens/schedules.json`: learning-rate multipliers of SAELens' schedulers, step by step.

    .venvs/saelens/bin/python tools/golden_saelens_schedules.py
"""

import json
from pathlib import Path

import torch
from sae_lens.training.optim import get_lr_scheduler

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "saelens" / "schedules.json"
LR = 3e-4
CASES = [
    {"name": "constant", "steps": 50, "warm_up": 5, "decay": 10, "lr_end": LR / 10, "cycles": 1},
    {"name": "cosineannealing", "steps": 60, "warm_up": 10, "decay": 12, "lr_end": LR / 10, "cycles": 1},
    {"name": "cosineannealing", "steps": 40, "warm_up": 0, "decay": 0, "lr_end": LR / 4, "cycles": 1},
    {"name": "cosineannealingwarmrestarts", "steps": 60, "warm_up": 6, "decay": 9, "lr_end": LR / 5, "cycles": 3},
    {"name": "cosineannealingwarmrestarts", "steps": 47, "warm_up": 0, "decay": 0, "lr_end": LR / 10, "cycles": 4},
]


def multipliers(name: str, steps: int, warm_up: int, decay: int, lr_end: float, cycles: int) -> list[float]:
    """What the learning rate of every step is, over the peak."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = get_lr_scheduler(name, optimizer, steps, LR, warm_up, decay, lr_end, cycles)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        scheduler.step()
    return found


if __name__ == "__main__":
    TARGET.write_text(json.dumps([{**case, "lr": LR, "expected": multipliers(**case)} for case in CASES]) + "\n")
