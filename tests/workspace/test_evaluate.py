"""`ws.evaluate`: any SAE, any text, and a report that says what was measured on what."""

import inspect
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config import TextCorpus
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.formats import save_sae
from saewidgets.lm import HookError, load_model
from saewidgets.records import SAERecord
from saewidgets.render.evaluation import FIGURES
from saewidgets.sae import SAE, inference_sae
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.reading.evaluation_report import EvaluationReport
from tests.conftest import TINY_TEXT

TEXT = TextCorpus(strings=TINY_TEXT)
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def ws(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("evaluate") / "workspace"
    with Workspace(shutil.copytree(finished, folder)) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def run(ws: Workspace) -> Run:
    found = ws.trainings.get("first")
    found.rename("<b>first</b>")
    return found


@pytest.fixture(scope="module")
def sae(ws: Workspace, run: Run) -> SAERecord:
    return run.import_to_saes()


def _loaded(model: Path, architecture: str = "standard", **said: Any) -> SAE:
    """An SAE that says where it belongs."""
    made = torch.Generator().manual_seed(0)
    tensors = {
        "W_enc": torch.randn(32, 64, generator=made) * 0.2, "b_enc": torch.zeros(64),
        "W_dec": torch.randn(64, 32, generator=made) * 0.2, "b_dec": torch.zeros(32),
    }  # fmt: skip
    sae = inference_sae(architecture, 32, tensors)
    sae.metadata = {"model_name": str(model), "hook_name": HOOK, "context_size": 16, **said}
    return sae


def test_the_report(ws: Workspace, run: Run) -> None:
    report = ws.evaluate(run, tokens=256, mean_ablation=True)
    assert {figure.name for figure in FIGURES} | {"n_tokens", "ce_tokens"} == set(report)
    assert report["explained_variance"] == 1 - report["fvu"]
    assert report["ce_loss_delta"] == report["ce_loss_sae"] - report["ce_loss_clean"]
    assert (report.hook_name, report.hook_name_out, report.d_sae, report.held_out) == (HOOK, None, 64, True)
    assert (report.training_id, report.context_size, report.special_tokens) == (run.id, 16, False)
    assert sum(report.density["counts"]) + report.density["zeros"] == 64
    assert report.density["zeros"] == round(report["dead"] * 64)
    assert len(report.density["edges"]) == len(report.density["counts"]) + 1
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["metrics"] == pytest.approx(dict(report))
    frame = report.to_df()
    assert list(frame.columns) == ["name", "title", "value", "unit", "group", "meaning"]
    assert frame.set_index("name").loc["l0", "unit"] == "latents per token"
    page = report._repr_html_()
    assert "&lt;b&gt;first" in page
    assert "<b>first" not in page
    assert "CE recovered, mean ablation" in page
    assert "<svg" in page
    assert repr(report).startswith("<Evaluation of <b>first</b>: FVU ")
    assert "Special tokens (BOS, EOS, padding) are left out." in report.notes
    assert "held-out part: " in dict(report.facts())["Text"]


def test_an_sae_can_be_named_in_seven_ways(ws: Workspace, run: Run, sae: SAERecord, tiny_model_folder: Path) -> None:
    expected = ws.evaluate(run, TEXT, tokens=256)
    module = ws.saes.load(sae.id)
    for what in (run.id, run.name, sae.id, sae.id[:12], Path(sae.path), sae.path, module):
        # Files name a local model by the last part of its folder: they may be sent to others.
        elsewhere = {} if isinstance(what, str) and what != sae.path else {"model": tiny_model_folder}
        report = ws.evaluate(what, TEXT, tokens=256, batch_size=8, **elsewhere)  # type: ignore[arg-type]
        assert report == pytest.approx(expected, rel=1e-6), what
        assert isinstance(report, EvaluationReport)
        assert not report.held_out
    assert ws.evaluate(sae.id, TEXT, tokens=256).sae_id == sae.id
    assert ws.evaluate(module, TEXT, tokens=256, model=tiny_model_folder).sae_id is None
    assert run.evaluate(TEXT, tokens=256, cross_entropy=False)["fvu"] == pytest.approx(expected["fvu"])


def test_other_settings(ws: Workspace, run: Run, tiny_model_folder: Path) -> None:
    own = ws.evaluate(run, tokens=256)
    assert ws.evaluate(run, tokens=256, batch_size=1)["fvu"] == pytest.approx(own["fvu"], rel=1e-6)
    everything = ws.evaluate(run, tokens=256, exclude_special_tokens=False)
    assert everything["n_tokens"] > own["n_tokens"]
    assert everything.special_tokens
    fewer = ws.evaluate(run, tokens=256, cross_entropy=False)
    assert not any(name.startswith(("ce_", "kl_")) for name in fewer)
    assert "Cross-entropy and divergence were not asked for." in fewer.notes
    assert ws.evaluate(run, TEXT, tokens=256, context_size=8).context_size == 8
    elsewhere = ws.evaluate(run, TEXT, tokens=256, hook_name="blocks.1.hook_resid_post", device="cpu")
    assert elsewhere["fvu"] != own["fvu"]
    lm = load_model(str(tiny_model_folder))
    for given in ({"model": str(tiny_model_folder)}, {"model": lm}, {"model": lm.model, "tokenizer": lm.tokenizer}):
        assert ws.evaluate(run, tokens=256, **given) == pytest.approx(own, rel=1e-6)


def test_the_library_knows_until_its_files_are_replaced(ws: Workspace, run: Run, sae: SAERecord) -> None:
    ws.catalog.saes.update(sae.id, statistics=None)
    assert ws.saes.statistics(sae.id)["density"] is None
    told: list[str | None] = []
    end = ws.saes.changes.add(told.append)
    report = ws.evaluate(run, tokens=256)
    end()
    assert told == [sae.id]
    found = ws.saes.statistics(sae.id)
    assert found["density"] == report.to_dict()["density"]
    assert found["evaluated"]["metrics"]["fvu"] == report["fvu"]
    assert (found["evaluated"]["n_tokens"], found["evaluated"]["held_out"]) == (report.n_tokens, True)
    assert found["decoder_norms"]["counts"]
    assert ws.saes.statistics(sae.id) == found
    assert found["cross_entropy"]["metrics"]["ce_loss_score"] == report["ce_loss_score"]
    # one that leaves the cross-entropy out tells nothing new of it
    ws.evaluate(run, tokens=512, cross_entropy=False)
    later = ws.saes.statistics(sae.id)
    assert "ce_loss_score" not in later["evaluated"]["metrics"]
    assert later["cross_entropy"] == found["cross_entropy"]
    found = later
    # at another place, or in another model, it is not about this SAE
    ws.evaluate(run, TEXT, tokens=256, hook_name="blocks.1.hook_resid_post")
    assert ws.saes.statistics(sae.id) == found
    ws.catalog.saes.replace(sae.id, path=sae.path)
    assert "evaluated" not in ws.saes.statistics(sae.id)


def test_one_that_was_brought_in(ws: Workspace, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = save_sae(_loaded(tiny_model_folder), tmp_path / "brought")
    record = ws.saes.add_local(folder)
    with pytest.raises(StateError, match=r'The text .* was trained on is not known.*Give a corpus: "demo"'):
        ws.evaluate(record.id)
    report = ws.evaluate(record.id, TEXT, tokens=256)
    assert (report.model, report.context_size, report.training_id) == (tiny_model_folder.name, 16, None)
    assert ws.saes.statistics(record.id)["l0"] == report["l0"]
    with pytest.raises(StateError, match="not known which model"):
        ws.evaluate(_loaded(tiny_model_folder, model_name=None), TEXT)
    with pytest.raises(ConfigError, match="not known where") as caught:
        ws.evaluate(_loaded(tiny_model_folder, hook_name=None), TEXT)
    assert caught.value.where == "hook_name"
    assert ws.evaluate(_loaded(tiny_model_folder, hook_name=None), TEXT, tokens=64, hook_name=HOOK)["fvu"] > 0


def test_a_transcoder_knows_its_places(ws: Workspace, tiny_model_folder: Path) -> None:
    places = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    said = ws.evaluate(_loaded(tiny_model_folder, "transcoder", **places), TEXT, tokens=256)
    assert (said.hook_name, said.hook_name_out) == tuple(places.values())
    unsaid = _loaded(tiny_model_folder, "transcoder", hook_name=None)
    assert ws.evaluate(unsaid, TEXT, tokens=256, **places) == pytest.approx(said)
    assert math.isfinite(said["ce_loss_score"])
    with pytest.raises(ConfigError, match="a different place") as caught:
        ws.evaluate(unsaid, TEXT, tokens=256, hook_name=places["hook_name"])
    assert caught.value.where == "hook_name_out"
    assert "blocks.1.mlp.hook_in → blocks.1.hook_mlp_out" in dict(said.facts())["Model"]


# besides those of tests/cli/test_refusals.py
WRONG_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"what": ""}, ConfigError, "The id of an SAE is empty"),
    ({"what": 5}, ConfigError, "got 5"),
    ({"what": Path("/nothing/here")}, NotFoundError, "nothing"),
    ({"hook_name": "nonsense"}, HookError, "nonsense"),
    ({"context_size": 4096}, ConfigError, "context_size"),
    ({"cross_entropy": False, "mean_ablation": True}, ConfigError, "mean_ablation"),
    ({"tokens": 0}, ConfigError, "tokens: "),
]


@pytest.mark.parametrize(("given", "kind", "said"), WRONG_CALLS, ids=[str(given) for given, _, _ in WRONG_CALLS])
def test_errors_are_clear(
    ws: Workspace, run: Run, given: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        ws.evaluate(**{"what": run, "tokens": 256, **given})
    assert said in str(caught.value)


def test_what_cannot_be_an_argument_is_refused_by_its_name(ws: Workspace, run: Run) -> None:
    for argument in list(inspect.signature(Workspace.evaluate).parameters)[1:]:
        with pytest.raises(SAEWidgetsError) as caught:
            ws.evaluate(**{"what": run, "corpus": TEXT, "tokens": 32, "cross_entropy": False, argument: object()})
        named = ("model", "tokenizer") if argument in ("model", "tokenizer") else (argument,)
        assert any(name in str(caught.value) for name in named), str(caught.value)
