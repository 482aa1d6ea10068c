"""Wrong and missing arguments: a clear error in one paragraph, its exit status, and nothing written."""

import json
from pathlib import Path

import pytest

from saewidgets.cli.session import FAILED, NOT_FOUND, USAGE
from tests.cli.conftest import ROOT, Demo, Invoke

SAELENS = ROOT / "tests" / "golden" / "saelens_runs" / "standard.json"
KEY = "sk-0123456789abcdef"
# SAE, EXT and TMP stand for the demo's SAE and extraction and a folder; EMPTY for "".
REFUSALS = [
    ("trian", USAGE, "No such command"),
    ("show", USAGE, "RUN"),
    ("list --colour", USAGE, "--colour"),
    *((f"{verb} train_nothing", NOT_FOUND, "train_nothing") for verb in (
        "show", "metrics", "pause", "resume", "stop", "retry",
    )),
    ("train --spread 2", USAGE, "One training runs in one job."),
    ("train --over sae.k=4,8 --spread some", USAGE, "'some' is not a number."),
    ("train --k 100 --d-sae 10", USAGE, "Error: sae.k: k is 100 but d_sae is 10."),
    ("train --model ./nothing-here", NOT_FOUND, "model: ./nothing-here: There is no such folder"),
    ("train --dry-run --preset gpt3", NOT_FOUND, "There are gpt2-small"),
    (f"train --dry-run --preset gpt2-small --from-saelens {SAELENS}", USAGE, "not from --preset and --from-saelens"),
    ("train --dry-run --from-saelens missing.json", NOT_FOUND, "missing.json"),
    ("train --dry-run --saes one", USAGE, "--saes: This is for a configuration of several SAEs"),
    (f"train --from-saelens {SAELENS} --set source=x", USAGE, "source: There is no such setting"),
    ("pipeline --extract-only --train-only", USAGE, "nothing is left to do"),
    ("pipeline --layers one", USAGE, "'one'"),
    ("pipeline --layers 9", USAGE, "Layer 9 does not exist"),
    ("pipeline --layers 0 --train-only", NOT_FOUND, "Run it without --train-only first"),
    ("saes delete x --yes", NOT_FOUND, "There is no SAE 'x'."),
    ("saes delete SAE", USAGE, "Add --yes to delete it."),
    ("saes add /nowhere/x", NOT_FOUND, "/nowhere/x"),
    ("saes add TMP/folder", FAILED, "known format"),
    ("saes convert SAE TMP/a.x --to floppy", USAGE, "floppy"),
    ("activations show nothing", NOT_FOUND, "There is no"),
    ("extract SAE --config TMP/wrong.toml", USAGE, "per_intervall"),
    ("extract SAE --config TMP/no.json", NOT_FOUND, "There is no file with a configuration here."),
    ("extract SAE --max-norm-ratio much", USAGE, '"much". Enter a number above 1'),
    ("extract SAE --max-norm-ratio 0.5", USAGE, "max_norm_ratio"),
    ("extractions list --status done", USAGE, "done"),
    ("extractions delete EXT", USAGE, "Add --yes to delete it."),
    ("extractions pause EXT", FAILED, "The extraction is completed, and no job here runs it."),
    ("extractions resume EXT", FAILED, "Start a new one"),
    ("extractions logits ext_none", NOT_FOUND, "There is no extraction"),
    ("features list EXT", USAGE, "This is an extraction, not an SAE."),
    ("features list SAE --show blue", USAGE, "Use all, labelled"),
    ("features list SAE --limit 0", USAGE, "--limit"),
    ("features show SAE 999999", USAGE, "Choose one from 0 to 2,559."),
    ("features show SAE one", USAGE, "FEATURE"),
    ("features run SAE EMPTY", USAGE, "There is no text."),
    ("export SAE pdf TMP/a.pdf", USAGE, "Use html, json, csv, interpretations, neuronpedia, vectors."),
    ("export SAE csv TMP/folder", FAILED, "This is a folder. Name a file in it: features.csv."),
    ("export SAE vectors TMP/folder --limit 2", FAILED, "Choose a new or empty folder."),
    ("export SAE csv TMP/file/a.csv", FAILED, "The file cannot be written"),
    ("export SAE html TMP/a.html", USAGE, "at most 2,000 features, not 2,560"),
    ("export SAE csv TMP/a.csv --features 1,x", USAGE, "--features: '1,x' is not a list of numbers."),
    ("export SAE csv TMP/a.csv --search zzzzqq", USAGE, "No feature is chosen."),
    ("export SAE csv TMP/a.csv --model-id x", USAGE, "for Neuronpedia only"),
    ("export SAE csv", USAGE, "PATH"),
    ("evaluate none", NOT_FOUND, "There is no SAE 'none'."),
    ("evaluate SAE --corpus /nothing/here", NOT_FOUND, "/nothing/here"),
    ("evaluate SAE --hook-name-out blocks.1.hook_mlp_out --tokens 64", USAGE, "reconstructs what it reads"),
    ("steer SAE -p hi", USAGE, "--feature"),
    ("steer SAE -f 1=2", USAGE, "--prompt"),
    ("steer SAE -f x -p hi", USAGE, "'x' is not a feature."),
    ("steer SAE -f 7=0.8:ablate -p hi", USAGE, "has a strength, but an ablated feature takes none"),
    ("steer SAE -f 999999=1 -p hi", USAGE, "There is no feature 999,999"),
    ("steer SAE -f 1=1:foo -p hi", USAGE, "Choose add_max, add"),
    ("steer SAE -f 1=2 -p hi --new-tokens 9999", USAGE, "the context is 256"),
    ("steer SAE -f 1=2 -p hi --positions some", USAGE, "positions"),
    ("steer SAE -f 1=2 -p hi --sweep --strengths a", USAGE, "'a' is not a list of strengths"),
    ("label auto SAE --llm gpt", USAGE, "There is no language model 'gpt'. Use heuristic, openai, transformers."),
    ("label auto SAE --llm openai", USAGE, "No model to ask is named."),
    ("label auto SAE --model-name gpt-4o-mini", USAGE, "not for the language model 'heuristic'"),
    ("label auto SAE --llm transformers --model-name m --base-url http://x", USAGE, "not for the language model"),
    (f"label auto SAE --llm openai --model-name m --key-env {KEY}", USAGE, "not the name of an environment variable"),
    ("label auto SAE --llm openai --model-name m --base-url http://example.org --key-env K", USAGE, "sent unencrypted"),
    ("label auto SAE --llm openai --model-name m --max-cost 1", USAGE, "A cost limit needs a price."),
    ("label auto SAE --llm openai --model-name m --again --limit 1", FAILED, "variable OPENAI_API_KEY is not set."),
    ("label auto SAE --price -1 2 --dry-run", USAGE, "price.tokens_in: "),
    ("label import SAE TMP/none.csv", NOT_FOUND, "There is no such file."),
    ("label import SAE TMP/wrong.csv", FAILED, "--skip-errors"),
    ("label import SAE TMP/other.csv", FAILED, "another SAE"),
    ("label export SAE TMP/a.txt", USAGE, "neither .csv nor .jsonl"),
    ("label score SAE --scorer x", USAGE, "Use detection or fuzzing."),
    ("templates save x", USAGE, "There are no settings to keep."),
    ("templates save x --set modl=1", USAGE, "modl: There is no such setting."),
    ("templates save x --run a --config b", USAGE, "not from both"),
    ("templates save x --config TMP/several.toml", USAGE, "several.toml: over: A template holds one training"),
    ("templates show none", NOT_FOUND, "There is no template 'none'."),
    ("templates export TMP/a.json", USAGE, "There is no template to export."),
    ("templates import TMP/none.json", NOT_FOUND, "There is no such file."),
    ("templates import TMP/wrong.json", USAGE, "templates[0] ('a'): config.sae.kk: There is no such setting."),
    ("catalog upgrade --url nonsense://x", FAILED, "does not name a database"),
    ("lab TMP/none.ipynb", NOT_FOUND, "There is no such notebook."),
]


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSALS, ids=[one[0] for one in REFUSALS])
def test_errors_are_clear(
    invoke: Invoke, demo: Demo, tmp_path: Path, arguments: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "folder").mkdir()
    template = {"name": "a", "config": {"sae": {"architecture": "topk", "kk": 3}}}
    for name, content in {
        "folder/there": "", "file": "", "wrong.csv": "index,text\nseven,cats\n", "wrong.toml": "per_intervall = 3\n",
        "other.csv": "index,text\n3,good\n900000,other\n", "several.toml": "[over]\n'sae.k' = [4, 8]\n",
        "wrong.json": json.dumps({"format": "saewidgets.training_templates", "version": 1, "templates": [template]}),
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    words = {"SAE": demo.sae, "EXT": demo.extraction, "EMPTY": ""}
    typed = [words.get(word, word.replace("TMP", str(tmp_path))) for word in arguments.split()]
    done = invoke("--home", demo.home, *typed)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert "not expected" not in done.err
    assert KEY not in done.err
    assert not list(tmp_path.glob("a.*"))


def test_a_home_that_is_a_file(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = invoke("--home", str(tmp_path / "file" / "inside"), "list")
    assert (done.code, "workspace folder" in done.err, "Traceback" in done.err) == (FAILED, True, False)


def test_a_run_that_cannot_start_writes_nothing(invoke: Invoke, home: Path) -> None:
    assert invoke("train", "--k", "100", "--d-sae", "10").code == USAGE
    assert not home.exists()
