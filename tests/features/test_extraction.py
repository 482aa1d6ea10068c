"""Extraction from model and text to the store: exact, the same however it is cut, and whole or not there at all."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from saewidgets.activations import PackedTokens
from saewidgets.config import ExtractionConfig
from saewidgets.errors import ConfigError, FormatError, StateError, StorageError
from saewidgets.events import Event, Interruption, LogLine, NullControl, Progress, Request, ignore
from saewidgets.features.extraction import NotFiniteError, accumulate, encoding, extract, extractor
from saewidgets.features.store.layout import STORED, Manifest, write_store
from saewidgets.features.store.read import FeatureStore
from saewidgets.lm import LoadedModel, capture
from saewidgets.lm.tokens import TokenMask
from saewidgets.sae import SAE
from tests.features import extraction_oracle as oracle
from tests.features.extraction_setup import EMBED, RESID, tiny_model, tiny_sae, tiny_text
from tests.training.fakes import Scripted

CONFIG = ExtractionConfig(examples=6, per_document=2, per_interval=2, batch_size=4, max_norm_ratio=6)
ARCHITECTURES = ("standard", "jumprelu", "batchtopk", "topk", "abstopk")

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return tiny_model(tiny_model_folder)


@pytest.fixture(scope="module")
def exact_lm(tiny_model_folder: Path) -> LoadedModel:
    return tiny_model(tiny_model_folder, exact=True)


@pytest.fixture(scope="module")
def packed(lm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> PackedTokens:
    return tiny_text(lm, tmp_path_factory.mktemp("tokens"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Arrays]:
    """The arrays that were handed to `write_store`."""
    found: list[Arrays] = []

    def recording(folder: Path, arrays: Arrays, manifest: Manifest, text: bytes) -> None:
        found.append(arrays)
        write_store(folder, arrays, manifest, text)

    monkeypatch.setattr(extractor, "write_store", recording)
    return found


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six contexts at a time."""
    monkeypatch.setattr(encoding, "CHUNK_TOKENS", {"cpu": 6 * 24})


@pytest.fixture
def run(lm: LoadedModel, packed: PackedTokens, small_chunks: None, tmp_path: Path) -> Callable[..., Manifest]:
    """Extracts into a folder of `tmp_path`."""

    def extracted(folder: str, n: int = 10**6, config: ExtractionConfig = CONFIG, **more: Any) -> Manifest:
        sae = more.pop("sae", None) or tiny_sae("topk")
        return extract(sae, lm, packed, packed.train[:n], RESID, config, tmp_path / folder, **more)

    return extracted


class Saving(NullControl):
    """Asks for a checkpoint whenever one can be written."""

    def take_checkpoint_request(self) -> bool:
        return True


def _dense(
    sae: SAE, lm: LoadedModel, packed: PackedTokens, contexts: npt.NDArray[np.int64], hook: str,
    config: ExtractionConfig,
) -> dict[str, Any]:
    """All latents on all tokens, and what else the oracle wants."""
    ids = packed.contexts(contexts)
    x = capture(lm.model, [hook], torch.from_numpy(ids))[hook]
    with torch.no_grad():
        f = sae.encode(x).float().numpy()
    norms = x.norm(dim=-1).double().numpy()
    special = ~packed.kept(ids)
    limit = config.max_norm_ratio * float(np.median(norms[~special])) if config.max_norm_ratio else np.inf
    kept = packed.kept(ids, TokenMask(config.exclude_special_tokens))
    return {
        "f": f, "ids": ids, "counted": kept & (norms <= limit), "kept": kept, "limit": limit,
        "documents": oracle.documents_of(ids, contexts, packed.facts.separator, packed.facts.prepend_bos),
    }


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "extraction.json"}


