"""Where the settings of ``saewidgets train`` come from: files, presets, templates, other packages, ``--over``."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from saewidgets.cli.session import USAGE
from tests.cli.conftest import ROOT, Invoke
from tests.conftest import TINY_TEXT

SAELENS = str(ROOT / "tests" / "golden" / "saelens_runs" / "standard.json")


def test_presets_are_listed_with_their_sources(invoke: Invoke) -> None:
    listed = invoke("presets")
    assert listed.code == 0
    assert "gpt2-small" in listed.out
    assert "--preset NAME" in listed.err
    found = {each["name"]: each for each in invoke("presets", "--json").json()}
    assert any("arXiv:2406.04093" in source for source in found["gpt2-small"]["sources"])
    assert found["gpt2-small"]["config"]["sae"]["k"] == 32


def test_a_preset_with_flags_on_it(invoke: Invoke) -> None:
    shown = invoke("train", "--preset", "pythia-70m", "--tokens", "5000000", "--k", "20", "--dry-run").json()
    assert (shown["tokens"], shown["sae"]["k"], shown["model"]) == (5_000_000, 20, "EleutherAI/pythia-70m-deduped")


def test_a_saelens_configuration_is_translated_with_remarks(invoke: Invoke) -> None:
    done = invoke("train", "--from-saelens", SAELENS, "--corpus", "demo", "--dry-run")
    assert done.json()["sae"]["l1_coefficient"] == 0.7
    assert done.json()["corpus"]["kind"] == "demo"
    assert "Taken over, with another meaning:\n  n_batches_in_buffer = 20" in done.err
    data = invoke("train", "--from-saelens", SAELENS, "--dry-run", "--json").json()
    assert [each["setting"] for each in data["remarks"]] == ["n_batches_in_buffer"]
    assert data["source"] == "SAELens"


def test_a_dry_run_tries_every_combination(invoke: Invoke) -> None:
    done = invoke("train", "--over", "sae.k=4,8", "--over", "optimizer.lr=1e-3,2e-3", "--dry-run")
    assert "4 trainings: " in done.err
    assert done.json()["over"]["sae.k"] == [4, 8]
    for flags, word in (
        (["--over", "hook_name=blocks.0.attn.hook_z.0,blocks.0.attn.hook_z.99"], "Head 99 does not exist"),
        (["--hook-name", "blocks.77.hook_resid_post"], "Layer 77 does not exist"),
        (["--device", "banana"], "banana"),
    ):  # told, for it may be meant for another machine
        told = invoke("train", *flags, "--dry-run")
        assert (told.code, "As it is, it would not start" in told.err, word in told.err) == (0, True, True)
    wrong = invoke("train", "--over", "sae.architecture=topk,transcoder", "--dry-run")
    assert (wrong.code, "hook_name_out" in wrong.err) == (USAGE, True)


def test_mistudio_needs_model_and_text_and_may_stand_for_several(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "hyperparameters.json"
    path.write_text(json.dumps({
        "hidden_dim": 256, "latent_dim": 512, "l1_alpha": 0.01, "training_layers": [0, 2], "learning_rate": 1e-3,
        "batch_size": 64, "total_steps": 10,
    }))  # fmt: skip
    missing = invoke("train", "--from-mistudio", str(path), "--dry-run")
    assert (missing.code, "--model" in missing.err) == (USAGE, True)
    given = ["train", "--from-mistudio", str(path), "--model", "demo", "--corpus", "demo", "--dry-run"]
    shown = invoke(*given).json()
    assert shown["over"] == {"hook_name": ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]}
    assert shown["sae"]["l1_coefficient"] == pytest.approx(2.56)
    one = invoke(*given, "--hook-name", "blocks.1.hook_resid_post").json()
    assert (one["hook_name"], "over" in one) == ("blocks.1.hook_resid_post", False)


def test_a_file_of_ghosttrack_is_recognised(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "gt.yaml"
    path.write_text("sae: {d_model: 256, d_hidden: 512}\nsae_training: {target_recon_loss: 0.01}\n")
    shown = invoke("train", "--config", str(path), "--d-sae", "64", "--dry-run")
    data = shown.json()
    assert (data["sae"]["sparsity_loss"], data["sae"]["d_sae"], data["targets"]["mse"]) == ("l1", 64, 2.56)
    assert "sae_training.target_recon_loss = 0.01: a mean over elements" in shown.err
    path.write_text(path.read_text().replace("256", "768"))
    for command in ("train", "pipeline"):
        refused = invoke(command, "--config", str(path))
        assert (refused.code, "the activations of demo are 256 wide" in refused.err) == (USAGE, True)
    both = invoke("pipeline", "--config", str(path), "--preset", "gpt2-guide")
    assert (both.code, "from one source" in both.err) == (USAGE, True)


def test_flags_repair_a_translation(invoke: Invoke, tmp_path: Path) -> None:
    data = json.loads(Path(SAELENS).read_text())
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**data, "training_tokens": 10, "hook_name": "blocks.1.attn.hook_q"}))
    tokens = ["train", "--from-saelens", str(broken), "--tokens", "100000", "--dry-run"]
    one = invoke(*tokens, "--hook-name", "blocks.1.hook_resid_post").json()
    assert (one["tokens"], one["hook_name"]) == (100_000, "blocks.1.hook_resid_post")
    several = invoke(*tokens, "--over", "hook_name=blocks.0.hook_resid_post,blocks.1.hook_resid_post").json()
    assert several["over"]["hook_name"] == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    assert invoke(*tokens).code == USAGE


def test_several_saes_of_saelens_are_a_group(invoke: Invoke, tmp_path: Path, tiny_model_folder: Path) -> None:
    several = json.loads((ROOT / "tests" / "golden" / "saelens_groups" / "mixed.json").read_text())["several"]
    path, text = tmp_path / "runner_cfg.json", tmp_path / "text.txt"
    path.write_text(json.dumps({**several, "resume_from_checkpoint": None}))
    text.write_text("The king went down to the river. " * 200)
    given = ["train", "--from-saelens", str(path), "--model", str(tiny_model_folder), "--corpus", str(text)]
    told = invoke(*given, "--dry-run")
    assert "3 trainings: wide, sparse, head" in told.err
    (tmp_path / "group.json").write_text(told.out)
    assert invoke("train", "--config", str(tmp_path / "group.json"), "--dry-run").out == told.out
    layer = ["--hook-name", "blocks.0.hook_resid_post"]
    swept = invoke(*given, *layer, "--saes", "sparse", "--over", "sae.k=2,4", "--dry-run")
    assert "2 trainings: sparse-k2, sparse-k4" in swept.err
    done = invoke(
        *given, *layer, "--saes", "wide,sparse", "--tokens", "128", "--batch-size", "64", "--context-size", "32",
        "--d-sae", "16", "--set", "activations.validation_share=0", "--json",
    )  # fmt: skip
    assert [(run["name"], run["status"]) for run in done.json()] == [("wide", "completed"), ("sparse", "completed")]


def test_output_of_a_tracker_stays_out_of_the_result(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    class Run:
        def log(self, values: object, step: int) -> None:
            sys.stdout.write("logged\n")

        def finish(self) -> None:
            sys.stdout.write("* Run finished\n")

    def init(**settings: object) -> Run:
        sys.stdout.write("* Trackio project initialized\n")
        return Run()

    text = tmp_path / "text.txt"
    text.write_text("The king went down to the river. " * 200)
    library = ModuleType("trackio")
    library.__spec__ = ModuleSpec("trackio", None)
    library.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", library)
    done = invoke(
        "train", "--json", "--trackio", "saes", "--corpus", str(text), "--model", str(tiny_model_folder),
        "--tokens", "128", "--batch-size", "64", "--context-size", "32", "--d-sae", "16", "--k", "2",
        "--hook-name", "blocks.0.hook_resid_post", "--set", "activations.validation_share=0",
        "--set", "activations.norm_tokens=256",
    )  # fmt: skip
    assert (done.json()["status"], "Trackio project initialized" in done.err) == ("completed", True)
    assert "* Run finished" in done.err
    assert json.loads(invoke("list", "--json").out)  # afterwards standard output is as before


@pytest.fixture
def settings(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A file with a small run and what changes in it."""
    data: dict[str, Any] = {
        "model": str(tiny_model_folder), "corpus": {"kind": "text", "strings": TINY_TEXT}, "context_size": 16,
        "hook_name": "blocks.0.hook_resid_post", "sae": {"d_sae": 64, "k": 4}, "tokens": 768, "batch_size": 64,
        "device": "cpu", "evaluation": {"tokens": 256},
        "activations": {"model_batch_size": 8, "shuffle_tokens": 256, "norm_tokens": 256, "validation_share": 0.1},
        "over": {"sae.k": [2, 4]},
    }  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(data))
    return path


