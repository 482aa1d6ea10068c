"""Whatever reading and steering are given: an error of this package, never one of Python's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import saewidgets as sw
from saewidgets.config import SteeringConfig
from saewidgets.errors import ConfigError
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extractions
from saewidgets.workspace.features import Features
from saewidgets.workspace.steering.presets import Presets
from saewidgets.workspace.steering.steer import Steering
from tests.workspace.test_arguments import WRONG, _refused, unchecked

# method → good arguments, where annotations alone do not say what it takes, or its text is looked at
FEATURES: dict[str, dict[str, Any]] = {
    "list": {"sae_id": "ID", "extraction_id": None, "search": "", "show": "all", "sort": "index", "descending": False,
             "offset": 0, "limit": 3},
    "get": {"feature_id": "FEATURE", "extraction_id": None}, "notes": {"feature_id": "FEATURE", "text": ""},
    "label": {"feature_id": "FEATURE", "name": "", "description": "", "source": "user", "extraction_id": None},
    "suggest": {"wanted": "ID", "index": 5, "llm": None},
    "auto_label": {"sae_id": "ID", "llm": None, "indices": [5], "again": False, "limit": 1, "concurrency": 1,
                   "price": None, "max_cost": None, "max_failures": 2, "model": None, "options": None,
                   "progress": None, "control": None},
    "plan_labels": {"sae_id": "ID", "llm": None, "indices": [5], "again": False, "limit": 1, "price": None,
                    "first": 1, "model": None, "options": None},
    "score": {"sae_id": "ID", "llm": None, "indices": [5], "scorer": "fuzzing", "n_pos": 2, "n_neg": 2, "seed": 0,
              "per_prompt": 2, "context": 2, "concurrency": 1, "price": None, "max_cost": None, "max_failures": 2,
              "model": None, "progress": None, "control": None},
    "import_labels": {"sae_id": "ID", "source": "none.csv", "on_error": None},
    "run_on": {"sae_id": "ID", "text": "The king", "model": None, "tokenizer": None},
    "on_feature": {"wanted": "ID", "index": 5, "text": "The king", "model": None, "tokenizer": None},
    "context": {"extraction_id": "EXTRACTION", "index": 5, "position": 10**15},
    "export": {"wanted": "ID", "what": "csv", "path": "DEST.csv", "indices": [5], "logits": False, "title": ""},
}  # fmt: skip
EXTRACTIONS: dict[str, dict[str, Any]] = {
    "create": {"sae_id": "none", "training_id": None, "config": None, "model": None, "tokenizer": None},
    "estimate": {"sae_id": "ID", "training_id": None, "config": {"corpus": "demo"}},
    "list": {"status": None, "source_type": None, "sae_id": None, "training_id": None, "search": None, "limit": 3,
             "offset": 0},
    "get": {"extraction_id": "EXTRACTION"},
}  # fmt: skip
STEERING: dict[str, dict[str, Any]] = {
    "steer": {"model": None, "features": [("ID", 5, 0.1)], "prompt": "The", "sae": None, "tokenizer": None, "swept": 0,
              "new_tokens": 1, "temperature": 0.7, "seed": 1, "positions": "all", "strengths": ()},
    "run": {"config": SteeringConfig(prompt="The", new_tokens=1), "model": "demo", "tokenizer": None, "steered": True,
            "swept": 0},
    "tokens": {"sae_id": "ID", "prompt": "The", "prepend_bos": True},
    "resolve": {"features": [("ID", 5, 0.1)], "sae": None},
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "save": {"name": "one", "config": SteeringConfig(prompt="The"), "replace": True}, "load": {"name": "none"},
}  # fmt: skip
FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "analyze_sae": (
        sw.analyze_sae,
        {"sae": "MODULE", "model": None, "texts": ["The old king walked down to the harbour. " * 20], "corpus": None,
         "tokenizer": None, "save_dir": None, "name": None, "hook_name": None, "features": [5],
         "config": {"context_size": 8, "max_norm_ratio": None}},
    ),
    "print_feature_summary": (sw.print_feature_summary, {"interpretation": {"feature_id": 1, "active": False}}),
}  # fmt: skip
OWNERS: dict[str, tuple[type, dict[str, dict[str, Any]]]] = {
    "features": (Features, FEATURES), "extractions": (Extractions, EXTRACTIONS), "steering": (Steering, STEERING),
    "presets": (Presets, PRESETS),
}  # fmt: skip
# Callables and what only this package hands in.
OURS = {"callback", "label", "view", "labels", "with_evidence", "record", "folders", "stop", "on_token", "on_phase"}


ALIASES = {("model", "tokenizer"), ("tokenizer", "model"), ("training_id", "sae_id")}  # only both, only one of them


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws")) as workspace:
        workspace.extractions.demo()
        yield workspace


WRONG_HERE = (*(wrong for wrong in WRONG if wrong is not None), -1)  # what is left out means all of them


def _cases() -> Iterator[Any]:
    for owner, (_, methods) in OWNERS.items():
        yield from (pytest.param(owner, name, id=f"{owner}.{name}") for name in methods)
    yield from (pytest.param("", name, id=name) for name in FUNCTIONS)


def test_every_argument_is_checked_by_its_annotation_or_here() -> None:
    for of, here in OWNERS.values():
        besides = {"open_live": {"model", "tokenizer"}, "attached": {"features", "model", "tokenizer"}}
        unchecked(of, here | {name: dict.fromkeys(named) for name, named in besides.items()}, OURS)


@pytest.mark.parametrize(("owner", "name"), list(_cases()))
def test_what_cannot_be_an_argument_is_refused(owner: str, name: str, ws: Workspace, tmp_path: Path) -> None:
    extraction = ws.extractions.demo()
    sae_id = str(extraction.record.sae_id)
    good = OWNERS[owner][1][name] if owner else FUNCTIONS[name][1]
    puts: dict[str, Any] = {
        "ID": sae_id, "EXTRACTION": extraction.id, "FEATURE": f"feat_{sae_id}_5",
        "DEST.csv": str(tmp_path / "dest.csv"), "DEST.json": str(tmp_path / "dest.json"),
    }  # fmt: skip
    if "MODULE" in good.values():
        puts["MODULE"] = ws.saes.load(sae_id)
    filled = {key: puts.get(value, value) if isinstance(value, str) else value for key, value in good.items()}
    if filled.get("features") == [("ID", 5, 0.1)]:
        filled["features"] = [(sae_id, 5, 0.1)]
    owners = {"features": ws.features, "extractions": ws.extractions, "steering": ws.steering,
              "presets": ws.steering.presets, "": None}  # fmt: skip
    call = getattr(owners[owner], name) if owner else FUNCTIONS[name][0]
    for argument, wrong in itertools.product(good, WRONG_HERE):
        if argument in ("path", "save_dir") and wrong == "":
            continue  # the working folder
        if argument == "name" and name == "label" and isinstance(wrong, str) and len(wrong) < 5:
            wrong = "a\0b"
        refused = _refused(call, filled | {argument: wrong})
        if refused is None:
            continue
        assert str(refused).encode()
        if type(wrong) is object and isinstance(refused, ConfigError):
            named = f"{refused.where} {refused.what}"
            assert argument in named or (argument, refused.where) in ALIASES, f"{wrong!r}: {refused}"


def test_examples(ws: Workspace) -> None:
    sae_id = str(ws.extractions.demo().record.sae_id)
    said: list[tuple[Callable[[], object], str, str]] = [
        (lambda: ws.features.logits(sae_id, 397, n=-1), "n", "1 or more, not -1"),
        (lambda: sw.print_feature_summary({}), "interpretation", "not the interpretation of a feature"),
        (lambda: ws.features.auto_label(sae_id, 5, indices=[5]), "llm", "a function of messages, not 5"),
        (lambda: ws.features.auto_label(sae_id, 0), "llm", "a function of messages, not 0"),
        (lambda: ws.features.plan_labels(sae_id, 5), "llm", "a function of messages, not 5"),
        (lambda: ws.features.suggest(sae_id, 5, 5), "llm", "a function of messages, not 5"),
        (lambda: ws.features.score(sae_id, 5), "llm", "a function of messages, not 5"),
        *(
            ((lambda value=value: ws.features.auto_label(sae_id, indices=[5], concurrency=value)), "concurrency",
             "under way at once")
            for value in (0, -1, True, 1.5, 257)
        ),
        (lambda: ws.features.auto_label(sae_id, limit=0), "limit", "not 0"),
        (lambda: ws.features.auto_label(sae_id, limit=True), "limit", "not True"),
        (lambda: ws.features.auto_label(sae_id, indices=[5], price=(1, True)), "price.tokens_out", "price of a"),
        (lambda: ws.features.auto_label(sae_id, indices=[5], price=(-1, 1)), "price.tokens_in", "price of a"),
        (lambda: ws.features.auto_label(sae_id, indices=[5], price=3), "price", "two numbers"),
        (lambda: ws.features.auto_label(sae_id, indices=["5"]), "indices", "a whole number, not '5'"),
    ]  # fmt: skip
    for call, where, words in said:
        with pytest.raises(ConfigError, match=words) as caught:
            call()
        assert caught.value.where == where
