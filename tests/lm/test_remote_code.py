"""Code of a model's repository runs only after it was allowed here, by name and revision."""

import json
import os
import shutil
from pathlib import Path

import pytest

from saewidgets.errors import ConfigError, FormatError
from saewidgets.lm import allow_remote_code, load_model, model_facts, remote_code
from saewidgets.lm.remote_code import may_run_code

CODE = """
import os, pathlib
from transformers import GPT2Config, GPT2LMHeadModel
(pathlib.Path({folder!r}) / "ran").touch()
class OwnConfig(GPT2Config):
    model_type = "own-gpt"
class OwnModel(GPT2LMHeadModel):
    config_class = OwnConfig
"""


@pytest.fixture(autouse=True)
def _nobody_has_said_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote_code, "_allowed", set())
    monkeypatch.delenv("SAEWIDGETS_TRUST_REMOTE_CODE", raising=False)
    # Where transformers copies such code to, before it imports it.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture
def own(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A model that needs its own code, which leaves a file `ran` when it runs."""
    folder = tmp_path / "own"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "code_own.OwnConfig", "AutoModelForCausalLM": "code_own.OwnModel"}
    config |= {"model_type": "own-gpt", "auto_map": names, "architectures": ["OwnModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code_own.py").write_text(CODE.format(folder=str(tmp_path)))
    return folder


@pytest.mark.parametrize("load", [load_model, model_facts])
def test_no_code_runs_without_permission(own: Path, tmp_path: Path, load: object) -> None:
    with pytest.raises(FormatError, match=r"not run unless you allow it.*allow_remote_code"):
        load(str(own))  # type: ignore[operator]
    assert not (tmp_path / "ran").exists()


def test_the_loader_takes_a_say_for_one_call(own: Path, tmp_path: Path) -> None:
    lm = load_model(str(own), trust_remote_code=True)
    assert (type(lm.model).__name__, lm.is_causal) == ("OwnModel", True)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    assert not may_run_code(str(own))


def test_a_session_takes_it_for_all_loaders(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_remote_code(str(own))
    assert load_model(str(own)).n_layers == 2
    assert model_facts(str(own)).architecture == "own-gpt"
    monkeypatch.chdir(own.parent)
    assert may_run_code("./own")  # the same folder by another name


def test_a_revision_is_only_that_one() -> None:
    allow_remote_code("org/model", revision="abc")
    assert may_run_code("org/model", "abc")
    assert not may_run_code("org/model", "main")
    assert not may_run_code("org/model")
    assert not may_run_code("org/model2", "abc")
    allow_remote_code("org/other")
    assert may_run_code("org/other", "anything")
    assert may_run_code("org/other")


def test_the_environment_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SAEWIDGETS_TRUST_REMOTE_CODE", "org/one@abc, org/two,")
    assert may_run_code("org/one", "abc")
    assert not may_run_code("org/one")
    assert may_run_code("org/two", "main")
    assert not may_run_code("org/three")
    assert not may_run_code("")


@pytest.mark.parametrize("model", ["", "  ", None, 3])
def test_rejects_an_invalid_name(model: object) -> None:
    with pytest.raises(ConfigError, match="Not a model"):
        allow_remote_code(model)  # type: ignore[arg-type]


@pytest.mark.parametrize("revision", ["", "  ", 3])
def test_rejects_an_invalid_revision(revision: object) -> None:
    with pytest.raises(ConfigError, match=r"revision: Not a revision.*commit"):
        allow_remote_code("org/one", revision=revision)  # type: ignore[arg-type]
