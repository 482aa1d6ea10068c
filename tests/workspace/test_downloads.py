"""Downloads as jobs, against a hub on this machine that also misbehaves."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.jobs import Job, JobSettings
from saewidgets.workspace import Workspace
from tests.hub.conftest import switch_offline
from tests.hub.repos import TRACER, Repo, circuit_tracer
from tests.hub.server import Hub
from tests.jobs.conftest import wait_until
from tests.workspace.conftest import PATIENCE
from tests.workspace.hub import LARGE, READER, SAELENS, WRITER, cache, repositories, server  # noqa: F401 - fixtures
from tests.workspace.library.saes import contents

pytestmark = pytest.mark.usefixtures("server")
FIRST = "blocks.0.hook_resid_pre"
SCOPE = "google/gemma-scope-2b-pt-res"


def _done(job: Job) -> int:
    progress = job.progress
    return progress.done if progress is not None and progress.phase == "downloading" else 0


def _blobs(cache: Path, ending: str = "") -> list[str]:  # noqa: F811 - a path here
    return [path.name for path in cache.glob(f"*/blobs/*{ending}")]


def _begin(ws: Workspace, server: Hub, **given: Any) -> Job:  # noqa: F811 - a server here
    """A large one that has begun and goes on slowly."""
    server.state.bandwidth = 2e6
    job = ws.hub.download(LARGE, **given)
    wait_until(lambda: _done(job) > 500_000, PATIENCE)
    return job


def _pause(ws: Workspace, server: Hub, **given: Any) -> Job:  # noqa: F811
    """One that has begun, and was paused."""
    job = _begin(ws, server, **given)
    job.pause()
    assert job.wait(PATIENCE) is JobStatus.PAUSED
    return job


def test_what_the_files_leave_open_is_answered_with_the_download(
    ws: Workspace, server: Hub, tmp_path: Path  # noqa: F811 - the fixture
) -> None:
    from saewidgets.formats import save_sae
    from saewidgets.sae import create_sae

    folder = save_sae(create_sae("standard", 8, d_sae=24), tmp_path / "sae", "mistudio")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"apply_b_dec_to_input": None}))
    server.state.repos["lab/open"] = Repo("lab/open", {path.name: path.read_bytes() for path in folder.iterdir()})
    with pytest.raises(SAEWidgetsError, match="apply_b_dec_to_input"):
        ws.hub.download("lab/open").result(PATIENCE)
    sae_id = ws.hub.download("lab/open", apply_b_dec_to_input=False).result(PATIENCE)
    assert ws.saes.load(sae_id).cfg.apply_b_dec_to_input is False
    with pytest.raises(ConfigError, match="record it themselves"):
        ws.hub.download(SAELENS, FIRST, apply_b_dec_to_input=True)


def test_from_a_repository_to_the_library(ws: Workspace, server: Hub) -> None:  # noqa: F811
    seen: list[Any] = []
    told: list[str | None] = []
    trainings: list[str | None] = []
    ends = [
        ws.manager.subscribe(lambda job_id, updates: seen.extend(each for _, each in updates)),
        ws.subscribe_saes(told.append), ws.subscribe(trainings.append),
    ]  # fmt: skip
    job = ws.hub.download(SAELENS, FIRST)
    sae_id = job.result(PATIENCE)
    assert sae_id == ws.saes.list()[0].id
    # Subscribers are told by a thread of their own, at most ten times a second.
    wait_until(lambda: any(isinstance(event, Progress) and event.phase == "done" for event in seen), PATIENCE)
    wait_until(lambda: {job.id, sae_id} <= set(told), PATIENCE)
    for end in ends:
        end()
    assert set(told) == {job.id, sae_id}
    assert trainings == [], "a download is no training"
    record, sae = job.record, ws.saes.list()[0]
    assert (record.status, record.kind) == (JobStatus.COMPLETED, "download")
    assert record.lane == f"{ws.settings.host}/download"
    payload = dict(record.payload)
    commit = server.state.repos[SAELENS].branches["main"]
    assert (payload["repo_id"], payload["revision"], payload["path"]) == (SAELENS, commit, FIRST)
    assert (payload["name"], payload["format"], payload["token_given"]) == (
        f"GPT2-Small-SAEs-Reformatted-{FIRST}", "saelens", False,
    )
    assert payload["model"] == "openai-community/gpt2"
    assert (sae.source, sae.repo_id, sae.revision, sae.repo_path) == ("huggingface", SAELENS, commit, FIRST)
    assert (sae.name, sae.format, sae.layer, sae.state) == (payload["name"], "saelens", 0, "ok")
    assert sae.hook_name == FIRST
    files = server.state.repos[SAELENS].files
    assert contents(Path(sae.path)) == {
        name.removeprefix(FIRST + "/"): data for name, data in files.items() if name.startswith(FIRST)
    }
    assert ws.saes.statistics(sae.id)["density"]["mean"] == pytest.approx(0.001, rel=1e-4)
    progress = [event for event in seen if isinstance(event, Progress)]
    assert progress
    assert {event.unit for event in progress} == {"bytes"}
    assert progress[-1].done == progress[-1].total == payload["total_bytes"]
    assert [job.id for job in ws.jobs.list(kind="download")] == [job.id] == [job.id for job in ws.hub.downloads()]


def test_downloading_again_returns_the_existing_sae(ws: Workspace, server: Hub) -> None:  # noqa: F811
    first = ws.hub.download(SAELENS, FIRST).result(PATIENCE)
    server.forget()
    assert ws.hub.download(f"{SAELENS}/{FIRST}", name="other").result(PATIENCE) == first
    assert server.requests("resolve|storage") == []
    assert len(ws.saes.list()) == 1
    ws.saes.update(first, name="mine", tags=["x"])
    weights = Path(ws.saes.get(first).path) / "sae_weights.safetensors"
    weights.unlink()
    assert ws.hub.download(SAELENS, FIRST).result(PATIENCE) == first
    sae = ws.saes.get(first)
    assert (sae.state, sae.name, sae.tags) == ("ok", "mine", ("x",))
    assert server.requests("storage") == [], "from the cache"
    assert [path.name for path in (ws.folder / "saes").iterdir()] == [Path(sae.path).name]


def test_formats_are_converted_where_that_is_possible(ws: Workspace, server: Hub) -> None:  # noqa: F811
    server.state.add([circuit_tracer()])
    scope = ws.saes.get(ws.hub.download(SCOPE, "layer_12/width_16k/average_l0_82").result(60))
    assert (scope.source, scope.format, scope.architecture) == ("gemma_scope", "saelens", "jumprelu")
    assert scope.name == "gemma-scope-2b-pt-res-l12-16k-l0-82"
    assert (scope.layer, scope.model) == (12, "google/gemma-2-2b")
    assert (scope.metadata["l0"], scope.metadata["canonical"], scope.metadata["site"]) == (82.0, True, "resid_post")
    assert scope.metadata["origin"]["format"] == "gemma_scope"
    one_file = ws.saes.get(ws.hub.download("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "layer14.sae.pt").result(60))
    assert (one_file.architecture, one_file.d_sae, one_file.layer) == ("topk", 32_768, 14)
    sparsify = ws.saes.get(ws.hub.download("EleutherAI/sae-pythia-70m-32k", "layers.2").result(60))
    assert (sparsify.format, sparsify.hook_name, sparsify.layer) == ("saelens", "blocks.2.hook_resid_post", 2)
    tracer = ws.saes.get(ws.hub.download(TRACER, "layer_3.safetensors").result(60))  # what is beside it says the model
    assert (tracer.model, tracer.hook_name, tracer.layer) == ("meta-llama/Llama-3.2-1B", "blocks.3.mlp.hook_in", 3)
    for sae in (scope, one_file, sparsify, tracer):
        assert ws.saes.load(sae.id).d_sae == sae.d_sae


def test_downloading_again_resumes_a_paused_download(ws: Workspace, server: Hub) -> None:  # noqa: F811
    job = _pause(ws, server)
    assert not ws.saes.list()
    server.state.bandwidth = 0
    server.forget()
    assert ws.hub.download(LARGE).id == job.id
    assert ws.saes.get(job.result(PATIENCE)).d_sae == 16_384
    ranges = [seen.headers.get("range", "") for seen in server.requests("storage.*sae_weights")]
    assert any(text and not text.startswith("bytes=0-") for text in ranges), ranges


def test_cancel_removes_arrived_files_that_no_other_download_needs(
    ws: Workspace, server: Hub, cache: Path  # noqa: F811
) -> None:
    first = _begin(ws, server)
    first.cancel()
    assert first.wait(PATIENCE) is JobStatus.CANCELLED
    assert not _blobs(cache, ".incomplete"), "whoever has waited finds it done"
    assert not ws.saes.list()

    second = _begin(ws, server)
    assert second.id != first.id
    assert first.wait(PATIENCE) is JobStatus.CANCELLED  # cleans up after itself only
    assert _blobs(cache, ".incomplete")
    second.pause()
    assert second.wait(PATIENCE) is JobStatus.PAUSED
    assert _blobs(cache, ".incomplete")
    second.cancel()  # one that nobody runs
    wait_until(lambda: not _blobs(cache, ".incomplete"), PATIENCE)


def test_a_killed_download_is_taken_up_by_the_next_for_the_same(ws: Workspace, server: Hub) -> None:  # noqa: F811
    begun = _pause(ws, server, name="mine")
    ws.catalog.jobs.change(  # as the row of a process that was killed reads
        begun.id, {"status": JobStatus.QUEUED, "owner": "gone@nowhere"}, when={JobStatus.PAUSED}
    )
    assert ws.catalog.jobs.interrupt(begun.id, "gone@nowhere", note="The kernel that ran it ended.") is not None
    server.state.bandwidth = 0
    assert begun.record.status is JobStatus.INTERRUPTED
    other = ws.hub.download(LARGE, name="another name")
    assert other.id != begun.id
    other.result(PATIENCE)
    assert ws.hub.download(LARGE).id == begun.id
    begun.result(PATIENCE)
    assert {job.status for job in ws.hub.downloads()} == {JobStatus.COMPLETED}
    assert len(ws.hub.downloads()) == 2


def test_another_process_goes_on_from_the_row_and_asks_for_no_listing(
    ws: Workspace, server: Hub  # noqa: F811
) -> None:
    job = _begin(ws, server, name="from afar")
    ws.close()  # pauses it
    server.state.bandwidth = 0
    server.forget()
    server.fail("/api/", "status", 500)
    with Workspace(ws.folder, jobs=JobSettings(poll=0.05)) as other:
        (record,) = other.hub.downloads()
        assert (record.id, record.status) == (job.id, JobStatus.PAUSED)
        sae = other.saes.get(other.hub.resume(record.id).result(PATIENCE))
        assert (sae.name, sae.d_sae) == ("from afar", 16_384)
    assert server.requests("/api/") == []


def test_three_at_once_and_the_same_only_once(ws: Workspace, server: Hub) -> None:  # noqa: F811
    server.state.bandwidth = 3e5
    places = [(LARGE, ""), *((SCOPE, f"layer_12/width_16k/average_l0_{n}") for n in (22, 41, 82))]
    jobs = [ws.hub.download(*place) for place in places]
    assert ws.hub.download(LARGE).id == jobs[0].id
    wait_until(lambda: sum(job.status is JobStatus.RUNNING for job in jobs) == 3, PATIENCE)
    assert [job.record.queue_position for job in jobs] == [None, None, None, 1]
    for job in jobs:
        job.cancel()
        assert job.wait(PATIENCE) is JobStatus.CANCELLED


def _everything(ws: Workspace) -> str:
    """All text that the workspace has on the disk."""
    ws.manager.flush()
    connection = sqlite3.connect(ws.folder / "catalog.sqlite")
    text = "\n".join(connection.iterdump())
    connection.close()
    return text + "".join(data.decode("latin-1") for data in contents(ws.folder).values())


def test_a_token_is_used_and_kept_nowhere(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SAEWidgetsError, match="not found"):
        ws.hub.download("lab/private-saes")
    job = ws.hub.download("lab/private-saes", token=READER)
    assert ws.saes.get(job.result(PATIENCE)).repo_id == "lab/private-saes"
    assert job.record.payload["token_given"] is True
    assert READER not in _everything(ws)
    assert READER not in caplog.text


def test_a_token_that_is_needed_again_is_asked_for(ws: Workspace, server: Hub) -> None:  # noqa: F811
    ws.hub.client(READER).first_wait = 0.01
    server.fail("storage", "status", 500)
    job = ws.hub.download("lab/private-saes", token=READER)
    assert job.wait(PATIENCE) is JobStatus.FAILED
    ws.close()
    server.heal()
    with Workspace(ws.folder, jobs=JobSettings(poll=0.05)) as other:
        again = other.hub.resume(job.id)
        assert again.wait(PATIENCE) is JobStatus.FAILED
        error = again.error
        assert error is not None
        assert "access token, which is never stored" in str(error.hint)
        assert READER not in json.dumps(str(error))
        assert other.hub.resume(job.id, READER).wait(PATIENCE) is JobStatus.COMPLETED
        assert READER not in _everything(other)


def _tokens(ws: Workspace) -> set[str]:
    """Those that this process still has for downloads."""
    held = {held.token for held in ws.hub._downloads._held.values()}
    return held | {token for token in ws.hub._clients if token is not None}


def test_a_token_goes_when_its_download_has_ended(ws: Workspace, server: Hub) -> None:  # noqa: F811
    ws.hub.download("lab/private-saes", token=READER).result(PATIENCE)
    wait_until(lambda: not _tokens(ws), PATIENCE)

    job = _pause(ws, server, token=READER)
    ws.hub.download("lab/private-saes", token=READER, name="again").result(PATIENCE)
    wait_until(lambda: len(ws.hub._downloads._held) == 1, PATIENCE)
    assert _tokens(ws) == {READER}, "the paused one may go on"
    job.cancel()
    wait_until(lambda: not _tokens(ws), PATIENCE)

    server.state.bandwidth = 0
    server.fail("storage", "corrupt")
    job = ws.hub.download(LARGE, token=WRITER)
    assert job.wait(PATIENCE) is JobStatus.FAILED
    wait_until(lambda: not _tokens(ws), PATIENCE)
    server.heal()
    assert ws.hub.resume(job.id, READER).wait(PATIENCE) is JobStatus.COMPLETED
    wait_until(lambda: not _tokens(ws), PATIENCE)
    with pytest.raises(StateError):
        ws.hub.resume(job.id, READER)
    assert not _tokens(ws)


def test_cached_saes_are_added_without_a_network(
    ws: Workspace, server: Hub, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    ws.saes.delete(ws.hub.download(SAELENS, FIRST).result(PATIENCE))
    ws.hub.refresh()
    server.forget()
    switch_offline(monkeypatch, True)
    record = ws.saes.get(ws.hub.download(SAELENS, FIRST).result(PATIENCE))
    assert (record.repo_path, record.layer, record.model) == (FIRST, 0, "openai-community/gpt2")
    assert server.requests() == []


def test_nothing_corrupt_is_ever_listed_and_a_retry_finishes(ws: Workspace, server: Hub) -> None:  # noqa: F811
    server.fail("sae_weights", "corrupt")
    job = ws.hub.download(SAELENS, FIRST)
    assert job.wait(PATIENCE) is JobStatus.FAILED
    assert "hash" in str(job.error)
    assert not ws.saes.list()
    assert not list((ws.folder / "saes").glob("*"))
    server.heal()
    job.resume()
    assert ws.saes.get(job.result(PATIENCE)).state == "ok"


def test_one_with_nan_and_one_without_room_are_refused(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from saewidgets.workspace import hub as downloads

    job = ws.hub.download("lab/nan")
    assert job.wait(PATIENCE) is JobStatus.FAILED
    assert "NaN" in str(job.error)
    monkeypatch.setattr(downloads, "_ROOM", 10**18)
    job = ws.hub.download(SAELENS, FIRST)
    assert job.wait(PATIENCE) is JobStatus.FAILED
    assert job.error is not None
    assert (job.error.kind, job.error.what.split(":")[0]) == ("disk_full", "Not enough disk space for the library")
    assert not ws.saes.list()
    assert not list((ws.folder / "saes").glob("*"))
