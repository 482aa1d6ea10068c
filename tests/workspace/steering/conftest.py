"""One workspace with SAEs of the demo model for all tests here: none of them changes it, loading takes seconds."""

from collections.abc import Iterator

import pytest

from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from tests.workspace.steering.saes import add_demo_sae


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("steering")
    with Workspace(root / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        add_demo_sae(workspace, root / "one")
        yield workspace


@pytest.fixture
def sae(library: Workspace) -> str:
    return library.saes.list()[0].id
