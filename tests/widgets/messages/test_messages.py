"""The golden messages that the page's tests read too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from saewidgets.widgets.messages import effects, features, hub, runs, saes, steering, training, wire
from saewidgets.widgets.messages.wire import Wire

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = sorted((ROOT / "tests" / "wire").glob("*.json"))


MODULES = (wire, training, runs, saes, hub, features, effects, steering)


def class_of(path: Path) -> type[Wire]:
    name = "".join(part.capitalize() for part in path.stem.split("_"))
    (found,) = {getattr(module, name) for module in MODULES if hasattr(module, name)}
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_golden_messages_are_read_and_written_unchanged(path: Path) -> None:
    data = json.loads(path.read_text("utf-8"))
    assert class_of(path).model_validate(data).model_dump(mode="json") == data


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_unknown_keys_are_refused(path: Path) -> None:
    data = json.loads(path.read_text("utf-8"))
    with pytest.raises(ValidationError, match="surprise"):
        class_of(path).model_validate({**data, "surprise": 1})


def test_every_command_and_answer_has_a_golden_message() -> None:
    golden = {class_of(path) for path in GOLDEN}
    tops = [
        wire.Ack,
        wire.Result,
        wire.Failure,
        training.PanelState,
        training.FormData,
        training.CheckResult,
    ]
    tops += [training.DetailsData, training.TableData, *wire.Command.__subclasses__()]
    tops += [getattr(hub, name) for name in ("HubState", "HubKnownData", "HubListing", "HubRowsData")]
    tops += [hub.HubPreviewData, *saes.ANSWERS, *features.ANSWERS]
    tops += runs.ANSWERS
    tops += [effects.LossEffectData]
    tops += steering.ANSWERS
    assert {model.__name__ for model in tops} <= {model.__name__ for model in golden}


def test_golden_messages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_wire.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kinds_are_the_classes_in_snake_case() -> None:
    for command in wire.Command.__subclasses__():
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", command.__name__).lower()
        assert command.model_fields["kind"].default == snake
