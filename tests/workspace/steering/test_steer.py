"""Steering by the ids of a workspace, on the demo model."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import saewidgets
from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.jobs import JobContext, JobSettings
from saewidgets.lm import LoadedModel, load_model
from saewidgets.steering import SteeringSource, TokenEvent
from saewidgets.steering import steer as kernel
from saewidgets.workspace import Workspace, steered
from saewidgets.workspace.steering.steer import LARGEST, MODERATE
from tests.workspace.conftest import PATIENCE, small_config
from tests.workspace.steering.saes import DEAD, HOOK, add_demo_sae

PROMPT = "In the morning the old man walked down to the"
SHORT = {"new_tokens": 6, "seed": 3}


def test_the_result_matches_the_kernel(library: Workspace, sae: str) -> None:
    seen: list[TokenEvent] = []
    result = library.steer(None, [(sae, 7, 30.0, "add")], PROMPT, on_token=seen.append, **SHORT)
    lm = load_model("demo")
    source = SteeringSource(library.saes.load(sae), HOOK)
    feature = SteeringFeature(index=7, strength=30.0, mode="add", sae=sae)
    expected = kernel(lm, {sae: source}, [feature], PROMPT, **SHORT)  # type: ignore[arg-type]
    assert result.to_data() | {"seconds": 0} == expected.to_data() | {"seconds": 0}
    assert result.model == "demo"
    assert [(event.run, event.step) for event in seen][:3] == [("baseline", 0), ("steered", 0), ("baseline", 1)]


def test_a_feature_gets_its_largest_activation(library: Workspace, sae: str) -> None:
    found = library.steering.maximum(sae, 7)
    assert found.value > 0
    assert not found.exact
    assert "8,192 tokens of the demo corpus (an estimate)" in found.basis
    result = library.steer(None, [(7, 2.0)], PROMPT, sae="demo-l1-topk", **SHORT)
    [feature] = result.config.features
    assert (feature.sae, feature.a_max, feature.mode) == (sae, found.value, "add_max")
    given = library.steer(None, [{"index": 7, "strength": 2.0, "a_max": 5.0}], PROMPT, sae=sae, **SHORT)
    assert given.config.features[0].a_max == 5.0


def test_the_strength_to_begin_with_is_a_moderate_part_of_the_hidden_state(library: Workspace, sae: str) -> None:
    found = library.steering.suggest(sae, 7)
    assert found.ratio is not None
    # directions of length 1, so the ratio at strength 1 is a_max over the length of a typical hidden state
    norm = found.maximum.value / found.ratio
    assert 1 < norm < 1000
    assert found.strength * found.ratio == pytest.approx(MODERATE, rel=0.1) or found.strength == LARGEST
    result = library.steer(None, [(sae, 7, found.strength)], PROMPT, new_tokens=20, seed=3)
    assert result.steered is not None
    assert result.steered.change_ratio == pytest.approx(found.strength * found.ratio, rel=0.3)
    silent = library.steering.suggest(sae, DEAD)
    assert (silent.strength, silent.ratio) == (0.0, None)


def test_demo_features_steer_and_stay_text(tmp_path: Path) -> None:
    with Workspace(tmp_path / "ws") as ws:
        sae_id = ws.extractions.demo().record.sae_id or ""
        for index in (397, 908, 2312, 117):
            found = ws.steering.suggest(sae_id, index)
            assert 0.3 <= found.strength <= 1.2
            assert found.maximum.exact  # of its extraction
            result = ws.steer(None, [(sae_id, index, found.strength)], "The old man looked at", new_tokens=30, seed=1)
            assert result.steered is not None
            assert result.first_difference is not None
            assert result.first_difference < 10
            ratio, perplexity = result.steered.change_ratio, result.steered.perplexity
            assert ratio is not None
            assert perplexity is not None
            assert 0.3 < ratio < 0.6
            assert perplexity < 60  # at strength 2 it is 90 to 1,000
            assert result.steered.repetition < 0.2


def test_rejects_features_that_do_not_fit(library: Workspace, sae: str) -> None:
    cases: list[tuple[list[Any], dict[str, Any], str]] = [
        ([(sae, 7, 2.0), (sae, 900, 2.0)], {}, r"features.1.index.*no feature 900: demo-l1-topk has 256"),
        ([(7, 2.0)], {}, r"features.0.sae.*does not say which SAE"),
        ([(sae, 7, 2.0, "louder")], {}, r"features.0.mode"),
        ([(sae, True, 1.0)], {}, r"features.0.index.*got True or False"),
        ([(sae, 7, 2.0)], {"token": "x"}, "token: There is no such setting"),
        ([], {}, "Without a feature the model is not known"),
        ([(sae, 7, 2.0, "add")], {"new_tokens": 300},
         "Nothing was generated: the prompt is 11 tokens and 300 new ones are asked"),
    ]  # fmt: skip
    for features, settings, words in cases:
        with pytest.raises((ConfigError, NotFoundError), match=words):
            library.steer(None, features, PROMPT, **settings)


def test_a_job_on_the_device_goes_on_between_tokens(library: Workspace, sae: str) -> None:
    """Its batches and the tokens take turns, and all model work happens in the job's thread."""
    batches: list[float] = []
    threads: set[str] = set()
    started, end = threading.Event(), threading.Event()

    def work(context: JobContext) -> None:
        while not end.is_set():
            time.sleep(0.005)
            batches.append(time.monotonic())
            started.set()
            context.control.check()

    library.manager.register("test", lambda record: work)
    job = library.manager.submit("test", {}, library.manager.lane("cpu"))
    assert started.wait(20)
    before = len(batches)

    def note(event: TokenEvent) -> None:
        threads.add(threading.current_thread().name)

    try:
        result = library.steer(None, [(sae, 7, 30.0, "add")], PROMPT, on_token=note, new_tokens=40)
        after = len(batches)
    finally:
        end.set()
    assert job.wait(20).value == "completed"
    assert len(result.baseline.tokens) == 40
    assert after - before >= 4, "the job stood still"
    assert not any("interactive" in name for name in threads)


