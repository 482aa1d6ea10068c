"""The accumulator and the chunks it is fed against the dense matrix: exact in every array."""

from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saewidgets.config import ExtractionConfig
from saewidgets.features.extraction import accumulate, encoding, ops
from saewidgets.features.extraction.accumulate import Accumulator
from saewidgets.features.extraction.encoding import ContextChunk, Encoder, make_chunk, winners
from saewidgets.features.extraction.extractor import Documents
from saewidgets.sae import SAE, create_sae, inference_sae
from tests.features import extraction_oracle as oracle
from tests.features.store.made import Given

SEPARATOR, BOS = 1, 1
CPU = torch.device("cpu")


class Case:
    """Made to be awkward: ties, repeated passages, long and short documents, dead and dense latents."""

    def __init__(
        self, seed: int, *, contexts: int = 23, length: int = 9, bos: bool = False, dense: bool = False
    ) -> None:
        rng = np.random.default_rng(seed)
        self.bos = bos
        self.ids = rng.integers(2, 5, (contexts, length))
        self.ids[rng.random(self.ids.shape) < rng.choice([0, 0.02, 0.1, 0.4])] = SEPARATOR
        for _ in range(4):  # whole contexts again
            self.ids[rng.integers(contexts)] = self.ids[rng.integers(contexts)]
        if bos:
            self.ids[:, 0] = BOS
        self.numbers = np.arange(contexts) + 5
        for at in rng.integers(1, contexts, 3):
            self.numbers[at:] += rng.integers(0, 3)
        grid = rng.choice([3, 10, 1000])  # few different values make ties
        self.f = np.ceil(rng.random((contexts, length, 7)) ** 4 * grid) / 8
        self.f *= rng.random(self.f.shape) < (1 if dense else rng.choice([0.05, 0.3, 0.9]))
        self.f[..., 1] = 0
        self.f[..., 2] = 0.5  # fires everywhere, the same
        self.f[..., 3] *= 2.0 ** rng.integers(-20, 20, (contexts, 1))  # grows out of its histogram
        self.f = self.f.astype(np.float32)
        self.counted = rng.random(self.ids.shape) < 0.9
        self.counted[3] = False

    @property
    def documents(self) -> npt.NDArray[np.int64]:
        return oracle.documents_of(self.ids, self.numbers, SEPARATOR, self.bos)

    def accumulated(
        self, config: ExtractionConfig, cuts: list[int], block: int = 3, reload: bool = False
    ) -> dict[str, npt.NDArray[Any]]:
        """All arrays, the contexts taken in in chunks that end at `cuts`; with `reload` through a checkpoint each."""
        accumulator = Accumulator(7, config, CPU, "hook")
        numbering = Documents(SEPARATOR, self.bos)
        encoder = Given(7, block)
        start = 0
        for stop in sorted({*cuts, len(self.ids)}):
            if stop <= start:
                continue
            part = slice(start, stop)
            ids, numbers = torch.from_numpy(self.ids[part]), torch.from_numpy(self.numbers[part])
            documents = numbering.number(ids, numbers)
            assert documents.tolist() == self.documents[part].tolist()
            x = torch.from_numpy(self.f[part])
            counted = torch.from_numpy(self.counted[part])
            accumulator.update(make_chunk(x, ids, numbers, counted, documents, start, config.seed), encoder)
            if reload:
                saved = {name: tensor.clone() for name, tensor in accumulator.tensors().items()}
                accumulator = Accumulator(7, config, CPU, "hook")
                accumulator.load(saved)
            start = stop
        return accumulator.finish()

    def check(self, arrays: dict[str, npt.NDArray[Any]], config: ExtractionConfig) -> None:
        oracle.check(arrays, self.f, self.ids, self.counted, self.documents, config)


def same(a: dict[str, npt.NDArray[Any]], b: dict[str, npt.NDArray[Any]]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 22), max_size=6), k=st.sampled_from([1, 2, 5, 40]),
    per_document=st.sampled_from([1, 2, 3, 50]), per_interval=st.sampled_from([0, 1, 3]),
    min_activation=st.sampled_from([0.0, 0.2]), bos=st.booleans(), block=st.sampled_from([1, 3, 7]),
)
def test_every_array_equals_the_dense_computation(
    seed: int, cuts: list[int], k: int, per_document: int, per_interval: int, min_activation: float, bos: bool,
    block: int,
) -> None:
    config = ExtractionConfig(
        examples=k, per_document=per_document, per_interval=per_interval, min_activation=min_activation, seed=seed
    )
    case = Case(seed, bos=bos)
    arrays = case.accumulated(config, cuts, block)
    case.check(arrays, config)
    assert same(arrays, case.accumulated(config, []))  # chunks and blocks change nothing
    assert same(arrays, case.accumulated(config, cuts, block, reload=True))


