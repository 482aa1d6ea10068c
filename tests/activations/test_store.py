"""A store holds exactly the activations of the text, or of hidden states that a script saved, whole or not at all."""

import hashlib
import io
import itertools
import json
import pickle
import shutil
import threading
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saewidgets.activations import ActivationStream, Corpus, Document, PackedTokens, pack, store_write
from saewidgets.activations.documents import Chunk
from saewidgets.activations.store import RowReader, StoredActivations, StoreFacts
from saewidgets.activations.store_stream import StoredStream, StoredWindows
from saewidgets.activations.store_write import BLOCK, CaptureSettings, bytes_per_token, capture_store, import_states
from saewidgets.durable import sealed
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.events import Interruption, Request
from saewidgets.lm import LoadedModel, capture
from saewidgets.workspace.capture.hidden_states import look_at_states
from tests.activations.conftest import altered, stream_config, take
from tests.training.fakes import Scripted

RESID, MLP = "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"
ALL = 10**9
SETTINGS = CaptureSettings(hook_names=(RESID, MLP), tokens=ALL, model_batch_size=3)
_config = partial(stream_config, validation_share=0.1)


def _capture(lm: LoadedModel, packed: PackedTokens, folder: Path, **changes: Any) -> StoreFacts:
    return capture_store(lm, packed, replace(SETTINGS, **changes), folder)


