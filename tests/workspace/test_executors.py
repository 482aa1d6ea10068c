"""Where jobs run, as far as no cluster is needed."""

from pathlib import Path

import pytest

import saewidgets as sw
from saewidgets.errors import ConfigError
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.workspace import Workspace
from tests.workspace.conftest import small_config

pytest.importorskip("ray", reason="Ray is not installed")


def test_what_is_said_of_an_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sw.Ray.from_text("ray") == sw.Ray()
    there = sw.Ray.from_text("ray://head:10001?gpus=2&cpus=8")
    assert there == sw.Ray("ray://head:10001", gpus=2, cpus=8)
    assert (str(there), sw.Ray().devices[1].id) == ("2 GPUs and 8 CPUs", "cpu")
    for wrong in ("slurm", "ray?gpu=1", "ray?gpus=many", "ray?gpus", "ray?gpus=-1", "ray?gpus=1.5", "ray?gpus=inf"):
        with pytest.raises(ConfigError) as caught:
            sw.Ray.from_text(wrong)
        assert str(caught.value.where).startswith("executor")
    monkeypatch.setenv("SAEWIDGETS_EXECUTOR", "slurm")
    with pytest.raises(ConfigError, match="There is no executor 'slurm'"):
        Workspace(tmp_path / "ws")
    with pytest.raises(ConfigError, match="Not an executor: 5"):
        Workspace(tmp_path / "ws", executor=5)  # type: ignore[arg-type]
    with Workspace(tmp_path / "ws", runner="thread") as ws:  # what the code says counts
        assert ws.manager.executor is None


def test_a_form_offers_what_the_cluster_gives(tmp_path: Path, tiny_model_folder: Path) -> None:
    config = small_config(tiny_model_folder, device="auto", tokens=10**12).to_data()
    with Workspace(tmp_path / "ws", executor=sw.Ray(gpus=2, cpus=4)) as ws:
        model = PanelModel(ws)
        model.devices.read()
        assert [(each.id, each.label) for each in model.state().devices] == [
            ("auto", "what Ray gives: 2 GPUs and 4 CPUs"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu"),
        ]  # fmt: skip
        found = ws.trainings.validate({**config, "model_device": "cuda:1"})
        assert not found["fields"]
        assert "device" not in found["hints"]
        assert found["estimate"]["device_free_bytes"] is None
        assert found["estimate"]["tokens_per_second"] is None
        assert "device" in ws.trainings.validate({**config, "device": "cuda:1"})["fields"]
        with pytest.raises(ConfigError, match="Jobs of this workspace run on cuda:0"):
            ws.trainings.create({**config, "device": "cpu"})


