"""What people type to name an SAE on the hub, and the facts about repositories that ship with the package."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.config.names import hub_model, names_of, one_name
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.formats import registry
from saewidgets.hub.browse import WIDTHS
from saewidgets.hub.errors import WrongRepositoryTypeError
from saewidgets.hub.reference import (
    HubReference,
    canonical_paths,
    gated_by_name,
    is_plain_path,
    known_repos,
    parse_reference,
    published_l0,
    trained_on,
)

COMMIT = "fd571b47c1c64851e9b1989792367b9babb4af63"
GEMMA = "google/gemma-scope-2b-pt-res"


@pytest.fixture(autouse=True)
def _endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to the hub in use are understood besides those to the public one."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:8799")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubReference("owner/name")),
        (" owner/name ", HubReference("owner/name")),
        ('"owner/name"', HubReference("owner/name")),
        ("owner/name@main", HubReference("owner/name", "main")),
        ("owner/name@refs/pr/3", HubReference("owner/name", "refs/pr/3")),
        ("owner/name/sub/folder/", HubReference("owner/name", None, "sub/folder")),
        ("owner/name@v1/sub/folder", HubReference("owner/name", "v1", "sub/folder")),
        ("owner/name/sub/folder@v1", HubReference("owner/name", "v1", "sub/folder")),
        ("owner/name/tree/refs/pr/1/sub", HubReference("owner/name", "refs/pr/1", "sub")),
        ("https://huggingface.co/owner/name/", HubReference("owner/name")),
        ("huggingface.co/owner/name", HubReference("owner/name")),
        ("https://hf.co/owner/name/tree/main", HubReference("owner/name", "main")),
        ("https://huggingface.co/owner/name/blob/v1/a/cfg.json", HubReference("owner/name", "v1", "a/cfg.json")),
        (
            f"https://huggingface.co/owner/name/resolve/{COMMIT}/a/b.npz?download=true",
            HubReference("owner/name", COMMIT, "a/b.npz"),
        ),
        ("https://huggingface.co/owner/name/tree/refs%2Fpr%2F1/a", HubReference("owner/name", "refs/pr/1", "a")),
        ("https://huggingface.co/owner/name/tree/main/a%20b", HubReference("owner/name", "main", "a b")),
        ("https://huggingface.co/owner/name/discussions/4", HubReference("owner/name")),
        ("http://127.0.0.1:8799/owner/name/tree/main/a", HubReference("owner/name", "main", "a")),
        ("https://huggingface.co/api/models/owner/name", HubReference("owner/name")),
        ("hf://owner/name@v2/a/b", HubReference("owner/name", "v2", "a/b")),
        ("hf://models/owner/name", HubReference("owner/name")),
    ],
)
def test_what_people_type(text: str, expected: HubReference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    ("text", "repo_id", "path"),
    [
        ("gpt2-small-res-jb/blocks.6.hook_resid_pre", "jbloom/GPT2-Small-SAEs-Reformatted", "blocks.6.hook_resid_pre"),
        ("gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical", GEMMA, "layer_0/width_16k/average_l0_105"),
        (
            "gemma-scope-2-270m-pt-res-all/layer_1_width_16k_l0_big",
            "google/gemma-scope-2-270m-pt",
            "resid_post_all/layer_1_width_16k_l0_big",
        ),
        ("qwen-scope-3-8b-base-w64k-l50/layer18", "Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_50", "layer18.sae.pt"),
    ],
)
def test_saelens_releases(text: str, repo_id: str, path: str) -> None:
    assert parse_reference(text) == HubReference(repo_id, None, path)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "name", "a/b/../c", "owner/na me", "owner/<img src=x onerror=alert(1)>", "../etc/passwd", "owner/..",
     "/absolute/path", "owner/name@../x", "ftp://huggingface.co/a/b", "file:///etc/passwd", "own\0er/name", "a/-b",
     "owner/na--me", "a/" + "b" * 200, "owner/name/a//b", "owner/name/a\\b", "owner/name/./b", "http://[x",
     "https://evil.example/google/gemma-scope-2b-pt-res", "https://github.com/google/something", "gpt2-small-res-jbb"],
)  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_reference(text)
    assert refused.value.hint
    assert ("similar name: gpt2-small-res-jb" in refused.value.hint) == text.startswith("gpt2")


def test_a_canonical_release_is_kept_with_the_place() -> None:
    assert parse_reference("gemma-scope-2b-pt-res-canonical") == HubReference(
        GEMMA, None, "", "gemma-scope-2b-pt-res-canonical"
    )
    text = "gemma-scope-2b-pt-res-canonical/layer_12"
    assert str(parse_reference(text)) == text
    assert parse_reference("gpt2-small-res-jb").release is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [("https://huggingface.co/datasets/a/b", "dataset"), ("https://huggingface.co/spaces/a/b/tree/main", "Space"),
     ("hf://datasets/a/b/c", "dataset"), ("spaces/a/b", "Space"), ("datasets/a/b/tree/main/c", "dataset"),
     ("huggingface.co/spaces/a/b", "Space")],
)  # fmt: skip
def test_datasets_and_spaces_are_named_as_such(text: str, kind: str) -> None:
    with pytest.raises(WrongRepositoryTypeError, match=f"a/b: This is a {kind}, not a model repository"):
        parse_reference(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_reference(text)
    except SAEWidgetsError:
        return
    assert found.repo_id.count("/") == 1
    assert found.path == "" or is_plain_path(found.path)


def test_a_reference_reads_as_it_is_written() -> None:
    for text in ("owner/name", "owner/name@v1", "owner/name@v1/a/b", "owner/name/a"):
        assert str(parse_reference(text)) == text
        assert parse_reference(parse_reference(text)) == parse_reference(text)


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


def test_a_model_has_one_name() -> None:
    assert one_name("gpt2-small") == one_name("GPT2") == one_name("openai-community/gpt2") == "openai-community/gpt2"
    assert one_name("demo") == "demo"
    assert hub_model("demo") is None
    assert set(names_of("gpt2")) == set(names_of("openai-community/gpt2")) == {
        "gpt2", "gpt2-small", "openai-community/gpt2",
    }  # fmt: skip
    assert names_of("my-model") == ("my-model",)
