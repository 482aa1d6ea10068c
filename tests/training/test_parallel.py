"""A run on several workers: the numbers of one worker, its own bits again after a pause, and what is said of a loss."""

import json
import os
import socket
import threading

import pytest
from torch.testing import assert_close

from saewidgets.errors import ConfigError
from saewidgets.events import Facts, JobStatus, LogLine, Metrics, Request
from saewidgets.training import run_training
from saewidgets.training.checkpoint import list_checkpoints
from saewidgets.training.parallel import HERE, Launcher
from saewidgets.training.run import follow
from tests.training.fakes import SAES, Recorder, Scripted, sae_tensors, same


class Thread:
    """A worker in a thread of this process: what it does is the same, and takes seconds less."""

    def __init__(self, spec):
        self._said = None
        threading.Thread(target=self._work, args=(spec,), daemon=True).start()

    def _work(self, spec):
        try:
            follow(spec)
            self._said = "done"
        except Exception as error:  # noqa: BLE001 - as a process says it
            self._said = str(error)

    def ended(self):
        return self._said

    def kill(self):
        pass


THREADS = Launcher(Thread, own_devices=True)


@pytest.fixture(scope="module")
def config(twelve_steps):
    return twelve_steps.replace(sae=SAES["batchtopk"], parallel={"data": 2, "latents": 2})


@pytest.fixture(scope="module")
def straight(config, tokens_folder, tmp_path_factory):
    folder, recorder, control = tmp_path_factory.mktemp("straight"), Recorder(), Scripted()
    run_training(config, folder, emit=recorder, control=control, tokens_folder=tokens_folder, launcher=THREADS)
    return sae_tensors(folder), recorder.of(Metrics), control.calls


def test_four_workers_have_the_numbers_of_one(config, straight, tmp_path, tokens_folder, recorder):
    run_training(config.replace(parallel={}), tmp_path, emit=recorder, tokens_folder=tokens_folder)
    tensors, metrics, _ = straight
    assert_close(tensors, sae_tensors(tmp_path), rtol=1e-3, atol=1e-4)
    for mine, other in zip(metrics, recorder.of(Metrics), strict=True):
        assert mine.step == other.step
        numbers = ({k: v for k, v in each.values.items() if k != "tokens_per_second"} for each in (mine, other))
        assert_close(*numbers, rtol=1e-3, atol=1e-4)


def test_a_paused_run_of_four_workers_resumes_to_the_same_bits(config, straight, tmp_path, tokens_folder):
    control = Scripted(Request.PAUSE, at=straight[2] * 2 // 3)
    paused = run_training(config, tmp_path, control=control, tokens_folder=tokens_folder, launcher=THREADS)
    assert paused.status is JobStatus.PAUSED
    assert 0 < paused.step < config.steps
    run_training(config, tmp_path, tokens_folder=tokens_folder, resume=True, launcher=THREADS)
    same(sae_tensors(tmp_path), straight[0])


def test_another_number_of_workers_goes_on_and_is_told(config, tmp_path, tokens_folder, recorder):
    stop = Scripted(Request.STOP, at=40)
    assert run_training(config, tmp_path, control=stop, tokens_folder=tokens_folder, launcher=THREADS).step > 0
    alone = config.replace(parallel={})
    run_training(alone, tmp_path, emit=recorder, tokens_folder=tokens_folder, resume=True)
    (note,) = [fact.values["resume_note"] for fact in recorder.of(Facts) if "resume_note" in fact.values]
    assert "parallel.data was 2 and is 1" in note


def test_a_lost_worker_costs_what_is_behind_the_checkpoint(config, tmp_path, tokens_folder, recorder):
    started = []

    def start(spec):
        started.append(HERE.start(spec))
        return started[-1]

    class Killer(Scripted):
        def check(self):
            begun, saved = recorder.of(Metrics), list_checkpoints(tmp_path / "checkpoints")
            if (len(started) == 1 and begun and not saved) or (len(started) == 2 and saved):
                started[-1]._process.kill()  # as the machine's memory does

    two = config.replace(parallel={"latents": 2}, sae=SAES["standard"])
    settings = {"tokens_folder": tokens_folder, "launcher": Launcher(start)}
    run_training(two, tmp_path, emit=recorder, control=Killer(), **settings)
    assert len(started) == 3
    lost = [line.message for line in recorder.of(LogLine) if line.level == "error"]
    assert lost == ["parallel: Worker 2 of 2 has ended: exit status -9. Resume the run."] * 2
    run_training(two, tmp_path / "straight", **settings)
    same(sae_tensors(tmp_path), sae_tensors(tmp_path / "straight"))


def test_a_worker_is_in_a_session_of_its_own_and_ends_with_the_first():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the worker would wait for an answer for ten minutes
        spec = {"rank": 1, "host": "127.0.0.1", "port": silent.getsockname()[1], "threads": 1, "config": {}}
        worker = HERE.start(json.dumps(spec))
        assert os.getsid(worker._process.pid) == worker._process.pid
        assert worker.ended() is None
        worker._process.stdin.close()  # as the system does when the first worker is killed
        assert worker._process.wait(60) == 1
        worker.kill()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"parallel.data": 3}, "parallel.data"),
        ({"parallel.latents": 7}, "parallel.latents"),
        ({"parallel.latents": 2, "precision": "float16"}, "precision"),
        ({"parallel.data": 2, "model_device": "cpu"}, "model_device"),
    ],
)
def test_what_cannot_be_shared_is_refused(twelve_steps, change, where):
    with pytest.raises(ConfigError) as caught:
        twelve_steps.replace(**change)
    assert caught.value.where == where
