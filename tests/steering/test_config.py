"""What can be set, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from saewidgets.config.steering import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError


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
        ({"positions": "some"}, "positions", "Positions is 'some'"),
        ({"positions": []}, "positions", "No position is chosen"),
        ({"positions": [2, -1]}, "positions", "A position is -1"),
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
