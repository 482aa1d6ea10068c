"""Logit tables of all features as a job: what they hold, how it is asked for and ended, and where they are read."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.errors import ConfigError, NotFoundError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.features import logit_effects as logits
from saewidgets.jobs import Job, JobSettings
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.reading.store_examples import StoreExamples
from tests.ranking import assert_ranked
from tests.workspace.conftest import PATIENCE, completed
from tests.workspace.features.conftest import CONFIG


class Gate:
    """Lets the job compute one part and then waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.begun: list[int] = []
        real = logits.logit_tables
        monkeypatch.setattr(logits, "_ELEMENTS", 300 * 8)

        def tables(*args: Any) -> Iterator[Any]:
            self.begun.append(args[2])
            for part in real(*args):
                yield part
                self.reached.set()
                assert self.go.wait(PATIENCE)

        monkeypatch.setattr(logits, "logit_tables", tables)


def test_they_equal_a_plain_computation(ws: Workspace, own: Extraction) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before, told = own.record.size_bytes or 0, []
    opened = own.store()
    end = ws.extractions.subscribe(told.append)
    job = completed(ws.extractions.compute_logits(own.id))
    end()
    assert own.id in told
    assert job.record.kind == "logits"
    assert job.record.lane == own.job.record.lane
    assert (job.progress.done, job.progress.total, job.progress.unit) == (64, 64, "features")  # type: ignore[union-attr]
    assert own.record.size_bytes == job.result().size_bytes > before

    model = AutoModelForCausalLM.from_pretrained(own.record.model)
    tokenizer = AutoTokenizer.from_pretrained(own.record.model)
    W = ws.saes.load(own.record.sae_id or "").W_dec
    with torch.no_grad():
        effects = ((W - W.mean(1, keepdim=True)) * model.transformer.ln_f.weight) @ model.lm_head.weight.T
        effects = effects - effects.mean(1, keepdim=True)
    found = own.store().logits
    assert opened.logits is not None  # also in a store that was open before
    for side, sign in (("top", 1), ("bottom", -1)):
        tokens, values = found[f"{side}_tokens"], found[f"{side}_logits"]
        assert tokens.shape == (64, 10)
        for latent, row in enumerate(effects.numpy()):
            assert_ranked(tokens[latent], sign * values[latent], sign * row)
        for token in tokens[:3].flatten().tolist():
            assert own.store().logit_text(token) == tokenizer.decode([token])
    told_to_models = StoreExamples(own.store()).of(3)
    assert told_to_models.raises[0] == (tokenizer.decode([found["top_tokens"][3, 0]]), found["top_logits"][3, 0])
    assert [value for _, value in told_to_models.lowers] == found["bottom_logits"][3].tolist()


