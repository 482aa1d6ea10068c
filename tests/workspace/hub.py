"""A hub on this machine for workspaces: the real client, pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as constants
import pytest

from tests.hub.repos import Repo, below, gemma_scope, qwen_scope, saelens_files, sparsify
from tests.hub.server import TOKENS, Hub

READER, WRITER = TOKENS
SAELENS, LARGE = "jbloom/GPT2-Small-SAEs-Reformatted", "lab/large"


@pytest.fixture(scope="session")
def repositories() -> list[Repo]:
    layers = {
        name: data for layer in range(3)
        for name, data in below(f"blocks.{layer}.hook_resid_pre", saelens_files(layer)).items()
    }  # fmt: skip
    card = {"license": "mit", "base_model": "openai-community/gpt2"}
    return [
        Repo(SAELENS, {"README.md": b"# SAEs\n", **layers}, card=card),
        Repo(LARGE, below("sae", saelens_files(0, d_in=64, d_sae=16_384))),
        Repo("lab/private-saes", below("sae", saelens_files(0)), private=True),
        Repo("lab/gated-saes", below("sae", saelens_files(0)), gated="auto"),
        Repo("lab/nan", {**saelens_files(0), "sae_weights.safetensors": _with_nan()}),
        gemma_scope(),
        qwen_scope(),
        sparsify(),
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
