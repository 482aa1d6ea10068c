"""Starting from an SAE that is there: what it computes stays, what does not fit is named, it is needed only once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import Facts, JobStatus, LogLine, Metrics, Request
from saewidgets.formats import load_sae, save_sae
from saewidgets.sae import SAE, build_sae
from saewidgets.sae.scaler import RAW, Scaler, Whitening
from saewidgets.training import run_training
from saewidgets.training.checkpoint import list_checkpoints
from saewidgets.training.export import exported
from saewidgets.training.pretrained import start_from
from tests.sae.cases import SETTINGS, make
from tests.training.fakes import Recorder, Scripted, sae_tensors, same

D_IN, D_SAE = 12, 40
OUT = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
NORMALISED = ("layer_norm", "constant_norm_rescale")


def config(name: str, *, free: bool = False, normalize: str = "expected_average_only_in", **sae: Any) -> TrainingConfig:
    settings = {"architecture": name, "d_sae": D_SAE, **SETTINGS[name], **sae}
    settings.pop("d_out", None)
    rows = {"normalize_decoder_every": None if free else 1, "project_decoder_grad": not free}
    return TrainingConfig.from_data({
        "sae": settings, "optimizer": rows, "activations": {"normalize": normalize},
        **(OUT if "transcoder" in name else {}),
    })  # fmt: skip


def trained(name: str, scaler: Scaler, *, unit: bool = True, **settings: Any) -> SAE:
    """As a run leaves it: decoder rows of norm one in the units of training, the scale folded in."""
    sae = make(name, **settings)
    if unit:
        sae.after_step()
    if name in ("batchtopk", "matryoshka"):
        sae.threshold.fill_(0.7)
    return exported(sae, scaler)


def started(wanted: TrainingConfig, source: SAE, folder: Path, scaler: Scaler) -> tuple[SAE, list[str]]:
    save_sae(source, folder)
    sae = build_sae(wanted.autoencoder, D_IN, d_out=source.d_out if source.is_transcoder else None)
    return sae, start_from(sae, folder, wanted, scaler)


def computes_the_same(sae: SAE, source: SAE, scaler: Scaler) -> None:
    x = 3 * torch.randn(50, D_IN, generator=torch.Generator().manual_seed(3)) + 0.5
    sae.eval()
    with torch.no_grad():
        seen = scaler.to("cpu").apply(x)
        ours, theirs = scaler.to("cpu").undo(sae(seen)), source(x)
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-4
        firing = (sae.encode(seen) > 0) == (source.encode(x) > 0)
        assert float(firing.float().mean()) > 0.999  # rounding may decide for one on the edge


@pytest.mark.parametrize("free", [False, True], ids=["unit rows", "free rows"])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_function_is_that_of_the_sae(tmp_path: Path, name: str, free: bool) -> None:
    out = (0.6, 1.7) if "transcoder" in name else (None, None)
    source = trained(name, Scaler(0.4, out[0]))
    sae, notes = started(config(name, free=free), source, tmp_path / "sae", Scaler(2.5, out[1]))
    computes_the_same(sae, source, Scaler(2.5, out[1]))
    assert notes == []
    norms = sae.W_dec.norm(dim=1)
    if not free:
        assert torch.allclose(norms, torch.ones(D_SAE), atol=1e-5)
        before = {key: tensor.clone() for key, tensor in sae.state_dict().items()}
        sae.after_step()  # the upkeep after a step changes nothing
        assert all(torch.allclose(before[key], tensor, atol=1e-6) for key, tensor in sae.state_dict().items())


@pytest.mark.parametrize("kind", NORMALISED)
@pytest.mark.parametrize("name", ["standard", "topk", "batchtopk", "jumprelu", "gated"])
def test_an_sae_that_normalises_tokens(tmp_path: Path, name: str, kind: str) -> None:
    source = trained(name, RAW, normalize_activations=kind)
    sae, _ = started(config(name, normalize=kind), source, tmp_path / "sae", RAW)
    assert sae.cfg.normalize_activations == kind
    computes_the_same(sae, source, RAW)


@pytest.mark.parametrize("free", [False, True], ids=["unit rows", "free rows"])
@pytest.mark.parametrize("name", ["standard", "topk", "batchtopk", "matryoshka", "jumprelu", "gated"])
def test_one_that_was_trained_on_whitened_activations(tmp_path: Path, name: str, free: bool) -> None:
    rows = torch.randn(300, D_IN, generator=torch.Generator().manual_seed(5), dtype=torch.float64) @ torch.randn(
        D_IN, D_IN, generator=torch.Generator().manual_seed(6), dtype=torch.float64
    )
    scaler = Scaler(whitening=Whitening.of_covariance(rows.mean(0), torch.cov(rows.T)))
    source = trained(name, scaler)
    sae, notes = started(config(name, free=free, normalize="covariance_whitening"), source, tmp_path / "sae", scaler)
    computes_the_same(sae, source, scaler)
    assert notes == []


@pytest.mark.parametrize("name", ["standard", "jumprelu", "gated", "skip", "transcoder"])
def test_rows_of_any_norm_come_to_norm_one(tmp_path: Path, name: str) -> None:
    out = (0.6, 1.7) if name == "transcoder" else (None, None)
    source = trained(name, Scaler(0.4, out[0]), unit=False)
    sae, _ = started(config(name), source, tmp_path / "sae", Scaler(2.5, out[1]))
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(D_SAE), atol=1e-5)
    computes_the_same(sae, source, Scaler(2.5, out[1]))


@pytest.mark.parametrize("name", ["topk", "batchtopk", "matryoshka"])
def test_rows_whose_norms_decide_the_selection_stay_free(tmp_path: Path, name: str) -> None:
    source = trained(name, Scaler(0.4), unit=False)
    with pytest.raises(ConfigError, match="different norms") as caught:
        started(config(name), source, tmp_path / "sae", Scaler(2.5))
    assert caught.value.where == "from_pretrained"
    sae, _ = started(config(name, free=True), source, tmp_path / "sae", Scaler(2.5))
    computes_the_same(sae, source, Scaler(2.5))


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", ["standard", "topk", "batchtopk", "jumprelu", "gated"])
def test_b_dec_moves_into_the_biases_of_the_encoder_and_out_of_them(tmp_path: Path, name: str, centred: bool) -> None:
    source = trained(name, Scaler(0.4), centred=centred)
    wanted = config(name, apply_b_dec_to_input=not centred)
    sae, _ = started(wanted, source, tmp_path / "sae", Scaler(2.5))
    assert sae.cfg.apply_b_dec_to_input is not centred
    computes_the_same(sae, source, Scaler(2.5))


@pytest.mark.parametrize(
    ("name", "source", "wanted", "said"),
    [
        ("topk", {}, {"name": "standard"}, "is a topk, not a standard"),
        ("jumprelu", {}, {"name": "batchtopk"}, "a threshold of its own"),
        ("topk", {}, {"d_sae": 48}, "d_sae 40, this training 48"),
        ("topk", {"normalize_activations": "layer_norm"}, {}, "normalize_activations layer_norm, this training none"),
        ("skip", {}, {"skip_scale": 0.6}, "skip_scale 0.3, this training 0.6"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, name: str, source: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    found = trained(name, RAW, **source)
    if name == "jumprelu":
        found.threshold[:] = torch.linspace(0.1, 0.9, D_SAE)
    settings = {"name": name, **wanted}
    with pytest.raises(ConfigError, match=said) as caught:
        started(config(settings.pop("name"), **settings), found, tmp_path / "sae", RAW)
    assert caught.value.where == "from_pretrained"


@pytest.fixture(scope="module")
def base(twelve_steps: TrainingConfig) -> TrainingConfig:
    return twelve_steps.replace(
        sae={"architecture": "batchtopk", "d_sae": 64, "k": 4}, tokens=10 * 64, log_every_steps=1,
        dead_window_tokens=128, optimizer={"lr": 3e-3}, resampling={"every_steps": 3, "until_share": 1.0},
        **{"evaluation.every_steps": 5, "checkpoints.every_steps": 4},
    )  # fmt: skip


def test_a_run_goes_on_where_the_sae_was_and_needs_it_once(
    base: TrainingConfig, tmp_path: Path, tokens_folder: Path
) -> None:
    tokens = tokens_folder
    run_training(base, tmp_path / "first", tokens_folder=tokens)
    source = tmp_path / "first" / "sae"
    wanted = base.replace(from_pretrained=str(source), seed=5)
    recorder = Recorder()
    whole = Scripted()
    run_training(wanted, tmp_path / "second", emit=recorder, control=whole, tokens_folder=tokens)
    from_random = Recorder()
    run_training(base.replace(seed=5), tmp_path / "random", emit=from_random, tokens_folder=tokens)
    pretrained, random = (
        next(event.values["fvu"] for event in each.of(Metrics) if "fvu" in event.values)
        for each in (recorder, from_random)
    )
    assert pretrained < random
    facts: dict[str, Any] = {}
    for event in recorder.of(Facts):
        facts |= event.values
    assert facts["started_from"] == {"sae": str(source), "name": "sae"}
    assert any("Starting from the SAE sae" in line.message for line in recorder.of(LogLine))
    assert json.loads((tmp_path / "second" / "sae" / "cfg.json").read_text())["metadata"]["started_from"] == str(source)

    stopped = tmp_path / "stopped"
    result = run_training(wanted, stopped, control=Scripted(Request.PAUSE, whole.calls - 8), tokens_folder=tokens)
    assert (result.status, len(list_checkpoints(stopped / "checkpoints")) > 0) == (JobStatus.PAUSED, True)
    shutil.rmtree(source)
    run_training(wanted, stopped, tokens_folder=tokens, resume=True)
    same(sae_tensors(stopped), sae_tensors(tmp_path / "second"))

    with pytest.raises(NotFoundError, match="no SAE"):
        run_training(wanted, tmp_path / "third", tokens_folder=tokens)


def test_a_run_that_normalises_tokens(base: TrainingConfig, tmp_path: Path, tokens_folder: Path) -> None:
    kind, tokens, recorder, whole = NORMALISED[0], tokens_folder, Recorder(), Scripted()
    wanted = base.replace(**{"activations.normalize": kind, "activations.seqpos_slice": "4:-4"})
    result = run_training(wanted, tmp_path / "run", emit=recorder, control=whole, tokens_folder=tokens)
    assert (result.status, result.tokens) == (JobStatus.COMPLETED, 10 * 64)
    sae = load_sae(tmp_path / "run" / "sae")
    assert sae.cfg.normalize_activations == kind
    written = json.loads((tmp_path / "run" / "sae" / "cfg.json").read_text())
    assert written["normalize_activations"] == kind
    assert written["metadata"]["seqpos_slice"] == [4, -4]
    assert not any("Inputs are scaled" in line.message for line in recorder.of(LogLine))
    paused = tmp_path / "paused"
    left = run_training(wanted, paused, control=Scripted(Request.PAUSE, whole.calls - 8), tokens_folder=tokens)
    assert (left.status, left.step > 0) == (JobStatus.PAUSED, True)
    run_training(wanted, paused, tokens_folder=tokens, resume=True)
    same(sae_tensors(paused), sae_tensors(tmp_path / "run"))
    again = wanted.replace(from_pretrained=str(tmp_path / "run" / "sae"))
    assert run_training(again, tmp_path / "again", tokens_folder=tokens).status is JobStatus.COMPLETED


def test_thresholds_of_zero_stay_as_good_as_zero(tmp_path: Path) -> None:
    source = trained("jumprelu", RAW)
    source.threshold[:9] = 0
    sae, _ = started(config("jumprelu"), source, tmp_path / "sae", RAW)
    computes_the_same(sae, source, RAW)
    assert all(parameter.isfinite().all() for parameter in sae.parameters())
