"""An encoder from the run to its features: what there is works, what there cannot be is refused in words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.config import CheckpointConfig
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.lm import HookError
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.extractions import Extraction
from tests.lm.models import encoder_tokenizer, family
from tests.workspace.conftest import PATIENCE, completed, small_config

HOOK = "blocks.1.hook_resid_post"
TEXT = "The king went down to the river."


@pytest.fixture(scope="module")
def folder(tiny_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with its masked-LM head, as transformers saves one."""
    from transformers import AutoTokenizer

    place = tmp_path_factory.mktemp("tiny-bert")
    family("bert", vocab_size=304).save_pretrained(place)
    encoder_tokenizer(AutoTokenizer.from_pretrained(tiny_tokenizer_folder)).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("encoder") / "workspace") as workspace:
        yield workspace


@pytest.fixture(scope="module")
def run(ws: Workspace, folder: Path) -> Run:
    return completed(ws.trainings.create(small_config(folder, hook_name=HOOK)))


@pytest.fixture(scope="module")
def extracted(ws: Workspace, run: Run) -> Extraction:
    return completed(ws.extractions.create(training_id=run.id, config={"tokens": 512}))


def test_a_run_and_its_evaluation_have_everything_but_the_cross_entropy(ws: Workspace, run: Run) -> None:
    latest = set(run.metrics()["name"])
    assert {"loss", "l0", "val_fvu"} <= latest
    assert "ce_loss_score" not in latest
    sae = run.sae()
    assert sae.metadata["model_class_name"] == "BertForMaskedLM"
    assert "ce_loss_score" not in sae.metadata
    found = ws.evaluate(run.id)
    assert found["fvu"] > 0
    assert not any(str(name).startswith(("ce_", "kl_")) for name in found)
    assert any("does not predict the next token: there is no cross-entropy" in note for note in found.notes)


def test_the_form_says_so_before(ws: Workspace, folder: Path) -> None:
    config = small_config(folder, hook_name=HOOK, checkpoints=CheckpointConfig(best_metric="ce_loss_score"))
    found = ws.trainings.validate(config.to_data())
    assert "encoder" in found["fields"]["checkpoints.best_metric"]
    assert "encoder" in found["hints"]["model"]


def test_its_features_are_read_and_its_prompts_stand_between_cls_and_sep(
    ws: Workspace, run: Run, extracted: Extraction, folder: Path
) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    assert len(ws.features.list(extraction_id=extracted.id)) > 0
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt").input_ids
    assert ids[0, [0, -1]].tolist() == [0, 1]
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states[2]
    expected = run.sae().encode(hidden)[0, 1:-1]
    reading = ws.features.run_on(run.id, TEXT)
    assert reading.ids.tolist() == ids[0, 1:-1].tolist()
    assert "begin and end" in reading.note
    for place, index in enumerate(reading.indices.tolist()):
        np.testing.assert_allclose(reading.activations[place], expected[:, index].numpy(), rtol=1e-4, atol=1e-5)


def test_what_needs_a_next_token_is_refused(
    ws: Workspace, run: Run, extracted: Extraction, tmp_path: Path
) -> None:
    index = int(ws.features.run_on(run.id, TEXT).indices[0])
    with pytest.raises(HookError, match=r"encoder.*logit effects are not defined"):
        ws.features.logits(extracted.id, index)
    with pytest.raises(ConfigError, match=r"Steering needs a model that predicts the next token; .* is an encoder"):
        ws.steer(None, [(run.import_to_saes().id, index, 2.0)], TEXT)
    with pytest.raises(ConfigError, match="predicts the next token"):
        ws.features.loss_effect(extracted.id, index, text=TEXT, token=2)
    with pytest.raises(HookError, match="encoder"):
        ws.features.export(extracted.id, "html", tmp_path / "page.html", logits=True)
    assert not list(tmp_path.glob("*.html"))
    page = ws.features.export(extracted.id, "html", tmp_path / "page.html", indices=[index])
    assert page.is_file()  # without them where nobody insists
    job = ws.extractions.compute_logits(extracted.id)
    job.wait(timeout=PATIENCE)
    assert (job.status, "encoder" in str(job.error)) == (JobStatus.FAILED, True)
