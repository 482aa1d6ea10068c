"""Extractions, features, labels and steering from a terminal."""

import json
from pathlib import Path

import pytest

from saewidgets.cli.session import PAUSED
from saewidgets.features.labels import read_interpretations
from saewidgets.workspace import Workspace
from tests.cli.conftest import Invoke, pressing_ctrl_c
from tests.conftest import TINY_TEXT
from tests.workspace.library.saes import saelens
from tests.workspace.steering.saes import HOOK as DEMO_HOOK
from tests.workspace.steering.saes import demo_sae

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture
def sae(invoke: Invoke, tmp_path: Path, tiny_model_folder: Path) -> str:
    folder = saelens(tmp_path / "one", 32, 64)
    done = invoke("saes", "add", str(folder), "--model", str(tiny_model_folder), "--hook-name", HOOK, "--json")
    assert done.code == 0, done.err
    return str(done.json()["id"])


@pytest.fixture
def extracted(invoke: Invoke, sae: str, text: str) -> str:
    done = invoke("extract", sae, "--corpus", text, "--context-size", "16", "--examples", "4", "--json", "--quiet")
    assert done.code == 0, done.err
    assert done.json()["status"] == "completed"
    return str(done.json()["id"])


def test_every_setting_of_an_extraction_is_an_option(
    invoke: Invoke, sae: str, text: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    from saewidgets.config import ExtractionConfig

    shown = invoke("extract", "--help").out
    for name in ExtractionConfig.model_fields:
        assert f"--{name.replace('_', '-')}" in shown, name
    for heading in ("What is read:", "What is kept:", "What does not count:", "The language model:", "Options:"):
        assert heading in shown
    file = tmp_path / "extraction.toml"
    file.write_text(
        f'corpus = "{text}"\ncontext_size = 16\nexamples = 9\nper_interval = 3\nmax_norm_ratio = 5.0\n'
        f'model = "{tiny_model_folder}"\n'
    )
    done = invoke(
        "extract", sae, "--config", str(file), "--examples", "4", "--per-document", "3", "--min-activation", "0.2",
        "--include-special-tokens", "--max-norm-ratio", "none", "--model-dtype", "bfloat16", "--seed", "7", "--tokens",
        "320", "--batch-size", "2", "--device", "cpu", "--json", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    used = done.json()["config"]
    expected = {
        "context_size": 16, "examples": 4, "per_interval": 3, "per_document": 3, "min_activation": 0.2,
        "exclude_special_tokens": False, "max_norm_ratio": None, "model_dtype": "bfloat16", "seed": 7, "tokens": 320,
        "batch_size": 2, "device": "cpu", "model": str(tiny_model_folder),
    }  # fmt: skip
    assert {name: used[name] for name in expected} == expected


def test_extract_and_look(invoke: Invoke, sae: str, text: str, extracted: str) -> None:
    done = invoke("extract", "one", "--corpus", text, "--tokens", "160", "--context-size", "16", "--device", "cpu",
                  "--batch-size", "2")  # fmt: skip
    assert done.code == 0, done.err
    assert "features fired on" in done.out
    assert f"features list {sae}" in done.err
    newest = invoke("extractions", "list", "--json").json()[0]["id"]
    header, *rows = invoke("extractions", "list").out.splitlines()
    assert header.split()[:3] == ["id", "sae", "status"]
    assert [row.split()[0] for row in rows] == [newest, extracted]
    assert len(invoke("extractions", "list", "--sae", "one", "--status", "completed", "--json").json()) == 2
    assert invoke("extractions", "list", "--search", "zebra").out.startswith("No extractions.")
    assert invoke("extractions", "delete", newest, "--yes", "--json").json()["freed_bytes"] > 0

    found = invoke("features", "list", sae, "--sort", "density", "--descending", "--limit", "3", "--json").json()
    assert len(found) == 3
    assert found[0]["density"] >= found[2]["density"]
    index = str(found[0]["index"])
    assert invoke("features", "list", "one", "--show", "live").out.splitlines()[0].split()[:2] == ["feature", "label"]
    assert len(invoke("features", "list", sae, "--offset", "60", "--extraction", extracted, "--json").json()) == 4
    shown = invoke("features", "show", sae, index, "--examples", "2")
    assert shown.out.count("«") == 2
    data = invoke("features", "show", sae, index, "--extraction", extracted, "--json").json()
    assert (data["extraction_id"], len(data["examples"])) == (extracted, 5)
    token = data["top_tokens"][0]
    assert index in [str(one["index"]) for one in invoke("features", "search", sae, token, "--json").json()]
    assert invoke("features", "search", sae, "no such words").out == "No features match.\n"


def test_run(invoke: Invoke, sae: str, extracted: str) -> None:
    data = invoke("features", "run", sae, "The king", "--json").json()
    assert "".join(data["tokens"]) == "The king"
    assert data["firing"] >= len(data["features"]) > 0
    best = data["features"][0]
    assert max(best["activations"]) == best["max"]
    assert "features fire on" in invoke("features", "run", sae, "The king", "--limit", "2").out
    one = invoke("features", "run", sae, "The king", "--feature", str(best["index"]), "--json").json()
    assert one["activations"] == pytest.approx(best["activations"])
    assert invoke("features", "run", sae, "The king", "--feature", str(best["index"])).out.startswith("token")


def test_logits(invoke: Invoke, home: Path, sae: str, extracted: str) -> None:
    done = invoke("extractions", "logits", extracted)
    assert done.code == 0, done.err
    assert done.out == f"Logit effects of 64 features are kept with {extracted}\n"
    assert "64 of 64 features" in done.err
    with Workspace(home) as ws:
        size = ws.extractions.get(extracted).record.size_bytes
        assert ws.extractions.open(extracted).logits is not None
    again = invoke("extractions", "logits", extracted, "--json", "--quiet")
    assert (again.json()["size_bytes"], again.err) == (size, "")


def test_labels(invoke: Invoke, sae: str, extracted: str, tmp_path: Path) -> None:
    assert invoke("label", "set", sae, "3", "kings\x1b[31m", "--description", "d").out == "3: kings\\x1b[31m\n"
    done = invoke("label", "auto", sae, "--json", "--quiet")
    assert done.json()["labelled"] > 0
    assert invoke("label", "auto", sae, "--again", "--extraction", extracted).out.strip()
    scored = invoke("label", "score", sae, "--json", "--scorer", "fuzzing", "--quiet").json()
    assert scored["judged"] + scored["errors"] > 0
    path = tmp_path / "labels.csv"
    assert invoke("label", "export", sae, str(path), "--json").json()["size_bytes"] == path.stat().st_size
    assert invoke("label", "set", sae, "3", "").out.startswith("3: ")
    done = invoke("label", "import", "one", str(path), "--json")
    assert done.json()["imported"] > 1
    path.write_text("index,text\n3,good\nx,bad\n")
    done = invoke("label", "import", "one", str(path), "--skip-errors")
    assert (done.out, done.code) == ("Imported 1 label\n", 0)
    assert "line 3" in done.err
    assert invoke("extractions", "delete", extracted, "--yes").code == 0
    assert invoke("label", "auto", sae).code == 1  # not extracted
    # Your own label came back from the file, and counts before the one of the table.
    assert [one["index"] for one in invoke("features", "search", sae, "kings", "--json").json()] == [3]


def test_export(invoke: Invoke, sae: str, extracted: str, tmp_path: Path) -> None:
    done = invoke("export", "one", "csv", str(tmp_path / "t.csv"), "--show", "live", "--limit", "3", "--json")
    assert done.code == 0, done.err
    assert done.json()["features"] == 3
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4
    done = invoke("export", sae, "html", str(tmp_path / "page.html"), "--features", "3,5", "--extraction", extracted)
    assert done.out.startswith("2 features written to")
    path = tmp_path / "layer_0_interpretations.json"
    assert invoke("export", sae, "interpretations", str(path), "--features", "3,5").code == 0
    assert read_interpretations(path).keys() == {3, 5}


def test_ctrl_c_pauses_and_resume_goes_on(invoke: Invoke, home: Path, sae: str, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("\n".join(TINY_TEXT * 2000))
    with Workspace(home) as ws:

        def is_reading() -> bool:
            return any(r.progress and r.progress.phase == "reading" and r.progress.done for r in ws.extractions.list())

        with pressing_ctrl_c(is_reading):
            done = invoke("extract", sae, "--corpus", str(long), "--context-size", "16", "--tokens", "10000000")
    assert done.code == PAUSED, done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("Resume it with")]
    extraction_id = line.split()[-1]
    assert invoke("extractions", "list", "--status", "paused", "--json").json()[0]["id"] == extraction_id
    assert invoke("extractions", "pause", extraction_id, "--wait", "1").code == 0
    assert invoke("extractions", "stop", extraction_id, "--discard", "--json").json()["status"] == "cancelled"
    assert json.loads(invoke("extractions", "list", "--json").out)[0]["n_tokens"] is None


PROMPT = "In the morning the old man walked down to the"
QUICK = ("--prompt", PROMPT, "--new-tokens", "4", "--seed", "3")


@pytest.fixture
def toy(invoke: Invoke, tmp_path: Path) -> str:
    where = ("--name", "toy", "--model", "demo", "--hook-name", DEMO_HOOK)
    done = invoke("saes", "add", str(demo_sae(tmp_path / "sae")), *where, "--json")
    assert done.code == 0, done.err
    return str(done.json()["id"])


def test_both_texts_and_a_sweep(invoke: Invoke, toy: str) -> None:
    done = invoke("steer", "toy", "--feature", "7=60:add", *QUICK, "--sweep", "--strengths", "-1 0")
    assert done.code == 0, done.err
    assert done.out.startswith("Feature 7: add 60\n")
    for words in ("\nBaseline (perplexity ", "\nSteered (perplexity ", "sweep of feature 7", "\n-1 (", "\n0 ("):
        assert words in done.out
    assert done.out.count(PROMPT) == 4


def test_as_data(invoke: Invoke, toy: str) -> None:
    data = invoke("steer", toy[:9], "-f", "7=2", "-f", "9=:ablate", "-p", PROMPT, "--new-tokens", "3", "--json").json()
    one, two = data["config"]["features"]
    assert (one["sae"], one["mode"], one["strength"]) == (toy, "add_max", 2.0)
    assert one["a_max"] > 0
    assert (two["mode"], two["strength"]) == ("ablate", 0.0)
    assert len(data["baseline"]["tokens"]) == 3
    same = invoke("steer", toy, "-f", "7=0:add", *QUICK, "--positions", "1 2", "--temperature", "0", "--json").json()
    assert same["config"]["positions"] == [1, 2]
    assert same["first_difference"] is None
