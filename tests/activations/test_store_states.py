"""Hidden states that scripts have saved become a store, row for row; nothing is unpickled."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saewidgets.activations.store import StoredActivations
from saewidgets.activations.store_states import BLOCK, import_states
from saewidgets.activations.store_stream import StoredStream
from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.events import Interruption, NullControl, Request
from saewidgets.workspace.capture.states import look_at_states

HOOK = "blocks.6.hook_resid_post"


def _states(rows: int = 300, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As the script pipeline saves it."""
    path, states = tmp_path / "layer_6_states.pt", _states()
    torch.save({"hidden_states": states, "layer_idx": 6, "num_tokens": len(states), "d_model": 16}, path)
    return path


def test_the_rows_are_those_of_the_file(file: Path, tmp_path: Path) -> None:
    found = look_at_states(file)
    assert (found.rows, found.width, found.layer, found.stored_dtype) == (300, 16, 6, "float32")
    facts = import_states([(HOOK, found)], tmp_path / "s", model="gpt2", corpus="wiki")
    store = StoredActivations(tmp_path / "s")
    store.verify()
    assert np.array_equal(store.rows(HOOK), _states().numpy())
    assert (facts.source, facts.model, facts.corpus, facts.tokens, facts.n_rows) == (
        "imported", "gpt2", "wiki", None, 300,
    )
    assert facts.hooks[HOOK].mean_norm == pytest.approx(_states().double().norm(dim=1).mean().item(), rel=1e-12)
    assert facts.n_contexts == -(-300 // BLOCK)
    with pytest.raises(ConfigError, match="without their tokens"):
        store.contexts([0])


def test_an_epoch_reads_every_row_once_the_short_last_block_too(file: Path, tmp_path: Path) -> None:
    import_states([(HOOK, look_at_states(file))], tmp_path / "s")
    config = TrainingConfig(
        hook_name=HOOK, batch_size=50, tokens=300,
        activations={"validation_share": 0.0, "shuffle_tokens": 50, "norm_tokens": 256},  # type: ignore[arg-type]
    )
    stream = StoredStream(StoredActivations(tmp_path / "s"), config)
    assert stream.tokens_per_epoch == 300
    batches = stream.batches()
    rows = torch.cat([next(batches) for _ in range(6)])  # type: ignore[misc]
    batches.close()  # type: ignore[attr-defined]
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, _states().tolist()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_number_formats_and_other_shapes_and_containers(dtype: torch.dtype, tmp_path: Path) -> None:
    states = _states(240).to(dtype)
    save_file({"anything": states.view(4, 60, 16)}, tmp_path / "x.safetensors")
    torch.save({"one": states}, tmp_path / "x.pt")
    kept = {torch.float64: "float32"}.get(dtype, str(dtype).removeprefix("torch."))
    for name in ("x.safetensors", "x.pt"):
        found = look_at_states(tmp_path / name)
        assert (found.rows, found.width, found.layer, found.stored_dtype) == (240, 16, None, kept)
        import_states([(HOOK, found)], tmp_path / f"s-{name}")
        raw = np.array(StoredActivations(tmp_path / f"s-{name}").rows(HOOK))
        expected = states.to(getattr(torch, kept))
        assert raw.tobytes() == expected.contiguous().view(torch.uint8).numpy().tobytes()


def test_several_layers_of_the_same_tokens_are_one_store(tmp_path: Path) -> None:
    files = []
    for layer in (0, 3):
        torch.save({"hidden_states": _states(seed=layer), "layer_idx": layer}, tmp_path / f"layer_{layer}_states.pt")
        files.append((f"blocks.{layer}.hook_resid_post", look_at_states(tmp_path / f"layer_{layer}_states.pt")))
    facts = import_states(files, tmp_path / "s", dtype="bfloat16")
    assert list(facts.hooks) == ["blocks.0.hook_resid_post", "blocks.3.hook_resid_post"]
    torch.save({"hidden_states": _states(7)}, tmp_path / "layer_5_states.pt")
    with pytest.raises(ConfigError, match="of different tokens"):
        import_states([*files, (HOOK, look_at_states(tmp_path / "layer_5_states.pt"))], tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_paused_and_resumed_it_is_the_same(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.activations.store_states._PIECE", 64 * BLOCK)

    class Once(NullControl):
        left = 2

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Interruption(Request.PAUSE)

    files = [(HOOK, look_at_states(file))]
    with pytest.raises(Interruption):
        import_states(files, tmp_path / "a", control=Once())
    seen: list[int] = []
    import_states(files, tmp_path / "a", on_progress=lambda done, total: seen.append(done), resume=True)
    assert min(seen) > 2 * BLOCK  # it did not begin again
    import_states(files, tmp_path / "b")
    for path in filter(Path.is_file, (tmp_path / "b").rglob("*")):
        assert path.read_bytes() == (tmp_path / "a" / path.relative_to(tmp_path / "b")).read_bytes()


def test_what_is_no_file_of_states_is_refused(tmp_path: Path) -> None:
    cases: list[tuple[Any, str]] = [
        ({"a": _states(), "b": _states()}, "2 tensors, and none is called hidden_states"),
        ({"hidden_states": torch.zeros(3)}, "shape"),
        ({"hidden_states": torch.zeros(3, 4, dtype=torch.int64)}, "floats"),
        ({"hidden_states": torch.zeros(0, 4)}, "shape"),
        ({"layer_idx": 3}, "0 tensors"),
        (_states(), "not hold a dict"),
    ]
    for value, message in cases:
        torch.save(value, tmp_path / "x.pt")
        with pytest.raises(FormatError, match=message):
            look_at_states(tmp_path / "x.pt")
    with pytest.raises(NotFoundError, match="no such file"):
        look_at_states(tmp_path / "none.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"hidden_states": Evil()}))
    for raw in (buffer.getvalue(), pickle.dumps(Evil())):
        (tmp_path / "layer_1_states.pt").write_bytes(raw)
        with pytest.raises(FormatError):
            look_at_states(tmp_path / "layer_1_states.pt")
    assert not mark.exists()


def test_numbers_that_cannot_be_trained_on_are_named(tmp_path: Path) -> None:
    states = _states()
    states[217, 3] = float("nan")
    torch.save({"hidden_states": states}, tmp_path / "x.pt")
    with pytest.raises(FormatError, match="Row 217 holds a number that is NaN"):
        import_states([(HOOK, look_at_states(tmp_path / "x.pt"))], tmp_path / "s")
    torch.save({"hidden_states": _states() * 1e6}, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="float16 cannot hold"):
        import_states([(HOOK, look_at_states(tmp_path / "x.pt"))], tmp_path / "t", dtype="float16")


def test_a_file_that_was_cut_off_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for size in (len(data) - 1000, 5000, 100, 0):
        file.write_bytes(data[:size])
        with pytest.raises(FormatError):
            look_at_states(file)
