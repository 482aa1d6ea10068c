"""Jobs on a Ray cluster: a head and a worker on this machine, started once and ended with the tests of this file, which
`make test` runs apart from the others: beside them Ray's processes do not come up in time."""

import contextlib
import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import saewidgets as sw
from saewidgets.cli.app import app
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.workspace import Workspace
from tests.conftest import TINY_TEXT
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import panel_commands
from tests.workspace.conftest import ENDLESS, PATIENCE, completed, same_weights, small_config

pytestmark = pytest.mark.ray
SLOW = JobSettings(timeout=120.0)  # a busy machine gives no sign of life for a while
TRIES = 4
ray = pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head without processors and one worker with one; where a busy machine is too slow for them, again."""
    from ray._private import services
    from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port
    from ray.cluster_utils import Cluster

    start, parameters = services.start_raylet, inspect.signature(services.start_raylet)

    def start_raylet(*given: Any, **named: Any) -> Any:
        """A node ends itself where its agent has not told its ports in 15 s: it knows them."""
        known = parameters.bind(*given, **named).arguments
        port = known["dashboard_agent_listen_port"]
        persist_port(known["session_dir"], known["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME, port)
        return start(*given, **named)

    patch = pytest.MonkeyPatch()
    patch.setattr(services, "start_raylet", start_raylet)
    patch.setenv("RAY_AUTH_MODE", "disabled")  # the password of a cluster would be kept in the user's home
    patch.setenv("RAY_raylet_start_wait_time_s", "120")
    patch.setenv("RAY_health_check_period_ms", "1000")
    patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # others use this machine's memory, too
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    for attempt in range(1, TRIES + 1):
        folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # pytest's is too long a path for Ray's sockets
        patch.setenv("RAY_TMPDIR", folder)  # or the address is written to a folder that a fresh machine lacks
        try:
            cluster = Cluster(initialize_head=True, head_node_args=_node(num_cpus=0, temp_dir=f"{folder}/ray"))
            cluster.worker = cluster.add_node(**_node(num_cpus=1))
            ray.init(cluster.address, namespace="tests", log_to_driver=False)
            break
        except Exception:  # Ray raises no class of its own
            _end(folder)
            if attempt == TRIES:
                raise
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as Ray gives a job with one processor: bits depend on it
    yield cluster
    torch.set_num_threads(threads)
    _end(folder)
    patch.undo()


def _node(**more: Any) -> dict[str, Any]:
    ports = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    with contextlib.ExitStack() as stack:
        free = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for name in ports}
    return {"object_store_memory": 80 * 2**20, "include_dashboard": False, **free, **more}


@pytest.fixture(autouse=True)
def no_actors(cluster: Any) -> Iterator[None]:
    """What a test that failed has left would take the only processor from the next."""
    yield
    for actor in ray.util.list_named_actors(all_namespaces=True):
        with contextlib.suppress(ValueError):  # it has just ended
            ray.kill(ray.get_actor(**actor))


def _end(folder: str) -> None:
    """End what belongs to the cluster of this folder, which the arguments of its processes name."""
    ray.shutdown()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _command(*arguments: object) -> None:
    """What a shell starts on the cluster, and follows."""
    done = CliRunner().invoke(app, ["--executor", "ray", *map(str, arguments)], prog_name="saewidgets")
    assert done.exit_code == 0, done.output


def test_what_the_panel_and_the_shell_run_on_a_cluster_is_the_same(
    cluster: Any, tmp_path: Path, tiny_model_folder: Path
) -> None:
    folder, model, over = tmp_path / "ws", str(tiny_model_folder), {"sae.k": [4, 8]}
    config, where, words = small_config(model), "blocks.0.hook_resid_post", tmp_path / "text.txt"
    words.write_text("\n".join(TINY_TEXT))
    asked = tmp_path / "config.json"
    asked.write_text(json.dumps(config.to_data()))
    with Workspace(folder, executor=sw.Ray(), jobs=SLOW) as ws:
        assert ws.places() == 1
        panel = panel_commands(PanelModel(ws))
        started = panel.create(config.to_data(), over, spread=True)
        group = completed(ws.trainings.group(str(started.group_id)))
    _command("--home", folder, "train", "--config", asked, "--over", "sae.k=4,8", "--spread", "all")
    _command("--home", folder, "extract", group[0].id, "--tokens", 500)
    text = ["--corpus", words, "--hook-name", where, "--tokens", 500, "--context-size", 16]
    _command("--home", folder, "activations", "capture", model, *text)
    with Workspace(folder, runner="thread") as same:
        here = completed(same.trainings.create_many(config, over))
        groups = {str(record.group_id) for record in same.trainings.list()}
        assert len(groups) == 3
        for each in groups:
            assert all(map(same_weights, here, same.trainings.group(each)))
        (there,) = same.extractions.list()
        again = completed(same.extractions.create(training_id=group[0].id, config={"tokens": 500})).record
        assert (there.seen, there.dead) == (again.seen, again.dead)
        (store,) = same.activations.list()
        captured = same.activations.capture(model, str(words), [where], 500, context_size=16)
        assert store.fingerprint == completed(captured).record.fingerprint
    assert re.fullmatch("2 machines, 0 of 0 GPUs free, [01] of 1 CPUs free", sw.Ray().state())


def test_a_run_on_two_workers_of_a_cluster(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    config = small_config(tiny_model_folder, parallel={"data": 2})
    with Workspace(tmp_path / "ws", executor=sw.Ray(cpus=0.5), jobs=SLOW) as ws:
        there = completed(ws.trainings.create(config))
        with Workspace(tmp_path / "ws", runner="thread", jobs=SLOW) as same:
            assert same_weights(there, completed(same.trainings.create(config)))
        wait_until(lambda: ray.available_resources().get("CPU") == 1, PATIENCE)


def test_a_run_outlives_who_asked_for_it(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    code = (
        "import json, sys, saewidgets as sw\n"
        "ws = sw.Workspace(sys.argv[1])\n"
        "run = ws.trainings.create(sw.TrainingConfig.from_data(json.loads(sys.argv[2])))\n"
        "print(run.id)\n"
    )
    environment = {**os.environ, "SAEWIDGETS_EXECUTOR": "ray", "RAY_ADDRESS": cluster.address}
    endless = small_config(tiny_model_folder, **ENDLESS)
    asked = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ws"), json.dumps(endless.to_data())], env=environment,
        capture_output=True, text=True, timeout=PATIENCE,
    )
    assert asked.returncode == 0, asked.stderr
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        run = ws.trainings.get(asked.stdout.split()[-1])
        wait_until(lambda: run.record.step > 2, PATIENCE)
        run.pause()
        assert run.wait(PATIENCE) is JobStatus.PAUSED
        run.resume()
        assert ws.jobs.get(str(run.record.job_id)).record.note == "Waits for 1 CPU of Ray."
        wait_until(lambda: run.status is JobStatus.RUNNING, PATIENCE)
        sw.Ray().connect()._process.kill()  # as Ray does, a minute after the head is lost
        wait_until(lambda: not sw.Ray().is_connected, PATIENCE)
        waits = ws.trainings.create(endless)
        wait_until(lambda: _has_actor(waits), PATIENCE)
        waits.cancel()
        wait_until(lambda: not _has_actor(waits), PATIENCE)
        run.stop()
        assert run.wait(PATIENCE) is JobStatus.STOPPED


def _has_actor(run: Any) -> bool:
    names = ray.util.list_named_actors(all_namespaces=True)
    return any(each["name"].startswith(run.record.job_id) for each in names)


def test_a_job_of_a_lost_machine_goes_on_elsewhere(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    config = small_config(tiny_model_folder, tokens=64 * 1200, log_every_steps=500)
    config = config.replace(**{"checkpoints.every_steps": 100, "evaluation.every_steps": 1200})
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        run = ws.trainings.create(config)
        wait_until(lambda: bool(run.checkpoints()), PATIENCE)
        cluster.remove_node(cluster.worker, allow_graceful=False)
        assert run.status is not JobStatus.COMPLETED
        cluster.worker = cluster.add_node(**_node(num_cpus=1))
        assert run.wait(PATIENCE) is JobStatus.COMPLETED
        assert any("Resuming from step" in line for line in run.log())
        with Workspace(tmp_path / "ws", runner="thread", jobs=SLOW) as same:
            assert same_weights(run, completed(same.trainings.create(config)))


def test_a_machine_without_the_folder_says_so(cluster: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    with Workspace(tmp_path / "ws", executor=sw.Ray(), jobs=SLOW) as ws:
        ws.manager.executor._folder = tmp_path / "not there"  # type: ignore[union-attr]
        run = ws.trainings.create(small_config(tiny_model_folder))
        assert run.wait(PATIENCE) is JobStatus.FAILED
        assert run.error is not None
        assert "The folder of the workspace is not on this machine" in run.error.what
