"""The steering widget over a real workspace with the demo model and a small SAE of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.jobs import JobSettings
from saewidgets.widgets.messages.steering import SteeringEditRow
from saewidgets.widgets.steering.commands import SteeringCommands, changes
from saewidgets.widgets.steering.state import SteeringModel
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, ask
from tests.workspace.steering.saes import D_SAE, DEAD, add_demo_sae

PROMPT = "In the morning the old man walked down to the"
LONG = 60  # seconds; a loaded machine takes its time


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("steering-widget")
    with Workspace(root / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        add_demo_sae(workspace, root / "sae")
        yield workspace


@pytest.fixture
def sae(ws: Workspace) -> str:
    return ws.saes.list()[0].id


@pytest.fixture
def widget(ws: Workspace, sae: str) -> Iterator[Steering]:
    with closing(Steering(ws, features=[(sae, 7, 30.0, "add")], prompt=PROMPT)) as found:
        yield found


@pytest.fixture
def sent(widget: Steering, record_messages: Callable[[Any], Sent]) -> Sent:
    return record_messages(widget)


def settings(widget: Steering, **changes: Any) -> dict[str, Any]:
    return {**widget.state["settings"], "new_tokens": 6, **changes}


def run_of(widget: Steering) -> dict[str, Any]:
    found: dict[str, Any] = widget.state["run"]
    return found


def write(widget: Steering, sent: Sent, what: str = "generate", **changes: Any) -> dict[str, Any]:
    """Set, generate, wait; the texts."""
    ask(widget, sent, kind="steering_edit", settings=settings(widget, **changes))
    answer = ask(widget, sent, kind="steering_generate", what=what)
    number = answer["value"]["number"]
    wait_until(lambda: (run_of(widget)["number"], run_of(widget)["status"]) == (number, "done"), LONG)
    texts: dict[str, Any] = ask(widget, sent, kind="steering_read", what=what)["value"]
    return texts


def test_a_feature_begins_at_a_strength_that_keeps_text(ws: Workspace, sae: str) -> None:
    with closing(Steering(ws, prompt=PROMPT)) as widget:
        widget.add(sae, 7)
        wait_until(lambda: [row["usual"] for row in widget.state["rows"] if row["usual"]], LONG)
        found = ws.steering.suggest(sae, 7)
        [row] = widget.state["rows"]
        assert (row["strength"], row["usual"], row["a_max"]) == (found.strength, found.strength, found.maximum.value)
        shares = (-2, -1, 0, 1, 2)
        assert widget.state["settings"]["strengths"] == pytest.approx([share * found.strength for share in shares])
        widget.add(sae, 9, strength=3.0)
        wait_until(lambda: len([row for row in widget.state["rows"] if row["usual"]]) == 2, LONG)
        assert widget.state["rows"][1]["strength"] == 3.0
        assert widget.state["settings"]["strengths"][4] == pytest.approx(2 * found.strength)  # that is of the first


def test_the_configuration_waits_for_a_largest_activation(
    ws: Workspace, sae: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeringCommands, "measure", lambda *_: None)  # one that has not begun yet
    with closing(Steering(ws, prompt=PROMPT)) as widget:
        widget.add(sae, 7, 0.8)
        widget.add(sae, 9)
        first, second = widget.config.features
        assert (first.strength, first.a_max) == (0.8, ws.steering.maximum(sae, 7).value)
        assert (second.strength, second.a_max) == (
            ws.steering.suggest(sae, 9).strength, ws.steering.maximum(sae, 9).value
        )  # fmt: skip


def test_what_was_set_meanwhile_stays(ws: Workspace, sae: str) -> None:
    model = SteeringModel(ws)
    key = model.add(ws.saes.get(sae), 7)
    model.edit([SteeringEditRow(key=key, mode="add_max", strength=0.3)], None)
    model.set_suggestion(key, ws.steering.suggest(sae, 7))
    row = model.row(key)
    assert row.strength == 0.3


def test_an_empty_library_has_a_way_on(tmp_path: Path, record_messages: Callable[[Any], Sent]) -> None:
    with Workspace(tmp_path / "ws") as ws:
        with closing(Steering(ws)) as widget:
            sent = record_messages(widget)
            assert widget.state["saes"] == []
            assert widget.state["code"] == "ws"
            answer = ask(widget, sent, kind="steering_demo")
            wait_until(lambda: widget.state["sae_id"] == answer["value"]["sae_id"], LONG)
            assert [each["id"] for each in widget.state["saes"]] == [ws.extractions.demo().record.sae_id]


def test_alone_it_has_no_way_to_other_widgets(widget: Steering, ws: Workspace, sent: Sent) -> None:
    assert (widget.state["can_browse"], widget.state["can_close"]) == (False, False)
    assert "cannot close itself" in ask(widget, sent, kind="steering_close")["what"]
    assert "Nothing here shows features" in ask(widget, sent, kind="steering_browse")["what"]
    ask(widget, sent, kind="steering_remove", key=widget.state["rows"][0]["key"])
    with pytest.raises(StateError, match="No feature is chosen"):
        widget.generate()


def test_what_it_starts_with(widget: Steering, ws: Workspace, sae: str) -> None:
    state = widget.state
    assert [each["id"] for each in state["saes"]] == [sae]
    [row] = widget.state["rows"]
    assert (row["sae"], row["mode"], row["strength"]) == ("demo-l1-topk", "add", 30.0)
    assert widget.state["settings"]["prompt"] == PROMPT
    wait_until(lambda: widget.state["rows"][0]["a_max"], LONG)
    assert "8,192 tokens of the demo corpus (an estimate)" in widget.state["rows"][0]["basis"]
    wait_until(lambda: widget.state["gauge"]["ratio"], LONG)
    assert widget.state["gauge"]["over"] == "steered tokens of the prompt"
    assert repr(widget) == f"<Steering {ws.label}: 1 feature>"
    assert widget.config.features[0].sae == sae
    assert str(ws.folder) not in json.dumps(widget.state), "nothing of the machine is saved with a notebook"


def test_the_texts_match_those_of_the_workspace(widget: Steering, ws: Workspace, sae: str, sent: Sent) -> None:
    texts = write(widget, sent, seed=3)
    expected = ws.steer(None, [(sae, 7, 30.0, "add")], PROMPT, new_tokens=6, seed=3)
    assert "".join(texts["prompt_pieces"]) == PROMPT  # without the BOS before it
    assert texts["baseline"]["pieces"] == expected.baseline.pieces
    assert texts["steered"]["pieces"] == expected.steered.pieces
    assert texts["first_difference"] == expected.first_difference
    assert texts["number"] == widget.state["generated"] == run_of(widget)["number"]
    assert widget.state["gauge"] == {"ratio": expected.steered.change_ratio, "over": "steered tokens"}
    live = {text["run"]: text["tokens"] for text in run_of(widget)["texts"]}
    assert live == {"baseline": len(expected.baseline.ids), "steered": len(expected.steered.ids)}
    assert widget.result.steered.ids == expected.steered.ids

    token = ask(widget, sent, kind="steering_next", number=texts["number"], text="steered", token=0)["value"]
    first = expected.steered.tokens[0]
    assert token["piece"] == first.piece
    assert [row["piece"] for row in token["rows"]] == [each.piece for each in first.candidates]
    old = ask(widget, sent, kind="steering_next", number=texts["number"] - 1, text="steered", token=0)
    assert (old["kind"], old["what"]) == ("failure", "Another text was written since.")

    copied = ask(widget, sent, kind="steering_copy")["value"]["text"]
    assert '"seed": 3' in copied
    assert PROMPT + expected.baseline.text in copied
    assert str(ws.folder) not in copied


def test_a_sweep(widget: Steering, sent: Sent) -> None:
    texts = write(widget, sent, "sweep", strengths=[-20, 0])
    assert [text["strength"] for text in texts["sweep"]] == [-20.0, 0.0]
    assert texts["steered"] is None
    assert texts["swept"] == widget.state["rows"][0]["key"]
    assert texts["swept_name"] == "feature 7"
    assert texts["sweep"][1]["text"] == "".join(texts["baseline"]["pieces"])
    assert widget.sweep is not None
    model, other = widget._model, SimpleNamespace(id="sae_other", name="other", d_sae=8)
    model.add(other, 1, strength=1.0)  # features are looked up in another SAE now
    assert (widget.sweep, model.state().swept) == (None, 0)
    model.reset()
    state = model.state()
    assert (state.rows, state.swept, state.settings.prompt, widget.sweep) == ((), 0, "", None)


def test_what_cannot_be_swept(widget: Steering, sent: Sent) -> None:
    key = widget.state["rows"][0]["key"]
    ask(widget, sent, kind="steering_edit", rows=[{"key": key, "mode": "ablate", "strength": 3}])
    refused = ask(widget, sent, kind="steering_generate", what="sweep")
    assert (refused["kind"], refused["where"]) == ("failure", "Feature to sweep")


def test_stop_keeps_the_texts_so_far(widget: Steering, sent: Sent) -> None:
    ask(widget, sent, kind="steering_edit", settings=settings(widget, new_tokens=240))
    ask(widget, sent, kind="steering_generate")
    again = ask(widget, sent, kind="steering_generate")
    assert (again["kind"], again["what"]) == ("failure", "It is writing already.")
    wait_until(lambda: run_of(widget)["texts"], LONG)
    ask(widget, sent, kind="steering_stop")
    wait_until(lambda: run_of(widget)["status"] in ("stopped", "done"), LONG)
    texts = ask(widget, sent, kind="steering_read")["value"]
    assert 0 < len(texts["baseline"]["pieces"]) <= 240
    assert texts["stopped"] == (run_of(widget)["status"] == "stopped")


def test_a_prompt_that_is_too_long_is_reported(widget: Steering, sent: Sent) -> None:
    ask(widget, sent, kind="steering_edit", settings=settings(widget, new_tokens=300))
    ask(widget, sent, kind="steering_generate")
    problem = wait_until(lambda: run_of(widget)["problem"], LONG)
    assert problem["what"] == (
        "Nothing was generated: the prompt is 11 tokens and 300 new ones are asked for, but the context is 256."
    )
    assert problem["hint"] == "Shorten the prompt by 55 tokens or ask for 245."
    assert run_of(widget)["status"] == "failed"


def test_features_come_and_go(widget: Steering, sae: str, sent: Sent) -> None:
    key = ask(widget, sent, kind="steering_add", sae_id=sae, index=9)["value"]["key"]
    assert ask(widget, sent, kind="steering_add", sae_id=sae, index=9)["value"]["key"] == key
    wait_until(lambda: [row["a_max"] for row in widget.state["rows"] if row["key"] == key] != [None], LONG)
    refused = ask(widget, sent, kind="steering_add", sae_id=sae, index=D_SAE)
    assert refused["what"] == f"There is no feature {D_SAE:,}: demo-l1-topk has {D_SAE:,}."
    ask(widget, sent, kind="steering_remove", key=key)
    wait_until(lambda: key not in [row["key"] for row in widget.state["rows"]])
    widget.add(sae, 10, -1.0)
    wait_until(lambda: widget.state["rows"][-1]["index"] == 10)
    with pytest.raises(NotFoundError):
        widget.add("sae_nothere", 1)


def test_one_that_never_fires_is_added_by_activation(widget: Steering, sae: str, sent: Sent) -> None:
    key = ask(widget, sent, kind="steering_add", sae_id=sae, index=DEAD)["value"]["key"]

    def row() -> dict[str, Any]:
        found: dict[str, Any] = next((row for row in widget.state["rows"] if row["key"] == key), {"problem": None})
        return found

    wait_until(lambda: row()["problem"], LONG)
    assert (row()["mode"], row()["strength"], row()["a_max"]) == ("add", 0.0, None)
    assert row()["problem"]["what"].startswith(f"Feature {DEAD} did not fire over 8,192 tokens")


def test_finding(widget: Steering, ws: Workspace, sae: str, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(text: str) -> dict[str, Any]:
        value: dict[str, Any] = ask(widget, sent, kind="steering_find", sae_id=sae, text=text)["value"]
        return value

    assert find("12")["hits"] == [{"index": 12, "label": "", "tokens": []}]
    assert find("9999")["note"] == f"There is no feature 9999: demo-l1-topk has {D_SAE}."
    assert find("9" * 400)["hits"] == []
    assert "An index goes from 0 to 255." in find("ship")["note"]  # nothing was extracted

    class Found:
        index, label, top_tokens = 3, "ships", (" ship",)

    class Features:
        def list(self, **asked: Any) -> list[Found]:
            if asked["search"] == "storm":
                raise StateError("Nothing was extracted.")
            return [Found()] if asked["search"] == "ship" else []

        def get(self, feature_id: str) -> Found:
            return Found()

    monkeypatch.setattr(ws, "features", Features(), raising=False)
    assert find("ship")["hits"] == [{"index": 3, "label": "ships", "tokens": [" ship"]}]
    assert "goes from 0 to 255" in find("zebra")["note"]
    assert find("storm")["note"].startswith("Nothing was extracted.")
    assert find("3")["hits"] == [{"index": 3, "label": "ships", "tokens": [" ship"]}]


def test_positions_count_tokens_of_the_prompt(widget: Steering, sent: Sent) -> None:
    tokens = ask(widget, sent, kind="steering_tokens", prompt=PROMPT)["value"]
    assert tokens[0]  # BOS
    assert "".join(tokens[1:]) == PROMPT
    texts = write(widget, sent, positions=[len(tokens) - 1])
    assert widget.result.steered.steered_tokens == 1
    assert texts["steered"]["change_ratio"] > 0
    wrong = ask(widget, sent, kind="steering_edit", settings=settings(widget, positions=[]))
    assert (wrong["kind"], wrong["where"]) == ("failure", "positions")


def test_the_sae_of_the_next_feature_is_chosen(
    ws: Workspace, sae: str, tmp_path: Path, record_messages: Callable[[Any], Sent]
) -> None:
    other = add_demo_sae(ws, tmp_path / "other", name="other", seed=1)
    with closing(Steering(ws, sae=sae)) as widget:
        sent = record_messages(widget)
        assert ask(widget, sent, kind="steering_choose", sae_id=other)["kind"] == "result"
        wait_until(lambda: widget.state["sae_id"] == other)
        refused = ask(widget, sent, kind="steering_choose", sae_id="sae_nothere")
        assert (refused["kind"], widget.state["sae_id"]) == ("failure", other)
    ws.saes.delete(other)


def test_presets(widget: Steering, sent: Sent) -> None:
    def preset(action: str, **more: Any) -> dict[str, Any]:
        return ask(widget, sent, kind="steering_preset", action=action, name="ships", **more)

    ask(widget, sent, kind="steering_edit", settings=settings(widget, seed=5, strengths=[-1, 1]))
    assert [each["name"] for each in preset("save")["value"]] == ["ships"]
    wait_until(lambda: widget.state["presets"] == 1)
    assert preset("save")["what"] == "There is a preset 'ships'."
    assert preset("save", replace=True)["kind"] == "result"
    ask(widget, sent, kind="steering_edit", settings=settings(widget, seed=6))
    ask(widget, sent, kind="steering_remove", key=widget.state["rows"][0]["key"])
    preset("load")
    wait_until(lambda: widget.state["settings"]["seed"] == 5)
    assert widget.state["settings"]["strengths"] == [-1.0, 1.0]
    assert [row["index"] for row in widget.state["rows"]] == [7]
    assert preset("delete")["value"] == []
    assert preset("load")["what"] == "There is no preset 'ships'."


def test_arguments_are_checked(ws: Workspace) -> None:
    with pytest.raises(NotFoundError, match="sae_nothere"):
        Steering(ws, features=[("sae_nothere", 1, 2.0)])
    with pytest.raises(ConfigError, match="no feature 900"):
        Steering(ws, sae="demo-l1-topk", features=[(900, 2.0)])


def test_texts_are_aligned_so_that_repeated_tokens_are_not_marked() -> None:
    assert changes([1, 2, 3, 4], [1, 2, 3, 4]) == ((), ())
    assert changes([1, 2, 3, 4], [9, 2, 3, 4]) == ((0,), (0,))
    assert changes([1, 2, 3], [1, 7, 8, 2, 3]) == ((), (1, 2))
    assert changes([], [1]) == ((), (0,))
    long = [1] * 1500
    assert changes(long, [*long[:-1], 2]) == ((1499,), (1499,))


TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


def chat_turns(widget: Steering) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = widget.state["turns"]
    return turns


def test_a_chat_goes_on_with_both_histories(
    widget: Steering, ws: Workspace, sae: str, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = ws.features.live.open(ws.steering.subject(sae)).model.lm
    monkeypatch.setattr(lm.tokenizer, "chat_template", TEMPLATE)
    first = write(widget, sent, chat=True, system="Be kind.", prompt="Once there was a king.")
    [turn] = chat_turns(widget)
    assert (first["turn"], widget.state["settings"]["prompt"]) == (0, "")
    assert turn == {"user": "Once there was a king."} | {
        side: "".join(first[side]["pieces"]) for side in ("baseline", "steered")
    }
    assert turn["baseline"] != turn["steered"]
    second = write(widget, sent, chat=True, system="Be kind.", prompt="He had a ship.")
    assert second["turn"] == 1
    assert chat_turns(widget)[0] == turn
    result = widget.result
    assert [each["content"] for each in result.config.messages("steered")] == [
        "Be kind.", "Once there was a king.", turn["steered"], "He had a ship.",
    ]  # fmt: skip
    same = ws.steer(
        None, [(sae, 7, 30.0, "add")], "He had a ship.", chat=True, system="Be kind.", turns=[turn], new_tokens=6
    )
    assert (same.baseline.ids, same.steered.ids) == (result.baseline.ids, result.steered.ids)

    # Without a new message the last one is answered again, here by a weaker change.
    key = widget.state["rows"][0]["key"]
    ask(widget, sent, kind="steering_edit", rows=[{"key": key, "mode": "add", "strength": 0.0}])
    again = write(widget, sent, chat=True, system="Be kind.", prompt="")
    assert again["turn"] == 1
    assert chat_turns(widget)[0] == turn
    assert again["baseline"]["pieces"] == second["baseline"]["pieces"] != again["steered"]["pieces"]
    tokens = ask(widget, sent, kind="steering_tokens", prompt="", chat=True)["value"]
    assert turn["steered"] in "".join(tokens)
    assert "He had a ship." in "".join(tokens)
    text = ask(widget, sent, kind="steering_copy")["value"]["text"]
    assert f"assistant: {turn['steered']}\nuser: He had a ship.\nassistant: " in text

    ask(widget, sent, kind="steering_chat", action="edit")
    wait_until(lambda: (chat_turns(widget), widget.state["settings"]["prompt"]) == ([turn], "He had a ship."))
    ask(widget, sent, kind="steering_preset", action="save", name="a chat")
    ask(widget, sent, kind="steering_chat", action="new")
    wait_until(lambda: (chat_turns(widget), widget.state["generated"]) == ([], 0))
    ask(widget, sent, kind="steering_preset", action="load", name="a chat")
    wait_until(lambda: (chat_turns(widget), widget.state["settings"]["prompt"]) == ([turn], "He had a ship."))


def test_a_chat_that_fails_keeps_its_message(widget: Steering, sent: Sent) -> None:
    ask(widget, sent, kind="steering_edit", settings=settings(widget, chat=True, prompt="Once", system="Be kind."))
    wait_until(lambda: widget.state["chat_problem"] != "", LONG)
    assert widget.state["chat_problem"] == "The tokenizer of demo has no chat template."
    ask(widget, sent, kind="steering_generate")
    wait_until(lambda: run_of(widget)["status"] == "failed", LONG)
    assert "no chat template" in run_of(widget)["problem"]["what"]
    assert (chat_turns(widget), widget.state["settings"]["prompt"]) == ([], "Once")
    assert write(widget, sent, chat=False, prompt="Once")["turn"] is None
