"""A second device of a training: what a run is recorded with, and what the form says of it."""

from typing import Any

import pytest
import torch

from saewidgets import Workspace
from saewidgets.errors import ConfigError
from saewidgets.records import DeviceInfo
from saewidgets.workspace.training.settle import concrete
from saewidgets.workspace.user_models import UserModel
from tests.workspace.conftest import small_config

DEVICES = (
    *(DeviceInfo(f"cuda:{n}", f"cuda:{n}", 80_000_000_000, 70_000_000_000) for n in (0, 1)),
    DeviceInfo("cpu", "cpu", 10_000_000_000, 40_000_000),
)


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as names go."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("saewidgets.workspace.training.estimates.devices", lambda: DEVICES)
    monkeypatch.setattr("saewidgets.workspace.training.estimates.speed", lambda *args: 1e12)


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        (("auto", None, None), ("cuda:0", None, None)),
        (("auto", "cuda", "cpu"), ("cuda:0", None, "cpu")),
        (("cuda:1", "cuda", "cuda:1"), ("cuda:1", "cuda:0", None)),
        (("cuda:1", "cpu", "cuda"), ("cuda:1", "cpu", "cuda:0")),
    ],
)
def test_devices_are_recorded_by_their_full_names(given: Any, recorded: Any, ws: Workspace) -> None:
    device, model, kept = given
    config = small_config("demo").replace(device=device, model_device=model, **{"activations.buffer_device": kept})
    found = ws.trainings.concrete(config)
    assert (found.device, found.model_device, found.activations.buffer_device) == recorded


@pytest.mark.parametrize("field", ["model_device", "activations.buffer_device"])
def test_a_device_that_is_not_here_is_named_by_its_field(field: str, ws: Workspace) -> None:
    config = small_config("demo").replace(**{field: "cuda:7"})
    with pytest.raises(ConfigError) as caught:
        ws.trainings.create(config)
    assert caught.value.where == field
    assert "cuda:1" in caught.value.hint
    assert len(ws.trainings.list()) == 0
    found = ws.trainings.validate(config)
    assert found["fields"] == {field: "There is no device 'cuda:7' on this machine. Use cuda:0, cuda:1, cpu."}


def test_a_model_that_the_user_holds(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.workspace.user_models.device_of", lambda held: "cuda:1")
    held, config = UserModel(object(), object()), small_config("demo")

    def devices(**changes: Any) -> tuple[str, str | None]:
        found = concrete(ws, config.replace(**changes), held)
        return found.device, found.model_device

    assert devices(device="auto") == ("cuda:1", None)
    assert devices(device="auto", model_device="cuda:1") == ("cuda:1", None)
    assert devices(device="cuda:0", model_device="cuda:1") == ("cuda:0", "cuda:1")
    with pytest.raises(ConfigError, match="model_device=\"cuda:1\" to have both"):
        devices(device="cuda:0")
    with pytest.raises(ConfigError, match="but the model device is auto"):
        devices(model_device="auto")
    with pytest.raises(ConfigError, match="but the model device is cuda:0") as caught:
        devices(device="cuda:0", model_device="cuda:0")
    assert caught.value.where == "model_device"


def test_the_form_shows_the_memory_of_each_device(ws: Workspace) -> None:
    config = small_config("demo").replace(
        device="cuda:1", model_device="cuda",
        **{"activations.buffer_device": "cpu", "activations.shuffle_tokens": 10**6},
    )
    found = ws.trainings.validate(config)
    assert found["fields"] == {}
    estimate = found["estimate"]
    assert [part["label"] for part in estimate["memory"]] == ["SAE", "Activations", "Working memory"]
    model, kept = estimate["elsewhere"]
    assert (model["device"], [part["label"] for part in model["memory"]]) == ("cuda:0", ["Model", "Working memory"])
    assert model["total_bytes"] == sum(part["bytes"] for part in model["memory"])
    assert (kept["device"], kept["free_bytes"]) == ("cpu", 40_000_000)
    assert "This needs more memory than is free on cpu." in estimate["warnings"]


@pytest.mark.parametrize("is_busy", [True, False])
def test_the_form_says_that_threads_spin(is_busy: bool, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.workspace.training.estimates.spins", lambda: True)
    monkeypatch.setattr("saewidgets.training.threads.others_compute", lambda: is_busy)
    said = ws.trainings.validate(small_config("demo").replace(device="cpu"))["estimate"]["warnings"]
    assert any("GOMP_SPINCOUNT=20000" in each for each in said) == is_busy
