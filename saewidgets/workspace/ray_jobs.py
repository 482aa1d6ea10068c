"""`Ray`, where a workspace's jobs run that a cluster shares, and `RayExecutor`, which brings them there.

A job is a detached actor (`child.RayActor`), not a task: tasks end with the process that asked for them, and notebooks
are closed. The actor opens the same workspace on the machine where it lands, takes the job, and ends with it. Ray waits
for the resources; of a machine that is lost it starts the actor again elsewhere, which goes on from the newest
checkpoint.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from saewidgets.config.base import require
from saewidgets.errors import ConfigError, StateError
from saewidgets.records import DeviceInfo
from saewidgets.settings import waiting
from saewidgets.workspace.ray_link import LOST, RayLink

log = logging.getLogger(__name__)
_CONNECTING = threading.Lock()
_LINKS: dict[tuple[int, str], RayLink] = {}  # by process, since a fork has none, and address
_LOOK = 1.0  # seconds between two looks whether a job still waits for its turn


@dataclass(frozen=True, slots=True)
class Ray:
    """Jobs run on a Ray cluster: ``Workspace(folder, catalog_url=…, executor=sw.Ray(gpus=1))``.

    Every machine of it has saewidgets, sees the folder under the same path, and reaches the catalog. `address` is as
    ``ray.init`` takes it; each job needs so many `gpus` (with none it runs on the CPU) and `cpus`. Raises `ConfigError`
    if Ray is not installed, or a number is not possible.
    """

    address: str = "auto"
    gpus: float = 0
    cpus: float = 1

    def __post_init__(self) -> None:
        for name, value in (("gpus", self.gpus), ("cpus", self.cpus)):
            possible = value >= 0 and (value < 1 or float(value).is_integer())
            require((possible, f"executor.{name}", f"{name} is {value:g}.", "Use whole numbers, or parts of one."))
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("Ray is not installed.", where="executor", hint="Run `pip install 'saewidgets[ray]'`.")

    @classmethod
    def from_text(cls, text: str) -> Ray:
        """What ``--executor`` and ``$SAEWIDGETS_EXECUTOR`` say: ``ray``, or an address ``ray://HOST:PORT`` of a
        cluster, each maybe with resources behind it: ``ray?gpus=1&cpus=4``. Raises `ConfigError`."""
        address, _, options = text.partition("?")
        try:
            numbers = {name: float(value) for name, value in parse_qsl(options, strict_parsing=bool(options))}
            known = (address == "ray" or address.startswith("ray://")) and numbers.keys() <= {"gpus", "cpus"}
        except ValueError:
            known = False
        require((known, "executor", f"There is no executor {text!r}.", "Use ray, or ray://HOST:PORT?gpus=1&cpus=4."))
        return cls("auto" if address == "ray" else address, **numbers)

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices of a job, as `Settings.places`: Ray shows it those that it has been given, and no others."""
        given = [*(f"cuda:{number}" for number in range(math.ceil(self.gpus))), "cpu"]
        words = f"what Ray gives: {self}" if str(self) else "what Ray gives"
        return (DeviceInfo("auto", words), *(DeviceInfo(name, name) for name in given))

    @property
    def bundle(self) -> dict[str, float]:
        """What each job needs, by Ray's names."""
        return {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus or 0.001}

    def connect(self) -> RayLink:
        """The connection of this process to the cluster. Raises `ConfigError`."""
        address, key = self.address, (os.getpid(), self.address)
        if (ray := sys.modules.get("ray")) is not None and address == "auto" and ray.is_initialized():
            address = ray.get_runtime_context().gcs_address or address  # that of the notebook's own
        with _CONNECTING:
            if key not in _LINKS or _LINKS[key].is_lost:
                _LINKS[key] = RayLink(address)
            return _LINKS[key]

    @property
    def is_connected(self) -> bool:
        """Whether this process has a connection to the cluster."""
        link = _LINKS.get((os.getpid(), self.address))
        return link is not None and not link.is_lost

    def places(self) -> int:
        """How many jobs the cluster has resources for, used or not; at least one."""
        has, needs = self.connect().ask("resources")[0], (("GPU", self.gpus), ("CPU", self.cpus))
        return max(1, min((int(has.get(name, 0) / need) for name, need in needs if need), default=1))

    def state(self) -> str:
        """What the cluster has, and how much of it is free."""
        here, free, machines = self.connect().ask("resources")
        parts = [f"{free.get(name, 0):g} of {here.get(name, 0):g} {name}s free" for name in ("GPU", "CPU")]
        return f"{machines} machine{'s' * (machines != 1)}, {', '.join(parts)}"

    def __str__(self) -> str:
        parts = [f"{self.gpus:g} GPU{'s' * (self.gpus > 1)}"] if self.gpus else []
        return " and ".join([*parts, f"{self.cpus:g} CPU{'s' * (self.cpus > 1)}"] if self.cpus else parts)