def test_a_file_that_trains_two(settings: Path, invoke: Invoke) -> None:
    done = invoke("train", "-c", str(settings), "--name", "pair", "--json")
    assert done.code == 0, done.err
    records = done.json()
    assert [(r["name"], r["status"], r["config"]["sae"]["k"]) for r in records] == [
        ("pair-k2", "completed", 2), ("pair-k4", "completed", 4)
    ]  # fmt: skip
    assert len({r["group_id"] for r in records}) == 1
    assert "Training 2 together: pair" in done.err
    assert done.err.count("SAE: ") == 2


SETTINGS = {"model": "gpt2", "sae": {"architecture": "topk", "d_sae": 64, "k": 4}, "tokens": 5_000}


@pytest.fixture
def saved(invoke: Invoke, tmp_path: Path) -> str:
    (tmp_path / "run.json").write_text(json.dumps(SETTINGS))
    done = invoke("templates", "save", "layer two", "-c", str(tmp_path / "run.json"), "--set", "sae.k=8",
                  "--description", "What we\nstart from.", "--json")  # fmt: skip
    assert done.code == 0, done.err
    return str(done.json()["id"])


def test_save_list_show(invoke: Invoke, saved: str) -> None:
    assert invoke("templates", "save", "Other", "--set", "model=pythia", "--favorite").out.startswith("Saved Other (tm")
    header, first, second = invoke("templates", "list").out.splitlines()
    assert header.split()[:3] == ["name", "model", "dataset"]
    assert first.split()[:3] == ["★", "Other", "pythia"]
    assert second.split()[:3] == ["layer", "two", "gpt2"]
    assert second.endswith("What we start from.")
    assert [one["name"] for one in invoke("templates", "list", "--search", "gpt2", "--json").json()] == ["layer two"]
    assert invoke("templates", "list", "--search", "none").out == "No templates match.\n"
    shown = invoke("templates", "show", "layer two").out.splitlines()
    assert f"id            {saved}" in shown
    assert "sae.k                               8" in shown
    assert "optimizer.beta1                     0.9" in shown
    assert "name                                null" in shown
    assert invoke("templates", "show", saved, "--json").json()["config"]["sae"]["k"] == 8


