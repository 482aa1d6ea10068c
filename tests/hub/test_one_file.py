"""An SAE that is one file of a repository comes with the configurations beside it, which say model and hook points."""

import json

import pytest
import torch

from saewidgets import load_sae
from saewidgets.errors import FormatError
from saewidgets.hub.browse import preview, variants
from saewidgets.hub.cache import cached_listing, from_rows, to_rows
from saewidgets.hub.client import HubClient
from saewidgets.hub.reference import HubReference
from saewidgets.hub.transfer import download, plan_download
from tests.hub.repos import TRACER, Repo, circuit_tracer, pickled, weights
from tests.hub.server import Hub

ATTENTION = "ckkissane/attn-saes-gpt2-small-all-layers"
STEM = "gpt2-small_L5_Hcat_z_lr1.20e-03_l11.00e+00_ds16_v9"


@pytest.fixture
def attention(hub: Hub) -> Repo:
    tensors = {name: torch.from_numpy(value) for name, value in weights(16, 64).items()}
    other = STEM.replace("L5", "L6")
    config = {"act_size": 16, "dict_size": 64, "act_name": "blocks.5.attn.hook_z"}
    repo = Repo(ATTENTION, {
        f"{STEM}.pt": pickled(tensors), f"{STEM}_cfg.json": json.dumps(config).encode(),
        f"{other}.pt": pickled(tensors), "cfg.json": b"{}",
    })  # fmt: skip
    hub.state.add([repo])
    return repo


@pytest.mark.parametrize("folder", ["", "sub/folder/"])
def test_a_transcoder_comes_with_its_config(hub: Hub, client: HubClient, folder: str) -> None:
    hub.state.add([circuit_tracer(folder)])
    found = variants(TRACER, client=client)
    assert [one.path for one in found] == [f"{folder}layer_0.safetensors", f"{folder}layer_3.safetensors"]
    assert found[1].files == (f"{folder}config.yaml", f"{folder}layer_3.safetensors")
    said = preview(f"{TRACER}/{folder}layer_3.safetensors", client=client)
    assert (said.model, said.hook_name, said.layer) == ("meta-llama/Llama-3.2-1B", "blocks.3.mlp.hook_in", 3)
    assert said.requests <= 3
    assert not any("not here" in warning.what for warning in said.warnings)
    done = download(f"{TRACER}/{folder}layer_3.safetensors", client=client)
    assert done.location.name == "layer_3.safetensors"
    assert {path.name for path in done.files} == {"layer_3.safetensors", "config.yaml"}
    assert done.total_bytes == said.total_bytes == found[1].size_bytes
    sae = load_sae(done.location)
    assert sae.metadata["model_name"] == "meta-llama/Llama-3.2-1B"
    assert sae.metadata["hook_name"] == "blocks.3.mlp.hook_in"
    assert sae.metadata["hook_name_out"] == "blocks.3.hook_mlp_out"


def test_an_attention_sae_comes_with_its_own_config_only(attention: Repo, client: HubClient) -> None:
    assert {one.path: one.files for one in variants(ATTENTION, client=client)} == {
        f"{STEM}.pt": (f"{STEM}.pt", f"{STEM}_cfg.json"), f"{STEM.replace('L5', 'L6')}.pt": (
            f"{STEM.replace('L5', 'L6')}.pt",)}  # fmt: skip
    said = preview(f"{ATTENTION}/{STEM}.pt", client=client)
    assert (said.d_in, said.d_sae, said.hook_name) == (16, 64, "blocks.5.attn.hook_z"), "the weights were not read"
    done = download(f"{ATTENTION}/{STEM}.pt", client=client)
    assert sorted(path.name for path in done.files) == [f"{STEM}.pt", f"{STEM}_cfg.json"]
    assert load_sae(done.location).d_sae == 64


def test_what_the_config_says_is_held_against_the_weights(attention: Repo, hub: Hub, client: HubClient) -> None:
    wrong = {**attention.files, f"{STEM}_cfg.json": b'{"act_size": 16, "dict_size": 32}'}
    hub.state.add([Repo(ATTENTION, wrong)])
    done = download(f"{ATTENTION}/{STEM}.pt", client=client)
    with pytest.raises(FormatError, match=r"W_enc: The shape is \[16, 64\], expected \[16, 32\]"):
        load_sae(done.location)


def test_an_oversized_config_is_not_fetched(hub: Hub, client: HubClient) -> None:
    """Megabytes under the name of a configuration are not fetched."""
    hub.state.add([circuit_tracer(config=b"#" * 1_000_001)])
    assert variants(TRACER, client=client)[0].files == ("layer_0.safetensors",)
    done = download(f"{TRACER}/layer_0.safetensors", client=client)
    assert done.files == (done.location,)
    assert load_sae(done.location).metadata.get("model_name") is None


def test_records_and_cache_have_both_files(hub: Hub, client: HubClient) -> None:
    hub.state.add([circuit_tracer()])
    plan = plan_download(f"{TRACER}/layer_3.safetensors", client=client)
    rows = to_rows(plan.files)
    listing = from_rows(TRACER, plan.revision, plan.path, rows)
    assert listing is not None
    assert set(listing.files) == {file.path for file in plan.files} == {"config.yaml", "layer_3.safetensors"}
    assert from_rows(TRACER, plan.revision, "sub/layer_3.safetensors", rows) is None
    hub.forget()
    done = download(f"{TRACER}@{plan.revision}/{plan.path}", client=client, listing=listing, format=plan.format,
                    branch="main")  # fmt: skip
    assert not hub.requests("/api/")
    assert len(done.files) == 2
    cached = cached_listing(client.cache_dir, HubReference(TRACER))
    assert cached is not None
    assert set(cached.files) == {"config.yaml", "layer_3.safetensors"}
    [first, second] = variants(TRACER, client=client)
    assert (first.cached, second.cached) == (False, True)
