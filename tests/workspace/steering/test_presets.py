"""Presets of a workspace: kept as JSON, checked when they are read."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.workspace import Workspace
from tests.workspace.steering.saes import add_demo_sae


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "ws") as workspace:
        add_demo_sae(workspace, tmp_path / "sae")
        yield workspace


def settings(ws: Workspace) -> SteeringConfig:
    sae = ws.saes.list()[0].id
    feature = SteeringFeature(index=7, strength=2.0, a_max=41.7, sae=sae, label="ships")
    return SteeringConfig(features=(feature,), prompt="In the morning", seed=5, positions=(1, 2))


def test_save_list_load_delete(ws: Workspace) -> None:
    presets = ws.steering.presets
    assert list(presets.list()) == []
    config = settings(ws)
    saved = presets.save("  Ships & money/../é ", config)
    assert saved.name == "Ships & money/../é"
    assert Path(saved.path).parent == ws.folder / "presets" / "steering"
    [listed] = presets.list()
    assert (listed.features, listed.saes, listed.prompt, listed.problem) == (1, ("demo-l1-topk",), "In the morning", "")
    assert presets.load(saved.name) == config
    text = Path(saved.path).read_text("utf-8")
    assert str(ws.folder) not in text
    presets.delete(saved.name)
    assert not list((ws.folder / "presets" / "steering").iterdir())
    with pytest.raises(NotFoundError, match="no preset 'Ships"):
        presets.load(saved.name)


def test_a_preset_is_only_replaced_on_purpose(ws: Workspace) -> None:
    presets, config = ws.steering.presets, settings(ws)
    presets.save("a", config)
    with pytest.raises(StateError, match="There is a preset 'a'"):
        presets.save("a", config.replace(seed=6))
    assert presets.load("a").seed == 5
    presets.save("a", config.replace(seed=6), replace=True)
    assert presets.load("a").seed == 6
    presets.save("A", config)
    assert sorted(each.name for each in presets.list()) == ["A", "a"]


def test_features_need_an_sae_that_is_there(ws: Workspace) -> None:
    config = settings(ws)
    lost = config.replace(features=[{"index": 1, "strength": 1.0, "mode": "add"}])
    with pytest.raises(ConfigError, match="does not say which SAE"):
        ws.steering.presets.save("a", lost)
    with pytest.raises(NotFoundError):
        ws.steering.presets.save("a", lost.replace(features=[{"index": 1, "strength": 1.0, "mode": "add", "sae": "x"}]))
    assert list(ws.steering.presets.list()) == []


def test_damaged_files_say_so(ws: Workspace) -> None:
    presets = ws.steering.presets
    saved = presets.save("a", settings(ws))
    path = Path(saved.path)
    data = json.loads(path.read_text("utf-8"))
    data["config"]["temperature"] = -1
    (path.parent / "broken.json").write_text(json.dumps(data), "utf-8")
    (path.parent / "other.json").write_text("[1]", "utf-8")
    (path.parent / "way-out.json").symlink_to(path.parent.parent.parent / "catalog.sqlite")
    problems = {each.name: each.problem for each in presets.list()}
    assert problems.pop("a") == ""
    assert set(problems) == {"broken", "other"}
    assert all(problems.values())
    with pytest.raises(FormatError, match="temperature"):
        presets.load("broken")
    with pytest.raises(NotFoundError):
        presets.load("way-out")
    presets.delete("broken")
    assert {each.name for each in presets.list()} == {"a", "other"}


def test_an_sae_with_another_id_is_found_by_its_properties(ws: Workspace, tmp_path: Path) -> None:
    presets = ws.steering.presets
    presets.save("a", settings(ws))
    old = ws.saes.list()[0].id
    ws.saes.delete(old)
    with pytest.raises(NotFoundError, match=r"needs the SAE demo-l1-topk \(demo blocks.1.hook_resid_post\)"):
        presets.load("a")
    new = add_demo_sae(ws, tmp_path / "again")
    assert new != old
    assert presets.load("a").features[0].sae == new
