"""Targets of a run: what counts as reached, what is said, and that pauses do not change where a run stops."""

import pytest
import torch

from saewidgets.config import TargetsConfig
from saewidgets.errors import ConfigError
from saewidgets.events import LogLine
from saewidgets.training.targets import Targets
from tests.training.fakes import Recorder, make_config, make_trainer


def _values(fvu=0.3, mse=5.0, l0=40.0):
    return {"val_fvu": fvu, "val_mse": mse, "val_l0": l0}


def test_all_targets_must_hold_at_once_and_often_enough():
    targets = Targets(TargetsConfig(fvu=0.2, mse=4.0, l0_min=20, l0_max=50, evaluations=2))
    assert targets.judge(10, _values(fvu=0.1)) == []  # mse is still too large
    assert targets.judge(20, _values(fvu=0.1, mse=3.0)) == []  # once
    assert targets.judge(30, _values(fvu=0.3, mse=3.0)) == []  # and back to the start
    assert targets.judge(40, _values(fvu=0.1, mse=3.0)) == []
    (line,) = targets.judge(50, _values(fvu=0.1, mse=3.0))
    assert (line.level, targets.reached_at) == ("info", 50)
    assert line.message == "The targets are reached at step 50: FVU 0.1, reconstruction loss 3, L0 40."
    assert targets.judge(60, _values(fvu=0.1, mse=3.0)) == []  # said once
    assert not targets.ends_the_run


def test_an_l0_outside_its_range_is_warned_of_once_per_excursion():
    targets = Targets(TargetsConfig(l0_min=20, l0_max=50, evaluations=2))
    said = [targets.judge(step, _values(l0=l0)) for step, l0 in enumerate([80, 80, 80, 30, 10, 10])]
    assert [[line.level for line in lines] for lines in said] == [[], ["warning"], [], [], [], ["warning"]]
    assert said[1][0].message == "L0 is 80, above its target of 50 (step 1)."
    assert said[5][0].message == "L0 is 10, below its least of 20 (step 5)."


def test_the_end_says_what_was_missed():
    targets = Targets(TargetsConfig(fvu=0.2, l0_max=50))
    assert targets.at_the_end({"val_fvu": 0.25}) == [
        "A target was missed: FVU is 0.25, above its target of 0.2.", "A target was missed: L0 is not known.",
    ]
    targets.judge(5, _values(fvu=0.1))
    assert targets.at_the_end(_values()) == []
    assert Targets(TargetsConfig()).at_the_end({}) == []


@pytest.mark.parametrize(
    ("changes", "field"), [({"l0_min": 5, "l0_max": 4}, "l0_min"), ({"action": "stop"}, "action"), ({"fvu": 0}, "fvu")]
)
def test_targets_that_make_no_sense_are_refused(changes, field):
    with pytest.raises(ConfigError) as caught:
        TargetsConfig(**changes)
    assert caught.value.where == field


def _trainer(folder, config, pause_at=None):
    """Its held-out FVU falls below 0.5 after step 20; a pause cuts log windows, never evaluations."""
    trainer = make_trainer(config, folder, emit=Recorder())
    trainer.evaluate = lambda: _values(fvu=1.0 - trainer.step / 40)
    return trainer


def test_a_run_stops_at_the_same_step_whether_it_was_paused_or_not(tmp_path):
    config = make_config(
        steps=60, **{
            "targets.fvu": 0.5, "targets.action": "stop", "targets.evaluations": 2, "evaluation.every_steps": 4,
            "optimizer.lr_warm_up_steps": 0,
        },
    )  # fmt: skip
    straight = _trainer(tmp_path / "straight", config)
    straight.run()
    assert straight.step == straight.targets.reached_at == 24  # 20 and 24 are the first two in a row
    assert any("The run ends here." in line.message for line in straight.emit.of(LogLine))

    paused = _trainer(tmp_path / "run", config)
    for finished, _ in enumerate(paused.each_step(), start=1):
        if finished == 21:
            break
    again = _trainer(tmp_path / "run", config)
    again.load(paused.save("latest"))
    again.run()
    assert again.step == 24
    assert all(torch.equal(a, b) for a, b in zip(straight.sae.parameters(), again.sae.parameters(), strict=True))
    saved = again.save_final()

    ended = _trainer(tmp_path / "run", config)  # resumed once more: it is over already
    ended.load(saved)
    ended.run()
    assert ended.step == 24
