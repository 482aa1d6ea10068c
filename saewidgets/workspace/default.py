"""The workspace that widgets take when none is given: one per process."""

from __future__ import annotations

import threading

from saewidgets.workspace.workspace import Workspace

_lock = threading.Lock()
_default: Workspace | None = None


def default_workspace() -> Workspace:
    """The workspace in ``$SAEWIDGETS_HOME`` (else ``~/.saewidgets``), opened at the first call."""
    global _default
    with _lock:
        if _default is None or _default.closed:
            _default = Workspace()
        return _default
