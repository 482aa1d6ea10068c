"""Selections by the kernels are exactly those of a plain top-k."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saewidgets.sae.kernels import select
from saewidgets.sae.kernels.select import SparseCode, batch_topk_code, grouped_topk, topk_code


def problem(batch: int, d_in: int, d_sae: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, d_in, generator=generator), torch.randn(d_in, d_sae, generator=generator),
        torch.randn(d_sae, generator=generator),
    )


def dense(code: SparseCode, d_sae: int) -> Tensor:
    out = torch.zeros(code.offsets.numel(), d_sae)
    assert len(set(zip(code.rows.tolist(), code.latents.tolist(), strict=True))) == code.latents.numel()
    out[code.rows, code.latents] = code.values
    return out


def expected_rows(pre: Tensor, k: int) -> Tensor:
    best = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())


def expected_batch(pre: Tensor, k: int) -> Tensor:
    flat = pre.relu().view(-1)
    best = flat.topk(k * len(pre))
    return torch.zeros_like(flat).scatter(0, best.indices, best.values).view_as(pre)


@given(st.integers(1, 6), st.integers(1, 200), st.integers(1, 12), st.integers(0, 100))
def test_grouped_topk_is_topk(rows: int, n: int, k: int, seed: int) -> None:
    k = min(k, n)
    pre = torch.randn(rows, n, generator=torch.Generator().manual_seed(seed))
    values, indices = grouped_topk(pre, k)
    assert torch.equal(values, pre.gather(1, indices))
    assert torch.equal(values.sort(dim=1).values, pre.topk(k, dim=1).values.sort(dim=1).values)


@pytest.mark.parametrize("n", [1024, 4096])
def test_grouped_topk_where_groups_are_used(n: int) -> None:
    pre = torch.randn(16, n, generator=torch.Generator().manual_seed(3))
    values, indices = grouped_topk(pre, 16)
    assert torch.equal(values.sort(dim=1).values, pre.topk(16, dim=1).values.sort(dim=1).values)
    assert torch.equal(values, pre.gather(1, indices))


def test_equal_values_still_give_k_different_latents() -> None:
    values, indices = grouped_topk(torch.ones(2, 1024), 8)
    assert (values == 1).all()
    assert all(len(set(row.tolist())) == 8 for row in indices)


@pytest.mark.parametrize("block", [1, 5, 1000])
@pytest.mark.parametrize("d_sae", [40, 256, 1024])
def test_topk_code(d_sae: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "MIN_ROWS", 1)
    monkeypatch.setattr(select, "BLOCK_ELEMENTS", block * d_sae)
    x, W, b = problem(23, 8, d_sae)
    assert torch.allclose(dense(topk_code(x, W, b, 7), d_sae), expected_rows(x @ W + b, 7), atol=1e-5)


@pytest.mark.parametrize("block", [1, 5, 1000])
@pytest.mark.parametrize("d_sae", [40, 256, 1024])
def test_batch_topk_code(d_sae: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "MIN_ROWS", 1)
    monkeypatch.setattr(select, "BLOCK_ELEMENTS", block * d_sae)
    x, W, b = problem(23, 8, d_sae)
    code = batch_topk_code(x, W, b, 7)
    assert code.values.numel() == 7 * 23
    assert torch.allclose(dense(code, d_sae), expected_batch(x @ W + b, 7), atol=1e-5)


def test_batch_topk_code_when_the_first_block_misleads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first block with far larger activations gives a bound that leaves too few candidates elsewhere."""
    monkeypatch.setattr(select, "MIN_ROWS", 1)
    monkeypatch.setattr(select, "BLOCK_ELEMENTS", 2 * 64)
    x, W, b = problem(20, 8, 64)
    x[:2] *= 1000
    assert torch.allclose(dense(batch_topk_code(x, W, b, 5), 64), expected_batch(x @ W + b, 5), rtol=1e-5, atol=1e-3)


def test_batch_topk_code_with_fewer_positive_values_than_asked_for() -> None:
    x, W, b = problem(10, 8, 64)
    b -= 12
    code, pre = batch_topk_code(x, W, b, 20), x @ W + b
    assert (code.values > 0).all()
    assert code.values.numel() == int((pre > 0).sum())
    assert torch.allclose(dense(code, 64), pre.relu(), atol=1e-4)


def test_rows_without_any_active_latent() -> None:
    x, W, b = problem(6, 8, 64)
    x[2] = 0
    b[:] = -1.0
    code = batch_topk_code(x, W, b, 3)
    assert 2 not in code.rows.tolist()
    assert code.offsets.tolist() == sorted(code.offsets.tolist())
    assert torch.allclose(dense(code, 64), expected_batch(x @ W + b, 3), atol=1e-5)
