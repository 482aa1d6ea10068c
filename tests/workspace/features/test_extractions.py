"""Extractions as jobs: started from an SAE or a training, paused, resumed, killed, listed and removed."""

import json
import time
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import ConfigError, NotFoundError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.features.store.layout import STORED
from saewidgets.lm import load_model
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extraction
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed, small_config
from tests.workspace.features.conftest import CONFIG, HOOK, extract
from tests.workspace.library.saes import saelens

Usage = namedtuple("Usage", "total used free")
LONG = {"kind": "text", "strings": TINY_TEXT * 80}  # half a dozen chunks: enough to be interrupted after the first


def same(first: Path, second: Path) -> bool:
    """Whether two extractions hold the same, bit for bit."""
    arrays = (np.load(folder / f"{name}.npy") for name in STORED for folder in (first, second))
    return all(a.tobytes() == b.tobytes() for a, b in zip(arrays, arrays, strict=True))


def wait_for_tokens(extraction: Extraction, tokens: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        progress = extraction.progress
        if progress is not None and progress.phase == "reading" and progress.done >= tokens:
            return
        assert not extraction.status.is_final, extraction.error
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_of_an_sae_of_the_library(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    record = extracted.record
    assert (record.source_type, record.sae_id, record.training_id) == ("sae", sae.id, None)
    assert (record.name, record.source, record.layer, record.d_sae) == (sae.name, "local", 0, 64)
    assert record.id.startswith(f"ext_{sae.id}_")
    assert record.id.rpartition("_")[2].isdigit()
    assert (record.hook_name, record.model) == (HOOK, sae.model)
    store = extracted.store()
    assert store is ws.extractions.open(record.id)
    assert (record.n_tokens, record.size_bytes) == (store.manifest.n_tokens, store.size_bytes)
    seen = int((store.fired > 0).sum())
    assert 0 < seen <= 64
    assert (record.seen, record.dead, record.dense) == (seen, 64 - seen, int((store.density > 0.01).sum()))
    assert record.has_data
    assert extracted.result().n_tokens == record.n_tokens
    assert ws.saes.get(sae.id).features_extracted == seen
    assert store.manifest.settings["tokens"] == CONFIG["tokens"]
    assert store.manifest.facts["sae_id"] == sae.id
    # All of the text, each context once: no part of it is held out.
    assert store["contexts"].tolist() == list(range(store.packed.n_contexts))
    assert ws.extractions.status(sae.id) is JobStatus.COMPLETED
    assert ws.extractions.latest(sae.id) == record
    assert "fired" in repr(extracted)
    assert record.name in extracted._repr_html_()
    row = ws.extractions.list(sae_id=sae.id).to_df().iloc[0]
    assert (row["id"], row["seen"]) == (record.id, seen)


def test_it_equals_the_engine(ws: Workspace, sae: SAERecord, extracted: Extraction, tmp_path: Path) -> None:
    from saewidgets.features.extraction import extract as engine
    from saewidgets.lm import load_model

    store = extracted.store()
    lm = load_model(str(sae.model))
    contexts = np.arange(store.packed.n_contexts)
    engine(ws.saes.load(sae.id), lm, store.packed, contexts, HOOK, ExtractionConfig.from_data(CONFIG), tmp_path / "e")
    assert same(extracted.folder, tmp_path / "e")


def test_of_a_training_and_the_sae_imported_from_it(
    ws: Workspace, tiny_model_folder: Path
) -> None:
    run = completed(ws.trainings.create(small_config(tiny_model_folder)))
    # The text, the context length and the model are those of the training.
    extraction = completed(ws.extractions.create(training_id=run.id, config={"batch_size": 4}))
    record = extraction.record
    assert (record.source_type, record.training_id, record.sae_id) == ("training", run.id, None)
    assert record.id.startswith(f"ext_{run.id}_")
    assert (record.name, record.source, record.config["context_size"]) == (run.name, "trained", 16)
    assert extraction.config.corpus == run.config.corpus
    packings = list((ws.folder / "tokens").glob("*/pack.json"))

    sae = run.import_to_saes()
    assert sae.features_extracted == record.seen
    assert [r.id for r in ws.extractions.for_sae(sae.id)] == [record.id]
    assert ws.extractions.get(record.id).record.sae_id == sae.id
    of_sae = extract(ws, sae_id=sae.id, config=dict.fromkeys(CONFIG) | {
        "tokens": 1_000_000, "batch_size": 4, "device": "auto", "examples": 6, "per_interval": 2,
        "max_norm_ratio": 10.0})  # fmt: skip
    assert list((ws.folder / "tokens").glob("*/pack.json")) == packings  # packed once, as in the training
    ids = [of_sae.id, record.id]
    for origin in ({"sae_id": sae.id}, {"training_id": run.id}):
        assert [r.id for r in ws.extractions.list(**origin)] == ids  # type: ignore[arg-type]
    assert [r.id for r in ws.extractions.list(source_type="training", search=run.id)] == [record.id]

    feature = ws.features.label(f"feat_{run.id}_3", "three")
    assert feature.id == f"feat_{sae.id}_3"
    assert ws.features.get(f"feat_{sae.id}_3").label == "three"

    run.delete()
    left = ws.extractions.for_sae(sae.id)
    assert [(r.id, r.training_id) for r in left] == [(i, None) for i in ids]
    assert ws.extractions.open(record.id).manifest.n_tokens == record.n_tokens
    assert ws.features.get(f"feat_{sae.id}_3").label == "three"
    # What is known of the training lives on in the SAE.
    completed(ws.extractions.create(sae_id=sae.id, config={**CONFIG, "model": None}))
    folders = [Path(r.folder) for r in ws.extractions.for_sae(sae.id)]
    assert all(folder.is_dir() for folder in folders)
    ws.saes.delete(sae.id)
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(NotFoundError):
        ws.extractions.for_sae(sae.id)
    with pytest.raises(NotFoundError):
        ws.features.get(f"feat_{sae.id}_3")


def test_without_an_sae_they_go_with_the_training(ws: Workspace, tiny_model_folder: Path) -> None:
    run = completed(ws.trainings.create(small_config(tiny_model_folder)))
    extraction = extract(ws, training_id=run.id)
    folder, origin = extraction.folder, ws.features.view(run.id).origin
    ws.features.label(f"feat_{run.id}_3", "three")
    run.delete()
    assert not folder.exists()
    with pytest.raises(NotFoundError):
        ws.extractions.get(extraction.id)
    assert ws.features.rows.count(origin) == (0, 0)


def test_a_model_that_was_handed_in(ws: Workspace, make_sae: Callable[..., SAERecord], sae: SAERecord) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(sae.model)
    tokenizer = AutoTokenizer.from_pretrained(sae.model)
    nameless = make_sae(7, model="nobody/knows")
    extraction = completed(ws.extractions.create(sae_id=nameless.id, config=CONFIG, model=model, tokenizer=tokenizer))
    assert extraction.record.facts["model_given"]
    assert ws.features.run_on(extraction.id, "The king").indices.size  # with the same object
    with pytest.raises(ConfigError, match="needs its tokenizer"):
        ws.extractions.create(sae_id=nameless.id, config=CONFIG, model=model)
    with pytest.raises(ConfigError, match="is on cpu"):
        ws.extractions.create(
            sae_id=nameless.id, config={**CONFIG, "device": "cuda:0"}, model=model, tokenizer=tokenizer
        )
    with Workspace(ws.folder) as other:
        for ask in (lambda: other.features.run_on(extraction.id, "The king"),
                    lambda: other.extractions.compute_logits(extraction.id)):  # fmt: skip
            with pytest.raises(StateError, match="handed to it as an object"):
                ask()
    assert ws.extractions.compute_logits(extraction.id).wait(PATIENCE) is JobStatus.COMPLETED
    assert extraction.store().logits is not None
    ws.saes.delete(nameless.id)


def test_unknown_lengths_of_contexts_fit_the_model(ws: Workspace, make_sae: Callable[..., SAERecord]) -> None:
    sae = make_sae(9)
    files = Path(sae.path) / "cfg.json"
    said = json.loads(files.read_text())
    said.get("metadata", said).pop("context_size", None)
    files.write_text(json.dumps(said))
    extraction = extract(ws, sae_id=sae.id, config={"context_size": None})
    assert extraction.record.config["context_size"] == 64
    ws.saes.delete(sae.id)


def test_what_cannot_be_started(
    ws: Workspace, make_sae: Callable[..., SAERecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(ws.extractions.list()), sorted((ws.folder / "extractions").glob("*"))
    sae = make_sae(1)
    no_model = ws.saes.add_local(saelens(tmp_path / "plain", 32, 64, 5))
    ws.catalog.saes.update(no_model.id, model=None, hook_name=HOOK)
    text: dict[str, Any] = {**CONFIG, "corpus": None}

    def refused(kind: type[Exception], where: str | None, match: str, **what: Any) -> None:
        with pytest.raises(kind, match=match) as caught:
            ws.extractions.create(**what)
        assert caught.value.where == where  # type: ignore[attr-defined]

    refused(ConfigError, "sae_id", "either", config=CONFIG)
    refused(ConfigError, "sae_id", "either", sae_id=sae.id, training_id=f"train_{0:026}", config=CONFIG)
    refused(ConfigError, "corpus", "not here", sae_id=sae.id, config=text)
    refused(NotFoundError, "corpus", "no file", sae_id=sae.id, config={**CONFIG, "corpus": "/none.txt"})
    refused(ConfigError, "device", "no device", sae_id=sae.id, config={**CONFIG, "device": "cuda:9"})
    refused(ConfigError, "tokens", "At most", sae_id=sae.id, config={**CONFIG, "tokens": 2**40})
    (Path(no_model.path) / "cfg.json").write_text(
        (Path(no_model.path) / "cfg.json").read_text().replace('"model_name"', '"was_model"')
    )
    refused(ConfigError, "model", "ExtractionConfig", sae_id=no_model.id, config=CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 1000))
        with pytest.raises(StorageError, match="bytes are needed"):
            ws.extractions.create(sae_id=sae.id, config=CONFIG)
    Path(sae.path).rename(tmp_path / "elsewhere")
    refused(NotFoundError, sae.path, "not here", sae_id=sae.id, config=CONFIG)
    assert (len(ws.extractions.list()), sorted((ws.folder / "extractions").glob("*"))) == before
    for record in (sae, no_model):
        ws.saes.delete(record.id)


def test_contexts_longer_than_the_model_reads(
    ws: Workspace, sae: SAERecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = r"reads at most 64 tokens at once, not 65\."
    too_long = {**CONFIG, "context_size": 65}
    for ask in (ws.extractions.create, ws.extractions.estimate):
        with pytest.raises(ConfigError, match=said) as caught:
            ask(sae_id=sae.id, config=too_long)
        assert (caught.value.where, caught.value.hint) == ("context_size", "Enter 64 or less.")
    ws.extractions.estimate(sae_id=sae.id, config={**CONFIG, "context_size": 64})
    lm = load_model(str(sae.model))
    with pytest.raises(ConfigError, match="reads at most 64") as caught:
        ws.extractions.create(sae_id=sae.id, config=too_long, model=lm.model, tokenizer=lm.tokenizer)
    # A model that is not on this machine yet says it when it is loaded.
    monkeypatch.setattr("saewidgets.workspace.extraction.extraction_job.sizes_of", lambda *_: (None,) * 3)
    extraction = ws.extractions.create(sae_id=sae.id, config=too_long)
    assert extraction.wait(PATIENCE) is JobStatus.FAILED
    assert extraction.error is not None
    assert "reads at most 64 tokens at once, not 65" in extraction.error.what
    ws.extractions.delete(extraction.id)


def test_an_extraction_with_a_missing_model_fails(ws: Workspace, make_sae: Callable[..., SAERecord]) -> None:
    sae = make_sae(2, model="/no/such/model")
    extraction = ws.extractions.create(sae_id=sae.id, config=CONFIG)
    assert extraction.wait(PATIENCE) is JobStatus.FAILED
    assert extraction.error is not None
    assert extraction.error.kind == "not_found"
    with pytest.raises(StateError, match="nothing to show"):
        extraction.store()
    assert not ws.extractions.latest(sae.id)
    ws.saes.delete(sae.id)
    assert not extraction._workspace.jobs.list(status="failed", kind="extraction")


def test_an_estimate(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    found = ws.extractions.estimate(sae_id=sae.id, config={**CONFIG, "tokens": 50_000})
    assert found.device == "cpu"
    assert found.disk_bytes > (extracted.record.size_bytes or 0)
    assert found.memory_bytes > 0
    assert found.seconds
    assert found.tokens_per_second
    assert any("rarely" in warning for warning in found.warnings)
    more = ws.extractions.estimate(sae_id=sae.id, config={**CONFIG, "examples": 1000, "tokens": 10_000_000})
    assert more.disk_bytes > found.disk_bytes
    assert more.memory_bytes > found.memory_bytes
    assert len(ws.extractions.for_sae(sae.id)) == 1
    defaults = ws.extractions.defaults(sae_id=sae.id)
    assert (defaults.model, defaults.corpus) == (sae.model, None)


def test_pause_resume_stop_and_cancel(ws: Workspace, make_sae: Callable[..., SAERecord]) -> None:
    sae = make_sae(3)
    config = {**CONFIG, "corpus": LONG, "tokens": 10_000_000}
    whole = completed(ws.extractions.create(sae_id=sae.id, config=config))
    assert (whole.folder / "corpus.jsonl").is_file()  # a long text is in no row
    assert whole.config.corpus == ExtractionConfig.from_data(config).corpus

    told: list[str | None] = []
    end = ws.extractions.subscribe(told.append)
    paused = ws.extractions.create(sae_id=sae.id, config=config)
    wait_for_tokens(paused, 8_000)
    with pytest.raises(StateError, match="in use"):
        ws.saes.delete(sae.id)
    with pytest.raises(StateError):
        paused.delete()
    paused.pause()
    assert paused.wait(PATIENCE) is JobStatus.PAUSED
    assert paused.record.seen
    assert not paused.record.has_data
    assert ws.extractions.status(sae.id) is JobStatus.PAUSED
    assert ws.extractions.latest(sae.id) == whole.record
    paused.resume()
    assert paused.wait(PATIENCE) is JobStatus.COMPLETED, paused.error
    assert same(whole.folder, paused.folder)
    assert paused.id in told
    end()

    stopped = ws.extractions.create(sae_id=sae.id, config=config)
    wait_for_tokens(stopped, 8_000)
    stopped.stop()
    assert stopped.wait(PATIENCE) is JobStatus.STOPPED
    record = stopped.record
    assert record.has_data
    assert 0 < (record.n_tokens or 0) < (whole.record.n_tokens or 0)
    assert stopped.store().manifest.facts["stopped"]

    cancelled = ws.extractions.create(sae_id=sae.id, config=config)
    queued = ws.extractions.create(sae_id=sae.id, config=config)
    wait_for_tokens(cancelled, 8_000)
    assert ws.extractions.cancel(sae.id) == 2
    assert cancelled.wait(PATIENCE) is JobStatus.CANCELLED
    assert queued.wait(PATIENCE) is JobStatus.CANCELLED
    assert not cancelled.record.has_data
    assert not cancelled.folder.exists() or [file.name for file in cancelled.folder.iterdir()] == ["corpus.jsonl"]
    assert ws.extractions.cancel(sae.id) == 0
    told.clear()
    end = ws.extractions.subscribe(told.append)
    assert ws.extractions.delete(stopped.id) > 0
    assert stopped.id in told
    end()
    assert stopped.id not in {record.id for record in ws.extractions.list()}
    assert len(ws.extractions.for_sae(sae.id)) == 4
    ws.saes.delete(sae.id)
    assert not [p for p in (ws.folder / "extractions").iterdir() if sae.id in p.name]


def test_an_extraction_that_ends_before_reading_leaves_nothing(
    ws: Workspace, make_sae: Callable[..., SAERecord], tmp_path: Path
) -> None:
    sae = make_sae(8)
    (tmp_path / "text.txt").write_text("\n".join(LONG["strings"]))
    config = {**CONFIG, "corpus": str(tmp_path / "text.txt"), "tokens": 10_000_000}
    paused = ws.extractions.create(sae_id=sae.id, config=config)
    queued, dropped = (ws.extractions.create(sae_id=sae.id, config=config) for _ in range(2))
    wait_for_tokens(paused, 8_000)
    queued.stop()
    dropped.cancel()
    assert (queued.status, dropped.status) == (JobStatus.STOPPED, JobStatus.CANCELLED)
    for extraction, said in ((queued, "is stopped"), (dropped, "is cancelled")):
        assert not [*extraction.folder.iterdir()]
        with pytest.raises(StateError, match=said) as caught:
            ws.extractions.open(extraction.id)
        assert caught.value.hint is not None
        assert "again" in caught.value.hint
    paused.pause()
    assert paused.wait(PATIENCE) is JobStatus.PAUSED
    assert (paused.folder / "checkpoint").is_dir()
    paused.cancel()
    assert paused.status is JobStatus.CANCELLED
    assert not [*paused.folder.iterdir()]
    queued.resume()
    wait_for_tokens(queued, 8_000)
    queued.cancel()
    assert queued.wait(PATIENCE) is JobStatus.CANCELLED
    assert not [*queued.folder.iterdir()]
    for extraction in (paused, queued, dropped):
        assert extraction.delete() == 0
    ws.saes.delete(sae.id)


def test_files_that_are_gone(ws: Workspace, make_sae: Callable[..., SAERecord], tmp_path: Path) -> None:
    sae = make_sae(8)
    extraction = extract(ws, sae_id=sae.id)
    folder = extraction.folder
    folder.rename(tmp_path / "moved")
    with pytest.raises(NotFoundError, match="not here"):
        ws.extractions.open(extraction.id)
    ws.features.label(f"feat_{sae.id}_3", "three")
    (found,) = ws.features.list(sae_id=sae.id)  # what people said can still be looked at
    assert (found.label, found.density) == ("three", None)
    (tmp_path / "moved").rename(folder)
    assert ws.extractions.open(extraction.id).d_sae == 64
    ws.saes.delete(sae.id)


def test_fewer_tokens_are_from_all_over_the_text(ws: Workspace, sae: SAERecord) -> None:
    extraction = extract(ws, sae_id=sae.id, config={"tokens": 160})
    store = extraction.store()
    n = store.packed.n_contexts
    assert store["contexts"].tolist() == [i * n // 10 for i in range(10)]
    assert extraction.record.tokens_total == 160
    extraction.delete()


def test_killed_after_the_last_array(ws: Workspace, make_sae: Callable[..., SAERecord]) -> None:
    """The folder is whole and the row is not: resuming writes down what is there."""
    sae = make_sae(4)
    extraction = extract(ws, sae_id=sae.id)
    before = extraction.record
    ws.catalog.extractions.update(extraction.id, **dict.fromkeys(("n_tokens", "seen", "dead", "dense", "size_bytes")))
    assert before.job_id is not None
    ws.catalog.jobs.change(before.job_id, {"status": JobStatus.QUEUED}, when={JobStatus.COMPLETED})
    ws.catalog.jobs.change(before.job_id, {"status": JobStatus.PAUSED}, when={JobStatus.QUEUED})
    extraction.resume()
    assert extraction.wait(PATIENCE) is JobStatus.COMPLETED, extraction.error
    after = extraction.record
    assert (after.n_tokens, after.seen, after.dense) == (before.n_tokens, before.seen, before.dense)
    ws.saes.delete(sae.id)


def test_several_at_once_have_ids_of_their_own(ws: Workspace, make_sae: Callable[..., SAERecord]) -> None:
    sae = make_sae(6)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ws.extractions.create(sae_id=sae.id, config=CONFIG), range(4)))
    assert len({extraction.id for extraction in made}) == 4
    assert [extraction.wait(PATIENCE) for extraction in made] == [JobStatus.COMPLETED] * 4
    ws.saes.delete(sae.id)
