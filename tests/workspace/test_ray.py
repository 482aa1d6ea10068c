"""Jobs on a Ray cluster: a head and a worker on this machine, started once and ended with the tests of this file.
These are long: Ray's processes do not come up in time beside other tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saewidgets as sw
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from tests.conftest import TINY_TEXT
from tests.jobs.conftest import wait_until
from tests.workspace.conftest import ENDLESS, PATIENCE, completed, same_weights, small_config

SLOW = JobSettings(timeout=120.0)  # a busy machine gives no sign of life for a while
ray = pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors and one worker with one."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    # A busy machine takes its time; the password of a cluster would be kept in the user's home.
    patch.setenv("RAY_raylet_start_wait_time_s", "240")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_health_check_period_ms", "1000")
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    folder = tempfile.mkdtemp(prefix="ray")  # pytest's is too long a path for Ray's sockets
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.worker = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(cluster.address, namespace="tests", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    patch.undo()


def test_what_is_said_of_an_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sw.Ray.from_text("ray") == sw.Ray()
    there = sw.Ray.from_text("ray://head:10001?gpus=2&cpus=8")
    assert there == sw.Ray("ray://head:10001", gpus=2, cpus=8)
    assert (str(there), there.device, sw.Ray().device) == ("2 GPUs and 8 CPUs", "cuda:0", "cpu")
    for wrong in ("slurm", "ray?gpu=1", "ray?gpus=many", "ray?gpus", "ray?gpus=-1", "ray?gpus=1.5", "ray?gpus=inf"):
        with pytest.raises(ConfigError) as caught:
            sw.Ray.from_text(wrong)
        assert str(caught.value.where).startswith("executor")
    monkeypatch.setenv("SAEWIDGETS_EXECUTOR", "slurm")
    with pytest.raises(ConfigError, match="There is no executor 'slurm'"):
        Workspace(tmp_path / "ws")


@pytest.mark.long
def test_a_run_on_a_cluster_is_the_same(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    config = small_config(tiny_model_folder)
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        with pytest.raises(ConfigError, match="Jobs of this workspace run on cpu"):
            ws.trainings.create(config.replace(device="cuda:0"))
        there = completed(ws.trainings.create(config))
        with Workspace(tmp_path / "ws", runner="thread", jobs=SLOW) as same:
            here = completed(same.trainings.create(config))
        assert same_weights(there, here)
    assert re.fullmatch("2 machines, 0 of 0 GPUs free, [01] of 1 CPUs free", sw.Ray().state())


@pytest.mark.long
def test_a_run_on_two_workers_of_a_cluster(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    config = small_config(tiny_model_folder, parallel={"data": 2})
    with Workspace(tmp_path / "ws", executor=sw.Ray(cpus=0.5), jobs=SLOW) as ws:
        there = completed(ws.trainings.create(config))
        with Workspace(tmp_path / "ws", runner="thread", jobs=SLOW) as same:
            here = completed(same.trainings.create(config))
        assert same_weights(there, here)
        wait_until(lambda: ray.available_resources().get("CPU") == 1, PATIENCE)


@pytest.mark.long
def test_groups_extractions_and_captures_run_there(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    config, where = small_config(tiny_model_folder), ["blocks.0.hook_resid_post"]
    text = {"kind": "text", "strings": TINY_TEXT}
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        group = completed(ws.trainings.create_many(config, over={"sae.k": [4, 8]}))
        there = completed(ws.extractions.create(training_id=group.runs[0].id, config={"tokens": 500}))
        store = completed(ws.activations.capture(str(tiny_model_folder), text, where, 500, context_size=16))
        with Workspace(tmp_path / "ws", runner="thread", jobs=SLOW) as same:
            here = completed(same.extractions.create(training_id=group.runs[0].id, config={"tokens": 500}))
            again = completed(same.activations.capture(str(tiny_model_folder), text, where, 500, context_size=16))
        assert (there.record.seen, there.record.dead) == (here.record.seen, here.record.dead)
        assert store.record.fingerprint == again.record.fingerprint


@pytest.mark.long
def test_a_run_outlives_who_asked_for_it(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    code = (
        "import json, sys, saewidgets as sw\n"
        "ws = sw.Workspace(sys.argv[1])\n"
        "run = ws.trainings.create(sw.TrainingConfig.from_data(json.loads(sys.argv[2])))\n"
        "while run.status == 'queued': pass\n"
        "print(run.id)\n"
    )
    environment = {**os.environ, "SAEWIDGETS_EXECUTOR": "ray", "RAY_ADDRESS": cluster.address}
    endless = small_config(tiny_model_folder, **ENDLESS)
    asked = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ws"), json.dumps(endless.to_data())], env=environment,
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        run = ws.trainings.get(asked.stdout.split()[-1])
        wait_until(lambda: run.record.step > 2, PATIENCE)
        run.pause()
        assert run.wait(PATIENCE) is JobStatus.PAUSED
        run.resume()
        assert ws.jobs.get(str(run.record.job_id)).record.note == "Waits for 1 CPU of Ray."
        wait_until(lambda: run.status is JobStatus.RUNNING, PATIENCE)
        run.stop()
        assert run.wait(PATIENCE) is JobStatus.STOPPED


@pytest.mark.long
def test_a_job_of_a_lost_machine_goes_on_elsewhere(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        config = small_config(tiny_model_folder, **ENDLESS).replace(**{"checkpoints.every_steps": 20})
        run = ws.trainings.create(config)
        wait_until(lambda: bool(run.checkpoints()), PATIENCE)
        owner = ws.jobs.get(str(run.record.job_id)).record.owner
        os.kill(int(str(owner).partition(".")[0]), signal.SIGKILL)
        wait_until(lambda: ws.jobs.get(str(run.record.job_id)).record.owner not in (owner, None), PATIENCE)
        step = run.record.step
        wait_until(lambda: run.record.step > max(step, 20), PATIENCE)
        run.stop()
        assert run.wait(PATIENCE) is JobStatus.STOPPED


@pytest.mark.long
def test_a_machine_without_the_folder_says_so(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        ws.manager.executor._folder = tmp_path / "not there"  # type: ignore[union-attr]
        run = ws.trainings.create(small_config(tiny_model_folder))
        assert run.wait(PATIENCE) is JobStatus.FAILED
        assert run.error is not None
        assert "The folder of the workspace is not on this machine" in run.error.what
