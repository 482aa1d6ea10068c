"""`ws.evaluate` on stored activations: the numbers that take no text, on rows that are there already."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.config import ActivationCorpus
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.lm import load_model
from saewidgets.sae import SAE, create_sae, inference_sae
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.activations import Capture
from tests.evaluation.test_metrics import numbers
from tests.workspace.conftest import STORED, completed, of_store

RESID, MLP = STORED
LEFT_OUT = "CE recovered and KL recovered are left out"


@pytest.fixture(scope="module")
def ws(finished_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(shutil.copytree(finished_store, tmp_path_factory.mktemp("ws") / "w")) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def store(ws: Workspace) -> Capture:
    return ws.activations.get("store")


@pytest.fixture(scope="module")
def imported(
    ws: Workspace, store: Capture, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Capture:
    path = tmp_path_factory.mktemp("states") / "layer_0_states.pt"
    torch.save({"hidden_states": torch.from_numpy(np.array(store.open().rows(RESID))), "layer_idx": 0}, path)
    found = completed(ws.activations.import_states(path, model=str(tiny_model_folder), name="states"))
    return found


@pytest.fixture(scope="module")
def run(ws: Workspace) -> Run:
    return ws.trainings.get("stored")


def _sae(**said: Any) -> SAE:
    made = torch.Generator().manual_seed(0)
    tensors = {
        "W_enc": torch.randn(32, 64, generator=made) * 0.3, "b_enc": torch.randn(64, generator=made) - 1.5,
        "W_dec": torch.randn(64, 32, generator=made) * 0.2, "b_dec": torch.randn(32, generator=made) * 0.1,
    }  # fmt: skip
    sae = inference_sae("standard", 32, tensors, apply_b_dec_to_input=False)
    sae.metadata = {"hook_name": RESID, **said}
    return sae


def _by_hand(sae: SAE, x: Any) -> dict[str, float]:
    weights = {name: value.detach().double().numpy() for name, value in sae.state_dict().items()}
    f = np.maximum(x @ weights["W_enc"] + weights["b_enc"], 0)
    hat = f @ weights["W_dec"] + weights["b_dec"]
    return numbers(x, hat, f)


def test_the_numbers_are_those_of_their_definitions(
    ws: Workspace, store: Capture, imported: Capture, no_model: None
) -> None:
    sae, opened = _sae(), store.open()
    rows = np.array(opened.rows(RESID), dtype=np.float64)
    usual = np.fromfile(Path(store.record.folder) / "special.bin", dtype=np.uint8) == 0
    position = np.arange(len(rows)) % 16
    cases: list[tuple[Capture, dict[str, Any], Any]] = [
        (store, {}, rows[usual]),
        (store, {"exclude_special_tokens": False}, rows),
        (store, {"seqpos_slice": "5:-2"}, rows[usual & (position >= 5) & (position < 14)]),
        (imported, {}, rows),
    ]
    for where, asked, chosen in cases:
        report = ws.evaluate(sae, where.corpus, tokens=10**6, progress=False, **asked)
        expected = _by_hand(sae, chosen)
        assert set(report) == {*expected, "explained_variance_legacy"}
        for name, value in expected.items():
            assert report[name] == pytest.approx(value, rel=1e-4, abs=1e-9), (where.record.name, asked, name)
        assert sum(report.density["counts"]) + report.density["zeros"] == 64
        assert (report.store_id, report.corpus, report.held_out) == (where.id, where.record.name, False)
        assert report.context_size == (16 if where is store else None)
        assert any(note.startswith(LEFT_OUT) for note in report.notes)
        assert any("from all over the store" in note for note in report.notes)
        assert dict(report.facts())["Rows"] == f"{where.record.name}: {len(chosen):,} stored activations of {where.id}"
        assert not any(name.startswith(("ce_", "kl_")) for name in report.to_dict()["metrics"])
    assert "The model of the SAE is not known, so it was not compared." in report.notes
    assert "Imported states have neither tokens nor positions: every row counts, special tokens too." in report.notes


def test_a_run_is_measured_on_held_out_rows(
    ws: Workspace, store: Capture, run: Run, tiny_model_folder: Path
) -> None:
    report = ws.evaluate(run, store.corpus, tokens=10**6, batch_size=4)
    opened = store.open()
    n = opened.facts.n_contexts
    count = round(n * 0.1)
    held = [(2 * i + 1) * n // (2 * count) for i in range(count)]  # one from the middle of each tenth
    assert report.held_out
    read = f"{count} of {count} contexts of this store that were held out from its training."
    assert f"The rows are of {read}" in report.notes
    from saewidgets.evaluation import evaluate  # the same text through the model

    lm = load_model(str(tiny_model_folder))
    expected = evaluate(
        run.sae(), lm, torch.from_numpy(opened.contexts(held)), RESID, cross_entropy=False, batch_size=4
    )
    assert dict(report) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    by_id = ws.evaluate(run.id, store.id, tokens=10**6, batch_size=4)
    assert (by_id, by_id.held_out) == (report, True)
    assert ws.evaluate(run, store, tokens=10**6, batch_size=4) == report  # type: ignore[arg-type]
    fewer = ws.evaluate(run, store.corpus, tokens=32)
    assert fewer["n_tokens"] <= 32
    assert any(note.startswith(f"The rows are of 2 of {count} contexts") for note in fewer.notes)
    unasked = ws.evaluate(run, store.corpus, cross_entropy=False)
    assert "Cross-entropy and divergence were not asked for." in unasked.notes
    # An SAE of the library remembers its store when its training is gone.
    again = completed(ws.trainings.create(of_store(store.corpus)))
    sae = again.import_to_saes()
    again.delete()
    assert ws.evaluate(sae.id, store.id, tokens=64).held_out
    assert ws.saes.statistics(sae.id)["evaluated"]["corpus"] == "store"


def test_a_training_that_held_nothing_out(ws: Workspace, store: Capture) -> None:
    everything = completed(ws.trainings.create(of_store(store.corpus, **{"activations.validation_share": 0.0})))
    report = ws.evaluate(everything, store.corpus, tokens=64)
    assert not report.held_out
    assert "No rows were held out: these are rows it was trained on." in report.notes


def test_a_run_from_imported_states(
    ws: Workspace, imported: Capture, tiny_model_folder: Path, tmp_path: Path, no_model: None
) -> None:
    copy = tmp_path / "layer_0_states.pt"
    shutil.copyfile(imported.record.config["paths"][0], copy)
    states = completed(ws.activations.import_states(copy, model=str(tiny_model_folder)))
    run = completed(ws.trainings.create(of_store(states.corpus, model=str(tiny_model_folder))))
    report = ws.evaluate(run)
    assert (report.store_id, report.held_out) == (states.id, True)
    assert report == ws.evaluate(run, states.corpus)
    assert report["fvu"] == pytest.approx(run.record.latest["val_fvu"], rel=1e-4)
    assert any(note.startswith(LEFT_OUT) for note in report.notes)
    with pytest.raises(ConfigError, match=r"cross_entropy: .*without text"):
        ws.evaluate(run, cross_entropy=True)
    states.delete()
    with pytest.raises(StateError) as caught:
        ws.evaluate(run)
    assert f"is not known, and its stored activations ({states.id}) are not here any more" in str(caught.value)
    assert "Give a corpus" in str(caught.value)


def test_a_transcoder(ws: Workspace, store: Capture) -> None:
    made = create_sae("transcoder", 32, d_sae=48, d_out=32)
    made.metadata = {"hook_name": RESID, "hook_name_out": MLP}
    report = ws.evaluate(made, store.corpus, tokens=10**6, exclude_special_tokens=False)
    x, target = (torch.from_numpy(np.array(store.open().rows(name))) for name in (RESID, MLP))
    with torch.no_grad():
        hat = made(x).double().numpy()
    y = target.double().numpy()
    assert report["fvu"] == pytest.approx(((y - hat) ** 2).sum() / ((y - y.mean(0)) ** 2).sum(), rel=1e-4)
    assert (report.hook_name, report.hook_name_out) == (RESID, MLP)


def test_what_cannot_be_measured_is_refused(
    ws: Workspace, store: Capture, imported: Capture, run: Run, tiny_model_folder: Path
) -> None:
    narrow = create_sae("standard", 16, d_sae=8)
    narrow.metadata = {"hook_name": RESID}
    coder = create_sae("transcoder", 32, d_sae=48, d_out=32)
    coder.metadata = {"hook_name": RESID}
    lm = load_model(str(tiny_model_folder))
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (run, store, {"cross_entropy": True}, "cross_entropy: A store is measured without text"),
        (run, ActivationCorpus(store.id, cross_entropy=True), {}, "cross_entropy: A store"),
        (run, store, {"mean_ablation": True}, "mean_ablation: "),
        (narrow, store, {}, "d_in: The SAE's d_in is 16, but the store store holds 32 numbers per row at blocks.0"),
        (coder, store, {}, "hook_name_out: A transcoder reconstructs a different place"),
        (coder, store, {"hook_name_out": "blocks.0.hook_mlp_out"}, "hook_name_out: This store does not hold"),
        (run, store, {"hook_name_out": MLP}, "hook_name_out: A topk SAE reconstructs what it reads"),
        (run, store, {"hook_name": "blocks.0.hook_mlp_out"}, "hook_name: This store does not hold blocks.0.hook_mlp"),
        (_sae(model_name="gpt2-small"), store, {}, "not from openai-community/gpt2"),
        (run, imported, {"model": "gpt2"}, "model: The store states was captured from "),
        (run, store, {"model": "gpt2"}, "model: The store store was captured from "),  # its own store, too
        (run, store, {"model": lm}, "model: A store is measured without"),
        (run, store, {"tokenizer": lm.tokenizer}, "tokenizer: A store is measured without"),
        (run, store, {"context_size": 8}, "context_size: The store store has contexts of 16"),
        (run, store, {"seqpos_slice": "40:"}, "seqpos_slice: A context of 16 tokens has none"),
        (run, imported, {"seqpos_slice": "1:"}, "seqpos_slice: Imported states have neither"),
        (run, imported, {"exclude_special_tokens": True}, "exclude_special_tokens: Imported states"),
        (run, imported, {"context_size": 16}, "context_size: Imported states"),
        (store, store, {}, "what: Expected an SAE"),
    ]
    for what, corpus, asked, said in cases:
        with pytest.raises(ConfigError) as caught:
            ws.evaluate(what, corpus.corpus if isinstance(corpus, Capture) else corpus, **asked)
        assert said in str(caught.value), (said, str(caught.value))
    with pytest.raises(NotFoundError, match="no store of activations"):
        ws.evaluate(run, "acts_01J8ZC3V5W6X7Y8Z9A0B1C2D3E")
    with pytest.raises(NotFoundError, match=r"corpus: .* A store of activations is named by its whole id"):
        ws.evaluate(run, "acts_01J8")