def test_how_strong_it_is_can_be_asked_before(library: Workspace, sae: str) -> None:
    def config(**changes: Any) -> SteeringConfig:
        feature = SteeringFeature(index=7, strength=changes.pop("strength", 30.0), mode="add", sae=sae)
        return SteeringConfig(features=(feature,), prompt=PROMPT, **changes)

    library.steering.maximum(sae, 7)  # loads the model
    assert library.steering.is_loaded(sae)
    small, large = library.steering.probe(config()), library.steering.probe(config(strength=60.0))
    assert small is not None
    assert large is not None
    assert large == pytest.approx(2 * small, rel=1e-5)
    assert library.steering.probe(config(strength=0.0)) == 0.0
    assert library.steering.probe(config(positions="generated")) is None
    assert library.steering.probe(config(positions=[90])) is None
    assert library.steering.probe(SteeringConfig(prompt=PROMPT)) is None
    library.steering.unload()
    assert not library.steering.is_loaded(sae)
    assert library.steering.probe(config()) is None


def test_models_are_in_memory_once(library: Workspace, sae: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library.steering.unload()
    library.features.run_on(sae, PROMPT)
    live = library.features.live
    feature = [(sae, 7, 30.0, "add")]

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("it is in memory already")

    monkeypatch.setattr("saewidgets.lm.load_model", load)
    first = library.steer(None, feature, PROMPT, **SHORT)
    by_name = library.steer("demo", feature, PROMPT, **SHORT)
    assert (first.steered.text, first.model) == (by_name.steered.text, by_name.model)  # type: ignore[union-attr]
    assert live.loaded == (1, 1)


def test_a_training_stands_for_its_sae(tmp_path: Path, tiny_model_folder: Path) -> None:
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as ws:
        run = ws.trainings.create(small_config(tiny_model_folder, **{"optimizer.lr": 3e-4}))
        assert run.wait(PATIENCE).value == "completed", run.error
        with pytest.raises(StateError, match="is not in the library"):
            ws.steering.record(run.id)

        def suggested(name: str) -> list[Any]:
            return [ws.steering.suggest(name, 1), ws.steering.maximum(name, 1), ws.steering.tokens(name, "The king")]

        left = suggested(run.id)
        assert ws.steering.is_loaded(run.id)
        result = ws.steer(None, [(1, 1.0)], "The king", sae=run.id, **SHORT)
        assert result.config.features[0].sae == run.id
        ws.steering.presets.save("a", result.config)
        assert ws.steering.presets.load("a") == result.config
        imported = run.import_to_saes()
        again = ws.steer(None, [(run.id, 1, 1.0)], "The king", **SHORT)
        assert again.config.features[0].sae == imported.id
        assert again.steered.text == result.steered.text  # type: ignore[union-attr]
        assert suggested(run.id) == suggested(imported.id) == left


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def _write(demo: LoadedModel) -> list[int]:
    given = demo.tokenizer(PROMPT, return_tensors="pt")
    ids: list[int] = demo.model.generate(**given, max_new_tokens=5, do_sample=False)[0].tolist()  # type: ignore[operator]
    return ids


def test_a_plain_model_is_steered_inside_a_block(library: Workspace, sae: str, demo: LoadedModel) -> None:
    before = _write(demo)
    with steered(demo.model, [(sae, 7, 60.0, "add")], ws=library) as steering:
        inside = _write(demo)
        assert steering.change_ratio is not None
    assert inside != before
    assert _write(demo) == before
    with steered(demo.model, [(sae, 7, 0.0)], ws=library):  # its maximum is estimated without a tokenizer given
        assert _write(demo) == before


def test_the_block_finds_the_default_workspace(
    home: Path, tmp_path: Path, demo: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = saewidgets.default_workspace()
    try:
        assert ws.folder == home
        sae = add_demo_sae(ws, tmp_path / "sae")
        with saewidgets.steered(demo.model, [(sae, 7, 60.0, "add")]) as steering:
            _write(demo)
        assert steering.steered_tokens > 0
        loaded = ws.saes.load(sae)
        loaded.metadata["hook_name"] = HOOK
        with saewidgets.steered(demo.model, [(7, 60.0, "add")], sae=loaded) as again:
            _write(demo)
        assert again.steered_tokens == steering.steered_tokens
        with pytest.raises(ConfigError, match="An SAE and a workspace were given"):
            with saewidgets.steered(demo.model, [(7, 1.0, "add")], sae=loaded, ws=ws):
                pass
    finally:
        ws.close()


def test_saes_of_two_models_cannot_be_mixed(tmp_path: Path) -> None:
    with Workspace(tmp_path / "ws") as ws:
        one = add_demo_sae(ws, tmp_path / "one")
        other = add_demo_sae(ws, tmp_path / "two", name="other", seed=1)
        ws.catalog.saes.update(other, model="org/gpt")
        with pytest.raises(ConfigError, match=r"different models: demo-l1-topk \(demo\), other \(org/gpt\)"):
            ws.steer(None, [(one, 1, 2.0), (other, 1, 2.0)], PROMPT)
