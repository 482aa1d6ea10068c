from __future__ import annotations

import importlib
import shutil
from collections import namedtuple
from collections.abc import Callable

import numpy as np
import pytest

from saewidgets.errors import FormatError
from saewidgets.hub.browse import preview, variants
from saewidgets.hub.client import HubClient
from saewidgets.hub.transfer import download
from tests.hub.repos import HOSTILE, Repo, below, npz, saelens_files, weights
from tests.hub.server import Hub

SAELENS = "jbloom/GPT2-Small-SAEs-Reformatted"
OF_THE_HUB = "^(?!/storage/)"  # where large files are fetched by a redirect
GEMMA = "google/gemma-scope-2b-pt-res"
Make = Callable[..., HubClient]
PREVIEW = importlib.import_module("saewidgets.hub.browse")  # the package has the function of that name

EVERY = [
    f"{SAELENS}/blocks.2.hook_resid_pre",
    f"{GEMMA}/layer_12/width_16k/average_l0_82",
    "google/gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_small",
    "google/gemma-scope-2-270m-pt/transcoder/layer_9_width_16k_l0_big",
    "EleutherAI/sae-pythia-70m-32k/layers.2",
    "canrager/lm_sae",
    "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer14.sae.pt",
    "lab/one-sae",
    f"lab/hostile/{HOSTILE}",
]


@pytest.mark.parametrize("text", EVERY)
def test_few_requests_and_few_bytes(hub: Hub, client: HubClient, text: str) -> None:
    variants(text, client=client)
    hub.forget()
    found = preview(text, client=client)
    assert found.requests == len(hub.requests(OF_THE_HUB)) <= 3
    assert sum(seen.sent for seen in hub.requests()) <= 200_000
    assert not found.cached
    assert found.download_bytes == found.total_bytes


def test_a_saelens_sae(hub: Hub, client: HubClient) -> None:
    found = preview(f"{SAELENS}/blocks.2.hook_resid_pre", client=client)
    assert (found.format, found.architecture, found.d_in, found.d_sae, found.d_out) == (
        "saelens", "standard", 32, 256, 32)  # fmt: skip
    assert (found.dtype, found.model, found.hook_name, found.layer) == (
        "float32", "openai-community/gpt2", "blocks.2.hook_resid_pre", 2)  # fmt: skip
    size = len(hub.state.repos[SAELENS].files["blocks.2.hook_resid_pre/sae_weights.safetensors"])
    assert found.memory_bytes == pytest.approx(size, rel=0.05)
    assert found.gated_model is False
    assert found.warnings == ()
    assert found.config["metadata"]["model_name"] == "gpt2-small"


def test_gemma_scope_from_the_ends_of_its_archive(hub: Hub, client: HubClient) -> None:
    text = f"{GEMMA}/layer_12/width_16k/average_l0_82"
    variants(text, client=client)
    hub.forget()
    found = preview(text, client=client)
    assert (found.architecture, found.d_in, found.d_sae, found.d_out) == ("jumprelu", 8, 16384, 8)
    assert (found.model, found.hook_name, found.layer) == ("google/gemma-2-2b", "blocks.12.hook_resid_post", 12)
    assert found.gated_model is True
    assert found.warnings[0].kind == "gated_model"
    assert found.warnings[0].what == "google/gemma-2-2b is gated."
    assert found.config["average_l0"] == 82


def test_of_pickled_weights_only_the_size(client: HubClient) -> None:
    found = preview("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer0.sae.pt", client=client)
    assert (found.format, found.dtype, found.memory_bytes, found.gpu_bytes) == ("qwen_scope", None, None, None)
    assert found.total_bytes > 1_000_000
    assert [warning.kind for warning in found.warnings] == ["pickle"]
    assert found.settings["k"] == 50


def test_weights_are_not_touched(hub: Hub, client: HubClient) -> None:
    """What is read of a weights file ends where the numbers begin, or is the directory at its end."""
    repo = Repo("lab/large", below("a", saelens_files(0, d_in=512, d_sae=4096)))
    hub.state.add([repo])
    preview("lab/large/a", client=client)
    weights_bytes = len(repo.files["a/sae_weights.safetensors"])
    sent = sum(seen.sent for seen in hub.requests("/storage/"))
    assert sent <= 1 << 16 < weights_bytes / 100


def test_the_base_model_is_asked_about_once(hub: Hub, client: HubClient) -> None:
    """Its name does not say whether it is gated."""
    hub.state.add([_unheard_of({})])
    assert [preview(f"lab/two/{path}", client=client).gated_model for path in "ab"] == [True, True]
    assert len(hub.requests("api/models/lab/unheard-of-model")) == 1


