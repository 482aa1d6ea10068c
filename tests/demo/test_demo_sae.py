"""The demo SAE as it ships: complete, small, and true: what is stored is what the SAE does on the text."""

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets import demo
from saewidgets.demo import sae as packaged
from saewidgets.demo.sae import PARTS, about_sae, sae_labels, unpack_sae
from saewidgets.errors import FormatError, NotFoundError
from saewidgets.evaluation import evaluate
from saewidgets.feature_records import LabelRecord
from saewidgets.features.labels import score_labels, shown_examples
from saewidgets.features.labels.heuristic import offline
from saewidgets.features.logit_effects import computed_effects
from saewidgets.features.store.layout import WINDOW
from saewidgets.features.store.query import DENSE
from saewidgets.features.store.read import FeatureStore
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel, TokenText, capture, load_model
from saewidgets.lm.unembedding import unembedding
from saewidgets.sae import SAE
from saewidgets.workspace.features import from_record, to_record
from saewidgets.workspace.reading.store_examples import StoreExamples

DATA = Path(demo.__file__).parent / "data" / "sae"
READ_AGAIN = (3, 250, 501, 777, 999)  # contexts
CLOSE = 2e-4  # of an activation: other batches, other rounding


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("demo")
    for part in PARTS:
        target = home / part if part != "tokens" else home / part / about_sae().tokens
        target.mkdir(parents=True)
        unpack_sae(part, target)
    return home


@pytest.fixture(scope="module")
def store(folder: Path) -> FeatureStore:
    return FeatureStore(folder / "extraction", folder / "tokens")


@pytest.fixture(scope="module")
def sae(folder: Path) -> SAE:
    return load_sae(folder / "sae")


@pytest.fixture(scope="module")
def lm() -> LoadedModel:
    return load_model("demo")


@pytest.fixture(scope="module")
def labels() -> list[LabelRecord]:
    return [LabelRecord(**{**row, "scores": tuple(row["scores"])}) for row in sae_labels()]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's files where they can be changed."""
    target = tmp_path / "package"
    shutil.copytree(DATA, target)
    monkeypatch.setattr(packaged, "_FOLDER", target)
    yield target
    packaged._about.cache_clear()


def test_the_files_are_two() -> None:
    assert {file.name for file in DATA.iterdir()} == {"demo-sae.json", "demo-sae.zip"}
    with zipfile.ZipFile(DATA / "demo-sae.zip") as archive:
        assert {info.filename: info.file_size for info in archive.infolist()} == {
            name: file["size"] for name, file in about_sae().files.items()
        }


def test_the_sae_is_as_good_as_its_page_says(sae: SAE, lm: LoadedModel, store: FeatureStore) -> None:
    about = about_sae()
    assert (sae.d_in, sae.d_sae, sae.cfg.architecture) == (about.d_in, about.d_sae, about.architecture)
    assert sae.W_dec.dtype == torch.float32  # kept in half of it
    assert sae.metadata["hook_name"] == about.hook_name
    contexts = torch.from_numpy(store.packed.contexts(np.arange(0, 1000, 50)))
    found = evaluate(sae, lm, contexts, about.hook_name, cross_entropy=False)
    assert found["l0"] == pytest.approx(about.figures["l0"], rel=0.02)
    assert found["fvu"] == pytest.approx(about.figures["fvu"], rel=0.15)  # another text


def test_the_numbers_are_those_of_the_store(store: FeatureStore) -> None:
    about, m = about_sae(), store.manifest
    assert (m.model, m.hook_name, m.d_sae, m.tokens) == ("demo", about.hook_name, about.d_sae, about.tokens)
    seen = int((store.fired > 0).sum())
    dense = int((store.density > DENSE).sum())
    assert {name: about.extraction[name] for name in ("n_tokens", "seen", "dead", "dense")} == {
        "n_tokens": m.n_tokens, "seen": seen, "dead": m.d_sae - seen, "dense": dense,
    }  # fmt: skip
    assert store.size_bytes == about.size_of("extraction")
    assert about.extraction["config"]["tokens"] == m.n_contexts * m.context_size == store.packed.n_contexts * 256
    assert not store.manifest.facts["stopped"]


