"""An SAE of the library, one of a training, and extractions of them on a tiny model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.jobs import JobSettings
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extraction
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed
from tests.workspace.library.saes import saelens

HOOK = "blocks.0.hook_resid_post"
CONFIG: dict[str, Any] = {
    "corpus": {"kind": "text", "strings": TINY_TEXT}, "tokens": 100_000, "context_size": 16, "batch_size": 4,
    "device": "cpu", "max_norm_ratio": None, "examples": 6, "per_interval": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws"), jobs=JobSettings(poll=0.05)) as workspace:
        yield workspace


@pytest.fixture
def make_sae(ws: Workspace, tiny_model_folder: Path, tmp_path: Path) -> Callable[..., SAERecord]:
    """An SAE on the tiny model, added from files as somebody else's program left them."""

    def make(seed: int = 0, **about: Any) -> SAERecord:
        about = {"model": str(tiny_model_folder), "hook_name": HOOK, **about}
        return ws.saes.add_local(saelens(tmp_path / f"sae-{seed}", 32, 64, seed), **about)

    return make


@pytest.fixture(scope="module")
def sae(ws: Workspace, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SAERecord:
    """One that tests only read."""
    folder = saelens(tmp_path_factory.mktemp("files") / "tiny", 32, 64)
    return ws.saes.add_local(folder, model=str(tiny_model_folder), hook_name=HOOK)


@pytest.fixture(scope="module")
def extracted(ws: Workspace, sae: SAERecord) -> Extraction:
    """Its extraction."""
    return extract(ws, sae_id=sae.id)


@pytest.fixture
def own(ws: Workspace, make_sae: Callable[..., SAERecord]) -> Iterator[Extraction]:
    """One that a test may change, with its SAE."""
    sae = make_sae(41)
    yield extract(ws, sae_id=sae.id)
    for job in ws.jobs.list(kind="logits"):
        if not job.status.is_final:
            ws.jobs.get(job.id).cancel()
            ws.jobs.get(job.id).wait(PATIENCE)
    if any(one.id == sae.id for one in ws.saes.list()):
        ws.saes.delete(sae.id)


def live(extraction: Extraction) -> list[int]:
    """The features that fired."""
    return [int(index) for index in np.flatnonzero(extraction.store().fired > 0)]


def extract(ws: Workspace, **what: Any) -> Extraction:
    """Run one to its end."""
    config = {**CONFIG, **what.pop("config", {})}
    return completed(ws.extractions.create(**what, config=config))  # type: ignore[no-any-return]