def test_small_merges_and_the_way_of_other_devices_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config, case = ExtractionConfig(examples=4, seed=7), Case(12)
    whole = case.accumulated(config, [6, 15])
    with monkeypatch.context() as patch:
        patch.setattr("saewidgets.features.extraction.top.MERGED", 1)
        patch.setattr(accumulate, "_ORDERED", 2)
        assert same(whole, case.accumulated(config, [6, 15]))
    monkeypatch.setattr(ops, "by_numpy", lambda tensor: False)
    by_torch = case.accumulated(config, [6, 15])
    np.testing.assert_allclose(by_torch.pop("sums"), whole.pop("sums"), rtol=1e-12)  # per chunk, not in order
    assert same(by_torch, whole)


def test_interval_samples_are_uniform() -> None:
    """Over many seeds each of 40 equal firings is chosen equally often."""
    case = Case(0, contexts=40, length=3)
    case.f[:] = 0
    case.counted[:] = True
    case.f[:, 1, 0] = 1
    hits = np.zeros(40)
    for seed in range(100):
        found = case.accumulated(ExtractionConfig(seed=seed, per_interval=4), [20])["interval_positions"][0, -1]
        hits[found[found >= 0] // 3] += 1
    assert hits.sum() == 400
    assert ((hits - 10) ** 2 / 10).sum() < 75  # chi-squared with 39 degrees of freedom: 0.0005 to be above


@pytest.mark.parametrize("cuts", [[], [1, 2, 3], [10]])
def test_the_token_sample_shrinks_to_its_limit(cuts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(5, dense=True)
    config = ExtractionConfig(seed=4)
    everything = case.accumulated(config, cuts)
    pairs = len(everything["sample_latents"])
    assert everything["sample_positions"].tolist() == np.flatnonzero(case.counted).tolist()
    monkeypatch.setattr(accumulate, "COACTIVATION_ENTRIES", pairs // 3)
    fewer = case.accumulated(config, cuts)
    case.check(fewer, config)
    assert 0 < len(fewer["sample_latents"]) <= pairs // 3
    assert same(fewer, case.accumulated(config, [5, 17], block=1, reload=True))


def test_nothing_counts() -> None:
    case = Case(1)
    case.counted[:] = False
    config = ExtractionConfig()
    arrays = case.accumulated(config, [4])
    case.check(arrays, config)
    assert not arrays["firing_counts"].any()
    assert arrays["sample_offsets"].tolist() == [0]


D_IN, D_SAE, CONTEXTS, LENGTH = 16, 96, 5, 7


def _weights(d_sae: int = D_SAE) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(D_IN, d_sae, generator=generator)
    return {
        "W_enc": W, "b_enc": torch.randn(d_sae, generator=generator), "W_dec": W.T.contiguous() / 4,
        "b_dec": torch.randn(D_IN, generator=generator),
    }


def _saes() -> dict[str, SAE]:
    weights = _weights()
    threshold = {"threshold": torch.linspace(-1, 4, D_SAE)}
    gated = {"b_gate": weights["b_enc"], "r_mag": weights["b_enc"] / 4, "b_mag": weights["b_enc"]}
    batch = create_sae("batchtopk", D_IN, d_sae=D_SAE, k=4)
    batch.load_state_dict({**weights, "threshold": torch.tensor(2.5)})
    trained = create_sae("jumprelu", D_IN, d_sae=D_SAE)
    trained.load_state_dict({**weights, "threshold": torch.linspace(-3, 1, D_SAE).exp()})
    return {
        "standard": inference_sae("standard", D_IN, weights),
        "normalised": inference_sae("standard", D_IN, weights, normalize_activations="layer_norm"),
        "topk": inference_sae("topk", D_IN, weights, k=3),
        "topk of nearly all": inference_sae("topk", D_IN, weights, k=90),
        "jumprelu": inference_sae("jumprelu", D_IN, {**weights, **threshold}),
        "jumprelu in training": trained.eval(),
        "batchtopk": batch.eval(),
        "transcoder": inference_sae("transcoder", D_IN, weights),
        "topk_transcoder": inference_sae("topk_transcoder", D_IN, weights, k=3),
        "gated": inference_sae("gated", D_IN, {k: v for k, v in {**weights, **gated}.items() if k != "b_enc"}),
        "abstopk": inference_sae("abstopk", D_IN, weights, k=6),
        "groupmax": inference_sae("groupmax", D_IN, weights, k=6),
        "bfloat16": inference_sae("topk", D_IN, {k: v.bfloat16() for k, v in weights.items()}, k=3),
    }


def _chunk() -> ContextChunk:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(CONTEXTS, LENGTH, D_IN, generator=generator)
    ids = torch.randint(0, 9, (CONTEXTS, LENGTH), generator=generator)
    counted = torch.rand(CONTEXTS, LENGTH, generator=generator) < 0.8
    return make_chunk(x, ids, torch.arange(CONTEXTS), counted, torch.zeros_like(ids), 0, 0)


@pytest.mark.parametrize(("name", "small"), [*zip(_saes(), cycle((False, True)), strict=False), ("standard", True)])
@torch.no_grad()
def test_firings_match_encode(name: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        for limit in ("BLOCK_ELEMENTS", "ROW_ELEMENTS", "FIRINGS"):
            monkeypatch.setattr(encoding, limit, {"cpu": 100})
    sae, chunk = _saes()[name], _chunk()
    expected = sae.encode(chunk.x).reshape(-1, D_SAE)[chunk.kept].float()
    found = torch.zeros_like(expected)
    last = 0
    for part in Encoder(sae, LENGTH).firings(chunk):
        assert part.first == last
        last = part.last
        order = part.latents * chunk.rows + part.rows
        assert (order[1:] > order[:-1]).all()
        assert ((part.latents >= part.first) & (part.latents < part.last)).all()
        found[part.rows, part.latents] = part.values
    assert last == D_SAE
    expected = expected.clamp_min(0)  # abstopk's negative ones are no firings
    assert torch.equal(found > 0, expected > 0)
    assert 0 < int((expected > 0).sum()) < expected.numel()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_chunks_are_bounded() -> None:
    def contexts(architecture: str, d_sae: int, length: int, **settings: Any) -> int:
        with torch.device("meta"):
            sae = inference_sae(architecture, D_IN, _weights(d_sae), **settings)
        return Encoder(sae, length).contexts

    assert contexts("standard", 4096, 128) == 64
    assert contexts("standard", 4096, 10**6) == 1  # a context is never split
    assert contexts("topk", 131_072, 128, k=32) == 16
    assert contexts("topk", 131_072, 128, k=65_536) == 1
    assert contexts("abstopk", 131_072, 128, k=32) == 2  # the dense matrix of a chunk fits


@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 9), groups=st.integers(1, 12), extra=st.sampled_from([0, 5]),
    k=st.integers(1, 20), grid=st.sampled_from([2, 5, 1000]), shift=st.sampled_from([-1.5, -0.5, 0.5]),
)
def test_winners(seed: int, rows: int, groups: int, extra: int, k: int, grid: int, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    pre = (torch.randint(0, grid, (rows, groups * 32 + extra), generator=generator) / grid + shift) * 3
    row, latent, values = winners(pre, k)
    assert torch.equal(pre[row, latent], values)
    keys = row * pre.shape[1] + latent
    assert (keys[1:] > keys[:-1]).all()
    for number in range(rows):
        best = sorted((v for v in pre[number].tolist() if v > 0), reverse=True)[:k]
        assert sorted(values[row == number].tolist(), reverse=True) == best
    pre[rows // 2, -1] = float("nan")
    assert winners(pre, 2)[2].isnan().sum() == 1


def test_the_smallest_and_largest_numbers() -> None:
    case = Case(1)
    case.f[:] = 0
    case.counted[:] = True
    tiny, huge = np.float32(1e-45), np.float32(3.4e38)
    case.f[0, 0, 0], case.f[1, 1, 0], case.f[4, 1, 5], case.f[4, 2, 6] = tiny, huge, tiny, 65519
    arrays = case.accumulated(ExtractionConfig(min_activation=0), [1])
    assert arrays["scale"].tolist() == [128, 0, 0, 0, 0, -149, 16]
    assert arrays["histogram"][0, [0, 63]].tolist() == [1, 1]
    assert np.isfinite(arrays["top_windows"].astype(np.float32)).all()
    assert arrays["top_windows"][0, 0, 16] == np.float16(65504)
    assert arrays["top_values"][0, :2].tolist() == [float(huge), float(tiny)]
