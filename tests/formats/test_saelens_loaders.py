"""Repositories that sae-lens has loaders of their own for: what its loader and its SAE compute, from the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from saewidgets.formats import describe, detect_format, load_sae, validate
from tests.formats.weights import assert_close

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "saelens_loaders"  # tools/golden_saelens_loaders.py
FORMATS = {
    "Goodfire/Llama-3.1-8B-Instruct-SAE-l19": "goodfire", "Goodfire/Llama-3.3-70B-Instruct-SAE-l50": "goodfire",
    "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19": "deepseek_r1",
    "ckkissane/attn-saes-gpt2-small-all-layers": "connor_rob",
    "mwhanna/qwen3-4b-transcoders": "circuit_tracer", "mwhanna/qwen3-14b-transcoders-lowl0": "circuit_tracer",
    "canrager/temporalSAEs": "temporal", "canrager/temporalSAEs-untied": "temporal",
}
MODELS = {"gpt2-small": "gpt2", None: "google/gemma-2-2b"}  # what sae-lens calls otherwise, or does not say


def test_no_golden_repository_is_left_out() -> None:
    assert {str(path.parent.relative_to(GOLDEN)) for path in GOLDEN.rglob("golden.json")} == set(FORMATS)


@pytest.mark.parametrize(("repo", "format"), FORMATS.items())
def test_the_same_as_in_sae_lens(repo: str, format: str) -> None:
    facts = json.loads((GOLDEN / repo / "golden.json").read_text())
    expected = load_file(GOLDEN / repo / "expected.safetensors")
    path = GOLDEN / repo / facts["path"]
    assert detect_format(path) == format
    sae = load_sae(path).float()
    assert (expected["f"] != 0).any()
    assert_close(sae.encode(expected["x"]).numpy(), expected["f"].numpy(), 1e-5)
    assert_close(sae(expected["x"]).numpy(), expected["y"].numpy(), 1e-5)
    assert sae.metadata["hook_name"] == facts["hook_name"]
    assert sae.metadata["model_name"] == MODELS.get(facts["model"], facts["model"])
    assert describe(path).dtype == ("bfloat16" if "70B" in repo else "float32")
    assert validate(path) == []


@pytest.mark.parametrize("repo", FORMATS)
def test_the_cache_of_the_hub_says_the_same(repo: str, tmp_path: Path) -> None:
    """Downloads lie in ``models--owner--name/snapshots/{commit}``, as links into ``blobs``."""
    facts = json.loads((GOLDEN / repo / "golden.json").read_text())
    home = tmp_path / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / ("0" * 40)
    shutil.copytree(GOLDEN / repo, snapshot)
    (home / "blobs").mkdir()
    for i, path in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        path.rename(home / "blobs" / str(i))
        path.symlink_to(home / "blobs" / str(i))
    found = describe(snapshot / facts["path"])
    assert found.hook_name == facts["hook_name"]
    assert found.model == MODELS.get(facts["model"], facts["model"])
