"""The code that an empty panel shows is the run that its button starts."""

from __future__ import annotations

import re
from pathlib import Path

import saewidgets as sw
from saewidgets.workspace.trainings import demo_config

EMPTY = Path(__file__).resolve().parents[2] / "js" / "src" / "training-panel" / "empty.tsx"


def test_the_code_of_the_empty_panel_is_the_demo() -> None:
    found = re.search(r"DEMO_CODE = `run = ws\.trainings\.create\((.*)\)`;", EMPTY.read_text("utf-8"), re.DOTALL)
    assert found
    shown = eval(found[1], {"sw": sw})
    # How much is read and measured at a time changes nothing about what is learned.
    same = {"activations": demo_config().activations, "evaluation": demo_config().evaluation}
    assert shown.replace(**{name: value.model_dump() for name, value in same.items()}) == demo_config()
