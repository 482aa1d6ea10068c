"""A hub on this machine for workspaces: the real client, pointed at it."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as constants
import pytest

from tests.hub.repos import Repo, below, published, saelens_files
from tests.hub.server import TOKENS, Hub

READER, WRITER = TOKENS
SAELENS, LARGE = "jbloom/GPT2-Small-SAEs-Reformatted", "lab/large"


@pytest.fixture(scope="session")
def repositories() -> list[Repo]:
    return [
        *published(),
        Repo(LARGE, below("sae", saelens_files(0, d_in=64, d_sae=16_384))),
        Repo("lab/nan", {**saelens_files(0), "sae_weights.safetensors": _with_nan()}),
    ]


def _with_nan() -> bytes:
    data = bytearray(saelens_files(0)["sae_weights.safetensors"])
    data[-4:] = b"\x00\x00\xc0\x7f"
    return bytes(data)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub-cache"


@pytest.fixture
def server(repositories: list[Repo], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(repositories) as found:
        for name, value in {
            "ENDPOINT": found.endpoint, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(cache), "HF_HUB_DOWNLOAD_TIMEOUT": 5,
            "HUGGINGFACE_CO_URL_TEMPLATE": found.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        }.items():  # fmt: skip
            monkeypatch.setattr(constants, name, value)
        yield found
