from __future__ import annotations

import importlib

import pytest

from saewidgets.errors import FormatError
from saewidgets.hub.browse import facets, needed_files, preview, read_names, variants
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import NoSAEError
from saewidgets.hub.reference import parse_reference
from saewidgets.hub.repository import list_repository
from tests.hub.repos import Repo, below, npz, saelens_files, weights
from tests.hub.server import Hub

SAELENS = "jbloom/GPT2-Small-SAEs-Reformatted"
GEMMA = "google/gemma-scope-2b-pt-res"


def test_folders_with_their_formats(hub: Hub, client: HubClient) -> None:
    found = variants(SAELENS, client=client)
    assert [one.path for one in found] == [f"blocks.{layer}.hook_resid_pre" for layer in range(3)]
    assert {one.format for one in found} == {"saelens"}
    assert [one.layer for one in found] == [0, 1, 2]
    assert {one.site for one in found} == {"resid_pre"}
    files = hub.state.repos[SAELENS].files
    assert found[1].size_bytes == sum(len(files[name]) for name in found[1].files)
    assert len(found[1].files) == 3


@pytest.mark.parametrize(
    ("repo", "format_name", "paths"),
    [
        ("google/gemma-scope-2-270m-pt", "gemma_scope_2", 12),
        ("EleutherAI/sae-pythia-70m-32k", "sparsify", 3),
        ("canrager/lm_sae", "dictionary_learning", 1),
        ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "qwen_scope", 2),
        (GEMMA, "gemma_scope", 9),
        ("lab/one-sae", "saelens", 1),
    ],
)
def test_each_format_is_recognised(client: HubClient, repo: str, format_name: str, paths: int) -> None:
    found = variants(repo, client=client)
    assert {one.format for one in found} == {format_name}
    assert len(found) == paths


def test_looking_takes_few_requests(hub: Hub, client: HubClient) -> None:
    """The kinds of folder are looked into, not the folders."""
    many = {name: data for layer in range(40) for name, data in below(f"l/{layer}", saelens_files(layer)).items()}
    hub.state.add([Repo("lab/many", many)])
    assert len(variants("lab/many", client=client)) == 40
    assert len(hub.requests()) <= 5
    hub.forget()
    variants(GEMMA, client=client)
    assert len(hub.requests()) == 2  # the listing: names alone decide


def test_gemma_scope_facets(client: HubClient) -> None:
    found = variants(GEMMA, client=client)
    assert [one.path for one in found][:3] == [
        "layer_0/width_16k/average_l0_22", "layer_0/width_16k/average_l0_105", "layer_5/width_16k/average_l0_68",
    ]  # fmt: skip
    assert facets(found) == {
        "site": {"resid_post": 9}, "layer": {0: 2, 5: 1, 12: 6}, "width": {"16k": 8, "65k": 1},
        "l0": {22.0: 2, 41.0: 1, 68.0: 1, 72.0: 1, 82.0: 1, 105.0: 1, 176.0: 1, 445.0: 1},
    }  # fmt: skip
    narrowed = facets(found, layer=12, width="16k")
    assert narrowed["layer"] == {0: 2, 5: 1, 12: 5}
    assert narrowed["width"] == {"16k": 5, "65k": 1}
    assert list(narrowed["l0"]) == [22.0, 41.0, 82.0, 176.0, 445.0]
    [canonical] = [one for one in found if one.canonical and one.layer == 12 and one.width == "16k"]
    assert canonical.l0 == 82
    assert canonical.d_sae == 16384


def test_gemma_scope_2_has_sites_and_published_l0(client: HubClient) -> None:
    found = variants("google/gemma-scope-2-270m-pt", client=client)
    assert set(facets(found)["site"]) == {"resid_post", "transcoder"}
    one = next(one for one in found if one.path == "resid_post/layer_5_width_16k_l0_small")
    assert (one.layer, one.width, one.d_sae) == (5, "16k", 16384)
    assert one.l0 is not None
    assert one.l0 < next(o.l0 or 0 for o in found if o.path == "resid_post/layer_5_width_16k_l0_big")
    assert not any("examples" in name for name in one.files)


def test_one_file_can_be_an_sae(client: HubClient) -> None:
    found = variants("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", client=client)
    assert [one.path for one in found] == ["layer0.sae.pt", "layer14.sae.pt"]
    assert [one.layer for one in found] == [0, 14]
    assert {one.l0 for one in found} == {50.0}
    assert {one.d_sae for one in found} == {32 * 1024}


def test_a_folder_of_a_repository(client: HubClient) -> None:
    assert len(variants(f"{GEMMA}/layer_12", client=client)) == 6
    [one] = variants(f"{GEMMA}/layer_12/width_65k", client=client)
    assert one.l0 == 72


def test_a_language_model_is_no_sae(client: HubClient) -> None:
    with pytest.raises(NoSAEError, match="It holds a language model") as error:
        variants("openai-community/gpt2", client=client)
    assert SAELENS in error.value.suggestions
    assert "model.safetensors" in str(error.value)


@pytest.mark.parametrize(("text", "said"), [("lab/nothing", "README.md"), (f"{SAELENS}/nowhere", "nothing at nowhere")])
def test_nothing_is_said_with_what_is_there(client: HubClient, text: str, said: str) -> None:
    with pytest.raises(NoSAEError, match=said):
        variants(text, client=client)