def test_what_is_cached(hub: Hub, client: HubClient) -> None:
    text = f"{SAELENS}/blocks.0.hook_resid_pre"
    download(text, client=client)
    hub.forget()
    found = preview(text, client=client)
    assert found.cached
    assert found.download_bytes == 0
    assert found.requests == 0
    assert not hub.requests("resolve|storage")


def test_memory_and_disk_are_warned_about(client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{GEMMA}/layer_12/width_65k"
    assert {warning.kind for warning in preview(text, client=client, device="cpu").warnings} == {"gated_model"}
    monkeypatch.setattr(PREVIEW, "free_memory", lambda _: 1000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    found = {warning.kind: warning for warning in preview(text, client=client, device="cpu").warnings}
    assert found["memory"].what == "Not enough memory on cpu."
    assert "needs 4.7 MB in float32" in str(found["memory"].hint)
    assert found["disk"].what == "Not enough disk space."


def test_hostile_names_come_through_as_text(client: HubClient) -> None:
    found = preview(f"lab/hostile/{HOSTILE}", client=client)
    assert found.path == found.model == HOSTILE
    assert found.gated_model is None


def test_headers_that_lie_are_an_error(hub: Hub, client: HubClient) -> None:
    files = saelens_files(0)
    config = files["cfg.json"].replace(b'"d_sae": 256', b'"d_sae": 257')
    hub.state.add([Repo("lab/lies", below("a", {**files, "cfg.json": config}))])
    with pytest.raises(FormatError, match=r"cfg\.json|shape"):
        preview("lab/lies", client=client)


@pytest.mark.parametrize("change", ["missing", "shape", "width", "object", "cut"])
def test_archives_that_lie_are_an_error(hub: Hub, client: HubClient, change: str) -> None:
    arrays = weights(8, 16384, threshold=True)
    if change == "missing":
        del arrays["b_enc"]
    if change == "shape":
        arrays["W_dec"] = arrays["W_dec"][:, :7]
    if change == "width":
        arrays = weights(8, 8192, threshold=True)
    if change == "object":
        arrays["W_enc"] = arrays["W_enc"].astype(np.int32)
    data = npz(arrays)
    if change == "cut":
        data = data[:-100]
    name = f"lab/gemma-scope-2b-pt-res-{change}"
    hub.state.add([Repo(name, {"layer_1/width_16k/average_l0_5/params.npz": data})])
    with pytest.raises(FormatError):
        preview(name, client=client)


def test_an_oversized_header_is_not_fetched(hub: Hub, client: HubClient) -> None:
    huge = (50_000_000).to_bytes(8, "little") + b"{" + b" " * 60_000_000
    hub.state.add([Repo("lab/header", below("a", {**saelens_files(0), "sae_weights.safetensors": huge}))])
    with pytest.raises(FormatError, match="header"):
        preview("lab/header", client=client)
    assert sum(seen.sent for seen in hub.requests()) < 200_000


def test_faults_of_the_hub_pass(hub: Hub, client: HubClient) -> None:
    hub.fail("resolve|storage|api", "status", 503, times=3)
    hub.fail("/storage/", "cut", 100, times=1)
    assert preview(f"{SAELENS}/blocks.1.hook_resid_pre", client=client).d_sae == 256


def test_a_server_without_ranges(hub: Hub, client: HubClient) -> None:
    hub.fail("", "norange")
    assert preview("EleutherAI/sae-pythia-70m-32k/layers.0", client=client).d_sae == 128


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
    monkeypatch.setattr(PREVIEW, "free_memory", lambda _: between)
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


def _unheard_of(card: dict[str, str]) -> Repo:
    model = "lab/unheard-of-model"
    files = {**below("a", saelens_files(0, model_name=model)), **below("b", saelens_files(0, model_name=model))}
    return Repo("lab/two", files, card=card)


def test_a_base_model_that_the_card_names_is_asked_about_with_the_listing(hub: Hub, client: HubClient) -> None:
    hub.state.add([_unheard_of({"base_model": "lab/unheard-of-model"})])
    variants("lab/two", client=client)
    hub.forget()
    found = [preview(f"lab/two/{path}", client=client) for path in ("b", "a")]
    assert [one.gated_model for one in found] == [True, True]
    assert [one.requests for one in found] == [2, 1]


def test_what_is_only_for_a_warning_is_not_tried_again_and_again(hub: Hub, client: HubClient) -> None:
    hub.state.add([_unheard_of({})])
    hub.fail("unheard-of-model", "status", 503)
    found = preview("lab/two/a", client=client)
    assert (found.model, found.gated_model) == ("lab/unheard-of-model", None)
    assert len(hub.requests("unheard-of-model")) == 1
