"""The demo SAE in a workspace: there when it is asked for, once, whoever asks, and back when it was deleted."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from saewidgets.config import TextCorpus
from saewidgets.demo import documents
from saewidgets.demo import sae as packaged
from saewidgets.demo.sae import about_sae, sae_labels
from saewidgets.errors import FormatError
from saewidgets.events import JobStatus
from saewidgets.feature_records import LabelRecord
from saewidgets.features.labels import Label
from saewidgets.workspace import Workspace
from saewidgets.workspace.features import newer, to_record

ASK = """
import sys
from saewidgets.workspace import Workspace
with Workspace(sys.argv[1]) as ws:
    print("ready", flush=True)
    sys.stdin.readline()
    extraction = ws.extractions.demo()
    print(extraction.id, flush=True)
    feature_id = ws.features.list(sae_id=extraction.record.sae_id, limit=5).to_df()["id"][0]
    ws.features.get(feature_id), ws.features.examples(feature_id), ws.extractions.list(), ws.trainings.list()
sys.exit(bool({"torch"} & set(sys.modules)))
"""


def _labels(ws: Workspace) -> list[LabelRecord]:
    return list(ws.catalog.features.labels(ws.catalog.features.origin(about_sae().sae_id)))


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("demo") / "ws") as workspace:
        yield workspace


def test_the_demo_sae_is_ready_at_once_and_announced_once(ws: Workspace) -> None:
    about = about_sae()
    told: list[str | None] = []
    end = ws.extractions.subscribe(told.append)
    extraction = ws.extractions.demo()
    assert (type(extraction), extraction.id) == (type(ws.extractions.get(extraction.id)), about.extraction_id)
    ws.extractions.demo()
    assert told == [about.extraction_id]
    end()
    record = extraction.record
    assert (record.id, record.status, record.sae_id) == (about.extraction_id, JobStatus.COMPLETED, about.sae_id)
    assert (record.n_tokens, record.dead, record.dense) == tuple(
        about.extraction[name] for name in ("n_tokens", "dead", "dense")
    )
    assert record.seconds_running == about.extraction["seconds"]
    store = extraction.store()
    assert record.size_bytes == store.size_bytes
    (sae,) = ws.saes.list(source="local")
    assert (sae.name, sae.state, sae.model, sae.hook_name) == (about.name, "ok", "demo", about.hook_name)
    assert sae.tags == ("demo",)
    assert "demo SAE of the saewidgets package" in sae.metadata["origin"]["where"]
    assert ws.saes.load(sae.id).d_sae == store.d_sae == sae.d_sae
    assert ws.extractions.latest(sae.id) == record
    labels = _labels(ws)
    assert len(labels) == len(sae_labels())
    assert {label.source for label in labels} == {"auto"}
    assert all(label.score is not None for label in labels)
    origin = ws.catalog.features.origin(sae.id)
    assert ws.catalog.features.list(origin, [labels[0].index])[0].label == labels[0].text
    indices = [label.index for label in labels[:4]]
    assert ws.features.auto_label(sae.id, indices=indices, again=True).same == indices  # its tables are no new question


def test_it_can_be_read_again_and_measured(ws: Workspace) -> None:
    about = about_sae()
    ws.extractions.demo()
    defaults = ws.extractions.defaults(sae_id=about.sae_id)
    assert (defaults.model, defaults.context_size) == ("demo", 256)
    assert defaults.corpus is not None
    assert defaults.corpus.label == "demo"
    text = TextCorpus(strings=tuple(document.text for document in islice(documents("validation"), 20)))
    assert ws.evaluate(about.sae_id, text, tokens=2048)["l0"] == pytest.approx(about.figures["l0"], rel=0.15)


def test_asking_again_only_restores_deleted_parts(ws: Workspace) -> None:
    about = about_sae()
    first = ws.extractions.demo().id
    rows = ws.catalog.features
    origin = rows.origin(about.sae_id)
    index = _labels(ws)[0].index
    rows.put_labels(origin, [to_record(Label(index, "mine"))], newer)
    before = (rows.revision(origin), list(ws.saes.list()), list(ws.extractions.list()))
    assert ws.extractions.demo().id == first
    assert (rows.revision(origin), list(ws.saes.list()), list(ws.extractions.list())) == before
    assert rows.list(origin, [index])[0].label == "mine"

    def back(own_labels: int) -> None:
        assert ws.extractions.demo().id == first
        assert ws.saes.get(about.sae_id).state == "ok"
        assert ws.extractions.open(first).context(0).shape == (256,)
        assert len(_labels(ws)) == len(sae_labels()) + own_labels
        assert not (ws.folder / ".unlisted").exists() or not list((ws.folder / ".unlisted").iterdir())

    ws.extractions.delete(first)
    assert ws.extractions.latest(about.sae_id) is None
    back(own_labels=1)
    shutil.rmtree(ws.folder / "tokens" / about.tokens)
    back(own_labels=1)
    shutil.rmtree(ws.saes.folder_of(ws.saes.get(about.sae_id)))
    back(own_labels=1)
    ws.saes.delete(about.sae_id)
    assert not ws.extractions.list()
    back(own_labels=0)  # what people have said goes with the SAE only


def test_two_processes_and_threads_at_once(tmp_path: Path) -> None:
    home = tmp_path / "ws"
    Workspace(home).close()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", ASK, str(home)], **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with Workspace(home) as ws:
        told: list[str] = []
        threads = [threading.Thread(target=lambda: told.append(ws.extractions.demo().id)) for _ in range(3)]
        for thread in threads:
            thread.start()
        told.append(process.communicate("go\n", timeout=240)[0].strip())
        for thread in threads:
            thread.join()
        assert told == [about_sae().extraction_id] * 4
        assert process.returncode == 0  # and torch was not needed
        assert len(ws.saes.list()) == len(ws.extractions.list()) == 1
        assert len(_labels(ws)) == len(sae_labels())
        assert not list(ws.folder.glob("*/.incoming-*"))


def test_a_damaged_package_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "package"
    shutil.copytree(packaged._FOLDER, broken)
    (broken / "demo-sae.zip").write_bytes(b"PK")
    monkeypatch.setattr(packaged, "_FOLDER", broken)
    with Workspace(tmp_path / "ws") as ws:
        with pytest.raises(FormatError, match="Install saewidgets again"):
            ws.extractions.demo()
        assert not ws.saes.list()
        assert not ws.extractions.list()
        assert [file for name in ("tokens", "extractions", "saes") for file in (ws.folder / name).rglob("*")] == []