@pytest.mark.parametrize(("architecture", "special"), [*((each, True) for each in ARCHITECTURES), ("topk", False)])
def test_the_store_equals_the_dense_computation(
    architecture: str, special: bool, exact_lm: LoadedModel, packed: PackedTokens, written: list[Arrays],
    small_chunks: None, tmp_path: Path,
) -> None:
    sae, contexts = tiny_sae(architecture, exact=True), packed.train
    config = CONFIG.replace(exclude_special_tokens=special)
    manifest = extract(sae, exact_lm, packed, contexts, EMBED, config, tmp_path / "e", facts={"name": "tiny"})
    dense = _dense(sae, exact_lm, packed, contexts, EMBED, config)
    oracle.check(written[0], dense["f"], dense["ids"], dense["counted"], dense["documents"], config)
    assert written[0]["contexts"].tolist() == contexts.tolist()
    assert manifest.n_tokens == dense["counted"].sum()
    assert manifest.n_excluded_special == (~dense["kept"]).sum()
    assert (manifest.n_excluded_special > 0) == special
    assert manifest.n_excluded_norm == (dense["kept"] & ~dense["counted"]).sum() > 0
    assert manifest.norm_limit == pytest.approx(dense["limit"])
    assert manifest.n_documents == dense["documents"].max() + 1
    assert manifest.coactivation_rate == 1
    counts = written[0]["firing_counts"]
    assert (counts[7], counts[11]) == (0, manifest.n_tokens)
    assert (manifest.facts["name"], manifest.facts["stopped"]) == ("tiny", False)
    store = FeatureStore(tmp_path / "e", packed.folder.parent)
    assert store.manifest == manifest
    assert np.array_equal(store["top_positions"], written[0]["top_positions"])
    assert store.packed.fingerprint == packed.fingerprint


def test_every_token_that_occurs_is_in_the_vocabulary(
    run: Callable[..., Manifest], lm: LoadedModel, packed: PackedTokens, written: list[Arrays], tmp_path: Path
) -> None:
    run("e", 9)
    vocabulary, text = written[0]["vocabulary"], (tmp_path / "e" / "vocabulary.bin").read_bytes()
    ids = packed.contexts(packed.train[:9])
    assert vocabulary[:, 0].tolist() == sorted(set(ids.ravel().tolist()))
    words = {int(token): text[start:end] for token, start, end in vocabulary}
    assert words[0] == b"<|bos|>"
    row = ids[2].tolist()
    assert b"".join(words[i] for i in row if i > 1).decode() == lm.tokenizer.decode([i for i in row if i > 1])


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gpu_finds_the_same(
    architecture: str, exact_lm: LoadedModel, packed: PackedTokens, small_chunks: None, tmp_path: Path
) -> None:
    sae = tiny_sae(architecture, exact=True)
    extract(sae, exact_lm, packed, packed.train, EMBED, CONFIG, tmp_path / "cpu")
    extract(sae.to("cuda"), exact_lm, packed, packed.train, EMBED, CONFIG, tmp_path / "cuda")
    assert _files(tmp_path / "cuda") == _files(tmp_path / "cpu")


