"""Text that was tokenised before: arrays and tables of ids, checked before they are believed."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from saewidgets.activations import PackedTokens, open_corpus, pack, tokenfiles
from saewidgets.config import TokensCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError
from saewidgets.lm import LoadedModel

ROWS = (np.arange(30 * 20) * 7 % 290 + 2).reshape(30, 20)


def _packed(source: Path, lm: LoadedModel, **more: Any) -> PackedTokens:
    folder = source.parent / "packed"
    return pack(open_corpus(TokensCorpus(source, **more)), lm.tokenizer, folder=folder, context_size=16)


def _saved(folder: Path, rows: Any) -> Path:
    """As `Dataset.save_to_disk` does it."""
    folder.mkdir()
    table = pa.table({"input_ids": list(rows)})
    path = str(folder / "data-00000-of-00001.arrow")
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table, max_chunksize=7)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "parquet", "jsonl", "folder"])
def test_contexts_of_every_kind_of_file(tmp_path: Path, lm: LoadedModel, kind: str) -> None:
    path = tmp_path / f"tokens.{kind}"
    if kind == "npy":
        np.save(path, ROWS.astype(np.uint16))
    elif kind == "npz":
        np.savez(path, tokens=ROWS.astype(np.int32), other=np.zeros(3))
    elif kind == "safetensors":
        save_file({"input_ids": ROWS.astype(np.int64)}, path)
    elif kind == "parquet":
        pq.write_table(pa.table({"id": range(30), "tokens": list(ROWS)}), path, row_group_size=4)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"input_ids": row.tolist()}) + "\n" for row in ROWS))
    else:
        path = _saved(tmp_path / "saved", ROWS)
    found = _packed(path, lm)
    assert np.array_equal(found.contexts(range(30)), ROWS[:, :16])
    assert found.facts.bos == lm.tokenizer.bos_token_id
    assert not found.facts.prepend_bos


def test_one_long_text_is_cut_into_contexts(tmp_path: Path, lm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenfiles, "_CHUNK_IDS", 64)
    np.save(tmp_path / "flat.npy", ROWS.reshape(-1))
    found = _packed(tmp_path / "flat.npy", lm)
    tokens = found.contexts(np.arange(found.n_contexts))
    assert (tokens[:, 0] == lm.tokenizer.bos_token_id).all()
    assert list(tokens[:, 1:].reshape(-1)) == list(ROWS.reshape(-1)[: found.n_contexts * 15])


def test_rows_of_different_lengths_are_documents(tmp_path: Path, lm: LoadedModel) -> None:
    documents = [[5, 6, 7], list(range(10, 50)), [lm.tokenizer.bos_token_id, 60, 61], list(range(100, 130))]
    pq.write_table(pa.table({"input_ids": documents}), tmp_path / "d.parquet")
    found = _packed(tmp_path / "d.parquet", lm)
    eos = lm.tokenizer.eos_token_id
    stream = [eos, *documents[0], eos, *documents[1], *documents[2], eos, *documents[3]]
    tokens = found.contexts(np.arange(found.n_contexts))[:, 1:].reshape(-1)
    assert list(tokens) == stream[: len(tokens)], "one that begins with its own mark gets no second one"


def test_of_saelens(tmp_path: Path, lm: LoadedModel) -> None:
    folder = _saved(tmp_path / "saved", ROWS)
    metadata = {"sae_lens_version": "6.54.12", "tokenizer_name": "gpt2", "context_size": 20, "shuffled": True}
    (folder / "sae_lens.json").write_text(json.dumps(metadata))
    corpus: Any = open_corpus(TokensCorpus(folder))
    assert corpus.facts["pretokenized"] == metadata
    with pytest.raises(ConfigError, match=r"tokenizer of gpt2, not of .*TokensCorpus\(…, tokenizer="):
        _packed(folder, lm)
    own = str(lm.tokenizer.name_or_path)
    assert _packed(folder, lm, tokenizer=own).n_contexts == 30
    assert _packed(folder, lm, tokenizer=f"somebody/{Path(own).name}").n_contexts == 30, "the last part decides"
    with pytest.raises(ConfigError, match="tokenizer of gpt2, not of"):  # also where they are packed already
        _packed(folder, lm, tokenizer="gpt2")
    (folder / "sae_lens.json").write_text("[1")
    with pytest.raises(FormatError, match="not metadata of SAELens"):
        open_corpus(TokensCorpus(folder))


def test_splits_that_were_saved_together(tmp_path: Path, lm: LoadedModel) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (both / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    _saved(both / "train", ROWS)
    _saved(both / "test", ROWS[:5])
    assert _packed(both, lm).n_contexts == 30
    assert _packed(both, lm, split="test").n_contexts == 5


def _object_array(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _lying_archive(path: Path) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tokens.npy", out.getvalue())


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("f.npy", lambda p: np.save(p, np.zeros((2, 20))), r"array of float64 with the shape \[2, 20\]"),
        ("s.npy", lambda p: np.save(p, np.zeros((2, 2, 2), dtype=int)), r"shape \[2, 2, 2\]"),
        ("e.npy", lambda p: np.save(p, np.zeros((0, 20), dtype=int)), r"shape \[0, 20\]"),
        ("o.npy", _object_array, "cannot be read"),
        ("p.npy", lambda p: p.write_bytes(pickle.dumps([1, 2])), "cannot be read"),
        ("x.npy", lambda p: p.write_bytes(b"\x93NUMPY\x01\x00"), "cannot be read"),
        ("l.npz", _lying_archive, r"declares the shape \[1099511627776\], more than its \d+ bytes"),
        ("z.npz", lambda p: p.write_bytes(b"PK nothing"), "cannot be read"),
        ("m.npz", lambda p: np.savez(p, a=ROWS, b=ROWS), "several columns with token ids"),
        ("t.safetensors", lambda p: p.write_bytes(b"\xff" * 40), "cannot be read"),
        ("w.parquet", lambda p: pq.write_table(pa.table({"text": ["a"]}), p), "no column with token ids"),
        ("f.jsonl", lambda p: p.write_text('{"input_ids": [1, 2.5]}\n'), "no column with token ids"),
        ("u.bin", lambda p: p.write_bytes(b"12"), "not a file with token ids"),
        ("none.npy", lambda p: None, "no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)
def test_rejects_files_without_token_ids(tmp_path: Path, name: str, make: Any, said: str) -> None:
    make(tmp_path / name)
    with pytest.raises(SAEWidgetsError, match=said) as caught:
        list(open_corpus(TokensCorpus(tmp_path / name)).documents())
    assert isinstance(caught.value, FormatError | ConfigError | NotFoundError)


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenfiles, "LARGEST", 1000)
    np.savez_compressed(tmp_path / "a.npz", np.zeros((100, 100), dtype=np.int64))
    with pytest.raises(FormatError, match="unpacks to 80,128 bytes"):
        open_corpus(TokensCorpus(tmp_path / "a.npz"))


def test_malformed_rows_are_named(tmp_path: Path, lm: LoadedModel) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps({"input_ids": ROWS[0].tolist()})
    path.write_text(f'{good}\n{{"input_ids": "abc"}}\n')
    with pytest.raises(FormatError, match="Row 2 is not a list of token ids") as caught:
        _packed(path, lm)
    assert caught.value.where == f"{path}:2"
    for wrong in (300, -1):
        path.write_text(f'{good}\n{json.dumps({"input_ids": [*ROWS[0].tolist()[:-1], wrong]})}\n')
        with pytest.raises(ConfigError, match=rf"a\.jsonl:2 has token id {wrong}; the tokenizer knows 0 to 299"):
            _packed(path, lm)
    path.write_text(f"{good}\n")
    with pytest.raises(FormatError, match="has 20 tokens, fewer than one context of 32") as caught:
        pack(open_corpus(TokensCorpus(path)), lm.tokenizer, folder=tmp_path / "long", context_size=32)
    assert caught.value.where == f"{path}:1"


def test_what_saelens_pretokenize_runner_saves(tmp_path: Path, lm: LoadedModel) -> None:
    """The folder was written by the real package: `tools/golden_pretokenized.py`."""
    golden = Path(__file__).parents[1] / "golden" / "pretokenized"
    expected = np.array(json.loads((golden / "expected.json").read_text()))
    corpus: Any = open_corpus(TokensCorpus(golden))
    assert corpus.whole_rows
    assert corpus.facts["tokenizer"] == "lab/tiny-tokenizer"
    assert corpus.facts["pretokenized"]["context_size"] == expected.shape[1]
    assert np.array_equal([d.ids for d in corpus.documents()], expected)
    config = TokensCorpus(golden, tokenizer=str(lm.tokenizer.name_or_path))
    found = pack(open_corpus(config), lm.tokenizer, folder=tmp_path, context_size=expected.shape[1])
    assert np.array_equal(found.contexts(np.arange(found.n_contexts)), expected)
