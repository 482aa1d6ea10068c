"""The un-pin: what it changes on ipykernel 7.4's comm, and that it is harmless everywhere else."""

from __future__ import annotations

from importlib.metadata import version
from inspect import getsource
from types import SimpleNamespace

import pytest
from ipykernel import kernelbase
from ipykernel.comm import Comm

from saewidgets.widgets.shell import _REROUTING as HOOK
from saewidgets.widgets.shell import unpin


def test_the_hook_is_silenced_on_a_real_comm() -> None:
    comm = Comm.__new__(Comm)
    if not hasattr(comm, HOOK):
        pytest.skip(f"ipykernel {version('ipykernel')} does not re-route widget messages")
    assert unpin(SimpleNamespace(comm=comm)) is True
    assert getattr(comm, HOOK) is None  # what the kernel's router asks for
    assert unpin(SimpleNamespace(comm=comm)) is False


def test_the_kernel_still_reads_the_hook_as_we_expect() -> None:
    """When this fails, ipykernel changed: see whether clicks during a running cell still arrive (tests/browser)."""
    source = getsource(kernelbase)
    if HOOK not in source:
        pytest.skip(f"ipykernel {version('ipykernel')} does not re-route widget messages")
    assert f'getattr(comm, "{HOOK}", None)' in source
    assert "if route is not None" in source


@pytest.mark.parametrize("widget", [SimpleNamespace(), SimpleNamespace(comm=None), SimpleNamespace(comm=object())])
def test_nothing_happens_without_the_hook(widget: object) -> None:
    assert unpin(widget) is False
