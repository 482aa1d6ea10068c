"""The product of oneDNN is the plain one, gradients included, however its operands lie in memory."""

from typing import Any

import pytest
import torch

from saewidgets.products import fast_layers, product, transposed_product


@pytest.mark.parametrize("leading", [(), (3,), (2, 5), (257,)])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (7, 9), (129, 64)])
@pytest.mark.parametrize("layout", ["in order", "turned", "every second", "repeated"])
def test_product_and_its_gradients(leading: tuple[int, ...], k: int, n: int, layout: str) -> None:
    torch.manual_seed(0)
    b = {
        "in order": torch.randn(k, n), "turned": torch.randn(n, k).T, "every second": torch.randn(k, 2 * n)[:, ::2],
        "repeated": torch.randn(1, n).expand(k, n),
    }[layout].requires_grad_()
    a, bias = torch.randn(*leading, k, requires_grad=True), torch.randn(n, requires_grad=True)
    for given in ((a, b), (a, b, bias)):
        expected = a.double() @ b.double() + (bias.double() if len(given) == 3 else 0)
        found = product(*given)
        torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)
        direction = torch.randn_like(found)
        for ours, plain in zip(
            torch.autograd.grad(found, given, direction), torch.autograd.grad(expected, given, direction.double()),
            strict=True,
        ):
            torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("m", "n"), [(3, 8), (8, 3)])
def test_transposed_product(m: int, n: int) -> None:
    a, b = torch.randn(16, m), torch.randn(16, n)
    torch.testing.assert_close(transposed_product(a, b), a.T @ b)


def test_nothing_times_something() -> None:
    assert product(torch.randn(0, 3), torch.randn(3, 4), torch.randn(4)).shape == (0, 4)
    assert product(torch.randn(2, 0), torch.randn(0, 4)).tolist() == [[0.0] * 4] * 2


def test_autocast_decides_the_format() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(torch.randn(2, 3), torch.randn(3, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize("bias", [True, False])
def test_layers_of_a_model_compute_the_same(bias: bool) -> None:
    layer, x = torch.nn.Linear(48, 64, bias=bias), torch.randn(2, 7, 48)
    weight, shift, rows = torch.randn(48, 64), torch.randn(64), torch.randn(9, 48)  # as GPT-2 has them
    with torch.no_grad():
        expected = layer(x), torch.addmm(shift, rows, weight), torch.addmm(shift, rows, weight, beta=0.5)
        with fast_layers():
            found = layer(x), torch.addmm(shift, rows, weight), torch.addmm(shift, rows, weight, beta=0.5)
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain)


def test_what_torch_takes_apart_is_torchs_own() -> None:
    a, b = torch.randn(5, 4, 48), torch.randn(48, 64)
    torch.testing.assert_close(torch.func.vmap(lambda x: product(x, b))(a), a @ b)
    seen: list[str] = []

    def note(module: Any, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in module.graph.nodes)
        return module.forward

    layer = torch.nn.Linear(48, 64)
    compiled = torch.compile(layer, backend=note)
    with torch.no_grad(), fast_layers():
        torch.testing.assert_close(compiled(a), layer(a))
    assert seen
    assert not any("pointwise" in each for each in seen)
