"""`RayLink`: a process that is the client of a Ray cluster in place of this one, ``python -m
saewidgets.workspace.ray_link``. Ray ends its clients when the head of the cluster is lost; a notebook must live on.

Lines of JSON go both ways: ``[number, name, arguments]`` and ``[number, value, error]``. The process runs the function
of that name in a thread and ends when its standard input does.
"""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from typing import Any, cast

from saewidgets.errors import ConfigError
from saewidgets.settings import environment

NAMESPACE = "saewidgets"
LOST = "The connection to the Ray cluster was lost."
_CHILD = "saewidgets.workspace.child"  # by name: it imports this module, with the rest of a workspace
_PATIENCE = 60.0  # seconds for an answer of the cluster
_TO_CONNECT = 10.0
_LINGER = 3.0  # seconds in which what was asked last reaches the cluster


class RayLink:
    """The connection to the cluster at `address`. Raises `ConfigError` if that cannot be reached."""

    def __init__(self, address: str) -> None:
        self._address, self._numbers, self._lock = address, itertools.count(), threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self.is_lost = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, name="saewidgets-ray-link", daemon=True).start()
        try:
            self.ask("connect", address)
        except ConfigError as error:
            self.close()
            raise ConfigError(f"Ray cannot be reached: {error.what}", where=address) from error

    def call(self, name: str, *arguments: Any) -> Future[Any]:
        """The value of one of the functions below, as soon as the cluster gives it."""
        future, number = Future[Any](), next(self._numbers)
        with self._lock:
            self._waiting[number] = future
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([number, name, arguments]) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            self._end()
        return future

    def ask(self, name: str, *arguments: Any) -> Any:
        """The same, at once. Raises `ConfigError` with what went wrong."""
        try:
            return self.call(name, *arguments).result(_PATIENCE)
        except TimeoutError:
            self.close()
            what = f"The Ray cluster has not answered for {_PATIENCE:.0f} seconds."
            raise ConfigError(what, where=self._address) from None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, value, error = json.loads(line)
            with self._lock:
                future = self._waiting.pop(number)
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(ConfigError(error, where=self._address))
        self._end()

    def _end(self) -> None:
        with self._lock:
            self.is_lost, waiting, self._waiting = True, self._waiting, {}
        for future in waiting.values():
            future.set_exception(ConfigError(LOST, where=self._address))


# ---------------------------------------------------------------------------------------------- in the process


def connect(address: str) -> None:
    """Make this process a client of the cluster."""
    import ray  # an extra

    known = environment({}).get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = known.rpartition("://")[2].rpartition(":")
    if port.isdigit():  # Ray itself would try for a minute where nobody listens
        socket.create_connection((host.strip("[]"), int(port)), _TO_CONNECT).close()
    ray.init(address, namespace=NAMESPACE, log_to_driver=False)


def start(
    job_id: str, folder: str, catalog_url: str | None, workers: int, bundle: dict[str, float], cpus: float, gpus: float
) -> str:
    """Make the actor of a job, and return its name once the cluster has it."""
    import ray  # an extra
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # an extra

    name, where = f"{job_id}_{uuid.uuid4()}", cast("Any", "DEFAULT")
    if workers > 1:  # all of them at once, or two jobs could each wait for what the other holds
        places = ray.util.placement_group([bundle] * workers, lifetime="detached", name=name)
        where = PlacementGroupSchedulingStrategy(places, 0, placement_group_capture_child_tasks=True)
    actors: Any = ray.remote(import_module(_CHILD).RayActor)
    _handles[name] = actors.options(
        namespace=NAMESPACE, lifetime="detached", name=name, max_restarts=-1, num_cpus=cpus, num_gpus=gpus,
        scheduling_strategy=where,
    ).remote(job_id, folder, catalog_url)  # fmt: skip
    return name


def placed(name: str) -> None:
    """Returns when an actor has its resources."""
    import ray  # an extra

    ray.get(_handles[name].__ray_ready__.remote())


def ended(name: str) -> None:
    """Returns when the job of an actor has ended; raises what kept it from beginning."""
    import ray  # an extra

    ray.get(_handles[name].ended.remote())


def kill(name: str) -> None:
    """End an actor, and free its places."""
    import ray  # an extra

    ray.kill(_handles[name])
    with suppress(ValueError):  # it has none
        ray.util.remove_placement_group(ray.util.get_placement_group(name))


def actors() -> list[str]:
    """The names of all actors, also of those that wait or are started again."""
    import ray  # an extra

    return [str(each["name"]) for each in ray.util.list_named_actors(all_namespaces=True)]


def resources() -> tuple[dict[str, float], dict[str, float], int]:
    """What the cluster has, what of it is free, and on how many machines."""
    import ray  # an extra

    return ray.cluster_resources(), ray.available_resources(), sum(bool(node["Alive"]) for node in ray.nodes())


_handles: dict[str, Any] = {}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (connect, start, placed, ended, kill, actors, resources)
}


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    lock = threading.Lock()

    def work(number: int, name: str, arguments: list[Any]) -> None:
        value = why = None
        try:
            value = _FUNCTIONS[name](*arguments)
        except BaseException as error:  # noqa: BLE001 - the outermost frame of its thread: the other process raises it
            cause = getattr(error, "cause", None) or error
            why = f"{type(cause).__name__}: {cause}"
        with lock:
            answers.write(json.dumps([number, value, why]) + "\n")
            answers.flush()

    for line in sys.stdin:
        threading.Thread(target=work, args=json.loads(line), daemon=True).start()
    time.sleep(_LINGER)
    os._exit(0)


if __name__ == "__main__":
    _serve()
