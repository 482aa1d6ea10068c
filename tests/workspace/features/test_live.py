"""Live readings equal a plain recomputation, wait for nobody, and are let go of."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace, live
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.reading.token_reading import PromptReading
from tests.jobs.conftest import wait_until
from tests.ranking import assert_ranked
from tests.workspace.conftest import PATIENCE, small_config, wait_for_step

TEXT = "The king went down to the river. Größe 🐳 <|eos|>"


def plainly(ws: Workspace, sae_id: str, model_folder: str, text: str) -> tuple[list[int], torch.Tensor]:
    """(ids without BOS, latents of every token) the way a script would do it, with transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    with torch.no_grad():
        hidden = model(torch.tensor([[tokenizer.bos_token_id, *ids]]), output_hidden_states=True).hidden_states[1]
        return ids, ws.saes.load(sae_id).encode(hidden)[0, 1:]


def test_a_text_token_by_token(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    ids, expected = plainly(ws, sae.id, str(sae.model), TEXT)
    reading = ws.features.run_on(sae.id, TEXT)
    assert reading.ids.tolist() == ids
    assert "".join(reading.pieces) == TEXT
    assert "left out" in reading.note
    fires = (expected > 0).any(0).nonzero().view(-1).tolist()
    assert sorted(reading.indices.tolist()) == fires
    for place, index in enumerate(reading.indices.tolist()):
        np.testing.assert_allclose(reading.activations[place], expected[:, index].numpy(), rtol=1e-4, atol=1e-5)
    peaks = reading.activations.max(1)
    assert (np.diff(peaks) <= 0).all()
    assert reading.ranked().tolist() == list(range(len(peaks)))
    by_sum = reading.activations.sum(1)[reading.ranked("sum")]
    assert (np.diff(by_sum) <= 0).all()
    on_token = reading.ranked("token", 2)
    assert (reading.activations[on_token, 2] > 0).all()
    assert len(on_token) == int((expected[2] > 0).sum())
    for wrong in (("token", None), ("token", len(ids)), ("mean", None)):
        with pytest.raises(ConfigError):
            reading.ranked(*wrong)
    frame = reading.to_df()
    assert len(frame) == int((expected > 0).sum())
    assert frame["position"].is_monotonic_increasing

    index = int(reading.indices[0])
    ws.features.label(f"feat_{sae.id}_{index}", "first")
    again = ws.features.run_on(extracted.id, TEXT)
    assert again.labels == {index: "first"}
    ws.features.label(f"feat_{sae.id}_{index}", "")

    one = ws.features.on_feature(extracted.id, index, TEXT)
    np.testing.assert_array_equal(one.activations, reading.activations[0])
    assert (one.max, one.fired) == (float(peaks[0]), int((reading.activations[0] > 0).sum()))
    assert one.to_df()["token"].tolist() == list(reading.pieces)


def test_texts_that_cannot_be_read(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    for wrong in ("", None, 3, "half \ud800"):
        with pytest.raises(ConfigError) as caught:
            ws.features.run_on(sae.id, wrong)  # type: ignore[arg-type]
        assert caught.value.where == "text"
    long = ws.features.run_on(sae.id, "The king and the whale. " * 200)
    assert len(long.pieces) == 63  # the model reads 64, one of them BOS
    assert "Cut to the first 63 of" in long.note
    with pytest.raises(ConfigError):
        ws.features.on_feature(sae.id, 64, "The king")
    with pytest.raises(NotFoundError):
        ws.features.run_on("sae_none", "The king")


def test_a_whole_context(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    store = extracted.store()
    index = int(store.fired.argmax())
    example = ws.features.data(extracted.id, index).top[0]
    found = ws.features.context(extracted.id, index, example.position)
    assert found.complete
    assert found.peak is not None
    assert found.activations[found.peak] == pytest.approx(example.value, rel=1e-4)
    assert found.pieces[found.peak] == example.pieces[example.peak]
    whole = store.context(example.row)
    assert len(found.pieces) == len(whole) - int(int(whole[0]) in store.special_ids)
    # Every stored window is a part of it.
    near = slice(found.peak - example.peak, found.peak - example.peak + len(example.tokens))
    np.testing.assert_allclose(found.activations[near], example.activations, rtol=2e-3, atol=1e-3)
    for wrong in (-1, store.manifest.n_contexts * 16, "x"):
        with pytest.raises(ConfigError):
            ws.features.context(extracted.id, index, wrong)  # type: ignore[arg-type]


def test_logits_and_relations(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    index = 5
    found = ws.features.logits(extracted.id, index, 4)
    assert [value for _, value in found.raises] == sorted((value for _, value in found.raises), reverse=True)
    assert sum(found.counts) == 300
    assert len(found.edges) == len(found.counts) + 1

    W = torch.nn.functional.normalize(ws.saes.load(sae.id).W_dec, dim=1)
    cosines = W @ W[index]
    cosines[index] = -2
    similar = ws.features.similar(sae.id, index, 3)
    assert len(similar) == 3
    assert_ranked([one.index for one in similar], [one.value for one in similar], cosines.numpy())
    assert similar[0].feature.extraction_id == extracted.id
    table = similar.to_df()
    assert list(table["index"]) == [one.index for one in similar]
    assert list(table.sort_values("value")["value"]) == sorted(one.value for one in similar)
    assert list(table["id"]) == [one.feature.id for one in similar]
    assert list(similar[:0].to_df().columns) == list(table.columns)
    together, sampled = ws.features.coactive(extracted.id, int(extracted.store().fired.argmax()), 5)
    assert sampled > 0
    assert all(0 < one.value <= 1 for one in together)
    assert ws.features.can_read(sae.id) == ""


def test_kept_and_let_go(
    ws: Workspace, make_sae: Callable[..., SAERecord], tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.features.live.forget()
    saes = [make_sae(20 + number) for number in range(live.SAES + 1)]
    for record in saes:
        assert ws.features.run_on(record.id, "The king").indices.size  # no extraction is needed
    assert ws.features.live.loaded == (1, live.SAES)
    ws.saes.delete(saes[-1].id)
    assert ws.features.live.loaded == (1, live.SAES - 1)
    with pytest.raises(NotFoundError):
        ws.features.run_on(saes[-1].id, "The king")
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.05)
    ws.features.run_on(saes[1].id, "The king")
    wait_until(lambda: ws.features.live.loaded == (0, 0), PATIENCE)
    for record in saes[:-1]:
        ws.saes.delete(record.id)
    unknown = make_sae(30, model="nobody/knows-it")
    assert ws.features.can_read(unknown.id) == ""  # that can only be told by loading it
    ws.catalog.saes.update(unknown.id, hook_name=None)
    ws.saes.delete(unknown.id)


def test_large_ones_are_let_go_of_sooner(
    ws: Workspace, make_sae: Callable[..., SAERecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.features.live.forget()
    saes = [make_sae(40 + number) for number in range(3)]
    size = sum(t.numel() * t.element_size() for t in ws.saes.load(saes[0].id).state_dict().values())
    monkeypatch.setattr(live, "SAE_BYTES", 2 * size)
    for record in saes:
        ws.features.run_on(record.id, "The king")
    assert ws.features.live.loaded == (1, 2)
    monkeypatch.setattr(live, "SAE_BYTES", size - 1)
    ws.features.run_on(saes[0].id, "The king")  # the one in use stays
    assert ws.features.live.loaded == (1, 1)
    for record in saes:
        ws.saes.delete(record.id)


def test_it_slips_between_the_batches_of_a_training(
    ws: Workspace, sae: SAERecord, extracted: Extraction, tiny_model_folder: Path
) -> None:
    ws.features.run_on(sae.id, "The king")  # loaded
    config = small_config(tiny_model_folder, tokens=64 * 100_000, **{"evaluation.every_steps": 100_000})
    run = ws.trainings.create(config)
    wait_for_step(ws, run, 5)
    found: list[PromptReading] = []
    threads = [threading.Thread(target=lambda: found.append(ws.features.run_on(sae.id, TEXT))) for _ in range(3)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert time.monotonic() - begun < 10
    assert run.status is JobStatus.RUNNING
    run.cancel()
    run.wait(PATIENCE)
    alone = ws.features.run_on(sae.id, TEXT)
    for reading in found:
        np.testing.assert_allclose(reading.activations, alone.activations, rtol=1e-5, atol=1e-6)
    assert len(found) == 3
    run.delete()