def test_one_at_a_time_paused_and_cancelled(ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    job = ws.extractions.compute_logits(own.id)
    assert gate.reached.wait(PATIENCE)
    assert ws.extractions.compute_logits(own.id).id == job.id
    with pytest.raises(StateError, match="being computed"):
        own.delete()
    with pytest.raises(StateError, match="in use"):
        ws.saes.delete(own.record.sae_id or "")
    job.pause()
    gate.go.set()
    assert job.wait(PATIENCE) is JobStatus.PAUSED
    assert own.store().logits is None
    assert [file.name for file in own.folder.glob("*logits*")] == [f".logits-{job.id}"]
    gate.go.clear()
    gate.reached.clear()
    assert ws.extractions.compute_logits(own.id).id == job.id  # goes on
    assert gate.reached.wait(PATIENCE)
    job.cancel()
    gate.go.set()
    assert job.wait(PATIENCE) is JobStatus.CANCELLED
    assert own.store().logits is None
    assert not list(own.folder.glob("*logits*"))
    job.resume()
    assert job.wait(PATIENCE) is JobStatus.COMPLETED, job.error
    assert gate.begun[0] == gate.begun[2] == 0  # after the pause with what was done, after the cancel from the start
    assert gate.begun[1] in (8, 16)
    kept = {name: array.copy() for name, array in own.store().logits.items()}

    again = ws.extractions.compute_logits(own.id)
    assert again.id != job.id
    assert again.wait(PATIENCE) is JobStatus.COMPLETED
    for name, array in own.store().logits.items():
        np.testing.assert_array_equal(array, kept[name])
    folder = own.folder
    own.delete()
    assert not folder.exists()
    assert not ws.jobs.list(kind="logits")


def paused(ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch) -> tuple[Gate, Job]:
    """A job that has done a part."""
    gate = Gate(monkeypatch)
    job = ws.extractions.compute_logits(own.id)
    assert gate.reached.wait(PATIENCE)
    job.pause()
    gate.go.set()
    assert job.wait(PATIENCE) is JobStatus.PAUSED
    return gate, job


@pytest.mark.parametrize("damage", ["tables.safetensors", "identity"])
def test_what_was_kept_is_not_trusted(
    ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    gate, job = paused(ws, own, monkeypatch)
    if damage == "identity":  # another SAE's
        monkeypatch.setattr("saewidgets.features.extraction.extraction_checkpoint.sae_fingerprint", lambda _: "another")
    else:
        [file] = own.folder.glob(f".logits-{job.id}/*/{damage}")
        file.write_bytes(file.read_bytes()[:-2] + b"xx")
    job.resume()
    assert job.wait(PATIENCE) is JobStatus.COMPLETED, job.error
    assert gate.begun == [0, 0]
    log = ws.catalog.jobs.log(job.id)
    assert any("Starting over." in line.message for line in log)


def test_read_where_the_model_is_not(
    ws: Workspace, own: Extraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = ws.features.logits(own.id, 5)

    def gone(*_: Any, **__: Any) -> None:
        raise NotFoundError("The model is gone.")

    monkeypatch.setattr(ws.features.live, "open", gone)
    with pytest.raises(NotFoundError):
        ws.features.logits(own.id, 5)
    monkeypatch.undo()
    assert ws.extractions.compute_logits(own.id).wait(PATIENCE) is JobStatus.COMPLETED
    assert ws.features.logits(own.id, 5) == now  # with the model, the histogram is there
    monkeypatch.setattr(ws.features.live, "open", gone)
    monkeypatch.setattr(ws.features.live, "lane", gone)
    for wanted in (own.id, own.record.sae_id or ""):
        kept = ws.features.logits(wanted, 5, 4)
        assert [text for text, _ in kept.raises] == [text for text, _ in now.raises[:4]]
        np.testing.assert_allclose([v for _, v in kept.lowers], [v for _, v in now.lowers[:4]], rtol=1e-4)
        assert (kept.counts, kept.edges) == ((), ())
        assert "The model is gone." in kept.note
    with pytest.raises(ConfigError):
        ws.features.logits(own.id, 64)

    index = int(own.store().fired.argmax())
    page = ws.features.export(own.id, "html", tmp_path / "page.html", indices=[index])
    assert "Raises" in page.read_text("utf-8")
    shared = ws.features.export(own.id, "json", tmp_path / "data.json", indices=[index], logits=True)
    data = json.loads(shared.read_text())["feature_data_dict"][str(index)]
    assert data["logits_table_data"]["top_token_ids"] == own.store().logits["top_tokens"][index].tolist()


def test_what_cannot_be_computed(ws: Workspace, own: Extraction, make_sae: Callable[..., SAERecord]) -> None:
    with pytest.raises(NotFoundError):
        ws.extractions.compute_logits("ext_none")
    sae = make_sae(61)
    waiting = ws.extractions.create(sae_id=sae.id, config={**CONFIG, "model": "/no/such/model"})
    assert waiting.wait(PATIENCE) is JobStatus.FAILED
    with pytest.raises(StateError, match="has nothing to show: its status is failed"):
        ws.extractions.compute_logits(waiting.id)
    ws.saes.delete(sae.id)
    assert not ws.jobs.list(kind="logits")


def test_another_process_goes_on(ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, job = paused(ws, own, monkeypatch)
    with Workspace(ws.folder, jobs=JobSettings(poll=0.05)) as other:
        other.jobs.get(job.id).resume()
        assert other.jobs.get(job.id).wait(PATIENCE) is JobStatus.COMPLETED
    assert gate.begun[1] in (8, 16)
    assert not list(own.folder.glob(".logits*"))
    assert own.store().logits is not None


def test_a_failed_job_can_be_continued(ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StorageError("The disk is full.", where=str(own.folder))

    with monkeypatch.context() as patch:
        patch.setattr("saewidgets.features.store.layout.write_logits", full)
        job = ws.extractions.compute_logits(own.id)
        assert job.wait(PATIENCE) is JobStatus.FAILED
        assert job.error is not None
        assert (job.error.what, job.error.kind) == ("The disk is full.", "disk_full")
    assert own.store().logits is None
    assert ws.extractions.compute_logits(own.id).id == job.id
    assert job.wait(PATIENCE) is JobStatus.COMPLETED


def test_one_that_is_killed_has_lost_a_minute(
    ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.workspace.extraction.logits._SECONDS", 0)
    gate = Gate(monkeypatch)
    job = ws.extractions.compute_logits(own.id)
    assert gate.reached.wait(PATIENCE)
    assert [file.name for file in own.folder.glob(f".logits-{job.id}/*")] == ["contexts_00000008"]
    gate.go.set()
    assert job.wait(PATIENCE) is JobStatus.COMPLETED, job.error
    assert [file.name for file in own.folder.glob("*logits*")] == ["logits"]
