from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from saewidgets.config.names import hub_model, names_of, one_name
from saewidgets.formats import registry
from saewidgets.hub import known_repos, parse_reference
from saewidgets.hub.known import gated_by_name, repos_for_model, similar, trained_on
from saewidgets.hub.releases import canonical_paths, find_release, published_l0, release_names, release_path
from saewidgets.hub.variants import WIDTHS

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / ".venvs/saelens/lib/python3.11/site-packages/sae_lens/pretrained_saes.yaml"


def test_known_repositories_are_usable() -> None:
    rows = known_repos()
    assert len(rows) >= 25
    assert len({row.repo_id for row in rows}) == len(rows)
    names = {form.name for form in registry.formats()}
    for row in rows:
        assert parse_reference(row.repo_id).repo_id == row.repo_id
        assert row.format in names
        assert row.name
        assert row.model.count("/") == 1
        assert row.gated_model == bool(gated_by_name(row.model))
        assert all(width in WIDTHS or width.endswith("x") for width in row.widths), row
        assert dataclasses.asdict(row)


def test_releases_stand_for_folders() -> None:
    assert len(release_names()) == 170
    release = find_release("gemma-scope-2b-pt-res")
    assert release is not None
    assert release_path(release, "layer_12/width_16k/average_l0_82") == "layer_12/width_16k/average_l0_82"
    assert find_release("no-such-release") is None


def test_canonical_choices_and_published_l0() -> None:
    paths = canonical_paths("google/gemma-scope-2b-pt-res")
    assert "layer_0/width_16k/average_l0_105" in paths
    assert len([path for path in paths if "width_16k" in path]) == 26
    assert published_l0("google/gemma-scope-2-4b-pt", "resid_post_all/layer_10_width_16k_l0_big") == 112
    assert published_l0("google/gemma-scope-2-4b-pt", "resid_post_all/layer_99_width_16k_l0_big") is None
    assert published_l0("a/b", "x") is None


@pytest.mark.skipif(not TABLE.exists(), reason="sae-lens is not installed for comparison")
def test_the_table_of_releases_is_that_of_sae_lens() -> None:
    script = ROOT / "tools/build_releases.py"
    done = subprocess.run([sys.executable, str(script), str(TABLE), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (ROOT / "saewidgets/hub/data/releases.json").stat().st_size < 300_000


def test_models_by_their_names() -> None:
    assert hub_model("gpt2-small") == "openai-community/gpt2"
    assert hub_model("google/gemma-2-2b") == "google/gemma-2-2b"
    assert hub_model("unheard-of") is None
    assert hub_model(None) is None
    assert gated_by_name("meta-llama/Llama-3.1-8B") is True
    assert gated_by_name("EleutherAI/pythia-70m") is False
    assert gated_by_name("somebody/model") is None
    assert trained_on("google/gemma-scope-9b-pt-res") == "google/gemma-2-9b"
    assert trained_on("a/b", ["c/d"]) == "c/d"


def test_suggestions() -> None:
    assert similar("eleutherai/sae-pythia-70m-32")[0] == "EleutherAI/sae-pythia-70m-32k"
    assert similar("nothing/like-it-at-all") == ()
    assert "jbloom/GPT2-Small-SAEs-Reformatted" in repos_for_model("openai-community/gpt2")


def test_a_model_has_one_name() -> None:
    assert one_name("gpt2-small") == one_name("GPT2") == one_name("openai-community/gpt2") == "openai-community/gpt2"
    assert one_name("demo") == "demo"
    assert hub_model("demo") is None
    assert set(names_of("gpt2")) == set(names_of("openai-community/gpt2")) == {
        "gpt2", "gpt2-small", "openai-community/gpt2",
    }  # fmt: skip
    assert names_of("my-model") == ("my-model",)
