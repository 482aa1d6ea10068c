"""Writes `js/demo/states.json`: what the widgets show of a small workspace, for the demo page and the page tests.

    python tools/demo_states.py        # trains three small autoencoders, reads the demo SAE, writes some text: minutes

What no small workspace has (runs in every status, a hub, failures) is made up on top of it, in `js/demo/scenes.json`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import saewidgets as sw

FILE = Path(__file__).parent.parent / "js" / "demo" / "states.json"
HOOKS = [f"blocks.{layer}.hook_resid_post" for layer in range(3)]
FEATURE = 397


def ask(widget: Any, kind: str, **command: Any) -> Any:
    """The value of the answer to a command; the numbers of a buffer are in `numbers`."""
    sent: list[tuple[dict[str, Any], list[Any]]] = []
    widget.send = lambda content, buffers=None: sent.append((content, list(buffers or [])))
    widget._handle_custom_msg({"id": "1", "kind": kind, **command}, [])
    widget.drain(600)
    content, buffers = next(each for each in sent if each[0]["kind"] in ("result", "failure"))
    if content["kind"] != "result":
        raise RuntimeError(f"{kind}: {content}")
    values = [np.frombuffer(buffer, np.float32).round(3).tolist() for buffer in buffers[:1]]
    return {"value": content["value"], "numbers": {"activations": values[0]}} if values else content["value"]


def runs(ws: sw.Workspace) -> dict[str, Any]:
    base = ws.trainings.demo_config().replace(
        sae={"architecture": "topk", "d_sae": 256, "k": 24}, tokens=12_000, batch_size=512, device="cpu",
        evaluation={"tokens": 1024},
    )  # fmt: skip
    group = ws.trainings.create_many(base, over={"hook_name": HOOKS})
    group.wait()
    ids = [run.id for run in group]
    panel = sw.TrainingPanel(ws)
    part = panel._parts[0]
    ask(part, "save_template", name="Demo, TopK", config=base.model_dump(mode="json"))
    ask(part, "compare", training_ids=ids)
    answers = {
        "form_schema": ask(part, "form_schema"),
        "check": ask(part, "check", config=base.model_dump(mode="json")),
        "details": ask(part, "details", training_id=ids[0]),
        "comparison": ask(part, "comparison", training_ids=ids),
        "list_templates": ask(part, "list_templates", search=""),
    }
    found = {"state": dict(part.state), "answers": answers}  # last: the comparison is in the state by now
    panel.close()
    for run in group:
        run.import_to_saes()
    return found


def library(ws: sw.Workspace) -> dict[str, Any]:
    browser = sw.SAEBrowser(ws)
    part = browser._parts[0]
    state = dict(part.state)
    first, second = (card["id"] for card in state["cards"][:2])
    answers = {
        "describe_sae": ask(part, "describe_sae", sae_id=first),
        "measure_sae": ask(part, "measure_sae", sae_id=first),
        "compare_saes": ask(part, "compare_saes", first=first, second=second),
    }
    browser.close()
    return {"state": state, "answers": answers}


def features(ws: sw.Workspace) -> dict[str, Any]:
    extraction = ws.extractions.demo()
    viewer = sw.ExtractionViewer(ws, view={"extraction_id": extraction.id, "feature": FEATURE})
    part = viewer._parts[0]
    shown = {"extraction_id": extraction.id}
    of = {**shown, "index": FEATURE}
    saes = ask(part, "list_saes", source=None, model=None, search="")
    sae = saes["rows"][0]["id"]
    form = ask(part, "extraction_form", sae_id=sae, extraction_id=None)
    answers = {
        "list_saes": saes,
        "extraction_form": form,
        "check_extraction": ask(part, "check_extraction", sae_id=sae, values={"corpus": "demo"}),
        "open_feature": ask(part, "open_feature", **of),
        "feature_logits": ask(part, "feature_logits", **of),
        "feature_relations": ask(part, "feature_relations", **of),
        "query_features": ask(part, "query_features", **shown, query={"show": "live"}, offset=0, limit=40),
        "test_text": ask(part, "test_text", **of, text="They asked each man every day"),
        "read_prompt": ask(part, "read_prompt", **shown, text="The captain of the ship", hide_dense=True, limit=7),
    }
    position = answers["open_feature"]["value"]["groups"][0]["examples"][0]["position"]
    answers["expand_example"] = ask(part, "expand_example", **of, position=position)
    found = {"state": dict(part.state), "answers": answers}
    viewer.close()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sw.Workspace(Path(folder) / "demo") as ws:
        states = {"runs": runs(ws), "library": library(ws), "features": features(ws)}
        download = sw.DownloadFromHF(ws)
        known = {name: rows[:1] for name, rows in ask(download, "hub_known").items()}
        states["download"] = {"state": dict(download.state), "answers": {"hub_known": known}}
        download.close()
        steering = sw.Steering(ws)
        states["steering"] = {"state": dict(steering.state), "answers": {}}
        steering.close()
    FILE.write_text(json.dumps(states, ensure_ascii=False, separators=(",", ":")).replace(folder, "") + "\n", "utf-8")


if __name__ == "__main__":
    main()