def test_change_and_delete(invoke: Invoke, saved: str) -> None:
    assert invoke("templates", "rename", "layer two", "two").out == f"Renamed to two ({saved})\n"
    assert invoke("templates", "favorite", "two", "--json").json()["favorite"]
    assert invoke("templates", "favorite", "two", "--off").out == f"Not a favourite any more: two ({saved})\n"
    assert invoke("templates", "delete", "two", "--yes", "--json").json() == {
        "id": saved, "name": "two", "deleted": True,
    }  # fmt: skip
    assert invoke("templates", "list").out == "No templates yet.\n"


def test_files(invoke: Invoke, saved: str, tmp_path: Path) -> None:
    path = tmp_path / "templates.json"
    assert invoke("templates", "export", str(path)).out == f"1 template written to {path}\n"
    assert invoke("templates", "export", str(path), "layer two", "--json").json() == {
        "path": str(path), "templates": 1,
    }  # fmt: skip
    assert invoke("templates", "import", str(path)).out == "Imported layer two (2)\n"
    assert len(invoke("templates", "list", "--json").json()) == 2


def test_a_name_that_is_taken(invoke: Invoke, saved: str) -> None:
    done = invoke("templates", "save", "layer two", "--set", "tokens=9000")
    assert done.code == USAGE
    assert "NAME: There is a template 'layer two'. Choose another name or add --replace." in done.err
    assert invoke("templates", "save", "other", "--set", "tokens=9000").code == 0
    done = invoke("templates", "rename", "other", "layer two")
    assert (done.code, "replace" in done.err) == (USAGE, False)
    description = invoke("templates", "show", "layer two", "--json").json()["description"]
    again = invoke("templates", "save", "layer two", "--set", "tokens=9000", "--replace", "--json").json()
    assert (again["id"], again["description"], again["config"]["tokens"]) == (saved, description, 9000)
    assert description
