"""An SAE on one head of attention: its reconstruction takes the place of that head alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer

from saewidgets.evaluation import evaluate
from saewidgets.evaluation.evaluate import Baseline, Evaluator, Subject
from saewidgets.lm import LoadedModel, wrap_model
from saewidgets.sae import SAE, inference_sae
from tests.lm.models import family

Z = "blocks.1.attn.hook_z"
WIDTH, HEADS = 12, 4  # of Gemma 2: two queries share a key, and the heads together are 48 wide where d_model is 32


@pytest.fixture
def lm(tiny_tokenizer_folder: Path) -> LoadedModel:
    model = family("gemma2", vocab_size=304, head_dim=WIDTH)
    return wrap_model(model, AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def _sae(seed: int, d_in: int = WIDTH, d_out: int | None = None) -> SAE:
    made = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (d_in, 40), "b_enc": (40,), "W_dec": (40, d_out or d_in), "b_dec": (d_out or d_in,)}
    tensors = {name: torch.randn(shape, generator=made) * 0.4 for name, shape in shapes.items()}
    return inference_sae("standard" if d_out is None else "transcoder", d_in, tensors)


def _ids() -> Tensor:
    ids = torch.randint(2, 304, (5, 12), generator=torch.Generator().manual_seed(9))
    ids[:, 0] = 0  # BOS, which is left out
    return ids


def _ce(lm: LoadedModel, ids: Tensor, head: int, new: Any) -> float:
    """The cross-entropy with ``new(z)`` in place of one head, by a hook of the test's own on the projection."""

    def own(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        z = args[0].clone().unflatten(-1, (HEADS, WIDTH))
        z[:, 1:, head] = new(z[:, 1:, head])
        return (z.flatten(-2),)

    model: Any = lm.model
    handle = model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(own)
    with torch.no_grad():
        logits = model(input_ids=ids).logits.double()
    handle.remove()
    return float(functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:]))


@pytest.mark.parametrize("head", [0, 2, 3])
def test_the_losses_are_those_of_the_model_with_that_head_replaced(lm: LoadedModel, head: int) -> None:
    sae, ids = _sae(head), _ids()
    found = evaluate(sae, lm, ids, f"{Z}.{head}")
    assert found["ce_loss_sae"] == pytest.approx(_ce(lm, ids, head, sae), rel=1e-5)
    assert found["ce_loss_zero"] == pytest.approx(_ce(lm, ids, head, torch.zeros_like), rel=1e-5)
    assert found["ce_loss_clean"] == pytest.approx(_ce(lm, ids, head, lambda z: z), rel=1e-5)
    assert len({found["ce_loss_sae"], found["ce_loss_zero"], found["ce_loss_clean"]}) == 3
    # With the baseline known, the reconstruction goes into the very forward that computes what it reads.
    assert evaluate(sae, lm, ids, f"{Z}.{head}", baseline=Baseline.of(found)) == found


def test_heads_all_of_them_and_transcoders_between_them_in_one_pass(lm: LoadedModel) -> None:
    subjects = [
        Subject(_sae(1), f"{Z}.2"),
        Subject(_sae(2, WIDTH * HEADS), Z),
        Subject(_sae(3), f"{Z}.0"),
        Subject(_sae(4, WIDTH, WIDTH), f"{Z}.3", f"{Z}.0"),  # computed at once, whichever is named first
        Subject(_sae(5, WIDTH * HEADS, WIDTH), Z, f"{Z}.1"),
        Subject(_sae(6, WIDTH, 32), f"{Z}.3", "blocks.1.hook_attn_out"),
    ]
    together = Evaluator(lm).evaluate(subjects, _ids(), mean_ablation=True)
    for each, (numbers, _) in zip(subjects, together, strict=True):
        alone = evaluate(each.sae, lm, _ids(), each.hook_name, hook_name_out=each.hook_name_out, mean_ablation=True)
        assert numbers == alone
    plain = Evaluator(lm).evaluate(subjects, _ids(), cross_entropy=False)
    assert all(found["fvu"] == numbers["fvu"] for (found, _), (numbers, _) in zip(plain, together, strict=True))
