"""Keep the page's buttons alive while a cell runs.

JupyterLab sends widget messages over a subshell, beside the running cell. ipykernel 7.4 re-routes them to whichever
shell published last on the same comm, which is the main shell as soon as a cell touched the widget: every click then
waits for the cell to end. The hook that does so is looked up on the comm object and may be absent (older and newer
kernels) or None (no re-routing: the subshell that the page asked for).
"""

from __future__ import annotations

from typing import Any

HOOK = "_reply_subshell_for"  # private to ipykernel 7.4; tests/widgets/test_subshells.py says when it changes


def unpin(widget: Any) -> bool:
    """Let messages of `widget` stay on the shell the page chose. True if there was something to undo.

    Safe to call at any time, also without a kernel and on a closed widget.
    """
    comm = getattr(widget, "comm", None)
    if getattr(comm, HOOK, None) is None:
        return False
    setattr(comm, HOOK, None)
    return True
