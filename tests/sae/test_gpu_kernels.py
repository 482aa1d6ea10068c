"""The kernels for GPUs compute what plain operations do: on a GPU where there is one, else in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saewidgets.sae.base import LossState
from saewidgets.sae.kernels import gpu, select, sparse
from saewidgets.training.dead_latents import DeadLatents
from tests.sae.cases import ALL, SETTINGS, aim, batch, gradients, make, plain, relative
from tests.sae.test_select import dense, expected_batch, expected_rows, problem
from tests.training.fakes import SAES, make_config, make_trainer

pytest.importorskip("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu" and "TRITON_INTERPRET" not in os.environ:  # tests/conftest.py
    pytest.skip("a GPU that this torch cannot use", allow_module_level=True)
FLOATS = [torch.float32, torch.bfloat16]
SPARSE = ["topk", "batchtopk", "matryoshka"]


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAEs as small as those of the tests go through the kernels, also where they are interpreted."""
    monkeypatch.setattr(select, "GPUS", ("cuda", "cpu"))
    monkeypatch.setattr("saewidgets.sae.topk.GPU_FEW", 1.0)


# --- selection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("rows", "n", "k"), [(3, 4096, 16), (2, 1000, 7), (1, 5003, 40), (5, 64, 16), (2, 9, 9)])
def test_the_largest_of_rows(rows: int, n: int, k: int, dtype: torch.dtype) -> None:
    pre = torch.randn(rows, n, generator=torch.Generator().manual_seed(n)).to(DEVICE, dtype)
    pre[0] = pre[0].round()  # many are equal
    pre[-1, : n // 2] = -torch.inf
    values, indices = gpu.grouped_topk(pre, k)
    assert torch.equal(values, pre.gather(1, indices))
    assert torch.equal(values.sort(1).values, pre.topk(k, 1).values.sort(1).values)
    assert all(len(set(row.tolist())) == k for row in indices)


@pytest.mark.parametrize("shift", [0.0, -2.0, -100.0])  # all, few, and none of the selected are positive
@pytest.mark.parametrize("rows_per_block", [5, 1000])
def test_codes_are_those_of_a_plain_selection(
    shift: float, rows_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "BLOCK_ELEMENTS", rows_per_block * 1024)
    x, W_enc, b_enc = problem(23, 8, 1024)
    b_enc += shift
    pre, there = x @ W_enc + b_enc, [each.to(DEVICE) for each in (x, W_enc, b_enc)]
    for find, expected in ((gpu.largest_of_rows, expected_rows), (gpu.largest_of_batch, expected_batch)):
        here = select.SparseCode(*(each.cpu() for each in find(*there, 7)), 1024)
        assert here.latents.numel() == 7 * 23
        assert torch.allclose(dense(here, 1024), expected(pre, 7), atol=1e-4)


def test_bfloat16_decides_by_its_own_products() -> None:
    x, W_enc, b_enc = (each.to(DEVICE) for each in problem(6, 8, 1024))
    with torch.autocast(DEVICE.type, torch.bfloat16):
        _, values, _ = gpu.largest_of_rows(x, W_enc, b_enc, 5)
        pre = torch.addmm(b_enc, x, W_enc)
    assert pre.dtype == torch.bfloat16
    assert torch.equal(values.view(6, 5).sort().values, pre.topk(5).values.relu().float().sort().values)


# --- sums -------------------------------------------------------------------------------------------------------------

BAGS = {
    "usual": [3, 1, 4, 1, 5], "empty": [0, 0, 3, 0, 2, 0], "all_empty": [0, 0, 0], "one": [1], "whole": [40],
    "long": [5, 6, 0, 31, 10, 1, 64], "only_long": [17, 18, 19],
}  # fmt: skip


def entries(counts: list[int], width: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Table, rows, weights, offsets, what the table's rows are multiplied with; rows come more than once."""
    generator, n = torch.Generator().manual_seed(width), sum(counts)
    return (
        torch.randn(11, width, generator=generator).to(dtype), torch.randint(11, (n,), generator=generator),
        torch.randn(n, generator=generator), torch.tensor(counts).cumsum(0) - torch.tensor(counts),
        torch.randn(len(counts), width, generator=generator),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [1, 19, 130])
@pytest.mark.parametrize("name", BAGS)
def test_sums_and_products(name: str, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_LONG", 5)
    monkeypatch.setattr(gpu, "_COLUMN_BYTES", 256)  # several programs for one bag
    given = entries(BAGS[name], width, dtype)
    table, rows, weights, _, beside = given
    there = [each.to(DEVICE) for each in given]
    sums, dots = gpu.bag_sum_and_dots(*there)
    owner = torch.repeat_interleave(torch.arange(len(beside)), torch.tensor(BAGS[name]))
    read = table.double()[rows]
    exact = torch.zeros(beside.shape, dtype=torch.float64).index_add(0, owner, read * weights[:, None])
    assert torch.allclose(sums.cpu().double(), exact, rtol=1e-5, atol=1e-5)
    assert torch.allclose(dots.cpu().double(), (read * beside[owner]).sum(1), rtol=1e-5, atol=1e-5)
    on_cpu = sparse.bag_sum_and_dots(table.float(), *given[1:])
    for found, expected in zip((sums, dots), on_cpu, strict=True):
        assert torch.allclose(found.cpu(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(gpu.bag_sum(*there[:4]), sums)  # and so it is the same in every call


def test_pieces_of_usual_length(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [gpu._LONG, 0, gpu._LONG + 1, 3 * gpu._LONG, 2]
    given = entries(counts, 3, torch.float32)
    found = gpu.bag_sum(*(each.to(DEVICE) for each in given[:4]))
    assert torch.allclose(found.cpu(), sparse.bag_sum(*given[:4]), rtol=1e-5, atol=1e-5)


COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from saewidgets.sae.kernels import gpu

def built(kernel, types, **constants):
    names = kernel.arg_names
    signature = dict(zip(names, types)) | dict.fromkeys(constants, "constexpr")
    attrs = {(i,): [["tt.divisibility", 16]] for i in range(len(types))}
    return compile(ASTSource(kernel, signature, constants, attrs), target=GPUTarget("cuda", 80, 32)).asm["ptx"]

for table in ("*fp32", "*bf16"):
    types = [table, "*i64", "*fp32", *["*i64"] * 3, "*fp32", "*fp32", "*fp32", "i32", "i32"]
    columns = gpu._COLUMN_BYTES // (4 if table == "*fp32" else 2)
    for dots in (False, True):
        assert "ld.global.v4" in built(gpu._sum_pieces, types, TILE=gpu._TILE, COLUMNS=columns, WITH_DOTS=dots)
    assert built(gpu._add_pieces, ["*fp32", "*i64", "*i64", "i32", "i32"], COLUMNS=columns)
"""


def test_kernels_are_compiled_without_a_gpu() -> None:
    """The interpreter takes what a compiler may not; and 16 bytes are read at once."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env=environment, cwd=Path(__file__).parents[2])


def test_kernels_that_fail_are_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("Failed to find C compiler.")

    assert gpu.works_on(DEVICE)
    for wrong in (broken, lambda table, rows, weights, offsets, beside: (beside * 0, weights)):
        monkeypatch.setattr(gpu, "bag_sum_and_dots", wrong)
        assert not gpu.works_on.__wrapped__(DEVICE)
        assert "plain torch operations run" in caplog.text
        caplog.clear()


# --- steps ------------------------------------------------------------------------------------------------------------


def compare(name: str, exact: float, *, seed: int = 1, **settings: Any) -> None:
    """Loss and gradients of `name` by the kernels are those of plain operations."""
    found, expected = (make(name, **settings).to(DEVICE) for _ in range(2))
    x = batch(12, seed=seed).to(DEVICE)
    dead = torch.arange(found.d_sae, device=DEVICE) % 5 == 0
    losses = [sae.loss(x, aim(sae, x), step=LossState(0.7, dead)) for sae in (found, plain(expected))]
    for loss in losses:
        loss.total.backward()
    one, other = losses
    for term, value in other.terms.items():
        assert one.terms[term].item() == pytest.approx(value.item(), rel=exact), term
    assert one.l0.item() == pytest.approx(other.l0.item())
    assert torch.equal(one.fired, other.fired)
    for parameter, grad in gradients(expected).items():
        assert relative(gradients(found)[parameter], grad) < exact, parameter


@pytest.mark.parametrize("name", SPARSE)
def test_a_step_is_that_of_plain_operations(name: str, everywhere: None) -> None:
    compare(name, 1e-5)
    compare(name, 1e-5, apply_b_dec_to_input=not SETTINGS[name].get("apply_b_dec_to_input", True))


@pytest.mark.parametrize("name", SPARSE)
def test_a_step_in_bfloat16(name: str, everywhere: None) -> None:
    with torch.autocast(DEVICE.type, torch.bfloat16):
        compare(name, 0.02, seed=4)  # no two are equal at the end of a selection


@pytest.mark.parametrize("k", [40, 1])
def test_all_active_and_one(k: int, everywhere: None) -> None:
    compare("topk", 1e-5, k=k)
    compare("batchtopk", 1e-5, k=k)


@pytest.mark.parametrize("without", [True, False], ids=["plain", "triton"])
def test_nothing_active(without: bool, everywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "works_on", lambda device: not without)
    sae = make("batchtopk", aux_coefficient=0.0).to(DEVICE)
    with torch.no_grad():
        sae.b_enc.fill_(-1000.0)
    loss = sae.loss(batch(5).to(DEVICE))
    loss.total.backward()
    assert loss.l0 == 0
    assert not loss.fired.any()
    assert all(not grad.any() for name, grad in gradients(sae).items() if name != "b_dec")


def test_a_step_without_triton(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "works_on", lambda device: False)
    for name in SPARSE:
        compare(name, 1e-5)


# --- what a GPU is not asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("aux_k", "more"), [(5, 0), (5, 7), (5, 32), (20, 0), (20, 9), (9, 3)])
@pytest.mark.parametrize("name", [*SPARSE, "standard"])
def test_a_bound_for_the_number_of_dead_latents_is_enough(name: str, aux_k: int, more: int) -> None:
    settings: dict[str, Any] = {"aux_k": aux_k} if name in SPARSE else {}
    counted, bounded = (make(name, **settings).to(DEVICE) for _ in range(2))
    dead = torch.arange(40, device=DEVICE) % 5 == 0
    known = LossState(0.7, dead, dead_at_most=int(dead.sum()) + more)
    for sae, step in ((counted, LossState(0.7, dead)), (bounded, known)):
        sae.loss(batch().to(DEVICE), step=step).total.backward()
    for parameter, grad in gradients(counted).items():
        assert relative(gradients(bounded)[parameter], grad) < 1e-5, parameter
    none = LossState(dead=torch.zeros_like(dead), dead_at_most=more)
    assert sum(bounded.loss(batch().to(DEVICE), step=none).terms.get(term, 0) for term in ("aux", "pre_act")) == 0


def test_the_bound_holds_and_is_resumed() -> None:
    generator, seen, bounds = torch.Generator().manual_seed(0), 0, []
    dead, resumed = DeadLatents(64, 300, DEVICE), DeadLatents(64, 300, DEVICE)
    dead._is_counted = resumed._is_counted = True
    for _ in range(30):
        dead.update((torch.rand(64, generator=generator) < 0.25).to(DEVICE), 50)
        seen += 50
        mask, bound = dead.mask(seen), dead.at_most
        if mask is not None and bound is not None:
            bounds.append((int(mask.sum()), bound))
        resumed.load(dead.tokens_since_fired, dead.counts())
        assert resumed.at_most == bound
    assert all(number <= bound for number, bound in bounds)
    assert any(number > 0 for number, _ in bounds)
    assert any(bound < 32 for _, bound in bounds)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in ALL if "transcoder" not in name])
def test_a_step_never_waits_for_the_gpu(
    name: str, precision: str, tmp_path: Path, everywhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAES, name, {"architecture": name, "d_sae": 64, **SETTINGS[name]})
    trainer = make_trainer(make_config(name, precision=precision), tmp_path, device=DEVICE)
    ready = [trainer._scaled(batch) for batch, _ in zip(trainer.stream.batches(0), range(15))]
    for each in ready[:12]:  # kernels are compiled and tried, and latents die
        trainer._train_step(*each)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for each in ready[12:]:
            trainer._train_step(*each)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.dead.at_most is not None


@pytest.mark.gpu
@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SPARSE)
def test_a_large_step_on_a_gpu(name: str, low: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large enough that the kernels are used by themselves, and bags are long. In bfloat16 many pre-activations are
    equal, and plain operations choose others of those: the step without Triton chooses the same."""
    widths = {"widths": (256, 1024)} if name == "matryoshka" else {}
    found, expected = (make(name, d_in=300, d_sae=4096, k=16, **widths).to("cuda") for _ in range(2))
    with torch.no_grad():
        for sae in (found, expected):
            sae.b_enc[:4] += 100  # these are active in every row
    x = batch(2000, d_in=300).to("cuda")
    assert found._fast_path(x, x)
    losses = []
    for sae in (found, expected if low else plain(expected)):
        with torch.autocast("cuda", torch.bfloat16, enabled=low):
            losses.append(sae.loss(x).total)
        losses[-1].backward()
        monkeypatch.setattr(gpu, "works_on", lambda device: False)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-2 if low else 1e-5)
    for parameter, grad in gradients(expected).items():
        assert relative(gradients(found)[parameter], grad) < (0.02 if low else 1e-4), parameter
