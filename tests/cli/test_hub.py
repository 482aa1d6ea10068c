"""The hub from a terminal, with the real client against a hub on this machine."""

from pathlib import Path

import pytest

from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from tests.cli.conftest import PATIENCE, Invoke
from tests.hub.conftest import switch_offline
from tests.hub.server import Hub
from tests.jobs.conftest import wait_until
from tests.workspace.hub import LARGE, READER, SAELENS, WRITER, cache, repositories, server  # noqa: F401 - fixtures
from tests.workspace.library.saes import saelens

FIRST = "blocks.0.hook_resid_pre"
SCOPE = "google/gemma-scope-2b-pt-res"


@pytest.fixture(autouse=True)
def _hub(server: Hub) -> Hub:  # noqa: F811 - the fixture
    return server


def test_looking(invoke: Invoke) -> None:
    shown = invoke("hub", "info", SAELENS)
    assert shown.code == 0, shown.err
    assert "licence       mit" in shown.out
    assert invoke("hub", "info", SAELENS, "--json").json()["base_models"] == ["openai-community/gpt2"]
    rows = invoke("hub", "variants", SCOPE, "--layer", "12", "--width", "16k").out.splitlines()
    assert len(rows) == 6
    assert "canonical" in next(row for row in rows if "average_l0_82" in row)
    assert len(invoke("hub", "variants", SCOPE, "--json", "--site", "mlp_out").json()) == 0
    shown = invoke("hub", "preview", SCOPE, "layer_12/width_16k/average_l0_82")
    assert "architecture  jumprelu, 8 → 16,384" in shown.out
    assert "(gated)" in shown.out
    assert invoke("hub", "preview", f"{SAELENS}/{FIRST}", "--json").json()["d_sae"] == 256


def test_looking_offline(invoke: Invoke, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert invoke("hub", "download", SAELENS, FIRST).code == 0
    switch_offline(monkeypatch, True)
    for words in (("info", SAELENS), ("variants", SAELENS), ("preview", SAELENS)):
        done = invoke("hub", *words)
        assert done.code == 0, done.err
        assert FIRST in done.out or words[0] == "info"
        assert "this is what the cache of this machine has" in done.err
    (row,) = invoke("hub", "variants", SAELENS, "--json").json()
    assert row["from_cache"] is True
    done = invoke("hub", "preview", "lab/none-such")
    assert (done.code != 0, "Offline mode is switched on" in done.err) == (True, True)


def test_download(invoke: Invoke) -> None:
    done = invoke("hub", "download", SAELENS, FIRST, "--name", "first")
    assert done.code == 0, done.err
    assert done.out.startswith("Added first (sae_")
    assert "Downloading jbloom/GPT2-Small-SAEs-Reformatted" in done.err
    data = invoke("hub", "download", SAELENS, FIRST, "--json", "--quiet").json()
    assert (data["name"], data["repo_path"], data["source"]) == ("first", FIRST, "huggingface")
    assert len(invoke("saes", "list", "--json").json()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("download",), 2, "--resume"),
        (("download", SAELENS, "--resume", "job_x"), 2, "--resume"),
        (("download", SAELENS), 2, "3 SAEs"),
        (("download", "lab/none-such", "--quiet"), 3, "Repository not found"),
        (("download", "--resume", "job_x"), 3, "job_x"),
        (("preview", SAELENS, "nowhere"), 3, "nowhere"),
        (("preview", SAELENS), 2, f"`saewidgets hub variants {SAELENS}`"),
        (("preview", f"{SAELENS}/{FIRST}", "--device", "cuda:99"), 2, "Use one of: "),
        (("resume", "job_nothing"), 3, "hub downloads"),
        (("cancel", ""), 2, "empty"),
    ],
)
def test_what_cannot_be_done_says_why(invoke: Invoke, words: tuple[str, ...], code: int, said: str) -> None:
    done = invoke("hub", *words)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_token_comes_by_standard_input(invoke: Invoke) -> None:
    done = invoke("hub", "download", "lab/private-saes", "--token-stdin", "--json", input=f"{READER}\n")
    assert done.code == 0, done.err
    assert READER not in done.out + done.err
    done = invoke("hub", "info", "lab/private-saes", "--token-stdin", input="")
    assert (done.code, "no access token" in done.err) == (2, True)
    done = invoke("hub", "info", "lab/private-saes", "--token-stdin", input="hf_wrong\n")
    assert done.code == 1
    assert "hf_wrong" not in done.out + done.err


