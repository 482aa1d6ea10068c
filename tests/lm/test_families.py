"""The table of families and sites in docs/models.md, computed: every cell is a formula over the modules of a block."""

import ast
import re
from collections.abc import Callable
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saewidgets.lm import HookError, capture, find_blocks, hook_points, resolve_hook
from tests.lm.models import ENCODERS, FAMILIES, LAYERS, WIDTH, family, token_ids

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
COLUMNS = ("attn_out", "mlp_in", "ln2", "mlp_out", "resid_post")
NAMES = {
    "resid_pre": "hook_resid_pre", "z": "attn.hook_z", "attn_out": "hook_attn_out", "mlp_in": "mlp.hook_in",
    "mlp_out": "hook_mlp_out", "resid_post": "hook_resid_post",
}  # fmt: skip
LN2 = "ln2.hook_normalized"
SUM = "resid_mid + mlp_out"  # an empty cell

# What the heads mix, as a formula like those of the table; fused projections are taken apart below.
V_OF = {
    "self_attn.v_proj(input_layernorm(resid_pre))": (
        "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "glm4", "phi", "eurobert",
    ),
    "self_attn.v_proj(resid_pre)": ("olmo2", "nomic_bert", "gte", "opt (do_layer_norm_before=False)"),
    "self_attn.v_proj(self_attn_layer_norm(resid_pre))": ("opt",),
    "attn.v_proj(ln_1(resid_pre))": ("gptj",),
    "attn.attention.v_proj(ln_1(resid_pre))": ("gpt_neo",),
    "attention.self.value(resid_pre)": ("bert", "roberta", "xlm-roberta", "camembert", "electra"),
    "attention.self.value_proj(resid_pre)": ("deberta-v2",),
    "attention.v_lin(resid_pre)": ("distilbert",),
    "attention.attn.v(resid_pre)": ("mpnet",),
    "attn.c_attn(ln_1(resid_pre))": ("gpt2",),
    "attn.Wqkv(attn_norm(resid_pre))": ("modernbert",),
    "attention.query_key_value(input_layernorm(resid_pre))": ("gpt_neox", "gpt_neox (use_parallel_residual=False)"),
    "self_attn.qkv_proj(input_layernorm(resid_pre))": ("phi3",),
}  # fmt: skip
VALUES = {name: formula for formula, names in V_OF.items() for name in names}
UNFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "attn.c_attn": lambda x: x.split(WIDTH, -1)[2],
    "attn.Wqkv": lambda x: x.split(WIDTH, -1)[2],
    "attention.query_key_value": lambda x: x.unflatten(-1, (4, 3, 8))[..., 2, :].flatten(-2),
    "self_attn.qkv_proj": lambda x: x[..., WIDTH + 16 :],
}


@cache
def table() -> dict[str, dict[str, str]]:
    """Family → column → cell, as the page has it."""
    rows: dict[str, dict[str, str]] = {}
    lines = DOCS.read_text(encoding="utf-8").split("\n| family |")[1].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            break
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall("`([^`]+)`", first):
            assert name not in rows
            rows[name] = {column: cell.strip("`") or SUM for column, cell in zip(COLUMNS, cells, strict=True)}
    return rows


def computed(formula: str, block: Any, known: dict[str, Tensor]) -> Tensor:
    """The value of a formula: names are activations or modules of `block`."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return known[name] if name in known else getattr(block, name)
            case ast.Attribute(value=owner, attr=name):
                return getattr(value(owner), name)
            case ast.Call(func=function, args=[argument]):
                found = value(function)(value(argument))
                return found[0] if isinstance(found, tuple) else found
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return value(left) + value(right)
        raise ValueError(f"{formula}: {ast.dump(node)}")

    with torch.no_grad():
        found: Tensor = value(ast.parse(formula, mode="eval").body)
    return found


def normalized(norm: Any, x: Tensor) -> Tensor:
    """What a norm computes before its gain and bias."""
    eps = getattr(norm, "variance_epsilon", None) or norm.eps
    if isinstance(norm, torch.nn.LayerNorm):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=eps)
    return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=eps)


def built(name: str, **changes: Any) -> Any:
    """The model, its norms' gains and biases other than one and zero, which would hide whether they are applied."""
    model = family(name, **changes)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def at(layer: int, *sites: str) -> list[str]:
    return [f"blocks.{layer}.{site}" for site in sites]


def test_the_page_has_every_family_that_is_tested() -> None:
    missing = set(FAMILIES) - set(table())
    assert not missing
    assert set(table()) - set(FAMILIES) <= {"eurobert", "nomic_bert", "gte"}  # not in every transformers


