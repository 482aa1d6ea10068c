"""What a model does not have is refused before anything starts, with the field named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.workspace import Workspace
from tests.workspace.conftest import PATIENCE

_PAIR = {"hook_name": "blocks.0.mlp.hook_in", "sae": {"architecture": "transcoder", "d_sae": 32}}


def untouched(ws: Workspace) -> bool:
    return not ws.trainings.list() and not ws.jobs.list() and not list(ws.folder.glob("trainings/*"))


@pytest.mark.parametrize(
    ("changes", "kind", "field", "words"),
    [
        ({"hook_name": "blocks.7.hook_resid_post"}, ConfigError, "hook_name", "Layer 7 does not exist: .* 0 to 1"),
        ({**_PAIR, "hook_name_out": "blocks.2.hook_mlp_out"}, ConfigError, "hook_name_out", "Layer 2 does not exist"),
        ({"context_size": 65}, ConfigError, "context_size", "65 tokens do not fit: .* at most 64"),
        ({"model": "/no/such/folder"}, NotFoundError, "model", "/no/such/folder: There is no such folder"),
        ({"model": "demo", "hook_name": "blocks.4.hook_mlp_out"}, ConfigError, "hook_name", "demo has layers 0 to 3"),
    ],
)
def test_what_the_model_does_not_have(
    ws: Workspace, config: TrainingConfig, changes: dict[str, Any], kind: type[SAEWidgetsError], field: str, words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        ws.trainings.create(config.replace(**changes))
    assert caught.value.where == field
    assert untouched(ws)


def test_one_bad_layer_of_a_group_starts_none(ws: Workspace, config: TrainingConfig) -> None:
    over = {"hook_name": ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"]}
    with pytest.raises(ConfigError, match="Layer 2 does not exist") as caught:
        ws.trainings.create_many(config, over)
    assert caught.value.where == "hook_name"
    assert untouched(ws)


def test_a_model_that_was_handed_in_is_asked_itself(
    ws: Workspace, config: TrainingConfig, tiny_model_folder: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {
        "model": AutoModelForCausalLM.from_pretrained(tiny_model_folder),
        "tokenizer": AutoTokenizer.from_pretrained(tiny_model_folder),
    }
    config = config.replace(model="a name of mine")
    with pytest.raises(ConfigError, match="a name of mine has layers 0 to 1"):
        ws.trainings.create(config.replace(hook_name="blocks.2.hook_resid_post"), **given)
    with pytest.raises(ConfigError, match="reads at most 64"):
        ws.trainings.create(config.replace(context_size=128), **given)
    assert untouched(ws)


def test_a_retry_whose_model_is_gone(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(config.model, folder)
    run = ws.trainings.create(config.replace(model=str(folder)))
    run.wait(PATIENCE)
    shutil.rmtree(folder)
    with pytest.raises(NotFoundError, match="There is no such folder"):
        run.retry()
    assert [record.id for record in ws.trainings.list()] == [run.id]


LONG = "some text of a few words " * 40  # no file system takes it for a name


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ([LONG, "more"], r"some text .*…'\. .* goes into TextCorpus\(strings=\[\.\.\.\]\)"),
        (LONG, r"TextCorpus\(strings"),
        (["two words"], r"no file or folder 'two words'.*TextCorpus\(strings"),
        ("a\0b", "no file or folder"),
        ({"kind": "tokens", "source": LONG}, "no file or folder"),
        ("./acts_nope", "no file or folder"),
        ("acts_nope", r"named by its whole id: see ws\.activations\.list\(\)"),
    ],
)
def test_a_text_in_place_of_its_path(ws: Workspace, config: TrainingConfig, corpus: Any, words: str) -> None:
    data = {**config.to_data(), "corpus": corpus}
    with pytest.raises(NotFoundError, match=words) as caught:
        ws.trainings.create(data)
    assert caught.value.where == "corpus"
    assert len(str(caught.value)) < 400
    assert ws.trainings.validate(data)["fields"] == {"corpus": f"{caught.value.what} {caught.value.hint}"}
    with pytest.raises(NotFoundError, match=words):
        ws.activations.capture(config.model, TrainingConfig(corpus=corpus).corpus, [config.hook_name], 512)
    assert untouched(ws)


def test_the_form_takes_what_create_takes(ws: Workspace, config: TrainingConfig) -> None:
    own, of_data = ws.trainings.validate(config), ws.trainings.validate(config.to_data())
    for found in (own, of_data):
        assert found.pop("estimate")  # free memory changes from one to the other
    assert own == of_data
    assert own["fields"] == {}
    for wrong in (None, "demo", [config]):
        with pytest.raises(ConfigError, match="Give a TrainingConfig"):
            ws.trainings.validate(wrong)  # type: ignore[arg-type]