def test_five_contexts_read_again_match_the_store(sae: SAE, lm: LoadedModel, store: FeatureStore) -> None:
    size = store.manifest.context_size
    ids = torch.from_numpy(store.packed.contexts(list(READ_AGAIN)))
    with torch.no_grad():
        dense = sae.encode(capture(lm.model, [store.manifest.hook_name], ids)[store.manifest.hook_name].float())
    acts = dense.numpy()  # [contexts, tokens, latents]
    row_of = {row: number for number, row in enumerate(READ_AGAIN)}
    compared = {"top": 0, "interval": 0}
    for kind in compared:
        positions = np.asarray(store[f"{kind}_positions"]).reshape(store.d_sae, -1)
        values = np.asarray(store[f"{kind}_values"]).reshape(store.d_sae, -1)
        for latent in range(store.d_sae):
            here = [n for n, p in enumerate(positions[latent]) if p >= 0 and p // size in row_of]
            windows = store.windows(kind, latent).reshape(len(positions[latent]), -1) if here else None
            for n in here:
                row, offset = divmod(int(positions[latent, n]), size)
                own = acts[row_of[row], :, latent]
                assert own[offset] == pytest.approx(values[latent, n], rel=CLOSE, abs=CLOSE)
                begin, end = max(0, offset - WINDOW), min(size, offset + WINDOW + 1)
                begin = max(begin, 1)  # what stands for the beginning of the text does not count
                kept = windows[n, begin - offset + WINDOW : end - offset + WINDOW]
                assert np.allclose(kept, own[begin:end], rtol=2e-3, atol=2e-3)
                compared[kind] += 1
    assert min(compared.values()) > 50
    counted = acts[:, 1:]  # without the beginning of the text
    assert (counted.max((0, 1)) <= np.asarray(store.max) * (1 + CLOSE) + CLOSE).all()
    assert (store.fired >= (counted > 0).sum((0, 1))).all()


def test_the_sampled_tokens_fire_as_stored(sae: SAE, lm: LoadedModel, store: FeatureStore) -> None:
    positions, offsets = np.asarray(store["sample_positions"]), np.asarray(store["sample_offsets"])
    rate = store.manifest.coactivation_rate
    assert len(positions) == pytest.approx(rate * store.manifest.n_tokens, rel=0.1)
    rows, places = np.divmod(positions, store.manifest.context_size)
    chosen = rows[len(rows) // 2]
    ids = torch.from_numpy(store.context(int(chosen)))[None]
    with torch.no_grad():
        acts = sae.encode(capture(lm.model, [store.manifest.hook_name], ids)[store.manifest.hook_name].float())[0]
    for n in np.flatnonzero(rows == chosen):
        expected = torch.nonzero(acts[places[n]]).ravel().tolist()
        assert store["sample_latents"][offsets[n] : offsets[n + 1]].tolist() == expected


def test_the_logit_tables_are_the_models(sae: SAE, lm: LoadedModel, store: FeatureStore) -> None:
    computed = computed_effects(sae, unembedding(lm.model), TokenText(lm.tokenizer))
    for latent in range(0, store.d_sae, store.d_sae // 8):
        effects = computed(latent)
        for side, found in (("top", effects.raises), ("bottom", effects.lowers)):
            assert np.allclose(store.logits[f"{side}_logits"][latent], [e.value for e in found], rtol=2e-3)
            assert set(store.logits[f"{side}_tokens"][latent].tolist()) == {e.token for e in found}


def test_labels_fit_their_features(store: FeatureStore, labels: list[LabelRecord]) -> None:
    assert len(labels) > 0.8 * store.d_sae
    assert [label.index for label in labels] == sorted({label.index for label in labels})
    for label in labels:
        assert store.fired[label.index] > 0
        assert (label.source, label.model, label.error) == ("auto", "offline heuristic", "")
        assert to_record(from_record(label)) == label  # the same row that labelling here would write
        for score in label.scores:
            recall, specificity = score["tp"] / (score["tp"] + score["fn"]), score["tn"] / (score["tn"] + score["fp"])
            assert score["value"] == pytest.approx((recall + specificity) / 2)
        assert label.score == label.scores[-1]["value"]
    examples = StoreExamples(store)
    for label in labels[:: len(labels) // 40]:
        evidence = examples.of(label.index)
        assert offline().explain(evidence, shown_examples(evidence, 20)) == (label.text, label.description)


def test_scoring_the_labels_again_matches_the_store(store: FeatureStore, labels: list[LabelRecord]) -> None:
    examples = StoreExamples(store, negatives=20)
    often = next(label for label in labels if examples.of(label.index).no_negatives)
    for label in [often, *labels[:: len(labels) // 40]]:
        stored = {score["scorer"]: score for score in label.scores}
        bare = replace(from_record(label), scores=())
        for scorer in ("fuzzing", "detection"):
            run = score_labels([bare], examples, offline(), scorer=scorer, n_pos=20, n_neg=20)
            if scorer == "detection" and examples.of(label.index).no_negatives:
                assert (run.labels, scorer in stored) == ([], False)
                continue
            ((score,),) = [one.scores for one in run.labels]
            assert stored[scorer] == {**asdict(score), "created_at": stored[scorer]["created_at"]}
        assert list(stored) == ["fuzzing", "detection"][: len(stored)]  # lists show the last of them


@pytest.mark.parametrize("name", ["demo-sae.json", "demo-sae.zip"])
def test_a_missing_file_raises_an_error_with_a_hint(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(NotFoundError, match="Install saewidgets again"):
        about_sae(), sae_labels()


def test_a_damaged_archive_is_refused(copied: Path, tmp_path: Path) -> None:
    path = copied / "demo-sae.zip"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(FormatError, match="damaged"):
        list(map(unpack_sae, PARTS, [target] * len(PARTS)))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match="damaged"):
        sae_labels()


def test_a_damaged_description_is_refused(copied: Path) -> None:
    (copied / "demo-sae.json").write_text("[")
    with pytest.raises(FormatError, match="damaged"):
        about_sae()
