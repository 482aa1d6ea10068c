"""Folders, secrets and the device to use: the only module that reads the process environment.

Everything else receives a `Settings` value and does not look at `os.environ`.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from saewidgets.records import DeviceInfo


def user_name() -> str | None:
    """The name of the user of this process, at most 255 characters; None where the system has none."""
    try:
        return getpass.getuser()[:255]
    except (OSError, KeyError, ImportError):  # in a container, without an entry for its number
        return None


def plain_url(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of this process.

    Attributes:
        home: folder of the default workspace (``$SAEWIDGETS_HOME``, else ``~/.saewidgets``).
        device: the device a run takes when its own is ``"auto"`` (``$SAEWIDGETS_DEVICE``, else ``"auto"``: the
            first CUDA device if there is one, else the CPU).
        catalog_url: SQLAlchemy URL of the catalog (``$SAEWIDGETS_CATALOG``, else None: a file in the folder). It may
            hold a password, and is not shown.
        runner: where jobs run (``$SAEWIDGETS_RUNNER``, else ``"thread"``: of this process; ``"process"``: in one each).
        executor: the cluster on which jobs run (``$SAEWIDGETS_EXECUTOR``, such as ``ray?gpus=1``, else None: here).
        storage: URL of the storage that holds the files (``$SAEWIDGETS_HOME`` where that is one), else None. It may
            hold a password, and is not shown.
        cache: holds the folders of workspaces that were given as a URL (``$SAEWIDGETS_CACHE``, else
            ``~/.cache/saewidgets``).
        cache_gb: gigabytes that copies of files of a storage may take (``$SAEWIDGETS_CACHE_GB``, else 50).
        places: the devices of jobs that run elsewhere, where this machine's say nothing: "auto" in words, what that
            is, and others. Empty: jobs run here.
        host: the name under which this machine appears in the catalog (``$SAEWIDGETS_HOST``, else its host name).
        user: who starts jobs here, by the name of the login; None if unknown.
    """

    home: Path
    device: str = "auto"
    catalog_url: str | None = field(default=None, repr=False)
    runner: str = "thread"
    executor: str | None = None
    storage: str | None = field(default=None, repr=False)
    cache: Path = field(default_factory=lambda: Path.home() / ".cache" / "saewidgets")
    cache_gb: float = 50.0
    places: tuple[DeviceInfo, ...] = ()
    host: str = field(default_factory=socket.gethostname)
    user: str | None = field(default_factory=user_name)

    @classmethod
    def from_environment(cls) -> Settings:
        try:
            cache_gb = float(os.environ.get("SAEWIDGETS_CACHE_GB") or 50)
        except ValueError as error:
            raise ConfigError("This is not a number of gigabytes.", where="SAEWIDGETS_CACHE_GB") from error
        cache = Path(os.environ.get("SAEWIDGETS_CACHE") or Path.home() / ".cache" / "saewidgets")
        found = cls(
            home=Path.home() / ".saewidgets", cache=cache.expanduser().absolute(), cache_gb=cache_gb,
            device=os.environ.get("SAEWIDGETS_DEVICE", "auto"),
            catalog_url=os.environ.get("SAEWIDGETS_CATALOG") or None,
            runner=os.environ.get("SAEWIDGETS_RUNNER") or "thread",
            executor=os.environ.get("SAEWIDGETS_EXECUTOR") or None,
            host=os.environ.get("SAEWIDGETS_HOST") or socket.gethostname(),
        )
        return found.at(os.environ.get("SAEWIDGETS_HOME") or found.home)

    def at(self, folder: str | Path) -> Settings:
        """These settings for another workspace: a folder, or the URL of a storage, kept in the cache here."""
        if isinstance(folder, Path) or "://" not in folder:
            return replace(self, home=Path(folder).expanduser().absolute(), storage=None)
        name = hashlib.sha256(plain_url(folder).encode()).hexdigest()[:24]
        return replace(self, home=self.cache / name, storage=folder)

    def device_for(self, asked: str, where: str = "device") -> str:
        """The device that a job asked for in the setting `where`, this process's for "auto", as `resolve_device` names
        it."""
        if not self.places:
            return resolve_device(self.device if asked == "auto" else asked, where)
        offered = [each.id for each in self.places[1 : 2 if where == "device" else None]]
        if asked not in ("auto", *offered):
            said = f"Jobs of this workspace run on {' and '.join(offered)}."
            raise ConfigError(said, where=where, hint="Use auto." if where == "device" else "Use one of them.")
        return offered[0] if asked == "auto" else asked

    def child_environment(self) -> dict[str, str]:
        """The environment for a process started from here (a JupyterLab) with the same default workspace."""
        given = {"SAEWIDGETS_CATALOG": self.catalog_url, "SAEWIDGETS_EXECUTOR": self.executor}
        given |= {"SAEWIDGETS_HOME": self.storage or str(self.home), "SAEWIDGETS_HOST": self.host}
        if self.storage is not None:
            given |= {"SAEWIDGETS_CACHE": str(self.cache), "SAEWIDGETS_CACHE_GB": str(self.cache_gb)}
        return environment({name: value for name, value in given.items() if value} | waiting())


