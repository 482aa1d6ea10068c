"""Fixtures of the training tests."""

import pytest

from tests.training.fakes import Recorder


@pytest.fixture
def recorder():
    """An `Emit` that keeps every event."""
    return Recorder()
