"""Which SAEs a repository has, by names and a look at one folder of each kind; and one of them before its download."""

import importlib
import shutil
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.errors import FormatError
from saewidgets.formats import detect_format, load_sae
from saewidgets.hub.browse import facets, needed_files, preview, read_names, variants
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import NoSAEError
from saewidgets.hub.reference import parse_reference
from saewidgets.hub.repository import list_repository
from saewidgets.hub.transfer import download
from tests.hub.repos import HOSTILE, Repo, below, npz, saelens_files, weights
from tests.hub.server import Hub

SAELENS = "jbloom/GPT2-Small-SAEs-Reformatted"
GEMMA, GEMMA_2 = "google/gemma-scope-2b-pt-res", "google/gemma-scope-2-270m-pt"
QWEN = "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50"
OF_THE_HUB = "^(?!/storage/)"  # where large files are fetched by a redirect
BROWSE = importlib.import_module("saewidgets.hub.browse")
Make = Callable[..., HubClient]

# One SAE of each format, how many its repository has, and what is known before its weights are there.
PLACES: list[tuple[str, int, dict[str, Any]]] = [
    (f"{SAELENS}/blocks.2.hook_resid_pre", 3, {
        "format": "saelens", "architecture": "standard", "d_in": 32, "d_sae": 256, "d_out": 32, "dtype": "float32",
        "model": "openai-community/gpt2", "hook_name": "blocks.2.hook_resid_pre", "layer": 2, "gated_model": False}),
    (f"{GEMMA}/layer_12/width_16k/average_l0_82", 9, {
        "format": "gemma_scope", "architecture": "jumprelu", "d_in": 8, "d_sae": 16384, "d_out": 8, "layer": 12,
        "model": "google/gemma-2-2b", "hook_name": "blocks.12.hook_resid_post", "gated_model": True}),
    (f"{GEMMA_2}/resid_post/layer_5_width_16k_l0_small", 12, {
        "format": "gemma_scope_2", "architecture": "jumprelu", "d_sae": 16384, "model": "google/gemma-3-270m",
        "hook_name": "blocks.5.hook_resid_post", "layer": 5, "gated_model": True}),
    (f"{GEMMA_2}/transcoder/layer_9_width_16k_l0_big", 12, {
        "format": "gemma_scope_2", "architecture": "jumprelu_transcoder", "hook_name": "blocks.9.mlp.hook_in"}),
    ("EleutherAI/sae-pythia-70m-32k/layers.2", 3, {
        "format": "sparsify", "architecture": "topk", "d_in": 16, "d_sae": 128, "model": "EleutherAI/pythia-70m",
        "hook_name": "blocks.2.hook_resid_post", "layer": 2, "gated_model": False}),
    ("canrager/lm_sae", 1, {
        "format": "dictionary_learning", "architecture": "topk", "d_in": 16, "d_sae": 64, "layer": 3, "dtype": None,
        "model": "EleutherAI/pythia-70m-deduped", "hook_name": "blocks.3.hook_resid_post", "memory_bytes": None}),
    (f"{QWEN}/layer14.sae.pt", 2, {  # of pickled weights only the size
        "format": "qwen_scope", "architecture": "topk", "d_in": None, "d_sae": 32768, "layer": 14, "dtype": None,
        "hook_name": "blocks.14.hook_resid_post", "memory_bytes": None, "gpu_bytes": None}),
    ("lab/one-sae", 1, {
        "format": "saelens", "path": "", "model": "lab/unheard-of-model", "layer": 4, "gated_model": True}),
    (f"lab/hostile/{HOSTILE}", 2, {
        "format": "saelens", "path": HOSTILE, "model": HOSTILE, "gated_model": None}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "number", "known"), PLACES)
def test_each_format_from_the_listing_to_the_weights(
    hub: Hub, client: HubClient, client_of: Make, text: str, number: int, known: dict[str, Any]
) -> None:
    place = parse_reference(text)
    there = variants(place.repo_id, client=client)
    assert (len(there), {one.format for one in there}) == (number, {known["format"]})
    [listed] = variants(text, client=client)
    sizes = {path: len(data) for path, data in hub.state.repos[place.repo_id].files.items()}
    assert listed.size_bytes == sum(sizes[path] for path in listed.files)
    hub.forget()
    found = preview(text, client=client)
    assert found.requests == len(hub.requests(OF_THE_HUB)) <= 3
    assert sum(seen.sent for seen in hub.requests()) <= 200_000
    assert {name: getattr(found, name) for name in known} == known
    assert (found.cached, found.download_bytes, found.total_bytes) == (False, listed.size_bytes, listed.size_bytes)
    pickled = {"pickle"} if found.dtype is None else set()
    assert {warning.kind for warning in found.warnings} == pickled | ({"gated_model"} if found.gated_model else set())

    done = download(text, client=client)
    assert detect_format(done.location) == done.format == known["format"]
    sae = load_sae(done.location)
    assert (sae.cfg.architecture, sae.d_sae) == (found.architecture, found.d_sae)
    assert found.d_in in (None, sae.d_in)
    assert found.settings.get("k") == getattr(sae.cfg, "k", None)
    assert sae.encode(torch.zeros(3, sae.d_in)).shape == (3, sae.d_sae)
    if found.memory_bytes is not None:
        used = sum(tensor.nbytes for tensor in sae.state_dict().values())
        assert found.memory_bytes == pytest.approx(used, rel=0.05)
    variants(text, client=(other := client_of()))
    hub.forget()
    again = preview(text, client=other)
    assert (again.cached, again.download_bytes) == (True, 0)
    assert not hub.requests("resolve|storage")