_SPINS_LONG = 200_000  # turns of a loop, of which a hundred take about 2 µs
SLEEP_SOON = "GOMP_SPINCOUNT=20000"


def waiting() -> dict[str, str]:
    """For the environment of a process that will load torch: OpenMP's threads spin where they wait for each other,
    which takes the cores from the very thread they wait for when others use them as well; with this they soon sleep,
    and are as fast on a quiet machine. Nothing where somebody has said how they wait. It is for GNU's OpenMP, which
    torch's wheels for Linux contain; others ignore it."""
    said = not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}.isdisjoint(os.environ)
    return {} if said else dict([SLEEP_SOON.split("=")])


def sleep_soon() -> None:
    """Let OpenMP's threads of this process, which has not loaded torch yet, wait as `waiting` says."""
    os.environ.update(waiting())


def spins() -> bool:
    """Whether OpenMP's threads of this process spin while they wait, unless it is said too late. False where that is
    unknown: not on Linux."""
    count = os.environ.get("GOMP_SPINCOUNT", "")
    if count:
        sleeps = count.isdigit() and int(count) < _SPINS_LONG
    else:
        sleeps = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
    return sys.platform == "linux" and not sleeps


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with `changes`, for another one."""
    return {**os.environ, **changes}


def machine_memory() -> int | None:
    """Bytes of main memory of this machine, used or not; None if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def free_memory() -> int | None:
    """Bytes of main memory available now, from the kernel's own table; None if it has none."""
    try:
        with open("/proc/meminfo", encoding="ascii") as table:
            rows = dict(line.split(":", 1) for line in table)
        return int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def secret(name: str) -> str | None:
    """The key in the environment variable `name` without blanks around it; None if it is not set or empty.

    It is read where it is used, and neither kept nor shown.
    """
    return (os.environ.get(name) or "").strip() or None


def trusted_code() -> tuple[str, ...]:
    """The models whose repositories' code may run, from ``$SAEWIDGETS_TRUST_REMOTE_CODE``: ``NAME`` or
    ``NAME@REVISION``, separated by commas."""
    given = os.environ.get("SAEWIDGETS_TRUST_REMOTE_CODE") or ""
    return tuple(part.strip() for part in given.split(",") if part.strip())


def resolve_device(name: str, where: str = "device") -> str:
    """`name` as a concrete torch device string: ``"auto"`` becomes ``"cuda:0"`` or ``"cpu"``.

    Args:
        name: the device.
        where: the setting that names it.

    Raises:
        ConfigError: the device does not exist here; the message lists those that do.
    """
    import torch  # seconds to import: only when a device is really needed

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ["cpu", *(f"cuda:{i}" for i in range(count))]
    if name == "auto":
        return present[1] if count else "cpu"
    if name == "cuda":
        name = "cuda:0"
    if name not in present:
        raise ConfigError(
            f"There is no device {name!r} on this machine.", where=where, hint=f"Use one of: {', '.join(present)}."
        )
    return name


def torch_device(device: Any) -> torch.device:
    """`device` as torch has it. Raises `ConfigError` if this machine has no such device."""
    import torch  # seconds to import: only when a device is really needed

    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        from saewidgets.config.arguments import shown  # pydantic: settings alone need none

        # torch's own reason begins its message, pages of advice follow
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ConfigError(
            f"There is no device {shown(device)} here ({reason.rstrip('.')}).", where="device",
            hint='Use "cpu", or an accelerator of this machine: "cuda", "cuda:1", "mps".',
        ) from error
    return found