class RayExecutor:
    """Actors of a Ray cluster. `folder` is the workspace's on every machine, or the URL of its storage; `catalog_url`
    may hold a password, and is only given to the actors."""

    def __init__(self, where: Ray, folder: Path | str, catalog_url: str | None) -> None:
        self._where, self._folder, self._catalog_url = where, folder, catalog_url
        self._asking, self._asked, self._actors = threading.Lock(), float("-inf"), cast("list[str] | None", None)
        self.waits_for = f"Waits for {where} of Ray." if str(where) else None

    def start(
        self, job_id: str, waits: Callable[[], bool], failed: Callable[[str], object], workers: int = 1
    ) -> None:
        """The cluster has the actor when this returns, so that the caller may end."""
        where = self._where
        try:
            link = where.connect()
            about = [str(self._folder), self._catalog_url, workers, where.bundle, where.cpus, where.gpus]
            name = link.ask("start", job_id, *about)
        except ConfigError as error:
            failed(f"Ray did not run the job: {error.what}")
            return
        thread = threading.Thread(target=self._watch, args=(link, name, waits, failed), daemon=True)
        thread.name = f"saewidgets-ray-{job_id}"
        thread.start()

    def restarts(self, job_id: str, *, connect: bool = True) -> bool | None:
        """Whether the cluster has an actor for the job; asked once a second at most."""
        if not connect and not self._where.is_connected:
            return None
        with self._asking:
            if time.monotonic() - self._asked > _LOOK:
                try:
                    self._actors = self._where.connect().ask("actors")
                except ConfigError:
                    self._actors = None
                self._asked = time.monotonic()
            return None if self._actors is None else any(name.startswith(f"{job_id}_") for name in self._actors)

    def _watch(self, link: RayLink, name: str, waits: Callable[[], bool], failed: Callable[[str], object]) -> None:
        try:
            has_place = link.call("placed", name)
            while not wait([has_place], _LOOK).done:
                if not waits():
                    link.ask("kill", name)
                    return
            link.call("ended", name).result()
        except StateError as error:  # the workspace was closed: nobody here waits for the job any more
            log.info("Job %s is not watched any more: %s", name, error)
        except ConfigError as error:  # of a taken job it is not the end
            if error.what != LOST:
                failed(f"Ray did not run the job: {error.what}")
            elif not self.restarts(name.rpartition("_")[0]):  # else the cluster is there, and goes on with it
                failed(LOST)


class RayWorker:
    """A worker of a training that is itself a job of Ray's; it gets what that got. For `training.parallel`."""

    def __init__(self, spec: str) -> None:
        import ray  # an extra

        given = ray.get_runtime_context().get_assigned_resources()
        follow: Any = ray.remote(import_module("saewidgets.training.run").follow)  # torch: seconds to import
        options = follow.options(
            num_cpus=given.get("CPU", 0), num_gpus=given.get("GPU", 0), max_retries=0,
            runtime_env={"env_vars": waiting()},
        )  # fmt: skip
        self._end = options.remote(spec)

    def ended(self) -> str | None:
        import ray  # an extra
        from ray.exceptions import RayError  # an extra

        if not ray.wait([self._end], timeout=0)[0]:
            return None
        try:
            ray.get(self._end)
        except RayError as error:
            return str(getattr(error, "cause", None) or error)
        return ""

    def kill(self) -> None:
        import ray  # an extra

        ray.cancel(self._end, force=True)
