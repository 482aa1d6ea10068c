"""Settings side by side, and the Pareto front against a slow definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from saewidgets.config import JumpReLUConfig, TopKConfig, TrainingConfig
from saewidgets.workspace.training.comparing import differs, measured, pareto_front, settings
from tests.widgets.fake_workspace import make_record


def test_settings_side_by_side() -> None:
    first = make_record("a", TrainingConfig(sae=TopKConfig(k=16), tokens=5_000_000))
    second = make_record("b", TrainingConfig(sae=JumpReLUConfig(), tokens=5_000_000))
    found = settings([first, second])
    assert found["sae.k"] == [16, None]
    assert found["sae.bandwidth"] == [None, 0.05]
    assert found["tokens"] == [5_000_000, 5_000_000]
    assert differs(found["sae.k"])
    assert not differs(found["tokens"])
    assert list(found).index("model") < list(found).index("sae.k") < list(found).index("tokens")


def test_held_out_values_come_first() -> None:
    record = make_record("a", TrainingConfig(), latest={"fvu": 0.2, "val_fvu": 0.3, "l0": 32.0, "val_l0": math.nan})
    assert (measured(record, "fvu"), measured(record, "l0"), measured(record, "dead")) == (0.3, 32.0, None)


@pytest.mark.parametrize("higher", [False, True])
def test_the_front_is_what_nobody_dominates(higher: bool) -> None:
    rng = np.random.default_rng(0)
    points = [(float(a), float(b)) for a, b in rng.integers(0, 6, (40, 2))]
    l0, y = np.array(points).T
    better = (y[None] >= y[:, None]) if higher else (y[None] <= y[:, None])
    strictly = (y[None] > y[:, None]) if higher else (y[None] < y[:, None])
    dominated = ((l0[None] <= l0[:, None]) & better & ((l0[None] < l0[:, None]) | strictly)).any(1)
    assert pareto_front(points, higher_is_better=higher) == (~dominated).tolist()
