"""Long text: packed as far as a run needs it, gone on with at the right document, whatever interrupts it."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.activations import PackedTokens, open_corpus, pack, packed, packing
from saewidgets.activations.documents import Chunk, Corpus, Document, Position
from saewidgets.config import DemoCorpus, TextCorpus
from saewidgets.errors import FormatError, StorageError
from saewidgets.lm import LoadedModel

WORDS = "the king went down to river and people followed him whale sea ship".split()


class Long(Corpus):
    """Numbered documents, four to a chunk; notes which were handed out."""

    label = "long"
    facts = {"kind": "test", "revision": "abc"}  # noqa: RUF012 - read only

    def __init__(self, count: int = 400) -> None:
        self.count = count
        self.given: list[int] = []

    def fingerprint(self) -> str:
        return f"long {self.count}"

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        start = position["next"] if position else 0
        for first in range(start, self.count, 4):
            numbers = list(range(first, min(first + 4, self.count)))
            self.given += numbers
            yield Chunk([document(n) for n in numbers], {"next": numbers[-1] + 1})


def document(number: int) -> Document:
    text = f"{number}: " + " ".join(WORDS[(number + i * i) % len(WORDS)] for i in range(12 + number % 9))
    return Document(text, f"document {number}")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "COUNT_EVERY", 100)


def _pack(corpus: Any, lm: LoadedModel, folder: Path, wanted: int | None, **more: Any) -> PackedTokens:
    settings = {"context_size": 16, "validation_share": 0.1, **more}
    return pack(corpus, lm.tokenizer, folder=folder, wanted=wanted, **settings)


def _expected(lm: LoadedModel, corpus: Long, n: int) -> np.ndarray:
    """The first `n` contexts, put together one token at a time."""
    bos, eos = lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id
    stream: list[int] = []
    for number in range(corpus.count):
        stream += [eos, *lm.tokenizer(document(number).text, add_special_tokens=False)["input_ids"]]
    rows = [[bos, *stream[i * 15 : (i + 1) * 15]] for i in range(n)]
    return np.array(rows)


def test_no_more_is_read_than_is_needed(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = Long()
    found = _pack(corpus, lm, tmp_path, 500)
    tokens = found.contexts(np.arange(found.n_contexts))
    assert np.array_equal(tokens, _expected(lm, corpus, found.n_contexts))
    useful = found.kept_counts(found.train)
    assert useful.sum() >= 500 > useful[:-1].sum(), "the fewest contexts that have as many"
    assert max(corpus.given) < 60, "some chunks are read ahead, not all of it"
    assert sorted([*found.train, *found.validation]) == list(range(found.n_contexts))
    assert found.source == Long.facts
    again = Long()
    assert np.array_equal(_pack(again, lm, tmp_path, 500).contexts(found.train), found.contexts(found.train))
    assert again.given == []


def test_more_contexts_are_appended_and_fewer_stay_the_same(lm: LoadedModel, tmp_path: Path) -> None:
    first = _pack(Long(), lm, tmp_path, 500)
    corpus = Long()
    more = _pack(corpus, lm, tmp_path, 2000)
    at_once = _pack(Long(), lm, tmp_path / "other", 2000)
    assert more.n_contexts == at_once.n_contexts > first.n_contexts
    assert corpus.given[0] > 4, "what was packed is not read again"
    everything = np.arange(more.n_contexts)
    assert np.array_equal(more.contexts(everything), at_once.contexts(everything))
    less = _pack(Long(), lm, tmp_path, 500)
    assert (less.n_contexts, less.fingerprint) == (first.n_contexts, first.fingerprint)
    assert np.array_equal(less.train, first.train)
    assert set(less.validation) == {n for n in more.validation if n < less.n_contexts}, "held out stays held out"


def test_the_whole_text_and_its_end(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = Long(30)
    for wanted in (10**9, None):
        found = _pack(corpus, lm, tmp_path, wanted)
        assert corpus.given == list(range(30))
        assert found.facts.n_documents == 30
        assert found.facts.growth is not None
        assert found.facts.growth.ended
        stream = sum(len(lm.tokenizer(document(n).text, add_special_tokens=False)["input_ids"]) + 1 for n in range(30))
        assert found.n_contexts == stream // 15
        assert found.facts.n_dropped_tokens == stream % 15


@pytest.mark.parametrize("stop", range(0, 14, 3))
def test_interrupted_anywhere_it_ends_the_same(lm: LoadedModel, tmp_path: Path, stop: int) -> None:
    calls = 0

    class Asked(Exception):  # noqa: N818 - not an error
        pass

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > stop:
            raise Asked

    with pytest.raises(Asked):
        _pack(Long(), lm, tmp_path, 3000, check=check)
    corpus = Long()
    found = _pack(corpus, lm, tmp_path, 3000)
    assert np.array_equal(found.contexts(np.arange(found.n_contexts)), _expected(lm, corpus, found.n_contexts))
    assert found.facts.n_documents >= 50


def test_errors_of_the_text_leave_what_was_packed(lm: LoadedModel, tmp_path: Path) -> None:
    class Breaks(Long):
        def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
            for number, chunk in enumerate(super().chunks(position)):
                if number == 10:
                    raise FormatError("Row 41 is not JSON.", where="x:41")
                yield chunk

    with pytest.raises(FormatError, match="Row 41"):
        _pack(Breaks(), lm, tmp_path, 10**6)
    corpus = Long()
    found = _pack(corpus, lm, tmp_path, 4000)
    assert corpus.given[0] >= 4
    assert np.array_equal(found.contexts(np.arange(found.n_contexts)), _expected(lm, corpus, found.n_contexts))


def test_rejects_a_disk_that_is_too_small_before_reading(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = Long()
    with pytest.raises(StorageError, match="Not enough disk space for the tokens"):
        _pack(corpus, lm, tmp_path, 10**17)
    assert corpus.given == []


def test_two_at_once_take_turns(lm: LoadedModel, tmp_path: Path) -> None:
    found: dict[int, PackedTokens] = {}
    corpora = {wanted: Long() for wanted in (800, 2500)}

    def work(wanted: int) -> None:
        found[wanted] = _pack(corpora[wanted], lm, tmp_path, wanted)

    threads = [threading.Thread(target=work, args=(wanted,)) for wanted in corpora]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [found[800].folder]
    more = found[2500]
    everything = np.arange(more.n_contexts)
    assert np.array_equal(more.contexts(everything), _expected(lm, Long(), more.n_contexts))
    assert np.array_equal(found[800].contexts([0, 1, 2]), more.contexts([0, 1, 2]))


def test_the_share_held_out_is_even_and_does_not_depend_on_the_end() -> None:
    long_text = packed.Growth(position=None, rest=(), ended=False, source={})
    for share in (0.0, 0.02, 0.1, 0.333, 0.49):
        held = np.flatnonzero(long_text.held_out(np.arange(10_000), share))
        assert abs(len(held) - 10_000 * share) <= 1
        if len(held) > 1:
            gaps = np.diff(held)
            assert gaps.max() - gaps.min() <= 1


class LongWithHeldOut(Long):
    """Every fifth document is for validation."""

    facts = {"kind": "test", "held_out": True}  # noqa: RUF012 - read only

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        for chunk in super().chunks(position):
            marked = [replace(d, held_out=int(d.source.split()[1]) % 5 == 4) for d in chunk.documents]
            yield replace(chunk, documents=marked)


def test_documents_that_a_long_text_holds_out_are_never_trained_on(lm: LoadedModel, tmp_path: Path) -> None:
    def numbers(found: PackedTokens, contexts: Any) -> set[int]:
        text = lm.tokenizer.decode(found.contexts(contexts).reshape(-1))
        return {int(number.replace(" ", "")) for number in re.findall(r"((?:\d ?)+) ?:", text)}

    few = _pack(LongWithHeldOut(), lm, tmp_path, 500)
    assert few.kept_counts(few.train).sum() >= 500 > few.kept_counts(few.train[:-1]).sum()
    more = _pack(LongWithHeldOut(), lm, tmp_path, 2000)
    whole = _pack(LongWithHeldOut(), lm, tmp_path / "at once", None)
    for found in (few, more, whole):
        assert len(found.validation)
        assert sorted([*found.train, *found.validation]) == list(range(found.n_contexts))
        assert np.array_equal(found.named, found.validation)
        assert all(number % 5 == 4 for number in numbers(found, found.validation))
        assert not any(number % 5 == 4 for number in numbers(found, found.train))
        assert np.array_equal(found.contexts(np.arange(found.n_contexts)), whole.contexts(np.arange(found.n_contexts)))
    at_least_one = _pack(LongWithHeldOut(), lm, tmp_path, 1)
    assert len(at_least_one.validation) == 1, "or nothing could be evaluated on"


def test_what_was_packed_whole_before_is_read_whole(lm: LoadedModel, tmp_path: Path) -> None:
    shorter = Long()
    shorter.is_long = False
    whole = _pack(shorter, lm, tmp_path, 500)  # as the demo and shorter files were
    again = _pack(Long(), lm, tmp_path, 500)
    assert (again.n_contexts, again.facts.growth) == (whole.n_contexts, None)
    assert np.array_equal(again.train, whole.train), "a run that goes on sees what it saw"


def test_of_the_demo_and_of_files_no_more_is_packed_than_a_run_reads(lm: LoadedModel, tmp_path: Path) -> None:
    demo = pack(open_corpus(DemoCorpus()), lm.tokenizer, folder=tmp_path, context_size=64, wanted=20_000)
    assert 20_000 / 63 < len(demo.train) < 3_000, "up to the first context that is held out"
    assert len(demo.validation)
    assert (demo.folder / "tokens.bin").stat().st_size < 3_000_000
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text("The king went down to the river.\n" * 200_000)
    text = [open_corpus(TextCorpus(tmp_path / name)) for name in ("a", "b")]
    assert text[0].fingerprint() == text[1].fingerprint(), "wherever it lies"
    found = pack(text[0], lm.tokenizer, folder=tmp_path, context_size=64, wanted=20_000)
    assert len(found.train) < 400


_KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from saewidgets.activations import packing, pack
from saewidgets.lm import load_tokenizer
from tests.activations.test_growing import Long
packing.COUNT_EVERY = 100
counted = 0
put = packing.write_json
def killed(*args):
    global counted
    put(*args)
    counted += 1
    if counted == 4:
        os.kill(os.getpid(), 9)
packing.write_json = killed
pack(Long(), load_tokenizer({model!r}), folder=Path({folder!r}), context_size=16, validation_share=0.1, wanted=3000)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="processes are killed another way there")
def test_a_killed_process_is_followed_by_one_that_goes_on(
    lm: LoadedModel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    root = str(Path(__file__).resolve().parents[2])
    code = _KILLED.format(root=root, model=str(tiny_model_folder), folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -9, ended.stderr
    corpus = Long()
    found = _pack(corpus, lm, tmp_path, 3000)
    assert corpus.given[0] >= 12, "what was counted is not read again"
    assert np.array_equal(found.contexts(np.arange(found.n_contexts)), _expected(lm, corpus, found.n_contexts))


def test_what_was_written_and_never_counted_is_dropped(lm: LoadedModel, tmp_path: Path) -> None:
    found = _pack(Long(), lm, tmp_path, 300)
    with (found.folder / "tokens.bin").open("ab") as file:
        file.write(b"\xff" * 331)
    corpus = Long()
    more = _pack(corpus, lm, tmp_path, 900)
    assert np.array_equal(more.contexts(np.arange(more.n_contexts)), _expected(lm, corpus, more.n_contexts))
    facts = json.loads((more.folder / "pack.json").read_text())
    assert (more.folder / "tokens.bin").stat().st_size == facts["n_contexts"] * 16 * 2


def test_who_waits_for_a_silent_hub_can_be_interrupted() -> None:
    never, asked = threading.Event(), 0

    def items() -> Iterator[int]:
        yield 1
        never.wait()

    class Cancelled(Exception):  # noqa: N818 - not an error
        pass

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Cancelled

    found: list[int] = []
    with pytest.raises(Cancelled):
        found.extend(packing.read_ahead(items(), check))
    assert found == [1]
    never.set()


def test_no_more_is_read_ahead_than_a_few_and_nothing_after_the_end() -> None:
    made: list[int] = []
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in range(10_000):
                made.append(number)
                yield number
        finally:
            closed.set()

    ahead = packing.read_ahead(items(), lambda: None)
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined] # a generator
    assert closed.wait(60)
    assert len(made) < 10
