"""`saewidgets.load_sae`: one function for paths and repositories, which loads what a preview said."""

from pathlib import Path

import huggingface_hub.constants
import pytest

import saewidgets as sw
from saewidgets.errors import NotFoundError
from saewidgets.hub.errors import RepositoryNotFoundError
from tests.hub.server import Hub

PLACE = "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82"


@pytest.fixture(autouse=True)
def _this_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_a_repository_is_downloaded_once(hub: Hub) -> None:
    sae = sw.load_sae(PLACE)
    assert (sae.cfg.architecture, sae.d_in, sae.d_sae) == ("jumprelu", 8, 16384)
    assert sae.metadata["hook_name"] == "blocks.12.hook_resid_post"
    hub.forget()
    assert sw.load_sae(PLACE, dtype=None).d_sae == 16384
    assert not any(seen.sent > 100_000 for seen in hub.requests("params.npz")), "it was in the cache"


def test_local_folders_are_loaded_without_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = sw.create_sae("topk", 8, d_sae=16, k=2)
    monkeypatch.chdir(tmp_path)
    sw.save_sae(sae, tmp_path / "google" / "mine")
    assert sw.load_sae("google/mine").cfg.architecture == "topk"
    assert sw.load_sae(tmp_path / "google" / "mine").d_sae == 16
    assert not hub.requests()


@pytest.mark.parametrize("path", ["./nothing", "/nothing/here", "~/nothing-here"])
def test_a_missing_path_is_not_looked_up_on_the_hub(path: str, hub: Hub) -> None:
    with pytest.raises(NotFoundError):
        sw.load_sae(path)
    assert not hub.requests()


def test_names_that_are_neither_path_nor_repository() -> None:
    with pytest.raises(NotFoundError, match="owner/name"):
        sw.load_sae("no such thing at all")
    with pytest.raises(RepositoryNotFoundError):
        sw.load_sae("nobody/nothing-here")
