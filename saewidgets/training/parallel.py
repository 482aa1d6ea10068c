"""One training on several workers: `Workers` starts them and waits for them; what each does is `run.follow`.

All workers run the same code on the same batches: each forwards its share of the language-model batches and hands the
rest what it found (`SharedWindows`), computes the loss of its part, and ends up with the same numbers (`sae/mesh.py`).
The first is the process that runs the job: it alone is asked to pause or stop, evaluates, reports and writes, and the
others hear of it at places that all reach (`AgreedControl`). When one is lost, the run begins again with new ones from
its newest checkpoint. A worker of this machine is in a session of its own, so that Ctrl-C does not end it, and ends
when the first one is gone (`end_with_first`).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.activations import Windows
from saewidgets.config.base import require
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import TrainingError
from saewidgets.events import Control, Interruption, Request
from saewidgets.sae import SAE, build_sae
from saewidgets.sae.mesh import DISCONNECTED, LostWorkerError, Mesh, dist
from saewidgets.sae.scaler import Scaler, Whitening
from saewidgets.settings import environment, resolve_device, waiting

_TO_START = 600.0  # seconds: imports on a slow drive
_TO_END = 10.0  # seconds that the others have once the first is done
_TO_NOTICE = 5.0  # seconds from a connection that broke to the end of the process behind it
_LOOK = 0.1
_TAIL = 1_000  # characters of what a worker has said before it ended
_REQUESTS = list(Request)


class Worker(Protocol):
    """A worker that was started elsewhere."""

    def ended(self) -> str | None:
        """What it said, if it has ended; None while it works."""

    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Launcher:
    """How workers are started: `start` with what `run.follow` takes; `host` is where they reach this process."""

    start: Callable[[str], Worker]
    host: str = "127.0.0.1"
    own_devices: bool = False  # whether each sees a GPU of its own as the first


class _Process:
    """A worker of this machine."""

    def __init__(self, spec: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "saewidgets.training.run"], stdin=subprocess.PIPE, stdout=self._log,
            stderr=self._log, env=environment(waiting()), start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which `ended` reports
            self._process.stdin.write(f"{spec}\n".encode())  # and stays open: see `end_with_first`
            self._process.stdin.flush()

    def ended(self) -> str | None:
        if self._process.poll() is None:
            return None
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()[-_TAIL:]
        return text or f"exit status {self._process.returncode}."

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes its standard input
        self._log.close()


HERE = Launcher(_Process)


class Workers:
    """The other workers of a run, and the `mesh` of all, as a context; `check` may end the waiting for them."""

    def __init__(
        self, config: TrainingConfig, tokens_folder: Path, launcher: Launcher, check: Callable[[], None]
    ) -> None:
        parallel, device = config.parallel, resolve_device(config.device)
        many = device.startswith("cuda") and not launcher.own_devices
        require((
            not many or torch.cuda.device_count() >= parallel.workers, "parallel",
            f"{parallel.workers} workers need as many GPUs; this machine has {torch.cuda.device_count()}.",
            "Lower the number, or let the job run on a cluster.",
        ))  # fmt: skip
        listening = socket.create_server((launcher.host, 0))  # or the store would listen on every interface
        self._server = dist.TCPStore(
            launcher.host, listening.getsockname()[1], is_master=True, wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )  # fmt: skip
        threads = max(1, torch.get_num_threads() // (1 if launcher.own_devices else parallel.workers))
        self._workers: list[Worker] = []
        try:
            for rank in range(1, parallel.workers):
                here = f"cuda:{rank}" if many else device
                spec = {
                    "rank": rank, "host": launcher.host, "port": self._server.port, "threads": threads,
                    "tokens_folder": str(tokens_folder), "config": config.replace(device=here).to_data(),
                }  # fmt: skip
                self._workers.append(launcher.start(json.dumps(spec)))
            self._wait(parallel.workers, check)
            self.mesh = Mesh.join(self._server, 0, parallel.data, parallel.latents, device)
        except BaseException:
            self._end(0.0)
            raise

    def _wait(self, count: int, check: Callable[[], None]) -> None:
        end = time.monotonic() + _TO_START
        while not self._server.check([f"ready{rank}" for rank in range(1, count)]):
            check()
            self._require_alive()
            if time.monotonic() > end:
                raise TrainingError(f"Not all of {count} workers have started.", where="parallel")
            time.sleep(_LOOK)

    def _require_alive(self) -> None:
        """Raises `LostWorkerError` with the last words of a worker that has ended: of the one that took the others
        along, where several have."""
        ended = [(n, said) for n, worker in enumerate(self._workers, 2) if (said := worker.ended()) is not None]
        for number, said in sorted(ended, key=lambda each: DISCONNECTED in each[1]):
            raise LostWorkerError(
                f"Worker {number} of {len(self._workers) + 1} has ended: {said or 'no message.'}",
                where="parallel", hint="Resume the run.",
            )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if isinstance(error, LostWorkerError | RuntimeError):  # say which one is gone, and why
                end = time.monotonic() + (_TO_NOTICE if isinstance(error, LostWorkerError) else 0.0)
                while time.monotonic() < end and all(worker.ended() is None for worker in self._workers):
                    time.sleep(_LOOK)
                self._require_alive()
        finally:
            self._end(_TO_END if error is None else 0.0)

    def _end(self, patience: float) -> None:
        end = time.monotonic() + patience
        while time.monotonic() < end and any(worker.ended() is None for worker in self._workers):
            time.sleep(_LOOK)
        for worker in self._workers:
            worker.kill()


def end_with_first() -> None:
    """End this process when that of the first worker has ended, which holds the other end of the standard input: a
    worker that still starts would wait for it for minutes."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def take_part(about: Mapping[str, Any]) -> Mesh:
    """The mesh of all, in a worker that was started with `about`."""
    rank, config = about["rank"], TrainingConfig.from_data(about["config"])
    torch.set_num_threads(about["threads"])
    store = dist.TCPStore(about["host"], about["port"], is_master=False, timeout=timedelta(seconds=_TO_START))
    store.set(f"ready{rank}", "")
    return Mesh.join(store, rank, config.parallel.data, config.parallel.latents, resolve_device(config.device))


