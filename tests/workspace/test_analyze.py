"""`analyze_sae`: from an SAE and some text to what its latents fire on, in one call."""

from pathlib import Path
from typing import Any

import pytest

from saewidgets import analyze_sae, print_feature_summary
from saewidgets.demo import documents
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.features.labels import read_interpretations
from saewidgets.lm import LoadedModel, load_model
from saewidgets.sae import SAE, create_sae
from tests.workspace.steering.saes import D_SAE, DEAD, HOOK, demo_sae

SMALL = {"tokens": 2_048, "context_size": 32}


@pytest.fixture(scope="module")
def lm() -> LoadedModel:
    return load_model("demo")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_sae(tmp_path_factory.mktemp("analyze") / "sae_layer_1_best")


@pytest.fixture
def texts() -> list[str]:
    return [document.text[:1_500] for document, _ in zip(documents(), range(4), strict=False)]


def test_the_steps_of_the_script_pipeline(
    path: Path, texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = analyze_sae(path, "demo", texts, save_dir=tmp_path / "results", config=SMALL)
    assert list(found) == list(range(D_SAE))
    assert found[DEAD]["dead"]
    live = next(one for one in found.values() if one["active"])
    assert live["num_activations"] > 0
    assert live["common_tokens"]
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["layer_1_interpretations.json"]
    assert read_interpretations(tmp_path / "results" / "layer_1_interpretations.json").keys() == found.keys()
    print_feature_summary(live)
    said = capsys.readouterr().out
    assert f"Feature {live['feature_id']}" in said
    assert "Common tokens:" in said


def test_some_latents_and_a_loaded_model(lm: LoadedModel, path: Path, texts: list[str]) -> None:
    found = analyze_sae(path, lm.model, texts, tokenizer=lm.tokenizer, features=[7, 3], config=SMALL)
    assert list(found) == [7, 3]
    assert found == analyze_sae(path, lm, texts, features=[7, 3], config=SMALL)
    assert found == analyze_sae(str(path), None, texts, features=[7, 3], config=SMALL), "the SAE names its model"


def test_a_corpus_and_a_name(lm: LoadedModel, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("The old man walked down to the harbour and looked at the ships. " * 40)
    analyze_sae(path, lm, corpus=file, save_dir=tmp_path, name="mine", features=[0], config=SMALL)
    assert (tmp_path / "mine_interpretations.json").exists()


def nowhere(**metadata: Any) -> SAE:
    sae = create_sae("topk", d_in=256, d_sae=8, k=2)
    sae.metadata = metadata
    return sae


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"texts": None}, "texts"), ({"texts": []}, "texts"), ({"texts": ["", " "]}, "texts"),
        ({"texts": "a b"}, "texts"), ({"texts": [3]}, "texts"), ({"corpus": "demo"}, "texts"),
        ({"features": [D_SAE]}, "features"), ({"features": [-1]}, "features"), ({"name": "../up"}, "name"),
        ({"name": ".hidden"}, "name"), ({"sae": nowhere(model_name="demo")}, "hook_name"),
        ({"sae": nowhere(hook_name=HOOK), "model": None}, "model"), ({"tokenizer": print}, "tokenizer"),
        ({"config": {"token": 3}}, "token"), ({"config": {"context_size": 4096}}, "context_size"),
    ],
)  # fmt: skip
def test_rejects_invalid_arguments_by_name(
    lm: LoadedModel, path: Path, tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    arguments = {"sae": path, "model": "demo", "texts": ["a b c"], "save_dir": tmp_path, **changes}
    with pytest.raises(ConfigError) as raised:
        analyze_sae(arguments.pop("sae"), arguments.pop("model"), arguments.pop("texts"), **arguments)
    assert where in str(raised.value.where)
    assert list(tmp_path.iterdir()) == []


def test_rejects_an_sae_that_is_missing_or_does_not_fit(lm: LoadedModel, tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(NotFoundError):
        analyze_sae(tmp_path / "nothing", lm, texts)
    with pytest.raises(ConfigError, match=r"d_in is 32, but activations at blocks\.1\.hook_resid_post have width 256"):
        analyze_sae(demo_sae(tmp_path / "narrow", d_in=32), lm, texts, save_dir=tmp_path / "out", config=SMALL)
    with pytest.raises(SAEWidgetsError, match="hook_nothing"):
        analyze_sae(demo_sae(tmp_path / "sae"), lm, texts, hook_name="blocks.1.hook_nothing", config=SMALL)
    assert not (tmp_path / "out").exists()
