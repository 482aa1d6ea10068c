import errno
import hashlib
import io
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from saewidgets.errors import StorageError
from saewidgets.events import Interruption, Progress, Request
from saewidgets.hub import cache, transfer
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ConnectionLostError,
    DiskFullError,
    FileChangedError,
    GatedRepositoryError,
    HubError,
    TruncatedFileError,
    WrongHashError,
)
from saewidgets.hub.transfer import Downloaded, discard, download, plan_download
from tests.hub.conftest import switch_offline
from tests.hub.repos import Repo, below, large, saelens_files
from tests.hub.server import TOKENS, Hub

READER, WRITER = TOKENS
SAELENS = "jbloom/GPT2-Small-SAEs-Reformatted"
SAE = f"{SAELENS}/blocks.1.hook_resid_pre"
WEIGHTS = "/storage/.*sae_weights"
Make = Callable[..., HubClient]


def big(hub: Hub, megabytes: int = 8) -> tuple[str, bytes]:
    """A repository with one SAE of this size; its weights."""
    repo = large(megabytes, "lab/big")
    hub.state.add([repo])
    return "lab/big/sae", repo.files["sae/sae_weights.safetensors"]


def sha(content: bytes | Path) -> str:
    """What is compared: a test that fails should not show megabytes."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


class Stopper:
    """A `check` that asks for something once `bytes` have arrived."""

    def __init__(self, request: Request, after: int) -> None:
        self.request, self.after, self.done = request, after, 0

    def progress(self, progress: Progress) -> None:
        self.done = progress.done

    def check(self) -> None:
        if self.done >= self.after:
            raise Interruption(self.request)


def partials(client: HubClient) -> list[Path]:
    return sorted(client.cache_dir.rglob("*.incomplete"))


def blob(client: HubClient, weights: bytes) -> Path:
    """Where the weights of `big` are while they arrive."""
    folder = client.cache_dir / "models--lab--big" / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{sha(weights)}.incomplete"


def assert_arrives(weights: bytes, client: HubClient, reference: str = "lab/big/sae") -> Downloaded:
    done = download(reference, client=client)
    assert sha(done.folder / "sae_weights.safetensors") == sha(weights)
    assert not partials(client)
    return done


def test_a_download_lies_where_other_tools_look(
    hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = download(SAE, client=client)
    expected = hub.state.repos[SAELENS]
    assert done.revision == expected.branches["main"]
    assert done.path == "blocks.1.hook_resid_pre"
    assert done.format == "saelens"
    assert {path.name for path in done.files} == {"cfg.json", "sae_weights.safetensors", "sparsity.safetensors"}
    for path in done.files:
        assert sha(path) == sha(expected.files[f"{done.path}/{path.name}"])
    assert done.location == done.folder
    assert done.total_bytes == done.fetched_bytes == sum(path.stat().st_size for path in done.files)
    # huggingface_hub finds every file without asking the hub, by branch and by commit
    for revision in ("main", done.revision):
        found = huggingface_hub.try_to_load_from_cache(
            SAELENS, f"{done.path}/cfg.json", cache_dir=client.cache_dir, revision=revision
        )
        assert sha(Path(str(found))) == sha(done.folder / "cfg.json")
    offline = huggingface_hub.hf_hub_download(
        SAELENS, f"{done.path}/sae_weights.safetensors", cache_dir=client.cache_dir, local_files_only=True
    )
    assert Path(offline).resolve() == (done.folder / "sae_weights.safetensors").resolve()
    [repo] = huggingface_hub.scan_cache_dir(client.cache_dir).repos
    assert repo.repo_id == SAELENS
    assert repo.size_on_disk == done.total_bytes


def test_what_other_tools_fetched_is_not_fetched_again(hub: Hub, client: HubClient) -> None:
    for name in ("cfg.json", "sae_weights.safetensors"):
        huggingface_hub.hf_hub_download(
            SAELENS, f"blocks.1.hook_resid_pre/{name}", cache_dir=client.cache_dir, endpoint=hub.endpoint
        )
    hub.forget()
    done = download(SAE, client=client)
    assert done.fetched_bytes == (done.folder / "sparsity.safetensors").stat().st_size
    assert not hub.requests(WEIGHTS)
    hub.forget()
    again = download(SAE, client=client)
    assert again.fetched_bytes == 0
    assert not hub.requests("resolve|storage")


def test_a_damaged_file_of_the_cache_is_replaced(client: HubClient) -> None:
    done = download(SAE, client=client)
    blob = (done.folder / "sae_weights.safetensors").resolve()
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # of the right size
    again = download(SAE, client=client)
    assert again.fetched_bytes == len(good)
    assert sha(blob) == sha(good)
    blob.write_bytes(good[:100])
    download(SAE, client=client)
    assert sha(blob) == sha(good)


def test_progress_counts_bytes(hub: Hub, client: HubClient) -> None:
    reference, _ = big(hub)
    hub.state.bandwidth = 12e6
    told: list[Progress] = []
    done = download(reference, client=client, emit_progress=told.append)
    assert {progress.unit for progress in told} == {"bytes"}
    assert {progress.total for progress in told} == {done.total_bytes}
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert told[-1].done == done.total_bytes
    assert 3 <= len(told) <= 10 * done.seconds + 5
    rates = [progress.rate for progress in told if progress.rate]
    assert 6e6 < rates[-1] < 15e6
    assert any(progress.eta_seconds for progress in told)


def test_pause_keeps_arrived_bytes_and_resume_continues(hub: Hub, client: HubClient) -> None:
    reference, weights = big(hub)
    hub.state.bandwidth = 20e6
    stopper = Stopper(Request.PAUSE, 3_000_000)
    started = time.monotonic()
    with pytest.raises(Interruption):
        download(reference, client=client, emit_progress=stopper.progress, check=stopper.check)
    assert time.monotonic() - started < 20
    [partial] = partials(client)
    held = partial.stat().st_size
    assert 2_000_000 <= held < len(weights)
    assert sha(partial) == sha(weights[:held])
    hub.state.bandwidth = 0
    hub.forget()
    plan = plan_download(reference, client=client)
    small = sum(path.stat().st_size for path in client.cache_dir.rglob("blobs/*") if path.suffix != ".incomplete")
    assert plan.missing_bytes == plan.total_bytes - held - small
    assert_arrives(weights, client)
    [seen] = hub.requests(WEIGHTS)
    assert seen.headers["range"] == f"bytes={held}-"
    partial.write_bytes(weights[:held])
    assert (discard(plan.partials), discard(plan.partials), partials(client)) == (held, 0, [])


@pytest.mark.parametrize("path", ["/etc/passwd", "blobs/x", "x.incomplete", "blobs/../y/blobs/x.incomplete"])
def test_only_unfinished_downloads_are_thrown_away(tmp_path: Path, path: str) -> None:
    target = tmp_path / path
    with pytest.raises(StorageError):
        discard([target])


@pytest.mark.parametrize("before", ["killed", "longer", "whole", "whole but wrong", "a link"])
def test_leftovers_of_another_download_are_checked(hub: Hub, client: HubClient, before: str, tmp_path: Path) -> None:
    """After a kill the partial file may end anywhere; what cannot be right is not gone on with, nor followed."""
    reference, weights = big(hub, 4)
    (tmp_path / "mine").write_text("mine")
    partial = blob(client, weights)
    if before == "a link":
        partial.symlink_to(tmp_path / "mine")
    else:
        partial.write_bytes({"killed": weights[:1_234_567], "longer": weights + b"x", "whole": weights}.get(
            before, b"x" * len(weights)))  # fmt: skip
    if before == "whole but wrong":
        with pytest.raises(WrongHashError):
            download(reference, client=client)
    assert_arrives(weights, client)
    if before == "killed":
        assert hub.requests(WEIGHTS)[0].headers["range"] == "bytes=1234567-"
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(hub: Hub, client: HubClient) -> None:
    _, weights = big(hub)
    for cut in (1_000_000, 500_000, 1, 700_000):
        hub.fail(WEIGHTS, "cut", cut, times=1)
    assert_arrives(weights, client)
    total, size = sum(seen.sent for seen in hub.requests(WEIGHTS)), len(weights)
    assert total < size + 4 * 400_000
    assert len(hub.requests(WEIGHTS)) == 5


def test_repeated_losses_of_the_connection_report_the_bytes_kept(hub: Hub, client: HubClient) -> None:
    reference, weights = big(hub)
    hub.fail(WEIGHTS, "cut", 1_500_000, times=1)
    hub.fail(WEIGHTS, "cut", 0)
    with pytest.raises(ConnectionLostError, match=r"Lost the connection \d+ times at 1\.\d MB of 8\.\d MB") as error:
        download(reference, client=client)
    assert "What arrived is kept" in str(error.value)
    [partial] = partials(client)
    assert sha(partial) == sha(weights[: partial.stat().st_size])
    hub.heal()
    assert_arrives(weights, client)


def test_a_server_without_ranges(hub: Hub, client: HubClient) -> None:
    _, weights = big(hub)
    hub.fail(WEIGHTS, "cut", 2_000_000, times=1)
    hub.fail(WEIGHTS, "norange")
    assert_arrives(weights, client)


def test_a_file_that_is_longer_than_listed_is_not_written(hub: Hub, client: HubClient) -> None:
    reference, weights = big(hub, 2)
    files = hub.state.repos["lab/big"].files
    plan_download(reference, client=client)
    files["sae/sae_weights.safetensors"] = weights * 3
    with pytest.raises(FileChangedError, match="another version"):
        download(reference, client=client)
    assert sum(partial.stat().st_size for partial in partials(client)) <= len(weights)
    files["sae/sae_weights.safetensors"] = weights
    assert_arrives(weights, client)


def test_the_commit_is_kept_when_the_branch_moves(hub: Hub, client_of: Make) -> None:
    files = below("sae", saelens_files(0))
    repo = Repo("lab/moving", files)
    hub.state.add([repo])
    first = plan_download("lab/moving/sae", client=client_of())
    repo.commit(below("sae", saelens_files(5)))
    old = download(f"lab/moving@{first.revision}/sae", client=client_of())
    assert sha(old.folder / "sae_weights.safetensors") == sha(files["sae/sae_weights.safetensors"])
    new = download("lab/moving/sae", client=client_of())
    assert new.revision == repo.branches["main"] != old.revision
    assert sha(new.folder / "sae_weights.safetensors") == sha(repo.files["sae/sae_weights.safetensors"])


def test_the_disk_is_looked_at_first(hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    plan = plan_download(SAE, client=client)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 100, 100))
    hub.forget()
    words = r"Not enough disk space\. The download needs .* and 100 B is free"
    with pytest.raises(DiskFullError, match=words) as error:
        download(SAE, client=client)
    assert error.value.hint
    assert not hub.requests("resolve|storage")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, plan.total_bytes))
    download(SAE, client=client)


def test_a_disk_that_fills_up_while_writing(hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, weights = big(hub, 4)

    class Full(io.BufferedRandom):
        def write(self, block: Any) -> int:
            if self.tell() > 300_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(block)

    monkeypatch.setattr(transfer, "open", lambda path, mode: Full(io.FileIO(path, mode)), raising=False)
    with pytest.raises(DiskFullError, match="disk is full") as error:
        download(reference, client=client)
    assert "continues where it stopped" in str(error.value)
    monkeypatch.undo()
    switch_offline(monkeypatch, False)
    assert assert_arrives(weights, client).fetched_bytes < len(weights)


def test_a_cache_that_is_a_file(client_of: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        download(SAE, client=client_of(cache_dir=tmp_path / "file"))


def test_two_downloads_of_one_sae_fetch_it_once(hub: Hub, client_of: Make) -> None:
    reference, weights = big(hub)
    hub.state.bandwidth = 30e6
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(download(reference, client=client_of()))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 3
    assert len(hub.requests(WEIGHTS)) == 1
    assert sum(done.fetched_bytes >= len(weights) for done in results) == 1


def test_waiting_for_another_download_can_be_stopped(hub: Hub, client: HubClient) -> None:
    plan = plan_download(SAE, client=client)
    first, begun = min(plan.files, key=lambda file: file.size), time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > 0.3:
            raise Interruption(Request.PAUSE)

    with cache.locked(client.cache_dir, plan.listing, first, lambda: None), pytest.raises(Interruption):
        download(SAE, client=client, check=check)
    assert not hub.requests(WEIGHTS)
    assert time.monotonic() - begun < 20


def test_an_sae_at_the_root_and_a_named_file(hub: Hub, client: HubClient) -> None:
    root = download("lab/one-sae", client=client)
    assert root.path == ""
    assert (root.folder / "cfg.json").is_file()
    by_file = download(f"{hub.endpoint}/{SAELENS}/blob/main/blocks.2.hook_resid_pre/cfg.json", client=client)
    assert by_file.path == "blocks.2.hook_resid_pre"


def test_a_gated_repository_says_so_before_and_works_with_access(client_of: Make) -> None:
    for token in (None, READER):
        with pytest.raises(GatedRepositoryError, match="lab/gated-saes is gated") as error:
            download("lab/gated-saes/sae", client=client_of(token))
        assert "licence" in str(error.value)
    assert download("lab/gated-saes/sae", client=client_of(WRITER)).fetched_bytes > 0


def test_nothing_is_written_outside_the_cache(hub: Hub, client: HubClient, tmp_path: Path) -> None:
    name = next(path for path in hub.state.repos["lab/hostile"].files if path.startswith("<img")).split("/")[0]
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(client.cache_dir)}
    done = download(f"lab/hostile/{name}", client=client)
    assert done.folder.name == name
    assert (done.folder / "cfg.json").is_file()
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(client.cache_dir)} == before


@pytest.mark.parametrize(
    ("name", "kind", "value", "error"),
    [
        ("sae_weights", "status", 500, HubError), ("sae_weights", "status", 429, HubError),
        ("sae_weights", "hang", 5, HubError), ("sae_weights", "cut", 10_000, HubError),
        ("sae_weights", "latency", 3, HubError), ("sae_weights", "short", 10_000_000, TruncatedFileError),
        ("sae_weights", "corrupt", None, WrongHashError), ("cfg.json", "corrupt", None, WrongHashError),
    ],
)  # fmt: skip
def test_a_failed_download_keeps_nothing_wrong_and_a_retry_finishes(
    hub: Hub, client_of: Make, name: str, kind: str, value: Any, error: type[HubError]
) -> None:
    client = client_of(retries=1, timeout=0.5)
    plan = plan_download(SAE, client=client)
    expected = hub.state.repos[SAELENS].files
    hub.fail(f"(resolve|storage)/.*{name}", kind, value)
    with pytest.raises(error, match=r"Try again|Sign in|sign in") as caught:
        download(SAE, client=client)
    assert not list(client.cache_dir.rglob(f"{name}*"))
    if isinstance(caught.value, WrongHashError):
        assert not partials(client), "it was thrown away"
    for path in client.cache_dir.rglob("snapshots/*/*/*"):
        assert sha(path) == sha(expected[f"{plan.path}/{path.name}"])
    hub.heal()
    done = download(SAE, client=client)
    for path in done.files:
        assert sha(path) == sha(expected[f"{plan.path}/{path.name}"])


def test_a_download_may_last_as_long_as_it_comes_in(hub: Hub, client: HubClient) -> None:
    plan = plan_download(SAE, client=client)
    client.longest = -1.0  # what is no download would be refused
    assert download(SAE, client=client).total_bytes == plan.total_bytes