class AgreedControl:
    """The control of a run on several workers: what is asked of the first one reaches all at the same place. `wanted`
    is what is asked of this training alone."""

    def __init__(self, control: Control, mesh: Mesh, wanted: Callable[[], Request]) -> None:
        self._control, self._mesh, self._wanted, self._checkpoint = control, mesh, wanted, False
        self.request = control.request

    def check(self) -> None:
        asked = self._wanted()
        try:
            self._control.check()
        except Interruption as interruption:
            asked = interruption.request
        said = torch.tensor([_REQUESTS.index(asked), self._control.take_checkpoint_request()])
        number, due = self._mesh.world.send(said).tolist()
        self._checkpoint |= bool(due)
        if (asked := _REQUESTS[number]) is not Request.RUN:
            raise Interruption(asked)

    def take_checkpoint_request(self) -> bool:
        due, self._checkpoint = self._checkpoint, False
        return due


def from_first(mesh: Mesh, compute: Callable[[], Any]) -> Any:
    """What `compute`, JSON data, is on the first worker, or the request that interrupted it there."""

    def answer() -> list[Any]:
        try:
            return ["", compute()]
        except Interruption as interruption:
            return [interruption.request.value, None]

    request, found = mesh.told(answer)
    if request:
        raise Interruption(Request(request))
    return found


def shared_scaler(mesh: Mesh, scaler: Scaler) -> Scaler:
    """The first worker's."""
    if mesh.size == 1:
        return scaler
    factor, out, is_whitened = mesh.told(lambda: [scaler.factor, scaler.factor_out, scaler.whitening is not None])
    if not is_whitened:
        return Scaler(factor, out)
    given = {} if scaler.whitening is None else scaler.whitening.tensors()
    return Scaler(whitening=Whitening.of_tensors(dict(mesh.shared(given))))


def placed(mesh: Mesh, whole: SAE, device: str) -> SAE:
    """The SAE to train on `device`: this worker's part of the first one's `whole`."""
    if mesh.size == 1:
        return whole.to(device, torch.float32)  # whatever the user's default number format is
    sae = build_sae(whole.cfg, whole.d_in, d_out=whole.d_out, initialise=False, mesh=mesh)
    sae.load_state_dict(mesh.spread(whole.state_dict()))
    return sae.to(device, torch.float32)


def gathered(sae: SAE) -> SAE:
    """The whole SAE of which the workers have parts, on the device of the part; on the first worker."""
    if sae.mesh.latents.size == 1:
        return sae
    tensors = sae.mesh.whole(sae.state_dict(), on_first=True)
    if not sae.mesh.leads:
        return sae
    whole = build_sae(sae.cfg, sae.d_in, d_out=sae.d_out, initialise=False).to(sae.W_dec.device, torch.float32)
    whole.load_state_dict(tensors)
    return whole


class SharedWindows(Windows):
    """`Windows` whose forwards the workers of `mesh` share: each computes one of as many batches as there are workers,
    and all get all. The rows are those that one worker would read."""

    def __init__(self, mesh: Mesh, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._mesh, self.reads_ahead = mesh, False
        self._ready: dict[int, tuple[dict[str, Tensor], npt.NDArray[np.bool_]]] = {}

    def forward(self, batch: int) -> tuple[dict[str, Tensor], npt.NDArray[np.bool_]]:
        if batch not in self._ready:
            world = self._mesh.world
            found, kept = super().forward(batch + world.rank)
            parts = {name: world.gather(each) for name, each in found.items()}
            every = [each.numpy() for each in world.gather(torch.from_numpy(kept))]
            self._ready = {
                batch + rank: ({name: part[rank] for name, part in parts.items()}, every[rank])
                for rank in range(world.size)
            }
        return self._ready.pop(batch)