def test_the_configuration_is_shown(client: HubClient) -> None:
    assert preview(f"{SAELENS}/blocks.2.hook_resid_pre", client=client).config["metadata"]["model_name"] == "gpt2-small"
    found = preview(f"{GEMMA}/layer_12/width_16k/average_l0_82", client=client)
    assert found.config["average_l0"] == 82
    assert found.warnings[0].what == "google/gemma-2-2b is gated."


@pytest.mark.parametrize(
    ("text", "said", "near"),
    [
        ("openai-community/gpt2", r"It holds a language model \(model\.safetensors", (SAELENS,)),
        ("lab/nothing", r"README\.md", ()),
        (f"{SAELENS}/nowhere", "nothing at nowhere", ()),
    ],
)
def test_errors_describe_a_repository_without_an_sae(
    client: HubClient, text: str, said: str, near: tuple[str, ...]
) -> None:
    with pytest.raises(NoSAEError, match=said) as error:
        variants(text, client=client)
    assert set(near) <= set(error.value.suggestions)


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
        ("google/gemma-scope-2-4b-pt", "transcoder_all/layer_10_width_16k_l0_big_affine", "transcoder", 10, "16k",
         16384, 112),
        ("google/gemma-scope-2-4b-pt", "attn_out/layer_9_width_1m_l0_small", "attn_out", 9, "1m", 1048576, None),
        ("fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L16R-8x", "resid_post", 16, None, None, None),
        ("fnlp/Llama-Scope-R1-Distill", "400M-Slimpajama-400M-OpenR1-Math-220k/L16R", "resid_post", 16, None, None,
         None),
        ("chanind/gemma-2-2b-batch-topk-matryoshka-saes-w-32k-l0-40", "snap/blocks.7.hook_resid_post", "resid_post", 7,
         "32k", 32768, None),
        ("EleutherAI/sae-pythia-70m-32k", "layers.2.mlp", "mlp_out", 2, "32k", 32768, None),
        ("canrager/lm_sae", "pythia70m_sweep/resid_post_layer_4/trainer_0", "resid_post", 4, None, None, None),
        ("jbloom/GPT2-Small-OAI-v5-32k-mlp-out-SAEs", "v5_32k_layer_6", None, 6, "32k", 32768, None),
        ("jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8", "blocks.8.hook_resid_pre_12288", "resid_pre", 8,
         None, 12288, None),
        (QWEN, "layer14.sae.pt", "resid_post", 14, "32k", 32768, 50),
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


def test_archives_without_an_sae_are_not_listed(hub: Hub, client: HubClient) -> None:
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
    monkeypatch.setattr(BROWSE, "MOST_LOOKS", 3)
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


def test_weights_are_not_touched(hub: Hub, client: HubClient) -> None:
    """What is read of a weights file ends where the numbers begin, or is the directory at its end."""
    repo = Repo("lab/large", below("a", saelens_files(0, d_in=512, d_sae=4096)))
    hub.state.add([repo])
    preview("lab/large/a", client=client)
    weights_bytes = len(repo.files["a/sae_weights.safetensors"])
    sent = sum(seen.sent for seen in hub.requests("/storage/"))
    assert sent <= 1 << 16 < weights_bytes / 100