def test_a_broken_folder_does_not_hide_the_others(hub: Hub, client: HubClient) -> None:
    files = below("good", saelens_files(1))
    broken = {"bad/cfg.json": b"{", "bad/sae_weights.safetensors": b"xx", "bad/config.json": b"{"}
    hub.state.add([Repo("lab/mixed", {**files, **broken})])
    assert "good" in [one.path for one in variants("lab/mixed", client=client)]
    with pytest.raises(FormatError):
        preview("lab/mixed/bad", client=client)


def test_states_of_a_training_are_not_needed(hub: Hub, client: HubClient) -> None:
    junk = ["trainer_state.pt", "optimizer_0.pt", "activations_store_state.safetensors", "a.png", "lr_scheduler_0.pt"]
    files = {**saelens_files(0), **dict.fromkeys(junk, b"x" * 50)}
    hub.state.add([Repo("lab/trained", below("a", files))])
    listing = list_repository(parse_reference("lab/trained"), client)
    assert set(needed_files(listing, "a", "saelens")) == set(saelens_files(0))


@pytest.mark.parametrize(
    ("repo", "path", "site", "layer", "width", "d_sae", "l0"),
    [
        ("google/gemma-scope-9b-pt-att", "layer_3/width_131k/average_l0_55", "attn_out", 3, "131k", 131072, 55),
        ("google/gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6", "embedding", None, "4k", 4096, 6),
        ("google/gemma-scope-2b-pt-transcoders", "layer_3/width_16k/average_l0_8", "transcoder", 3, "16k", 16384, 8),
        ("google/gemma-scope-2-4b-pt", "transcoder_all/layer_10_width_16k_l0_big_affine", "transcoder", 10, "16k",
         16384, 112),
        ("google/gemma-scope-2-4b-pt", "attn_out/layer_9_width_1m_l0_small", "attn_out", 9, "1m", 1048576, None),
        ("fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L16R-8x", "resid_post", 16, None, None, None),
        ("fnlp/Llama3_1-8B-Base-LXM-32x", "Llama3_1-8B-Base-L3M-32x", "mlp_out", 3, None, None, None),
        ("fnlp/Llama-Scope-R1-Distill", "400M-Slimpajama-400M-OpenR1-Math-220k/L16R", "resid_post", 16, None, None,
         None),
        ("chanind/gemma-2-2b-batch-topk-matryoshka-saes-w-32k-l0-40", "snap/blocks.7.hook_resid_post", "resid_post", 7,
         "32k", 32768, None),
        ("EleutherAI/sae-pythia-70m-32k", "layers.2.mlp", "mlp_out", 2, "32k", 32768, None),
        ("EleutherAI/sae-pythia-70m-32k", "layers.2", "resid_post", 2, "32k", 32768, None),
        ("canrager/lm_sae", "pythia70m_sweep/resid_post_layer_4/trainer_0", "resid_post", 4, None, None, None),
        ("jbloom/GPT2-Small-OAI-v5-32k-mlp-out-SAEs", "v5_32k_layer_6", None, 6, "32k", 32768, None),
        ("jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8", "blocks.8.hook_resid_pre_12288", "resid_pre", 8,
         None, 12288, None),
        ("a/b", "anything/else", None, None, None, None, None),
    ],
)  # fmt: skip
def test_what_names_say(
    repo: str, path: str, site: str | None, layer: int | None, width: str | None, d_sae: int | None, l0: float | None
) -> None:
    names = read_names(repo, path)
    assert (names["layer"], names["width"], names["d_sae"]) == (layer, width, d_sae)
    if l0 is not None:
        assert names["l0"] == l0
    if site is not None:
        assert names["site"] == site


def test_an_archive_that_is_no_sae_is_not_listed(hub: Hub, client: HubClient) -> None:
    hub.state.add([Repo("lab/arrays", {"data/arrays.npz": npz(weights(2, 4)), "x/model.safetensors": b"12345678"})])
    with pytest.raises(NoSAEError):
        variants("lab/arrays", client=client)


def test_of_very_many_kinds_of_folder_names_decide(
    hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for letter in "abcdefgh":
        part = below(letter, saelens_files(0))
        files.update({**part, f"{letter}/{letter * 3}.json": b"{}"})
    files["z/layer_1/width_16k/average_l0_5/params.npz"] = npz(weights(2, 16384, threshold=True))
    hub.state.add([Repo("lab/kinds", files)])
    module = importlib.import_module("saewidgets.hub.browse")
    monkeypatch.setattr(module, "MOST_LOOKS", 3)
    found = {one.path: one.format for one in variants("lab/kinds", client=client)}
    assert len(hub.requests("cfg.json")) <= 3
    assert found["a"] == "saelens"
    assert found["z/layer_1/width_16k/average_l0_5"] == "gemma_scope"


def test_a_canonical_release_has_one_sae_of_each_layer_and_width(client: HubClient) -> None:
    found = variants("gemma-scope-2b-pt-res-canonical", client=client)
    assert [(one.layer, one.width, one.l0) for one in found] == [(0, "16k", 105), (5, "16k", 68), (12, "16k", 82),
                                                                 (12, "65k", 72)]  # fmt: skip
    assert all(one.canonical for one in found)
    [one] = variants("gemma-scope-2b-pt-res-canonical/layer_12/width_16k", client=client)
    assert one.path == "layer_12/width_16k/average_l0_82"
    [one] = variants("gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical", client=client)
    assert one.l0 == 82
    assert len(variants("gemma-scope-2b-pt-res", client=client)) == 9, "the release itself has all of them"
    with pytest.raises(NoSAEError, match="has no SAE at layer_12/width_16k/average_l0_41") as raised:
        variants("gemma-scope-2b-pt-res-canonical/layer_12/width_16k/average_l0_41", client=client)
    assert "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_41" in str(raised.value.hint)
