"""From a repository of the hub to steered text, by the commands that the buttons of the widgets send."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from saewidgets.jobs import JobSettings
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace
from tests.hub.repos import Repo, below
from tests.hub.server import Hub
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, ask
from tests.workspace.hub import cache, repositories, server  # noqa: F401 - fixtures
from tests.workspace.library.saes import contents
from tests.workspace.steering.saes import demo_sae

REPO, PLACE = "lab/demo-saes", "blocks.1"
TEXT = "In the morning the old man walked down to the river, and the ship lay in the bay. " * 40


@pytest.fixture
def told(record_messages: Callable[[Any], Sent]) -> Callable[..., Any]:
    """The value that a widget's page is answered."""
    sent: dict[Any, Sent] = {}

    def press(part: Any, kind: str, **arguments: Any) -> Any:
        if part not in sent:
            sent[part] = record_messages(part)
        answer = ask(part, sent[part], kind=kind, **arguments)
        assert answer["kind"] == "result", answer
        return answer["value"]

    return press


def test_from_the_hub_to_steered_text(told: Callable[..., Any], server: Hub, tmp_path: Path) -> None:  # noqa: F811
    server.state.add([Repo(REPO, below(PLACE, contents(demo_sae(tmp_path / "sae"))))])
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as ws:
        with closing(DownloadFromHF(ws)) as download:
            listing = told(download, "hub_list", text=REPO)
            [row], [place] = listing["rows"], listing["repositories"]
            chosen = {"repo_id": REPO, "revision": place["revision"], "path": row["path"]}
            told(download, "hub_download", saes=[chosen])
            [sae_id] = wait_until(lambda: [one["sae_id"] for one in download.state["downloads"] if one["sae_id"]], 60)

        with closing(ExtractionViewer(ws)) as viewer:
            part = viewer._parts[0]
            assert [one["id"] for one in told(part, "list_saes")["rows"]] == [sae_id]
            fields = {field["name"] for field in told(part, "extraction_form", sae_id=sae_id)["fields"]}
            values = {"corpus": str(tmp_path / "text.txt"), "tokens": 512, "context_size": 32, "examples": 3}
            assert values.keys() <= fields
            assert told(part, "check_extraction", sae_id=sae_id, values=values)["errors"] == {}
            extraction = told(part, "start_extraction", sae_id=sae_id, values=values)["extraction_id"]
            [card] = wait_until(lambda: [each for each in part.state["cards"] if each["status"] == "completed"], 60)
            assert (card["id"], card["repo_id"]) == (extraction, REPO)
            query = {"show": "live", "sort": "max", "descending": True}
            found = told(part, "query_features", extraction_id=extraction, query=query)
            index = found["rows"][0]["index"]
            opened = told(part, "open_feature", extraction_id=extraction, index=index)
            assert opened["groups"][0]["examples"]
            told(part, "edit_feature", extraction_id=extraction, index=index, label="zebra crossings")
            named = told(part, "query_features", extraction_id=extraction, query={"search": "zebra"})
            assert [one["index"] for one in named["rows"]] == [index]

        with closing(Steering(ws)) as steering:
            [hit] = told(steering, "steering_find", sae_id=sae_id, text="zebra")["hits"]
            assert (hit["index"], hit["label"]) == (index, "zebra crossings")
            key = told(steering, "steering_add", sae_id=sae_id, index=index)["key"]
            settings = {**steering.state["settings"], "prompt": "The king", "new_tokens": 4}
            told(steering, "steering_edit", rows=[{"key": key, "mode": "add", "strength": 60.0}], settings=settings)
            number = told(steering, "steering_generate")["number"]
            wait_until(lambda: steering.state["run"].items() >= {"number": number, "status": "done"}.items(), 60)
            texts = told(steering, "steering_read")
            assert texts["baseline"] != texts["steered"]
