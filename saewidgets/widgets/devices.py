"""The devices of a machine as a widget knows them: read again where they are old, since free memory changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from saewidgets.widgets.messages.wire import DeviceInfo, Note

DEVICES_MAX_AGE = 5.0  # seconds; free memory changes while runs and SAEs come and go


class HasDevices(Protocol):
    """What is asked of a `Workspace`."""

    def devices(self) -> Sequence[Mapping[str, Any]]: ...


class DeviceReader:
    """The part of a widget's state that lists them; `_lock` guards that, and what a subclass adds."""

    def __init__(self, workspace: HasDevices) -> None:
        self._asked_for_devices = workspace
        self._lock = threading.RLock()
        self._reading_devices = threading.Lock()
        self._devices: tuple[DeviceInfo, ...] = ()
        self._devices_at = 0.0
        self._devices_note: Note | None = None

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """Those that were read last."""
        with self._lock:
            return self._devices

    @property
    def devices_are_old(self) -> bool:
        """It is time for `read_devices`."""
        with self._lock:
            return not self._devices_at or time.monotonic() - self._devices_at > DEVICES_MAX_AGE

    def read_devices(self) -> None:
        """Ask the workspace for devices and free memory. Seconds the first time (torch), hence never in a cell."""
        with self._reading_devices:
            if self.devices_are_old:
                found = self._asked_for_devices.devices()
                self._keep_devices(tuple(DeviceInfo.model_validate(dict(device)) for device in found))

    def _keep_devices(self, found: tuple[DeviceInfo, ...], note: Note | None = None) -> None:
        with self._lock:
            self._devices, self._devices_note, self._devices_at = found, note, time.monotonic()
