"""Runs that start from an SAE of the library, of a run or of a folder; positions and tokens that a run leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus
from saewidgets.workspace import Run, Workspace
from tests.workspace.conftest import PATIENCE


def ended(run: Run) -> Run:
    assert run.wait(PATIENCE) is JobStatus.COMPLETED, run.error
    return run


def test_an_sae_of_the_library_by_id_and_by_name(ws: Workspace, run: Run, config: TrainingConfig) -> None:
    sae = run.import_to_saes()
    for named in (sae.id, sae.name):
        wanted = config.replace(from_pretrained=named, seed=3, **{"checkpoints.keep_every": True})
        second = ended(ws.trainings.create(wanted))
        record = second.record
        assert record.config["from_pretrained"] == sae.id, "a name may change, an id does not"
        assert record.started_from == sae.name
        assert record.facts["started_from"] == {"sae": sae.id, "name": sae.name}
        assert f"Starting from the SAE {sae.name}." in "\n".join(second.log())
        assert float(second.history("fvu")["fvu"].iloc[0]) < float(run.history("fvu")["fvu"].iloc[0])
    ws.saes.delete(sae.id)
    again = ended(second.continue_from(second.checkpoints()[0].id))
    before, after = (each.sae().state_dict() for each in (second, again))
    assert all(torch.equal(before[name], after[name]) for name in before), "its checkpoint is all that it needs"
    with pytest.raises(NotFoundError, match="There is no SAE") as caught:
        second.retry()
    assert caught.value.where == "from_pretrained"


def test_what_a_run_has_left_and_a_folder(ws: Workspace, run: Run, config: TrainingConfig, tmp_path: Path) -> None:
    by_run = ended(ws.trainings.create(config.replace(from_pretrained=run.id)))
    assert (by_run.record.config["from_pretrained"], by_run.record.started_from) == (run.id, "first")
    by_path = ended(ws.trainings.create(config.replace(from_pretrained=str(run.sae_path))))
    assert by_path.record.config["from_pretrained"] == str(run.sae_path)
    before, after = (each.sae().state_dict() for each in (by_run, by_path))
    assert all(torch.equal(before[name], after[name]) for name in before)
    group = ws.trainings.create_many(config, {"from_pretrained": [None, run.id]})
    assert group.wait(PATIENCE) is JobStatus.COMPLETED
    assert [each.record.started_from for each in group.runs] == [None, "first"]


def test_what_cannot_be_started_from_is_said_before_anything_is_queued(
    ws: Workspace, run: Run, config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for named, error in ((str(tmp_path / "empty"), ConfigError), ("nobody", NotFoundError), ("\0", NotFoundError)):
        with pytest.raises(error) as caught:
            ws.trainings.create(config.replace(from_pretrained=named))
        assert caught.value.where == "from_pretrained"
    with pytest.raises(ConfigError, match="d_sae 64, this training 128") as other:
        ws.trainings.create(config.replace(from_pretrained=run.id, **{"sae.d_sae": 128}))
    assert other.value.where == "from_pretrained"
    assert len(ws.trainings.list()) == 1
    data = {**config.to_data(), "from_pretrained": "nobody"}
    assert "no SAE" in ws.trainings.validate(data)["fields"]["from_pretrained"]
    wide = {**config.replace(**{"sae.d_sae": 128}).to_data(), "from_pretrained": run.id}
    assert "this training 128" in ws.trainings.validate(wide)["fields"]["from_pretrained"]
    assert "from_pretrained" not in ws.trainings.validate({**config.to_data(), "from_pretrained": run.id})["fields"]


def test_evaluations_keep_to_the_positions_of_the_run(ws: Workspace, config: TrainingConfig) -> None:
    run = ended(ws.trainings.create(config.replace(**{
        "activations.seqpos_slice": "4:12", "activations.exclude_special_tokens": False,
    })))  # fmt: skip
    contexts = int(run.record.facts["validation_contexts"])
    own = ws.evaluate(run, tokens=10**6)
    assert own["n_tokens"] == 8 * contexts
    assert any("4:12" in note for note in own.notes)
    assert ws.evaluate(run, tokens=10**6, seqpos_slice=":")["n_tokens"] == 16 * contexts
    assert ws.evaluate(run, tokens=10**6, seqpos_slice=(None, None, 4))["n_tokens"] == 4 * contexts
    exported = ws.evaluate(run.sae_path, config.corpus, tokens=256, model=config.model)
    assert any("4:12" in note for note in exported.notes), "its file says so"
    left_out = ws.evaluate(run, tokens=10**6, exclude_special_tokens=[5, 6])
    assert any("2 ids" in note for note in left_out.notes)
    for wrong in ({"seqpos_slice": "x"}, {"seqpos_slice": "90:"}, {"exclude_special_tokens": ["x"]}):
        with pytest.raises(ConfigError) as caught:
            ws.evaluate(run, tokens=256, **wrong)
        assert caught.value.where == next(iter(wrong))
