"""Statistics and comparisons against the same numbers computed in one piece."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.errors import ConfigError
from saewidgets.workspace import Workspace
from saewidgets.workspace.library import statistics
from saewidgets.workspace.library.statistics import histogram
from tests.ranking import assert_ranked
from tests.workspace.library.saes import gemma_scope, saelens, with_density


def test_norms_are_those_of_the_weights(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK_BYTES", 4 * 8 * 5)  # blocks of a few rows
    sae = ws.saes.add_local(saelens(tmp_path / "one", d_in=8, d_sae=100))
    found, loaded = ws.saes.statistics(sae.id), ws.saes.load(sae.id)
    decoder, encoder = loaded.W_dec.norm(dim=1), loaded.W_enc.norm(dim=0)
    for name, norms in (("decoder_norms", decoder), ("encoder_norms", encoder)):
        part = found[name]
        assert sum(part["counts"]) == 100
        assert len(part["edges"]) == len(part["counts"]) + 1
        assert part["mean"] == pytest.approx(float(norms.mean()), rel=1e-5)
        assert (part["min"], part["max"]) == pytest.approx((float(norms.min()), float(norms.max())), rel=1e-5)
        assert part["sd"] == pytest.approx(float(norms.std(correction=0)), rel=1e-4)
    assert found["b_dec_norm"] == pytest.approx(float(loaded.b_dec.norm()), rel=1e-5)
    assert (found["threshold"], found["density"]) == (None, None)
    assert found["size_bytes"] == sae.size_bytes
    assert found["measured"] == {"l0": 4.0}
    json.dumps(found, allow_nan=False)


def test_densities(ws: Workspace, tmp_path: Path) -> None:
    values = np.full(32, -3.0)
    values[:4], values[4:6], values[6] = -10.0, -0.5, np.nan
    sae = ws.saes.add_local(with_density(saelens(tmp_path / "one"), values))
    found = ws.saes.statistics(sae.id)["density"]
    assert (found["zeros"], found["dense"], sum(found["counts"])) == (5, 2, 27)
    assert (found["min"], found["max"]) == pytest.approx((0.001, 10**-0.5), rel=1e-4)
    assert (found["edges"][0], found["edges"][-1]) == pytest.approx((0.001, 10**-0.5), rel=1e-4)
    assert ws.saes.statistics(sae.id)["dead"] == 5
    json.dumps(found, allow_nan=False)


def test_densities_of_another_sae(ws: Workspace, tmp_path: Path) -> None:
    sae = ws.saes.add_local(with_density(saelens(tmp_path / "one"), np.full(31, -3.0)))
    found = ws.saes.statistics(sae.id)
    assert found["density"] is None
    assert "31 latents, not of 32" in found["density_note"]
    assert found["decoder_norms"] is not None


def test_thresholds_and_other_formats(ws: Workspace, tmp_path: Path) -> None:
    sae = ws.saes.add_local(gemma_scope(tmp_path / "repo"))
    found = ws.saes.statistics(sae.id)
    assert found["threshold"]["min"] >= 0
    assert sum(found["threshold"]["counts"]) == 16_384
    located = ws.saes.locate(sae.id, tmp_path / "repo")  # now read through its loader
    assert located.format == "gemma_scope"
    assert ws.saes.statistics(sae.id)["decoder_norms"] == found["decoder_norms"]


def test_histograms_at_the_edges() -> None:
    same = histogram(torch.ones(5))
    assert (sum(same["counts"]), same["min"], same["max"], same["sd"]) == (5, 1.0, 1.0, 0.0)
    assert same["counts"] == [5]
    assert same["edges"] == pytest.approx([0.999, 1.001])
    assert histogram(torch.empty(0))["counts"] == []
    assert sum(histogram(torch.tensor([1.0, float("inf"), float("nan"), 2.0]))["counts"]) == 2
    assert sum(histogram(torch.tensor([0.0, 1.0]))["counts"]) == 2
    assert histogram(torch.zeros(3))["counts"] == [3]


@pytest.mark.parametrize(
    ("scale", "spread"), [(1e-30, 1e-7), (1e-9, 2e-6), (1.0, 1e-4), (-1.0, 0.5), (1e9, 2.0), (1.0, 1e-7)]
)
def test_edges_increase_however_near_the_values_are(scale: float, spread: float) -> None:
    values = torch.linspace(1, 1 + spread, 1000, dtype=torch.float64) * scale
    found = histogram(values)
    edges, counts = found["edges"], found["counts"]
    assert all(low < high for low, high in itertools.pairwise(edges))
    assert len(edges) == len(counts) + 1
    assert sum(counts) == 1000
    assert len(counts) == (1 if spread < 1e-6 else 40)
    assert edges[0] <= float(values.min())
    assert edges[-1] >= float(values.max())
    if spread > 1e-6:
        assert all(20 <= count <= 30 for count in counts), "bins of equal width hold equally many"


def test_comparison_is_that_of_the_whole_matrices(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "ROWS", 7)
    a = ws.saes.add_local(saelens(tmp_path / "a", d_sae=40, seed=1))
    b = ws.saes.add_local(saelens(tmp_path / "b", d_sae=33, seed=2))
    found = ws.saes.compare(a.id, b.id, top=10)
    first, second = (torch.nn.functional.normalize(ws.saes.load(sae.id).W_dec, dim=1) for sae in (a, b))
    cosines = first @ second.T
    best, partner = cosines.max(dim=1)
    assert found.mean_max_cosine == pytest.approx(float(best.mean()), abs=1e-5)
    assert found.mean_max_cosine_back == pytest.approx(float(cosines.max(dim=0).values.mean()), abs=1e-5)
    assert len(found.matches) == 10
    assert_ranked([match.a for match in found.matches], [match.cosine for match in found.matches], best.numpy())
    assert [match.b for match in found.matches] == partner[[match.a for match in found.matches]].tolist()
    assert (sum(found.histogram["counts"]), sum(found.histogram_back["counts"])) == (40, 33)
    assert list(found.to_df().columns) == ["a", "b", "cosine"]
    assert found.above == {bound: int((best >= bound).sum()) for bound in (0.9, 0.7)}


def test_an_sae_is_its_own_match(ws: Workspace, tmp_path: Path) -> None:
    sae = ws.saes.add_local(saelens(tmp_path / "a"))
    found = ws.saes.compare(sae.id, sae.id, top=1_000)
    assert all(match.a == match.b and match.cosine > 0.9999 for match in found.matches)
    assert len(found.matches) == 32
    with pytest.raises(ConfigError, match="number of matches"):
        ws.saes.compare(sae.id, sae.id, top=-5)


def test_widths_that_cannot_be_compared(ws: Workspace, tmp_path: Path) -> None:
    a, b = (ws.saes.add_local(saelens(tmp_path / str(d), d_in=d)) for d in (8, 16))
    with pytest.raises(ConfigError, match=r"8 writes to 8 dimensions, 16 to 16"):
        ws.saes.compare(a.id, b.id)