def test_push(invoke: Invoke, tmp_path: Path, server: Hub) -> None:  # noqa: F811
    invoke("saes", "add", str(saelens(tmp_path / "mine")))
    assert invoke("saes", "push", "mine", "writer/saes").code == 1
    done = invoke("saes", "push", "mine", "writer/saes", "--token-stdin", input=f"{WRITER}\n")
    assert done.code == 0, done.err
    assert "writer/saes" in done.out
    assert server.state.repos["writer/saes"].private
    done = invoke("saes", "push", "mine", "writer/open", "--public", "--token-stdin", "--json", input=f"{WRITER}\n")
    assert done.json()["url"] == f"{server.endpoint}/writer/open"
    assert not server.state.repos["writer/open"].private
    words = ("saes", "push", "mine", "writer/many", "--token-stdin", "--json", "--license", "apache-2.0")
    done = invoke(*words, "--path", "layer_6/a", input=f"{WRITER}\n")
    assert done.json()["url"] == f"{server.endpoint}/writer/many/tree/main/layer_6/a"
    files = server.state.repos["writer/many"].files
    assert {name.rpartition("/")[0] for name in files} == {"", "layer_6/a"}
    assert b'license: "apache-2.0"' in files["README.md"]
    done = invoke(*words, "--path", "../outside", input=f"{WRITER}\n")
    assert (done.code, "not a path inside a repository" in done.err) == (2, True)


def test_downloads_are_listed_paused_resumed_and_cancelled(
    invoke: Invoke, home: Path, server: Hub, cache: Path  # noqa: F811
) -> None:
    assert "No downloads" in invoke("hub", "downloads").out
    server.state.bandwidth = 2e6
    with Workspace(home, jobs=JobSettings(poll=0.05)) as ws:
        job = ws.hub.download(LARGE, name="the large one")
        wait_until(lambda: (job.progress is not None and job.progress.done > 500_000), PATIENCE)
        [row] = invoke("hub", "downloads", "--json").json()
        assert (row["id"], row["status"], row["payload"]["repo_id"]) == (job.id, "running", LARGE)
        done = invoke("hub", "pause", job.id[:8])
        assert (done.code, done.out) == (0, f"the large one is paused ({job.id})\n"), done.err
        assert job.status is JobStatus.PAUSED
        [_, line] = invoke("hub", "downloads", "--unfinished").out.splitlines()
        assert line.startswith(job.id)
        assert "paused" in line
        assert list(cache.glob("*/blobs/*.incomplete"))
    server.state.bandwidth = 0
    done = invoke("hub", "resume", "the large one", "--quiet")
    assert (done.code, done.out.split(" (")[0]) == (0, "Added the large one"), done.err
    assert "100%" in invoke("hub", "downloads").out
    assert "No downloads" in invoke("hub", "downloads", "--unfinished").out
    assert invoke("hub", "resume", job.id).code == 1, "it has completed"

    server.state.bandwidth = 3e5
    with Workspace(home, jobs=JobSettings(poll=0.05)) as ws:
        other = ws.hub.download(SCOPE, "layer_12/width_65k/average_l0_72")
        wait_until(lambda: other.progress is not None and other.progress.done > 0, PATIENCE)
        done = invoke("hub", "cancel", other.id, "--json")
        assert (done.code, done.json()["status"]) == (0, "cancelled"), done.err
        wait_until(lambda: not list(cache.glob("*/blobs/*.incomplete")), PATIENCE)


def test_a_failure_that_may_pass_is_shown(invoke: Invoke, server: Hub) -> None:  # noqa: F811
    server.fail("storage.*sae_weights", "status", 503, times=2)
    done = invoke("hub", "download", SAELENS, FIRST)
    assert done.code == 0, done.err
    assert "retrying (attempt 1, in 1 s): " in done.err
    assert "retrying (attempt 2, " in done.err
