"""What is in the cache needs no network: with the switch on, and with nobody at the other end."""

import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.utils
import pytest

import saewidgets as sw
from saewidgets.errors import ConfigError
from saewidgets.hub.browse import preview, variants
from saewidgets.hub.cache import cached_listing, from_rows, to_rows
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import HubOfflineError, WrongHashError
from saewidgets.hub.reference import HubReference
from saewidgets.hub.repository import repo_info
from saewidgets.hub.transfer import download, plan_download
from tests.hub.conftest import switch_offline
from tests.hub.repos import TRACER, circuit_tracer
from tests.hub.server import Hub

SAELENS = "jbloom/GPT2-Small-SAEs-Reformatted"
SAE = f"{SAELENS}/blocks.1.hook_resid_pre"
Make = Callable[..., HubClient]


def _stop(hub: Hub) -> None:
    hub.__exit__()
    for name in ("close_session", "reset_sessions"):  # connections that are open are still served
        getattr(huggingface_hub.utils, name, lambda: None)()


@pytest.fixture(params=["refused", "switched off"])
def cut_off(request: pytest.FixtureRequest, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take the network away."""

    def cut() -> None:
        hub.forget()
        if request.param == "refused":
            _stop(hub)
        else:
            switch_offline(monkeypatch, True)

    return cut


def test_a_cached_sae_is_there_without_a_network(
    client_of: Make, hub: Hub, cut_off: Callable[[], None]
) -> None:
    before = download(SAE, client=client_of())
    cut_off()
    client = client_of()  # another process: nothing is listed
    for text in (SAE, f"{SAE}@main", f"{SAE}@{before.revision}"):
        plan = plan_download(text, client=client)
        assert (plan.revision, plan.missing_bytes, plan.format) == (before.revision, 0, "saelens")
        after = download(text, client=client)
        assert (after.location, after.files, after.fetched_bytes) == (before.location, before.files, 0)
    assert download(SAELENS, client=client).location == before.location, "the only one that is here"
    assert not hub.requests()


def test_offline_mode_lists_and_previews_cached_saes(
    client_of: Make, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = download(SAE, client=client_of())
    asked = preview(SAE, client=client_of())
    hub.forget()
    switch_offline(monkeypatch, True)
    client = client_of()  # another process: nothing is listed
    for text in (SAELENS, f"{SAELENS}@main", f"{SAELENS}@{before.revision}", SAE):
        (found,) = variants(text, client=client)
        assert (found.path, found.layer, found.cached, found.from_cache) == (before.path, 1, True, True)
        info = repo_info(text, client=client)
        assert (info.revision, info.files, info.size_bytes) == (before.revision, len(before.files), before.total_bytes)
        assert info.from_cache
        seen = preview(text, client=client)
        for name in ("format", "architecture", "d_in", "d_sae", "dtype", "hook_name", "total_bytes", "config", "model"):
            assert getattr(seen, name) == getattr(asked, name), name
        assert (seen.requests, seen.download_bytes, seen.from_cache, asked.from_cache) == (0, 0, True, False)
        assert [warning.what for warning in seen.warnings if "Offline mode" in warning.what]
    assert not hub.requests()


@pytest.mark.parametrize("look", [repo_info, variants, preview])
def test_offline_mode_reports_uncached_repositories(
    look: Callable[..., object], client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(SAE, client=client_of())
    switch_offline(monkeypatch, True)
    for text in ("lab/one-sae", f"{SAELENS}@0000000000000000000000000000000000000000"):
        with pytest.raises(HubOfflineError, match=r"^HF_HUB_OFFLINE: Offline mode.*Unset.*not in the cache"):
            look(text, client=client_of())
    if look is not repo_info:
        with pytest.raises(HubOfflineError, match="not in the cache of this machine either"):
            look(f"{SAELENS}/blocks.0.hook_resid_pre", client=client_of())


def test_a_lost_connection_does_not_switch_to_offline_mode(client_of: Make, hub: Hub) -> None:
    """A list of what happens to be here would pass for the repository's."""
    download(SAE, client=client_of())
    _stop(hub)
    with pytest.raises(HubOfflineError, match="cannot be reached"):
        variants(SAELENS, client=client_of(retries=0))


def test_load_sae_of_a_cached_repository(
    client_of: Make, hub: Hub, cut_off: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(client.cache_dir))
    assert sw.load_sae("lab/one-sae").d_sae == 256
    cut_off()
    assert sw.load_sae("lab/one-sae").d_sae == 256
    with pytest.raises(HubOfflineError, match="not in the cache of this machine either"):
        sw.load_sae(SAE)


def test_what_another_tool_fetched(client_of: Make, hub: Hub, cut_off: Callable[[], None]) -> None:
    client = client_of()
    for name in ("cfg.json", "sae_weights.safetensors"):
        huggingface_hub.hf_hub_download(
            SAELENS, f"blocks.1.hook_resid_pre/{name}", cache_dir=client.cache_dir, endpoint=hub.endpoint
        )
    cut_off()
    assert {path.name for path in download(SAE, client=client).files} == {"cfg.json", "sae_weights.safetensors"}


def test_several_in_the_cache_are_named(client_of: Make, cut_off: Callable[[], None]) -> None:
    client = client_of()
    for layer in (0, 1):
        download(f"{SAELENS}/blocks.{layer}.hook_resid_pre", client=client)
    cut_off()
    with pytest.raises(ConfigError, match="2 SAEs here"):
        download(SAELENS, client=client_of())


@pytest.mark.parametrize("lost", ["sae_weights.safetensors", "cfg.json"])
def test_half_an_sae_is_none(client_of: Make, cut_off: Callable[[], None], lost: str) -> None:
    client = client_of()
    (download(SAE, client=client).folder / lost).unlink()
    cut_off()
    with pytest.raises(HubOfflineError, match="not in the cache of this machine either"):
        download(SAE, client=client_of())


def test_a_damaged_file_is_not_taken_for_the_real_one(client_of: Make, cut_off: Callable[[], None]) -> None:
    blob = (download(SAE, client=client_of()).folder / "sae_weights.safetensors").resolve()
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    cut_off()
    with pytest.raises((HubOfflineError, WrongHashError)):
        download(SAE, client=client_of(retries=0))


def test_a_cache_without_links(client_of: Make, cut_off: Callable[[], None]) -> None:
    done = download(SAE, client=client_of())
    for path in done.files:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    shutil.rmtree(done.files[0].parents[3] / "blobs")
    cut_off()
    assert download(SAE, client=client_of()).files == done.files


def test_links_that_lead_out_of_the_cache_are_not_followed(client_of: Make, tmp_path: Path) -> None:
    client = client_of()
    done = download(SAE, client=client)
    secret = tmp_path / ("0" * 64)
    secret.write_bytes(b"secret")
    (done.folder / "secret.json").symlink_to(secret)
    (done.folder / "elsewhere").symlink_to(tmp_path)
    listing = cached_listing(client.cache_dir, HubReference(SAELENS))
    assert listing is not None
    assert {path.rpartition("/")[2] for path in listing.paths} == {path.name for path in done.files}


@pytest.mark.parametrize("revision", ["../../x", "main", "f" * 40, "main\n"])
def test_a_repository_that_is_not_here(client_of: Make, revision: str) -> None:
    assert cached_listing(client_of().cache_dir, HubReference("lab/nothing", revision)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../../outside"}, {"path": "/etc/passwd"}, {"path": "other/cfg.json"}, {"path": "cfg.json"},
        {"path": 3}, {"size": -1}, {"size": "1"}, {"size": True}, {"git": "../x"}, {"git": None},
        {"sha256": "../../x"}, {"sha256": 1},
    ],
)  # fmt: skip
def test_rejects_rows_that_do_not_form_a_listing(hub: Hub, client: HubClient, change: dict[str, object]) -> None:
    hub.state.add([circuit_tracer("sub/")])
    for text in (SAE, f"{TRACER}/sub/layer_3.safetensors"):  # a folder, and one file with what is beside it
        plan = plan_download(text, client=client)
        rows = sorted(to_rows(plan.files), key=lambda row: row["path"])
        assert from_rows(plan.repo_id, plan.revision, plan.path, rows) is not None
        assert from_rows(plan.repo_id, plan.revision, plan.path, [{**rows[0], **change}, *rows[1:]]) is None


@pytest.mark.parametrize("rows", [None, [], {}, "x", [None], [{}]])
def test_rows_of_another_shape(rows: object) -> None:
    assert from_rows(SAELENS, "0" * 40, "a", rows) is None
    assert from_rows(SAELENS, "main", "a", rows) is None