@pytest.fixture(scope="module")
def store(lm: LoadedModel, packed: PackedTokens, tmp_path_factory: pytest.TempPathFactory) -> StoredActivations:
    folder = tmp_path_factory.mktemp("stores") / "one"
    _capture(lm, packed, folder)
    return StoredActivations(folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ what it holds


def test_every_row_is_the_activation_of_its_token(
    lm: LoadedModel, packed: PackedTokens, store: StoredActivations
) -> None:
    facts = store.facts
    assert (facts.n_contexts, facts.n_rows, facts.dtype) == (packed.n_contexts, packed.n_contexts * 16, "float32")
    ids = packed.contexts(np.arange(packed.n_contexts))
    assert np.array_equal(store.contexts(np.arange(packed.n_contexts)), ids)
    special = np.isin(ids, lm.tokenizer.all_special_ids)
    assert np.array_equal(~store.kept(np.arange(packed.n_contexts)), special)
    for name in (RESID, MLP):
        expected = capture(lm.model, [name], torch.from_numpy(ids))[name].numpy().reshape(-1, 32)
        np.testing.assert_allclose(store.rows(name), expected, rtol=1e-5, atol=1e-6)
        norms = np.linalg.norm(expected.astype(np.float64), axis=1)[~special.ravel()]
        assert facts.hooks[name].mean_norm == pytest.approx(norms.mean(), rel=1e-6)
    assert facts.n_special == special.sum()


def test_the_manifest_records_its_source(lm: LoadedModel, packed: PackedTokens, store: StoredActivations) -> None:
    facts = store.facts
    assert (facts.source, facts.model, facts.corpus_fingerprint) == ("captured", lm.name, packed.fingerprint)
    assert (facts.model_fingerprint, facts.prepend_bos, facts.context_size) == (lm.fingerprint(), True, 16)
    for name, file in facts.files.items():
        data = (store.folder / name).read_bytes()
        assert file == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    store.verify()
    assert facts.size_bytes == facts.n_rows * bytes_per_token([32, 32], "float32", lm.vocab_size)
    assert not (store.folder / "capture.json").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_smaller_formats_round_once(
    lm: LoadedModel, packed: PackedTokens, store: StoredActivations, dtype: str, tmp_path: Path
) -> None:
    facts = _capture(lm, packed, tmp_path / "s", dtype=dtype)
    small = StoredActivations(tmp_path / "s")
    assert facts.size_bytes < store.facts.size_bytes * 0.6
    exact = torch.from_numpy(np.array(store.rows(MLP))).to(getattr(torch, dtype))
    raw = np.array(small.rows(MLP))
    assert torch.equal(torch.from_numpy(raw.view("<i2")).view(getattr(torch, dtype)), exact)


def test_int8_keeps_a_scale_per_row(
    lm: LoadedModel, packed: PackedTokens, store: StoredActivations, tmp_path: Path
) -> None:
    facts = _capture(lm, packed, tmp_path / "s", dtype="int8")
    small = StoredActivations(tmp_path / "s")
    assert facts.size_bytes == facts.n_rows * bytes_per_token([32, 32], "int8", lm.vocab_size)
    assert facts.hooks == store.facts.hooks  # the norms are those of the activations, before they are rounded
    numbers = np.random.default_rng(0).permutation(facts.n_rows)
    for name in (RESID, MLP):
        exact, levels, scales = store.rows(name).astype(np.float64), small.rows(name), small.scales(name)
        assert (levels.dtype, store.scales(name)) == (np.int8, None)
        assert scales is not None
        largest = np.abs(exact).max(axis=1, keepdims=True)
        np.testing.assert_allclose(scales[:, None], largest / 127**2, rtol=1e-6)
        level = 127 * np.sqrt(np.abs(exact) / largest)
        assert np.abs(np.abs(levels) - level).max() < 0.5 + 1e-4
        found = np.sign(levels) * levels.astype(np.float64) ** 2 * scales[:, None]
        assert (np.abs(found - exact) <= scales[:, None] * (np.abs(levels.astype(int)) + 0.2501)).all()
        assert ((found - exact) ** 2).sum() < 1e-4 * (exact**2).sum()
        with RowReader(small, name) as reader:
            np.testing.assert_allclose(reader.floats(numbers).numpy(), found[numbers], rtol=1e-6)


def test_int8_holds_rows_of_zeros_and_any_size(tmp_path: Path) -> None:
    states = _states(64)
    states[0], states[1], states[2], states[3] = 0, states[1] * 1e30, states[2] * 1e-20, 1e-44
    states[4, 5] = 3000  # as large dimensions of residual streams: the others keep their digits
    save_file({"x": states}, tmp_path / "x.safetensors")
    import_states([(HOOK, look_at_states(tmp_path / "x.safetensors"))], tmp_path / "s", dtype="int8")
    ((found,),) = StoredActivations(tmp_path / "s").parts((HOOK,), [np.arange(64)])
    assert torch.equal(found[0], states[0])
    assert (found - states)[3].abs().max() <= 1e-44
    off = (found - states).double().norm(dim=1) / states.double().norm(dim=1)
    assert off[[1, 2, *range(5, 64)]].max() < 0.01
    assert (found - states)[4].abs().median() < 0.3


def test_numbers_that_do_not_fit_name_the_way_out(lm: LoadedModel, packed: PackedTokens, tmp_path: Path) -> None:
    large = altered(lm, lambda model: model.transformer.wte.weight.mul_(1e7))
    with pytest.raises(ConfigError, match=r"reach [\d,]+, which float16 cannot hold.*bfloat16"):
        _capture(large, packed, tmp_path / "s", dtype="float16")
    huge = altered(lm, lambda model: model.transformer.h[1].mlp.c_proj.bias.fill_(1e22))
    for dtype in ("float32", "bfloat16", "int8"):
        with pytest.raises(ConfigError, match="so large that their norm overflows"):
            _capture(huge, packed, tmp_path / "s", dtype=dtype)
    with pytest.raises(NotFoundError, match="no store"):
        StoredActivations(tmp_path / "s")


class WithHeldOut(Corpus):
    """A corpus that names its own validation documents."""

    label, facts = "own", {"held_out": True}

    def chunks(self, position: Any = None) -> Any:
        text = "The king went down to the river and the people followed him"
        yield Chunk([Document(f"{text} {n}.", "x", held_out=n % 5 == 4) for n in range(30)], {})

    def fingerprint(self) -> str:
        return "own"


def test_held_out_documents_stay_held_out(lm: LoadedModel, tmp_path: Path) -> None:
    whole = pack(WithHeldOut(), lm.tokenizer, folder=tmp_path / "t", context_size=16)
    contexts, held = store_write.chosen_contexts(whole, 20 * 16)
    assert len(contexts) == 20
    assert held == round(20 * len(whole.named) / whole.n_contexts) > 0
    assert set(contexts[:held]) <= set(whole.validation)
    assert set(contexts[held:]) <= set(whole.train)
    facts = _capture(lm, whole, tmp_path / "s", tokens=20 * 16)
    stream = StoredStream(StoredActivations(tmp_path / "s"), _config(), 0)
    assert (facts.n_held_out, list(stream.windows.validation)) == (held, list(range(held)))
    held_ids = {tuple(row) for row in whole.contexts(whole.validation).tolist()}
    assert {tuple(row) for row in stream.evaluation_contexts(ALL).tolist()} <= held_ids


# ------------------------------------------------------------------------------------------------ interrupted


@pytest.mark.parametrize(("shard_bytes", "dtype"), [(1 << 28, None), (4096, None), (2048, "int8")])
def test_paused_and_resumed_ends_in_the_same_bytes(
    lm: LoadedModel, packed: PackedTokens, tmp_path: Path, shard_bytes: int, dtype: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(SETTINGS, dtype=dtype)
    capture_store(lm, packed, settings, tmp_path / "one")
    monkeypatch.setattr("saewidgets.activations.store.SHARD_BYTES", shard_bytes)
    straight = capture_store(lm, packed, settings, tmp_path / "straight")
    assert (len(straight.shards(RESID)) > 2) == (shard_bytes < 1 << 28)
    folder = tmp_path / "paused"
    for at in itertools.count(1):
        try:
            capture_store(lm, packed, settings, folder, control=Scripted(Request.PAUSE, 3), resume=True)
            break
        except Interruption:
            with pytest.raises(FormatError, match="incomplete"):
                StoredActivations(folder)
            # As a kill leaves it: more was written than the checkpoint says.
            for path in [*folder.glob("*.bin"), *folder.glob("*/*.bin")][: at % 3]:
                with path.open("ab") as file:
                    file.write(b"x" * 77)
            (folder / RESID / "00077.bin").write_bytes(b"later")
            (folder / ".capture.json.killed").write_bytes(b"{")
    assert at > 2
    assert _files(folder) == _files(tmp_path / "straight")
    # In many files or in one.
    streams = [StoredStream(StoredActivations(one), _config(), 1) for one in (folder, tmp_path / "one")]
    assert all(map(torch.equal, *(take(stream, 0, 30) for stream in streams)))


def test_what_was_begun_with_another_text_or_damaged_starts_over(
    lm: LoadedModel, packed: PackedTokens, store: StoredActivations, tmp_path: Path
) -> None:
    told: list[int] = []

    def begun(folder: Path, **changes: Any) -> Path:
        with pytest.raises(Interruption):
            capture_store(lm, packed, replace(SETTINGS, **changes), folder, control=Scripted(Request.PAUSE, 3))
        return folder

    other = begun(tmp_path / "other", tokens=100)
    cut = begun(tmp_path / "cut")
    (cut / "tokens.bin").write_bytes(b"short")
    torn = begun(tmp_path / "torn")
    (torn / "capture.json").write_text("{")
    for folder in (other, cut, torn):
        capture_store(lm, packed, SETTINGS, folder, on_restart=lambda: told.append(1), resume=True)
        assert _files(folder) == _files(store.folder)
    assert len(told) == 3


# ------------------------------------------------------------------------------------------------ damaged


@pytest.fixture
def copy(store: StoredActivations, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.folder, tmp_path / "copy"))


def test_missing_and_changed_files_are_named(copy: Path) -> None:
    name = copy / RESID / "00000.bin"
    data = name.read_bytes()
    name.write_bytes(data[:-1])
    with pytest.raises(FormatError, match=r"00000.bin: The file has .* were written"):
        StoredActivations(copy)
    name.write_bytes(data[:-1] + b"\x7f")
    with pytest.raises(FormatError, match="was changed after it was written"):
        StoredActivations(copy).verify()
    name.unlink()
    with pytest.raises(NotFoundError, match="missing"):
        StoredActivations(copy)
    with pytest.raises(NotFoundError, match="no store"):
        StoredActivations(copy / "nothing")


@pytest.mark.parametrize(
    "changes",
    [
        {"n_rows": 1 << 52}, {"n_rows": 0}, {"rows_per_shard": 7}, {"context_size": True}, {"dtype": "int4"},
        {"tokens": "<f8"}, {"hooks": {}}, {"hooks": {"../../etc": {"width": 32, "mean_norm": 1.0}}}, {"files": {}},
        {"hooks": {RESID: {"width": 32, "mean_norm": 1.0, "heads": 5}, MLP: {"width": 32, "mean_norm": 1.0}}},
        {"hooks": 3}, {"n_held_out": 10**6}, {"surplus": 1}, {"special_ids": None}, {"format": 99},
        {"dtype": "int8"},
    ],
)  # fmt: skip
def test_a_manifest_that_lies_is_refused(copy: Path, changes: dict[str, Any]) -> None:
    data = json.loads((copy / "store.json").read_text())
    del data["sha256"]
    (copy / "store.json").write_text(json.dumps(sealed({**data, **changes})))
    with pytest.raises(FormatError, match=r"store\.json"):
        StoredActivations(copy)


def test_a_file_cut_off_while_it_is_read_is_an_error(copy: Path) -> None:
    opened = StoredActivations(copy)
    with (copy / RESID / "00000.bin").open("rb+") as file:
        file.truncate(50)
    with pytest.raises(FormatError, match="cut off while it was read"):
        take(StoredStream(opened, _config(), 0), 0, 1)
    (copy / RESID / "00000.bin").unlink()
    with pytest.raises(NotFoundError, match="missing"):
        take(StoredStream(opened, _config(), 0), 0, 1)
    for name in ("tokens.bin", "special.bin"):
        with (copy / name).open("rb+") as file:
            file.truncate(3)
    assert opened.kept(np.arange(opened.facts.n_contexts)).any()
    with pytest.raises(FormatError, match="cut off while it was read"):
        opened.contexts([5])


# ------------------------------------------------------------------------------------------------ the stream


def test_batches_are_those_of_the_model_itself(lm: LoadedModel, packed: PackedTokens, store: StoredActivations) -> None:
    """The same rows in the same order as `ActivationStream` reads them, but for the last bits."""
    for seed in (0, 7):
        live, stored = ActivationStream(lm, packed, _config(), seed), StoredStream(store, _config(), seed)
        assert (stored.d_in, stored.d_out, stored.window) == (live.d_in, live.d_out, live.window)
        assert stored.tokens_per_epoch == live.tokens_per_epoch
        for mine, theirs in zip(take(stored, 0, 60), take(live, 0, 60), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
        assert stored.estimate_scale() == pytest.approx(live.estimate_scale(), rel=1e-6)
        assert torch.equal(stored.evaluation_contexts(64), live.evaluation_contexts(64))
        ids = live.evaluation_contexts(64)
        rows = torch.cat([x for (x,) in stored.held_out(64)])
        expected = capture(lm.model, [RESID], ids)[RESID][~torch.isin(ids, torch.tensor(lm.tokenizer.all_special_ids))]
        torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_head_is_read_from_rows_of_all(
    lm: LoadedModel, packed: PackedTokens, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.activations.store.SHARD_BYTES", 4096)
    monkeypatch.setattr("saewidgets.activations.store._WHOLE_ROWS", 50)
    z = "blocks.0.attn.hook_z"
    _capture(lm, packed, tmp_path / "s", hook_names=(z,), dtype=dtype)
    opened = StoredActivations(tmp_path / "s")
    assert (opened.width(f"{z}.1"), opened.rows(f"{z}.1", 2).shape[1]) == (16, 16)
    numbers = np.random.default_rng(0).permutation(opened.facts.n_rows)[:333]  # of several files
    ((first, second, both),) = opened.parts((f"{z}.0", f"{z}.1", z), [numbers])
    assert torch.equal(torch.cat([first, second], dim=1), both)
    assert both.abs().min(dim=1).values.max() > 0
    for unknown in (f"{z}.2", "blocks.1.attn.hook_z.0"):
        with pytest.raises(ConfigError, match="does not hold"):
            opened.columns(unknown)
    for name in (f"{z}.1", z):  # one head captured alone has no heads of its own
        _capture(lm, packed, tmp_path / name, hook_names=(name,), tokens=64)
    alone = StoredActivations(tmp_path / f"{z}.1")
    assert alone.facts.hooks[f"{z}.1"].heads is None
    whole = StoredActivations(tmp_path / z).rows(f"{z}.1")
    assert np.array_equal(alone.rows(f"{z}.1")[: len(whole)], whole)


def test_streams_that_share_windows_read_each_once(store: StoredActivations, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [_config(), _config(hook_name=MLP), _config()]
    expected = [take(StoredStream(store, config, 5), 3, 12) for config in configs]
    read: list[int] = []
    kept = StoredWindows.numbers
    monkeypatch.setattr(StoredWindows, "numbers", lambda *a: (read.append(1), kept(*a))[1])
    windows = StoredWindows(store, configs[0], [RESID, MLP], 5)
    streams = [StoredStream(store, config, windows=windows) for config in configs]
    readers: list[Any] = [stream.batches(3) for stream in streams]
    for number in range(12):
        for mine, reader in zip(expected, readers, strict=True):
            assert torch.equal(next(reader), mine[number])
    for reader in readers:
        reader.close()
    assert windows._ahead is None
    assert len(read) <= 12 // 4 + 3  # windows of four batches: those that were used, and the next

    ahead: Any = streams[0].batches(9)
    behind: Any = streams[0].batches(3)
    for number in range(6):  # window after window in turns, back and forth
        assert torch.equal(next(behind), expected[0][number])
        assert torch.equal(next(ahead), expected[0][6 + number])
    ahead.close()
    behind.close()


def test_the_stream_refuses_what_the_store_does_not_hold(store: StoredActivations) -> None:
    with pytest.raises(ConfigError, match=r"does not hold blocks\.1\.hook_attn_out.*blocks\.0\.hook_resid_post"):
        StoredStream(store, _config(hook_name="blocks.1.hook_attn_out"))
    with pytest.raises(ConfigError, match=r"fewer than one batch.*Capture more tokens"):
        StoredStream(store, _config(batch_size=100_000, tokens=100_000))


def test_check_can_end_it_and_the_thread_ends_too(store: StoredActivations) -> None:
    def check() -> None:
        raise Interruption(Request.PAUSE)

    with pytest.raises(Interruption):
        next(StoredStream(store, _config(), 0).batches(0, check))
    assert not any(thread.name.startswith("saewidgets-store") for thread in threading.enumerate())


HOOK = "blocks.6.hook_resid_post"


def _states(rows: int = 300, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As the script pipeline saves it."""
    path, states = tmp_path / "layer_6_states.pt", _states()
    torch.save({"hidden_states": states, "layer_idx": 6, "num_tokens": len(states), "d_model": 16}, path)
    return path


def test_an_epoch_reads_every_row_once_the_short_last_block_too(file: Path, tmp_path: Path) -> None:
    import_states([(HOOK, look_at_states(file))], tmp_path / "s")
    config = stream_config(hook_name=HOOK, batch_size=50, tokens=300, shuffle_tokens=50, validation_share=0.0)
    stream = StoredStream(StoredActivations(tmp_path / "s"), config)
    assert stream.tokens_per_epoch == 300
    rows = torch.cat(take(stream, 0, 6))
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
    with pytest.raises(ConfigError, match="hold different tokens"):
        import_states([*files, (HOOK, look_at_states(tmp_path / "layer_5_states.pt"))], tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_paused_import_resumes_to_the_same_files(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.activations.store_write._PIECE", 64 * BLOCK)
    files = [(HOOK, look_at_states(file))]
    with pytest.raises(Interruption):
        import_states(files, tmp_path / "a", control=Scripted(Request.PAUSE, 3))
    seen: list[int] = []
    import_states(files, tmp_path / "a", on_progress=seen.append, resume=True)
    assert min(seen) > 2 * BLOCK  # it did not begin again
    import_states(files, tmp_path / "b")
    assert _files(tmp_path / "a") == _files(tmp_path / "b")


def test_rejects_files_without_hidden_states(tmp_path: Path) -> None:
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


def test_fewer_tokens_are_spread_over_the_text(lm: LoadedModel, packed: PackedTokens, tmp_path: Path) -> None:
    assert _capture(lm, packed, tmp_path / "s", tokens=5 * 16 - 3).n_contexts == 5
    found = StoredActivations(tmp_path / "s").contexts(np.arange(5))
    assert np.array_equal(found, packed.contexts(np.arange(5) * packed.n_contexts // 5))