@pytest.mark.parametrize(
    ("architecture", "places"),
    [
        ("topk", (1, 8, 9, 16)), ("standard", (2, 12)), pytest.param("topk", range(1, 30), marks=pytest.mark.long),
        pytest.param("standard", range(1, 30), marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_paused_at_any_batch_and_resumed(
    architecture: str, places: Iterable[int], run: Callable[..., Manifest], tmp_path: Path
) -> None:
    sae, paused = tiny_sae(architecture), 0
    run("straight", 32, sae=sae)
    for after in places:
        folder = tmp_path / f"after-{after}"
        try:
            run(folder.name, 32, sae=sae, control=Scripted(Request.PAUSE, after + 1))
        except Interruption:
            paused += 1
            assert not (folder / "extraction.json").exists()
            events: list[Event] = []
            run(folder.name, 32, sae=sae, resume=True, emit=events.append)
            assert not [event for event in events if isinstance(event, LogLine)]
        assert _files(folder) == _files(tmp_path / "straight")
    assert paused > len(list(places)) // 3


@pytest.mark.parametrize(
    ("architecture", "parts", "ranges"),
    [("topk", 3, 64), ("standard", 3, 4), pytest.param("topk", 20, 64, marks=pytest.mark.long)],
)
def test_parts_read_in_any_order_are_the_whole(
    architecture: str, parts: int, ranges: int, run: Callable[..., Manifest], lm: LoadedModel, packed: PackedTokens,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setattr(extractor, "RANGES", ranges)
    monkeypatch.setattr(accumulate, "COACTIVATION_ENTRIES", 500)
    sae, contexts = tiny_sae(architecture), packed.train[:54]
    run = partial(run, n=54)
    whole = run("whole", sae=sae)
    pairs = list(pairwise(extractor.borders(sae, packed, len(contexts), parts)))
    assert whole.coactivation_rate < 1
    assert len(pairs) == min(parts, ranges, -(-len(contexts) // 6))
    folders = [tmp_path / f"part-{first}" for first, _ in pairs]
    given = sae, lm, packed, contexts, RESID, CONFIG
    for folder, pair in reversed(list(zip(folders, pairs, strict=True))):
        with suppress(Interruption):
            extractor.extract_part(*given, folder, pair, control=Scripted(Request.PAUSE, 9), emit=ignore)
        extractor.extract_part(*given, folder, pair, control=NullControl(), emit=ignore)
    forwards: list[Event] = []
    joined = run("joined", sae=sae, parts=folders, emit=forwards.append)
    assert replace(joined, facts={}) == replace(whole, facts={})
    assert _files(tmp_path / "joined") == _files(tmp_path / "whole")
    assert not [event for event in forwards if isinstance(event, Progress) and event.phase == "reading"]
    run("other", sae=tiny_sae("jumprelu"))
    run("mixed", sae=tiny_sae("jumprelu"), parts=folders)  # of another SAE: they are not taken
    assert _files(tmp_path / "mixed") == _files(tmp_path / "other")
    shutil.rmtree(folders[1])
    run("lost", sae=sae, parts=folders)
    assert _files(tmp_path / "lost") == _files(tmp_path / "whole")


def test_an_error_leaves_the_last_checkpoint(
    run: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("straight")
    real, calls = extractor.make_chunk, 0

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("the power is gone")
        return real(*args)

    monkeypatch.setattr(extractor, "make_chunk", failing)
    with pytest.raises(RuntimeError, match="power"):
        run("e", control=Saving())
    assert [path.name for path in (tmp_path / "e" / "checkpoint").iterdir()] == ["contexts_00000018"]
    events: list[Event] = []
    run("e", resume=True, emit=events.append)
    assert _files(tmp_path / "e") == _files(tmp_path / "straight")
    positions = [event.done for event in events if isinstance(event, Progress)]
    assert positions[0] >= 18 * 24


def test_a_stopped_extraction_keeps_its_contexts(run: Callable[..., Manifest], tmp_path: Path) -> None:
    config = CONFIG.replace(max_norm_ratio=None)
    manifest = run("stopped", config=config, control=Scripted(Request.STOP, 6))
    assert manifest.n_contexts == 16  # chunks of six in batches of four: 4 + 2, 4 + 2, 4
    assert manifest.facts["stopped"] is True
    run("short", 16, config)
    assert _files(tmp_path / "stopped") == _files(tmp_path / "short")


@pytest.mark.parametrize(("request_", "after"), [(Request.CANCEL, 0), (Request.CANCEL, 9), (Request.STOP, 0)])
def test_nothing_is_left_behind(
    request_: Request, after: int, run: Callable[..., Manifest], tmp_path: Path
) -> None:
    with pytest.raises(Interruption):
        run("e", control=Scripted(request_, after + 1))
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("ratio", [None, 6])
def test_a_model_that_gives_no_numbers(
    ratio: float | None, tiny_model_folder: Path, packed: PackedTokens, tmp_path: Path
) -> None:
    lm = tiny_model(tiny_model_folder)
    token = int(packed.contexts(packed.train[3:4])[0, 5])
    first = next(int(n) for n in packed.train if token in packed.context(int(n)))
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[token] = float("nan")  # type: ignore[operator]
    with pytest.raises(NotFiniteError, match=rf"{EMBED}: .* NaN or infinite in context {first} "):
        extract(tiny_sae("topk"), lm, packed, packed.train, EMBED, CONFIG.replace(max_norm_ratio=ratio), tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(("architecture", "bad"), [("standard", "nan"), ("topk", "nan"), ("standard", "inf")])
def test_rejects_weights_that_are_not_finite(
    architecture: str, bad: str, run: Callable[..., Manifest], packed: PackedTokens, tmp_path: Path
) -> None:
    sae = tiny_sae(architecture)
    with torch.no_grad():
        sae.b_enc[5] = float(bad)
    with pytest.raises(NotFiniteError, match=rf"{RESID}: Latent 5 is {bad} on context {packed.train[0]} "):
        run("e", sae=sae)
    assert not (tmp_path / "e").exists()


def test_folders_that_are_in_use(run: Callable[..., Manifest], tmp_path: Path) -> None:
    run("done", 20)
    with pytest.raises(StateError, match="already holds"):
        run("done", 20)
    with pytest.raises(Interruption):
        run("begun", 20, control=Scripted(Request.PAUSE, 13))
    with pytest.raises(StateError, match="interrupted"):
        run("begun", 20)
    with pytest.raises(ConfigError, match=r"examples: .* begun with 6, not 7"):
        run("begun", 20, CONFIG.replace(examples=7), resume=True)
    events: list[Event] = []
    run("begun", 20, CONFIG.replace(batch_size=3), resume=True, emit=events.append)
    (line,) = [event for event in events if isinstance(event, LogLine)]
    assert "not be bit-identical: batch_size was 4 and is 3" in line.message
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="folder cannot be made"):
        run("file/e")


@pytest.mark.parametrize("name", ["state.json", "tables.safetensors"])
def test_a_damaged_checkpoint(name: str, run: Callable[..., Manifest], tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        run("e", 20, control=Scripted(Request.PAUSE, 13))
    (checkpoint,) = (tmp_path / "e" / "checkpoint").iterdir()
    data = bytearray((checkpoint / name).read_bytes())
    data[len(data) // 2] ^= 1
    (checkpoint / name).write_bytes(data)
    with pytest.raises(FormatError, match=f"{name}: The checkpoint is damaged"):
        run("e", 20, resume=True)
    assert not (tmp_path / "e" / "extraction.json").exists()


@pytest.mark.parametrize("at", [1, 9])
def test_a_full_disk_at_the_end(
    at: int, run: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("straight")
    with pytest.raises(Interruption):
        run("e", control=Scripted(Request.PAUSE, 13))
    real, calls = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            run("e", resume=True)
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["checkpoint"]  # what was read is not lost
    run("e", resume=True)
    assert _files(tmp_path / "e") == _files(tmp_path / "straight")


def test_a_full_disk_at_a_checkpoint(
    run: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"contexts_00000006: Writing failed: No space left .* It needs .* is free"):
        run("e", control=Saving())
    assert not (tmp_path / "e").exists()


def test_the_manifest_says_how_it_was_made(run: Callable[..., Manifest], packed: PackedTokens, tmp_path: Path) -> None:
    config = CONFIG.replace(corpus={"kind": "text", "strings": ["much text"]})
    run("e", 5, config, sae=tiny_sae("jumprelu"))
    data = json.loads((tmp_path / "e" / "extraction.json").read_text())
    assert data["settings"]["examples"] == 6
    assert "much text" not in json.dumps(data)
    assert (data["architecture"], data["tokens"]) == ("jumprelu", packed.fingerprint)
    assert {path.stem for path in (tmp_path / "e").glob("*.npy")} == set(STORED)