@pytest.mark.parametrize(("name", "layer"), zip(FAMILIES, cycle([0, 2])))
def test_each_cell(name: str, layer: int) -> None:
    model, ids, row = built(name), token_ids(), table()[name]
    block = find_blocks(model)[layer]
    found = capture(model, at(layer, *NAMES.values()), ids)
    known = {short: found[f"blocks.{layer}.{site}"] for short, site in NAMES.items()}
    known["resid_mid"] = known["resid_pre"] + known["attn_out"]
    for column in ("attn_out", "mlp_in", "mlp_out", "resid_post"):
        expected = computed(row[column], block, known).view_as(known[column])
        torch.testing.assert_close(known[column], expected, rtol=1e-4, atol=1e-4, msg=lambda m, c=column: f"{c}: {m}")
        assert known[column].abs().mean() > 1e-3
    (ln2,) = at(layer, LN2)
    if row["ln2"] == "=":
        norm, stream = row["mlp_in"].rstrip(")").split("(")
        expected = normalized(block.get_submodule(norm), computed(stream, block, known))
        torch.testing.assert_close(capture(model, [ln2], ids)[ln2], expected, rtol=1e-4, atol=1e-4)
    else:
        assert row["ln2"] == "–"
        with pytest.raises(HookError, match=r"ln2.hook_normalized is not known for \w+"):
            resolve_hook(model, ln2)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stream_matches_the_hidden_states_of_transformers(name: str) -> None:
    model, ids = built(name), token_ids()
    with torch.no_grad():
        reference = model(input_ids=ids, output_hidden_states=True).hidden_states
    sites = ("hook_resid_pre", "hook_resid_post")
    found = capture(model, [hook for layer in range(LAYERS) for hook in at(layer, *sites)], ids)
    for layer in range(LAYERS):
        torch.testing.assert_close(found[f"blocks.{layer}.hook_resid_pre"], reference[layer])
        if layer:
            torch.testing.assert_close(found[f"blocks.{layer - 1}.hook_resid_post"], reference[layer])
    # The last entry of transformers is after the final norm, where there is one.
    last = found[f"blocks.{LAYERS - 1}.hook_resid_post"]
    inside = {id(module) for module in find_blocks(model).modules()}
    outside = [module for module in model.modules() if id(module) not in inside]
    norms = [module for module in outside if getattr(getattr(module, "weight", None), "shape", None) == (WIDTH,)]
    with torch.no_grad():
        results = [last, *(norm(last) for norm in norms)]
    assert sum(torch.allclose(result, reference[LAYERS], rtol=1e-4, atol=1e-5) for result in results) == 1


@pytest.mark.parametrize("name", VALUES)
def test_z_is_attention_times_values(name: str) -> None:
    if name not in FAMILIES:
        pytest.skip("not in this transformers")
    model, ids, layer = built(name, attn_implementation="eager"), token_ids(), 1
    x, z = capture(model, at(layer, "hook_resid_pre", "attn.hook_z"), ids).values()
    with torch.no_grad():
        patterns = model(input_ids=ids, output_attentions=True).attentions[layer]
    values = computed(VALUES[name], find_blocks(model)[layer], {"resid_pre": x})
    values = UNFUSED.get(VALUES[name].split("(")[0], lambda v: v)(values).unflatten(-1, (-1, 8))
    values = values.repeat_interleave(4 // values.shape[-2], dim=-2)
    expected = torch.einsum("bhqk,bkhd->bqhd", patterns, values)
    point = resolve_hook(model, f"blocks.{layer}.attn.hook_z")
    assert (point.width, point.heads) == (WIDTH, 4)
    torch.testing.assert_close(point.as_heads(z), expected, rtol=1e-4, atol=1e-5)


def test_z_is_tested_for_the_families_that_people_train_on() -> None:
    causal = "gpt2 gpt_neox llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi opt"
    assert set(f"{causal} bert roberta distilbert modernbert".split()) <= set(VALUES)


@pytest.mark.parametrize("name", FAMILIES)
def test_all_sites_of_all_layers_come_from_one_forward(name: str) -> None:
    model, ids = built(name), token_ids()
    names = hook_points(model, published=True)
    calls: list[Any] = []  # not of the check, which ran in `hook_points`
    find_blocks(model)[0].register_forward_pre_hook(lambda *_: calls.append(1))
    together = capture(model, names[::-1], ids)
    assert len(calls) == 1
    assert set(together) == set(names)
    for hook in (n for n in names if n.startswith("blocks.1.")):
        assert torch.equal(capture(model, [hook], ids)[hook], together[hook])


@pytest.mark.parametrize(("name", "dtype"), zip(FAMILIES, cycle([torch.bfloat16, torch.float16])))
def test_in_half_precision(name: str, dtype: torch.dtype) -> None:
    model, ids = built(name), token_ids()
    names = at(1, *NAMES.values())
    exact = capture(model, names, ids)
    found = capture(model.to(dtype), names, ids)
    for hook in names:
        assert found[hook].dtype == dtype
        error = (found[hook].float() - exact[hook]).norm() / exact[hook].norm()
        assert error < (0.2 if dtype == torch.bfloat16 else 0.03), hook


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_behind_a_text_changes_nothing_with_its_mask(name: str) -> None:
    model, ids = built(name), token_ids(1, 6)
    names = at(LAYERS - 1, "hook_attn_out", "hook_resid_post")
    plain = capture(model, names, ids)
    padded = torch.cat([ids, torch.ones(1, 3, dtype=torch.long)], dim=1)
    mask = torch.tensor([[1] * 6 + [0] * 3])
    found = capture(model, names, padded, attention_mask=mask)
    for hook in names:
        torch.testing.assert_close(found[hook][:, :6], plain[hook], rtol=1e-4, atol=1e-4)
    if name in ENCODERS:  # they see what follows: without a mask the padding counts as text
        blind = capture(model, names, padded, attention_mask=torch.ones_like(mask))
        assert not torch.allclose(blind[names[0]][:, :6], plain[names[0]], rtol=1e-3, atol=1e-3)
