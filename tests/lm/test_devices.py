"""Models that lie on several devices, as `device_map` puts them, and models whose weights are kept elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from saewidgets.config import ActivationsConfig, EvaluationConfig, TextCorpus, TopKConfig, TrainingConfig
from saewidgets.formats import load_sae
from saewidgets.lm import capture, find_blocks, forward, hook_points, load_model, spliced, wrap_model
from saewidgets.training.run import run_training
from tests.conftest import TINY_TEXT
from tests.lm.models import LAYERS, family, token_ids

GPU = pytest.param("cpu", "cuda:0", marks=pytest.mark.gpu)


def moved(value: Any, device: str) -> Any:
    """`value` with every tensor in it on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(moved(each, device) for each in value)
    return {key: moved(each, device) for key, each in value.items()} if isinstance(value, dict) else value


def sharded(model: Any, first: str, second: str) -> Any:
    """The embeddings and block 0 on `first`, the rest on `second`; inputs follow, as with accelerate's hooks."""
    hook_points(model)  # compares values, which tensors on `meta` do not have
    blocks = find_blocks(model)
    inside = {id(module) for block in blocks for module in block.modules()}
    embeddings = {id(module) for module in model.modules() if isinstance(module, nn.Embedding)}
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())  # not shared with the embeddings

    def place(module: nn.Module, device: str) -> None:
        module.to(device)
        module.register_forward_pre_hook(lambda m, a, k: (moved(a, device), moved(k, device)), with_kwargs=True)

    for number, block in enumerate(blocks):
        place(block, first if number == 0 else second)
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and id(module) not in inside:
            place(module, first if id(module) in embeddings else second)
    return model


@pytest.mark.parametrize(("first", "second"), [("cpu", "meta"), GPU])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "opt"])
def test_each_activation_is_where_its_layer_is(name: str, first: str, second: str) -> None:
    plain, model = family(name), sharded(family(name), first, second)
    assert wrap_model(model, object()).device == torch.device(first)
    names = hook_points(plain, published=True)
    found = capture(model, names, token_ids())
    expected = capture(plain, names, token_ids())
    for hook in names:
        layer = int(hook.split(".")[1]) if hook.startswith("blocks.") else 0
        assert found[hook].device == torch.device(first if layer == 0 else second), hook
        assert found[hook].shape == expected[hook].shape
        if second != "meta":
            torch.testing.assert_close(found[hook].cpu(), expected[hook], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("first", "second"), [("cpu", "meta"), GPU])
def test_a_splice_may_compute_elsewhere(first: str, second: str) -> None:
    model = sharded(family("llama"), first, second)
    seen: list[torch.device] = []

    def elsewhere(x: Tensor) -> Tensor:
        seen.append(x.device)
        return torch.zeros(x.shape).to(x.device)

    with spliced(model, f"blocks.{LAYERS - 1}.hook_mlp_out", elsewhere):
        logits = forward(model, token_ids()).logits
    assert seen == [torch.device(second)]
    assert logits.device == torch.device(second)


@pytest.mark.parametrize(("first", "second"), [("cpu", "cpu"), GPU])
def test_a_run_reads_a_model_on_several_devices(
    first: str, second: str, tmp_path: Path, tiny_tokenizer_folder: Path
) -> None:
    config = TrainingConfig(
        corpus=TextCorpus(strings=tuple(TINY_TEXT)), hook_name="blocks.1.hook_resid_post", context_size=16,
        sae=TopKConfig(d_sae=64, k=4), tokens=192, batch_size=64, device="cpu",
        activations=ActivationsConfig(shuffle_tokens=128, norm_tokens=256, model_batch_size=8),
        evaluation=EvaluationConfig(tokens=256),
    )  # fmt: skip
    model = sharded(family("llama", vocab_size=304), first, second)
    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer_folder)
    result = run_training(config, tmp_path, model=model, tokenizer=tokenizer)
    assert {"val_fvu", "ce_loss_score"} <= set(result.metrics)
    assert load_sae(result.sae_path or "").d_in == 32


@pytest.mark.gpu
def test_loading_onto_a_gpu(tiny_model_folder: Path) -> None:
    lm = load_model(str(tiny_model_folder), device="cuda:0", dtype="float16")
    assert (lm.device, lm.dtype) == (torch.device("cuda:0"), torch.float16)
    found = capture(lm.model, ["blocks.1.attn.hook_z"], token_ids())["blocks.1.attn.hook_z"]
    assert (found.device, found.dtype) == (torch.device("cuda:0"), torch.float16)
