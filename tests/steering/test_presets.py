"""Steering configurations and their presets: whole files, checked when read."""

import json
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config.steering import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.steering import PresetSAE, SteeringPreset, load_preset, parse_preset, save_preset

FEATURE = SteeringFeature(index=7451, strength=2.0, a_max=41.7, sae="sae_1", label="ships <b>\u202e")


def preset(**changes: Any) -> SteeringPreset:
    sae = PresetSAE(id="sae_1", name="demo-l2", model="demo", hook_name="blocks.2.hook_resid_post", d_sae=16_384)
    config = SteeringConfig(features=(FEATURE,), prompt="In the morning", positions="generated")
    return SteeringPreset(**({"name": "Ships", "saes": (sae,), "config": config} | changes))


def test_saved_presets_can_be_read(tmp_path: Path) -> None:
    path = save_preset(preset(), tmp_path / "ships.json")
    assert load_preset(path) == preset()
    save_preset(preset(name="Other"), path)
    assert load_preset(path).name == "Other"
    assert [file.name for file in tmp_path.iterdir()] == ["ships.json"]
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 1


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    with pytest.raises(StorageError, match="another file"):
        save_preset(preset(), path)
    assert path.read_text() == "{}"
    with pytest.raises(StorageError, match="cannot be written"):
        save_preset(preset(), path / "ships.json")
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def data(**changes: Any) -> dict[str, Any]:
    return preset().to_data() | changes


def with_feature(**changes: Any) -> dict[str, Any]:
    found = preset().to_data()
    found["config"]["features"][0] |= changes
    return found


TWO = [{"id": "sae_1"}, {"id": "sae_2"}]
BAD: list[tuple[Any, str, str]] = [
    ({}, "", "not a steering preset"),
    ([1], "", "not a steering preset"),
    (data(version=2), "", "Update saewidgets"),
    (data(version="1"), "", "version '1'"),
    (data(version=True), "", "version True"),
    (data(name=""), "name", "Enter some text"),
    (data(extra=1), "extra", "no such setting"),
    (data(saes=[]), "config.features.0.sae", "not listed under saes"),
    (data(saes=[*TWO, {"id": "sae_2"}]), "saes", "listed twice"),
    (with_feature(sae=None) | {"saes": TWO}, "config.features.0.sae", "which SAE it belongs to"),
    (with_feature(index=16_384), "config.features.0.index", "the SAE has 16,384"),
    (with_feature(strength="loud"), "config.features.0.strength", 'Strength is "loud"'),
    (with_feature(mode="boost"), "config.features.0.mode", 'Mode is "boost"'),
    (with_feature(label="x" * 10_001), "config.features.0.label", "10,001 characters"),
]


@pytest.mark.parametrize(("content", "field", "what"), BAD)
def test_damaged_presets_name_the_field(content: Any, field: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError) as caught:
        load_preset(path)
    assert str(caught.value.where).startswith(str(path))
    assert str(caught.value.where).endswith(field)
    assert what in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a": 1', b" " * ((8 << 20) + 1)])
def test_rejects_invalid_json(raw: bytes) -> None:
    with pytest.raises(FormatError):
        parse_preset(raw)


def test_numbers_that_json_does_not_have() -> None:
    text = json.dumps(with_feature(strength=float("inf")))
    with pytest.raises(FormatError, match="Strength"):
        parse_preset(text)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_preset(tmp_path / "none.json")


def test_a_configuration_survives_json() -> None:
    config = SteeringConfig(
        features=(
            SteeringFeature(index=7451, strength=2, a_max=41.7, label="ships"),
            SteeringFeature(index=3, mode="ablate"),  # type: ignore[call-arg]
        ),
        positions=(4, 2), prompt="In the morning", strengths=(-4, 0, 4),
    )
    assert SteeringConfig.from_data(config.to_data()) == config
    assert config.positions == (2, 4)
    assert config.features[0].alpha == pytest.approx(83.4)
    assert config.features[1].strength == 0
    assert not config.features[1].changes_nothing


@pytest.mark.parametrize(
    ("settings", "field", "what"),
    [
        ({"new_tokens": 0}, "new_tokens", "New tokens is 0"),
        ({"temperature": -1}, "temperature", "Temperature is -1"),
        ({"top_p": 0}, "top_p", "Top-p is 0"),
        ({"seed": -1}, "seed", "Seed is -1"),
        ({"positions": "some"}, "positions", "Not a choice of positions: 'some'"),
        ({"features": [{"index": 1}]}, "features.0.strength", "A value is required"),
        ({"features": [{"index": -1, "strength": 1, "mode": "add"}]}, "features.0.index", "Feature is -1"),
        ({"features": [{"index": 1, "strength": 1}]}, "features.0.a_max", "which is not known"),
        ({"features": [{"index": 1, "strength": 1, "a_max": 0}]}, "features.0.a_max", "Largest activation is 0"),
        ({"features": [{"index": 1, "strength": 1, "mode": "boost"}]}, "features.0.mode", 'Mode is "boost"'),
        ({"strengths": [float("inf")]}, "strengths.0", "Enter a number"),
        ({"colour": "red"}, "colour", "no such setting"),
    ],
)
def test_mistakes_name_their_field(settings: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SteeringConfig(**settings)
    assert caught.value.where == field
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "strength", "nothing", "alpha"),
    [
        ("add_max", 0.0, True, 0.0), ("add", 0.0, True, 0.0), ("add", -2.0, False, -2.0), ("clamp", 0.0, False, None),
        ("conditional_clamp", 0.0, False, None), ("scale", 1.0, True, None), ("scale", 0.0, False, None),
    ],
)
def test_what_changes_nothing(mode: Any, strength: float, nothing: bool, alpha: float | None) -> None:
    feature = SteeringFeature(index=0, strength=strength, mode=mode, a_max=3.0)
    assert feature.changes_nothing == nothing
    assert feature.alpha == alpha
