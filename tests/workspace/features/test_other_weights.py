"""An SAE whose files were replaced: extractions from before say so, and so does what is read with the new ones."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from saewidgets.errors import StateError
from saewidgets.events import JobStatus
from saewidgets.records import SAERecord
from saewidgets.widgets.extraction_viewer.feature_pages import facts_of, version_label
from saewidgets.workspace import Workspace
from tests.workspace.conftest import PATIENCE
from tests.workspace.features.conftest import extract
from tests.workspace.library.saes import saelens

TEXT = "The king went down to the river."


def test_replaced_files_are_noticed(
    ws: Workspace, make_sae: Callable[..., SAERecord], tmp_path: Path
) -> None:
    sae = make_sae(70)
    before = extract(ws, sae_id=sae.id)
    record = before.record
    assert sorted(record.facts["weights"]) == ["sae_weights.safetensors"]
    assert (record.other_weights, record.note) == (False, None)
    assert ws.extractions.compute_logits(before.id).wait(PATIENCE) is JobStatus.COMPLETED
    found = before.store().logits["top_logits"][3].tolist()
    reading = ws.features.run_on(sae.id, TEXT)
    index = int(reading.indices[0])
    peak = ws.features.data(before.id, index).top[0].position
    whole = ws.features.context(before.id, index, peak)
    assert not any("other weights" in each.note for each in (reading, whole))

    # A copy with other times is the same.
    copy = shutil.copytree(sae.path, tmp_path / "copy")
    os.utime(copy / "sae_weights.safetensors", (1, 1))
    ws.saes.locate(sae.id, copy)
    assert not before.record.other_weights

    ws.saes.locate(sae.id, saelens(tmp_path / "others", 32, 64, 71))
    record = before.record
    assert record.other_weights
    assert record.note == "Made with other weights than the SAE has now."
    assert ws.extractions.latest(sae.id) == record
    assert version_label(record).endswith(", other weights")
    facts = facts_of(record, before.store().manifest)
    assert ("Weights", "others than the SAE has now") in {(fact.label, fact.value) for fact in facts}
    ws.features.live.forget(sae.id)
    for note in (
        ws.features.run_on(before.id, TEXT).note, ws.features.on_feature(sae.id, index, TEXT).note,
        ws.features.context(before.id, index, peak).note,
    ):  # fmt: skip
        assert "other weights" in note
    # Its own tables go with its numbers; new ones would not.
    kept = ws.features.logits(before.id, 3)
    assert [value for _, value in kept.raises] == pytest.approx(found)
    assert "other weights" in kept.note
    with pytest.raises(StateError, match="other weights"):
        ws.extractions.compute_logits(before.id)
    assert ws.steering._latest(ws.saes.get(sae.id)) is None

    shutil.rmtree(before.folder / "logits")
    ws.extractions._reopen(before.id)
    assert "other weights" in ws.features.logits(before.id, 3).note

    after = extract(ws, sae_id=sae.id)
    assert ws.features.logits(sae.id, 3).note == ""
    assert not after.record.other_weights
    assert "other weights" not in ws.features.run_on(sae.id, TEXT).note
    assert "other weights" in ws.features.run_on(before.id, TEXT).note
    with Workspace(ws.folder) as other:
        assert [r.other_weights for r in other.extractions.for_sae(sae.id)] == [False, True]
    shutil.rmtree(tmp_path / "others")  # where nothing can be compared, nothing is said
    assert not before.record.other_weights
    ws.saes.delete(sae.id)
