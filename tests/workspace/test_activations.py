"""`ws.activations`: captures and imports as jobs, stores that are found, checked, and kept from being deleted."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.config import ActivationCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from saewidgets.workspace.activations import Capture
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed

RESID, MLP = "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"
TEXT = {"kind": "text", "strings": TINY_TEXT}


def _capture(ws: Workspace, model: Any, **changes: Any) -> Capture:
    settings = {"context_size": 16, "model_batch_size": 4, **changes}
    hooks = settings.pop("hook_names", [RESID, MLP])
    tokens = settings.pop("tokens", 300)
    named = str(model) if isinstance(model, Path) else model
    return ws.activations.capture(settings.pop("called", named), TEXT, hooks, tokens, **settings)


@pytest.mark.parametrize(("dtype", "per_token"), [("bfloat16", 2 * 2 * 32 + 3), ("int8", 2 * (4 + 32) + 3)])
def test_a_capture_is_a_job_that_leaves_a_store(
    ws: Workspace, tiny_model_folder: Path, dtype: str, per_token: int
) -> None:
    told: list[str | None] = []
    ws.activations.changes.add(told.append)
    ws.templates.save("only kept", {"model": "lab/never-used"})
    found = ws.activations.estimate(str(tiny_model_folder), TEXT, [RESID, MLP], 300, context_size=16, dtype=dtype)
    assert (found.bytes_per_token, found.dtype, found.widths) == (per_token, dtype, {RESID: 32, MLP: 32})
    assert found.fits
    assert not ws.activations.estimate("demo", "demo", "blocks.0.hook_resid_post", 2**50).fits
    handle = completed(_capture(ws, tiny_model_folder, dtype=dtype, name="mine"))
    record = handle.record
    # What a capture read is suggested; what only a template names is not.
    assert ws.suggestions() == {"model": ("demo", str(tiny_model_folder)), "corpus": ("demo", record.corpus)}
    assert (record.name, record.source, record.dtype, record.hook_names) == (
        "mine", "captured", dtype, (RESID, MLP),
    )
    assert (record.state, record.is_whole, record.context_size) == ("ok", True, 16)
    assert record.n_tokens == record.tokens_total == -(-300 // 16) * 16
    assert record.hooks[RESID]["width"] == 32
    assert record.hooks[RESID]["mean_norm"] > 0
    assert record.progress is not None
    assert record.progress.done == record.n_tokens
    assert record.size_bytes == found.size_bytes == 304 * found.bytes_per_token
    result = handle.result()
    assert (result.store_id, result.n_tokens, result.size_bytes) == (handle.id, record.n_tokens, record.size_bytes)
    store = handle.open()
    assert store.rows(RESID).shape == (record.n_tokens, 32)
    assert Path(record.folder).parent == ws.folder / "activations"
    assert told[0] == handle.id
    assert "mine" in repr(handle)
    assert dtype in handle._repr_html_()
    assert handle.corpus == ActivationCorpus(handle.id) == ActivationCorpus(record)


def test_stores_are_listed_found_and_renamed(ws: Workspace, tiny_model_folder: Path) -> None:
    one = completed(_capture(ws, tiny_model_folder))
    two = completed(_capture(ws, tiny_model_folder, hook_names=MLP))
    names = [record.name for record in ws.activations.list()]
    assert names[0] == f"{names[1]}-2"
    assert [r.id for r in ws.activations.list(hook_name=RESID)] == [one.id]
    assert [r.id for r in ws.activations.list(search="mlp_out 32 strings", limit=1)] == [two.id]
    assert len(ws.activations.list(status="completed")) == 2
    assert not ws.activations.list(model="gpt2")
    assert ws.activations.list().to_df()["n_tokens"].tolist() == [304, 304]
    for wanted in (one.id, one.id[:20], names[1]):
        if wanted != one.id[:20] or not two.id.startswith(wanted):
            assert ws.activations.get(wanted).id == one.id
    assert ws.activations.rename(one.id, "  better\n").name == "better"
    assert ws.activations.get("better").id == one.id
    for wrong in ("", "x" * 121):
        with pytest.raises(ConfigError, match="1 to 120"):
            ws.activations.rename(one.id, wrong)
    with pytest.raises(NotFoundError, match="no store of activations 'nothing'"):
        ws.activations.get("nothing")
    with pytest.raises(ConfigError, match="store_id"):
        ws.activations.get(7)  # type: ignore[arg-type]


def test_what_cannot_work_is_refused_at_once(
    ws: Workspace, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"hook_names": "blocks.7.hook_resid_post"}, ConfigError, "layers 0 to 1"),
        ({"hook_names": ["blocks.1.attn.hook_z", "blocks.1.attn.hook_z.2"]}, ConfigError, "Head 2 does not exist"),
        ({"hook_names": []}, ConfigError, "No hook point"),
        ({"hook_names": [RESID, RESID]}, ConfigError, "named twice"),
        ({"tokens": 0}, ConfigError, "tokens"),
        ({"dtype": "int4"}, ConfigError, "dtype"),
        ({"context_size": 1000}, ConfigError, "at most 64|64 tokens|reads"),
        ({"surplus": 1}, ConfigError, "surplus"),
        ({"device": "cuda:99"}, SAEWidgetsError, "cuda:99"),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            _capture(ws, tiny_model_folder, **changes)
    with pytest.raises(NotFoundError, match="no file or folder"):
        ws.activations.capture(str(tiny_model_folder), "/nowhere.txt", RESID, 100)
    with pytest.raises(ConfigError, match="cannot be captured again"):
        ws.activations.capture(str(tiny_model_folder), ActivationCorpus("acts_x"), RESID, 100)
    import shutil

    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(StorageError, match=r"space for the store: .* are free"):
        _capture(ws, tiny_model_folder)
    assert not ws.activations.list()
    assert not list((ws.folder / "activations").glob("*")) if (ws.folder / "activations").exists() else True


class Gate:
    """Holds a model in its first forward until it is opened."""

    def __init__(self, model: Any) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        model.get_input_embeddings().register_forward_hook(self._wait)

    def _wait(self, *_: Any) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE)


@pytest.fixture
def gated(tiny_model_folder: Path) -> tuple[Any, Gate]:
    from saewidgets.lm import hook_points, load_model

    lm = load_model(str(tiny_model_folder))
    hook_points(lm.model)  # the first use runs the model once, outside the gate
    return lm, Gate(lm.model)


def test_cancelled_nothing_is_left_and_stopped_a_whole_store(
    ws: Workspace, gated: tuple[Any, Gate]
) -> None:
    lm, gate = gated
    handle = _capture(ws, lm.model, tokenizer=lm.tokenizer)
    assert gate.reached.wait(PATIENCE)
    handle.cancel()
    gate.open.set()
    assert handle.wait(PATIENCE) is JobStatus.CANCELLED
    assert not list(Path(handle.record.folder).rglob("*.bin"))
    handle.delete()
    assert not ws.activations.list()

    gate.reached.clear()
    gate.open.clear()
    handle = _capture(ws, lm.model, tokenizer=lm.tokenizer)
    assert gate.reached.wait(PATIENCE)
    handle.pause()
    gate.open.set()
    assert handle.wait(PATIENCE) is JobStatus.PAUSED
    gate.reached.clear()
    gate.open.clear()
    handle.resume()  # here its model is still at hand
    assert gate.reached.wait(PATIENCE)
    handle.stop()
    gate.open.set()
    assert handle.wait(PATIENCE) is JobStatus.STOPPED
    record = handle.record
    assert record.is_whole
    assert record.n_tokens is not None
    assert record.n_tokens < record.tokens_total
    handle.verify()


def test_what_was_paused_goes_on_in_another_workspace_if_its_model_has_a_name(
    tmp_path: Path, tiny_model_folder: Path, gated: tuple[Any, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, gate = gated
    monkeypatch.setattr("saewidgets.lm.load_model", lambda *_, **__: lm)
    ids = []
    with Workspace(tmp_path / "w", jobs=JobSettings(poll=0.05)) as first:
        for model, tokenizer in ((tiny_model_folder, None), (lm.model, lm.tokenizer)):
            handle = _capture(first, model, tokenizer=tokenizer)
            assert gate.reached.wait(PATIENCE)
            with pytest.raises(StateError, match="incomplete"):
                first.activations.open(handle.id)
            with pytest.raises(StateError, match="cancel it"):
                handle.delete()
            handle.pause()
            gate.open.set()
            assert handle.wait(PATIENCE) is JobStatus.PAUSED
            assert handle.record.state == "incomplete"
            gate.open.clear()
            gate.reached.clear()
            ids.append(handle.id)
    gate.open.set()
    with Workspace(tmp_path / "w", jobs=JobSettings(poll=0.05)) as second:
        named, given = map(second.activations.get, ids)
        named.resume()
        straight = completed(_capture(second, tiny_model_folder))
        assert dict(completed(named).open().facts.files) == dict(straight.open().facts.files)
        with pytest.raises(StateError, match="handed to it as an object"):
            given.resume()


def test_files_that_changed_or_went_are_seen(ws: Workspace, tiny_model_folder: Path) -> None:
    handle = completed(_capture(ws, tiny_model_folder))
    file = Path(handle.record.folder) / RESID / "00000.bin"
    data = file.read_bytes()
    file.write_bytes(b"\x01" + data[1:])
    assert (handle.record.state, "was written to" in handle.record.state_note) == ("changed", True)
    with pytest.raises(FormatError, match="was written to"):
        handle.open()
    file.write_bytes(data[:-4])
    with pytest.raises(FormatError, match="was written to"):
        ws.activations.verify(handle.id)
    file.unlink()
    assert handle.record.state == "missing"
    with pytest.raises(NotFoundError, match="no longer in its folder"):
        handle.open()
    file.write_bytes(data)
    assert handle.record.state == "ok"
    seen: list[int] = []
    handle.verify(seen.append)
    assert seen[-1] == handle.record.size_bytes


def test_hidden_states_of_a_script_become_a_store(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "hidden_states"
    folder.mkdir()
    states = {layer: torch.randn(200, 16, generator=torch.Generator().manual_seed(layer)) for layer in (2, 10)}
    for layer, rows in states.items():
        value = {"hidden_states": rows, "layer_idx": layer, "num_tokens": 200, "d_model": 16}
        torch.save(value, folder / f"layer_{layer}_states.pt")
    handle = completed(ws.activations.import_states(folder, model="gpt2", corpus="wiki"))
    record = handle.record
    assert (record.source, record.model, record.n_tokens) == ("imported", "gpt2", 200)
    assert record.hook_names == ("blocks.2.hook_resid_post", "blocks.10.hook_resid_post")
    for layer, rows in states.items():
        assert np.array_equal(handle.open().rows(f"blocks.{layer}.hook_resid_post"), rows.numpy())
    one = completed(ws.activations.import_states(folder / "layer_2_states.pt", hook_names=MLP, dtype="int8"))
    assert (one.record.hook_names, one.record.dtype, one.record.model) == ((MLP,), "int8", None)
    with pytest.raises(ConfigError, match="1 files and 2 hook names"):
        ws.activations.import_states(folder / "layer_2_states.pt", hook_names=[MLP, RESID])
    torch.save({"hidden_states": states[2]}, folder / "x.pt")
    with pytest.raises(ConfigError, match=r"x\.pt does not say which layer"):
        ws.activations.import_states(folder / "x.pt")
    with pytest.raises(NotFoundError, match="no layer_"):
        ws.activations.import_states(tmp_path)
    with pytest.raises(ConfigError, match=r"have width 16, but demo has 256 there") as caught:
        ws.activations.import_states(folder, model="demo")
    assert caught.value.where == "model"
    assert len(ws.activations.list()) == 2


@pytest.mark.parametrize(("backend", "told"), [("aot_eager", 0), ("no_such_backend", 1)])
def test_a_compiled_model_captures_alike_and_is_given_back(
    backend: str, told: int, ws: Workspace, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saewidgets.lm import compiling, load_model

    plain = completed(_capture(ws, tiny_model_folder))
    whole = compiling.compile_blocks
    monkeypatch.setattr(compiling, "compile_blocks", lambda *given, **more: whole(*given, **more, backend=backend))
    lm = load_model(str(tiny_model_folder))
    given = {"model_compile": "default", "tokenizer": lm.tokenizer, "called": lm.model}
    found = completed(_capture(ws, tiny_model_folder, **given))
    lines = [line.message for line in ws.catalog.jobs.log(str(found.record.job_id))]
    for name in (RESID, MLP):
        np.testing.assert_allclose(found.open().rows(name), plain.open().rows(name), rtol=1e-4, atol=1e-5)
    assert sum("is not compiled: " in line for line in lines) == told
    assert not any("forward" in module.__dict__ for module in lm.model.modules())
    with pytest.raises(ConfigError, match="model_compile"):
        _capture(ws, tiny_model_folder, model_compile="fast")
