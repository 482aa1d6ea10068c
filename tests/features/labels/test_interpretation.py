"""Interpretations count exactly, and the file reads back."""

import io
import json
from pathlib import Path

import pytest

from saewidgets.errors import FormatError, NotFoundError
from saewidgets.features.labels import (
    Example,
    FeatureEvidence,
    Label,
    interpret_features,
    print_feature_summary,
    read_interpretations,
    write_interpretations,
)
from saewidgets.features.labels.interpretation import common_tokens, interpret_feature
from tests.features.labels.examples import Fixed, evidence


def test_fields_are_those_that_scripts_know() -> None:
    found = interpret_feature(evidence(3, "king"), [Label(3, "kings"), Label(3, "auto", source="auto", model="gpt")])
    assert (found["feature_id"], found["active"], found["dead"]) == (3, True, False)
    assert (found["top_activation"], found["num_activations"], found["num_examples"]) == (10.0, 50, 18)
    assert found["common_tokens"][0] == [" king", 12]
    assert found["common_tokens_weighted"][0][0] == " king"
    assert found["common_tokens_weighted"][0][1] == pytest.approx(sum((10 - 0.5 * i) / 10 for i in range(12)))
    assert (found["label"], found["label_source"]) == ("kings", "user")
    top = found["top_examples"][0]
    assert (top["position"], top["activation"], top["document"]) == (4, 10.0, 0)
    assert top["text"].split()[4] == "king"
    assert "<< king>>" in top["marked"]
    assert len(found["top_examples"]) == 5
    near = [Example((" a", " king", "\n", " a", " a"), (0.0, 4.0, 0, 0, 0), 1), Example((" king",), (1.0,), 0)]
    assert common_tokens(near, 2) == [(" a", 2, 2.0), (" king", 2, 1.25), ("\n", 1, 1.0)]
    dead = interpret_feature(FeatureEvidence(4, density=0.0))
    assert (dead["active"], dead["dead"], dead["top_activation"], dead["num_activations"]) == (False, True, 0.0, 0)


def test_a_file_per_sae_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "results" / "layer_6_interpretations.json"
    examples = Fixed("king", "", "<b>\u202e\0", "ship")
    labels = {0: [Label(0, "kings")]}
    assert write_interpretations(interpret_features(examples, range(4), labels), path) == {"active": 3, "dead": 1}
    found = read_interpretations(path)
    assert found == {i: interpret_feature(examples.of(i), labels.get(i, ())) for i in range(4)}
    assert list(json.loads(path.read_text())) == ["0", "1", "2", "3"]
    assert len(path.read_text().splitlines()) == 6
    assert write_interpretations([], path) == {"active": 0, "dead": 0}
    assert read_interpretations(path) == {}


@pytest.mark.parametrize("content", ["", "[]", '{"a": {}}', '{"1": 3}', '{"1": {"active": 1}}', "[" * 100_000])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(FormatError):
        read_interpretations(path)
    with pytest.raises(NotFoundError):
        read_interpretations(tmp_path / "none.json")


def test_a_summary_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_feature_summary(interpret_feature(evidence(3, "king"), [Label(3, "kings")]))
    out = capsys.readouterr().out
    assert out.startswith("\nFeature 3: kings\n=====")
    assert "Status: ACTIVE\n  Top activation: 10.0000\n" in out
    assert "Density: 0.2000%\n  Num activations: 50\n" in out
    assert "' king': 12\n" in out
    assert "Activation: 10.0000" in out
    dead = io.StringIO()
    print_feature_summary(interpret_feature(FeatureEvidence(4)), dead)
    assert "DEAD" in dead.getvalue()


def test_a_summary_of_hostile_tokens_stays_on_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ("\x1b[31m", "\u202e", "\n", "x" * 10_000)
    known = FeatureEvidence(0, (Example(tokens, (1.0, 0, 0, 0), 0),), max_activation=1.0)
    print_feature_summary(interpret_feature(known, [Label(0, "a\x1b[0m\u202e")]))
    text = capsys.readouterr().out
    assert not set(text) & set("\x1b\u202e\r")
    assert max(map(len, text.splitlines())) < 300
    assert len(text.splitlines()) == 18
