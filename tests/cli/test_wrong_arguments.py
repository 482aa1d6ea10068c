"""Wrong and missing arguments of the commands that read features, on the demo: a clear error and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.cli.session import FAILED, NOT_FOUND, USAGE
from saewidgets.workspace import Workspace
from tests.cli.conftest import Invoke


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A workspace with the demo: its folder, the SAE and the extraction."""
    folder = tmp_path_factory.mktemp("demo")
    with Workspace(folder) as ws:
        ws.extractions.demo()
        sae = str(ws.saes.list()[0].id)
        latest = ws.extractions.latest(sae)
        assert latest is not None
        return str(folder), sae, latest.id


def filled(arguments: str, demo: tuple[str, str, str], folder: Path) -> list[str]:
    words = {"SAE": demo[1], "EXT": demo[2], "EMPTY": ""}
    return [words.get(word, word.replace("TMP", str(folder))) for word in arguments.split()]


WRONG = [
    ("features list SAE --extraction ext_none", NOT_FOUND, "There is no extraction 'ext_none'."),
    ("features list EXT", USAGE, "This is an extraction, not an SAE."),
    ("features list EMPTY", USAGE, "The id of the SAE is empty."),
    ("features list SAE --show blue", USAGE, "Use all, labelled"),
    ("features list SAE --sort size", USAGE, "Use index, density"),
    ("features list SAE --limit 0", USAGE, "--limit"),
    ("features list", USAGE, "SAE"),
    ("features show SAE 999999", USAGE, "Choose one from 0 to 2,559."),
    ("features show SAE one", USAGE, "FEATURE"),
    ("features show SAE 1 --extraction SAE", NOT_FOUND, "There is no extraction"),
    ("features run SAE EMPTY", USAGE, "There is no text."),
    ("features run SAE hello --feature 999999", USAGE, "Choose one from 0 to 2,559."),
    ("export SAE pdf TMP/a.pdf", USAGE, "Use html, json, csv, neuronpedia, vectors."),
    ("export SAE csv TMP/folder", FAILED, "This is a folder. Name a file in it: features.csv."),
    ("export SAE html EMPTY --limit 2", FAILED, "This is a folder."),
    ("export SAE vectors TMP/folder --limit 2", FAILED, "Choose a new or empty folder."),
    ("export SAE csv TMP/file/a.csv", FAILED, "The file cannot be written"),
    ("export SAE html TMP/a.html", USAGE, "at most 2,000 features, not 2,560"),
    ("export SAE csv TMP/a.csv --features 1,x", USAGE, "--features: '1,x' are not numbers."),
    ("export SAE csv TMP/a.csv --features 999999", USAGE, "There is no feature 999,999"),
    ("export SAE csv TMP/a.csv --search zzzzqq", USAGE, "No feature is chosen."),
    ("export SAE csv TMP/a.csv --model-id x", USAGE, "for Neuronpedia only"),
    ("export SAE neuronpedia TMP/np", USAGE, "Neuronpedia needs model_id."),
    ("export SAE csv", USAGE, "PATH"),
    ("steer SAE -p hi", USAGE, "--feature"),
    ("steer SAE -f 1=2", USAGE, "--prompt"),
    ("steer SAE -f x -p hi", USAGE, "'x' is not a feature."),
    ("steer SAE -f 999999=1 -p hi", USAGE, "There is no feature 999999"),
    ("steer SAE -f 1=1:foo -p hi", USAGE, "Choose add_max, add"),
    ("steer SAE -f 1=2 -p hi --new-tokens 0", USAGE, "from 1 to 100,000"),
    ("steer SAE -f 1=2 -p hi --new-tokens 9999", USAGE, "the context is 256"),
    ("steer SAE -f 1=2 -p hi --positions 99", USAGE, "the prompt has"),
    ("steer SAE -f 1=2 -p hi --sweep --strengths a", USAGE, "'a' are not strengths"),
    ("steer SAE -f 1=2 -p hi --model EMPTY", USAGE, "The name of the model is empty."),
    ("steer SAE -f 1=2 -p hi --model /nothing", NOT_FOUND, "There is no such folder."),
    ("label set SAE 999999 x", USAGE, "Choose one from 0 to 2,559."),
    ("label import SAE TMP/none.csv", NOT_FOUND, "There is no such file."),
    ("label import SAE TMP/wrong.csv", FAILED, "--skip-errors"),
    ("label export SAE TMP/a.txt", USAGE, "neither .csv nor .jsonl"),
    ("label export SAE TMP/file/a.csv", FAILED, "The file cannot be written"),
    ("label score SAE --scorer x", USAGE, "Use detection or fuzzing."),
    ("extractions pause EXT", FAILED, "The extraction is completed, and no job here runs it."),
    ("extractions resume EXT", FAILED, "Start a new one"),
    ("extractions stop ext_none", NOT_FOUND, "There is no extraction"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG, ids=[one[0] for one in WRONG])
def test_said_clearly(
    invoke: Invoke, demo: tuple[str, str, str], tmp_path: Path, arguments: str, code: int, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "there").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "wrong.csv").write_text("index,text\nseven,cats\n")
    done = invoke("--home", demo[0], *filled(arguments, demo, tmp_path))
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert "not expected" not in done.err
    assert not list(tmp_path.glob("a.*"))