def test_memory_and_disk_are_warned_about(client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{GEMMA}/layer_12/width_65k"
    assert {warning.kind for warning in preview(text, client=client, device="cpu").warnings} == {"gated_model"}
    monkeypatch.setattr(BROWSE, "free_memory", lambda _: 1000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    found = {warning.kind: warning for warning in preview(text, client=client, device="cpu").warnings}
    assert found["memory"].what == "Not enough memory on cpu."
    assert "needs 4.7 MB in float32" in str(found["memory"].hint)
    assert found["disk"].what == "Not enough disk space."


def test_an_oversized_header_is_not_fetched(hub: Hub, client: HubClient) -> None:
    huge = (50_000_000).to_bytes(8, "little") + b"{" + b" " * 60_000_000
    hub.state.add([Repo("lab/header", below("a", {**saelens_files(0), "sae_weights.safetensors": huge}))])
    with pytest.raises(FormatError, match="header"):
        preview("lab/header", client=client)
    assert sum(seen.sent for seen in hub.requests()) < 200_000


def test_an_accelerator_holds_the_weights_as_they_are(
    hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision in the file: what is too much for the CPU in float32 may fit a card."""
    arrays = {name: value.astype(np.float16) for name, value in weights(8, 16384, threshold=True).items()}
    path = "layer_2/width_16k/average_l0_6"
    hub.state.add([Repo("lab/gemma-scope-2b-pt-mlp", {f"{path}/params.npz": npz(arrays)})])
    place = f"lab/gemma-scope-2b-pt-mlp/{path}"
    found = preview(place, client=client)
    assert (found.dtype, found.memory_bytes) == ("float16", 2 * found.total_bytes)
    between = ((found.memory_bytes or 0) + (found.gpu_bytes or 0)) // 2
    monkeypatch.setattr(BROWSE, "free_memory", lambda _: between)
    for device, fits in (("cpu", False), ("cuda:0", True)):
        kinds = {warning.kind for warning in preview(place, client=client, device=device).warnings}
        assert ("memory" not in kinds) == fits


def test_nothing_that_the_listing_read_is_read_again(hub: Hub, client: HubClient) -> None:
    text = f"{SAELENS}/blocks.0.hook_resid_pre"
    [first, *_] = variants(SAELENS, client=client)
    preview(f"{SAELENS}@{first.revision}/blocks.0.hook_resid_pre", client=client)
    preview(text, client=client)
    asked = [seen.path.partition("?")[0] for seen in hub.requests()]
    assert len([path for path in asked if path.endswith("blocks.0.hook_resid_pre/cfg.json")]) == 1
    assert len([path for path in asked if path.startswith(f"/api/models/{SAELENS}") and "/tree/" not in path]) == 1
    assert len(asked) == len(set(asked))


def _lying_archive(change: str) -> bytes:
    arrays = weights(8, 8192 if change == "width" else 16384, threshold=True)
    if change == "missing":
        del arrays["b_enc"]
    if change == "shape":
        arrays["W_dec"] = arrays["W_dec"][:, :7]
    if change == "object":
        arrays["W_enc"] = arrays["W_enc"].astype(np.int32)
    return npz(arrays)[: -100 if change == "cut" else None]


@pytest.mark.parametrize("change", ["a header", "missing", "shape", "width", "object", "cut"])
def test_files_that_lie_are_an_error(hub: Hub, client: HubClient, change: str) -> None:
    name = "lab/gemma-scope-2b-pt-res-lies"
    if change == "a header":
        files = saelens_files(0)
        files["cfg.json"] = files["cfg.json"].replace(b'"d_sae": 256', b'"d_sae": 257')
    else:
        files = {"layer_1/width_16k/average_l0_5/params.npz": _lying_archive(change)}
    hub.state.add([Repo(name, files)])
    with pytest.raises(FormatError):
        preview(name, client=client)


def test_faults_of_the_hub_pass_and_ranges_are_not_needed(hub: Hub, client: HubClient) -> None:
    hub.fail("resolve|storage|api", "status", 503, times=3)
    hub.fail("/storage/", "cut", 100, times=1)
    assert preview(f"{SAELENS}/blocks.1.hook_resid_pre", client=client).d_sae == 256
    hub.fail("", "norange")
    assert preview("EleutherAI/sae-pythia-70m-32k/layers.0", client=client).d_sae == 128


def test_a_base_model_whose_name_does_not_say_whether_it_is_gated_is_asked_about_once(
    hub: Hub, client: HubClient, client_of: Make
) -> None:
    model = "lab/unheard-of-model"
    files = {**below("a", saelens_files(0, model_name=model)), **below("b", saelens_files(0, model_name=model))}
    hub.state.add([Repo("lab/two", files), Repo("lab/named", files, card={"base_model": model})])
    assert [preview(f"lab/two/{path}", client=client).gated_model for path in "ab"] == [True, True]
    assert len(hub.requests(f"api/models/{model}")) == 1
    variants("lab/named", client=(other := client_of()))  # the card names it: with the listing
    found = [preview(f"lab/named/{path}", client=other) for path in ("b", "a")]
    assert [(one.gated_model, one.requests) for one in found] == [(True, 2), (True, 1)]
    hub.forget()
    hub.fail(model, "status", 503)  # only a warning depends on it
    assert preview("lab/two/a", client=client_of()).gated_model is None
    assert len(hub.requests(model)) == 1
