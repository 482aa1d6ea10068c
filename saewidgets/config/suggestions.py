"""What somebody may have meant who named a setting that there is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_CLOSE = 0.7  # share of letters that two names have in common
_CLOSE_SHORT = 0.65  # where a name has so few letters that one more is a third of them: kk for k
_SHORT = 3

ELSEWHERE = {
    "context_length": "context_size", "ctx_len": "context_size", "seq_len": "context_size",
    "max_seq_len": "context_size", "max_length": "context_size",
    "dtype": "precision", "autocast": "precision",
    "model_name": "model", "dataset": "corpus", "dataset_path": "corpus",
    "hook": "hook_name", "hook_point": "hook_name", "hookpoint": "hook_name", "hookpoints": "hook_name",
    "layer": "hook_name", "layers": "hook_name", "hook_layer": "hook_name", "submodule_name": "hook_name",
    "train_batch_size": "batch_size", "train_batch_size_tokens": "batch_size", "sae_batch_size": "batch_size",
    "training_tokens": "tokens", "total_training_tokens": "tokens", "max_tokens": "tokens", "steps": "tokens",
    "total_training_steps": "tokens", "training_steps": "tokens",
    "store_batch_size_prompts": "activations.model_batch_size", "n_batches_in_buffer": "activations.shuffle_tokens",
    "grad_acc_steps": "gradient_accumulation", "dead_feature_window": "dead_window_tokens",
    "dead_feature_threshold": "dead_window_tokens", "n_checkpoints": "checkpoints.every_steps",
    "learning_rate": "optimizer.lr", "lr_scheduler": "optimizer.lr_schedule",
    "lr_scheduler_name": "optimizer.lr_schedule", "warmup_steps": "optimizer.lr_warm_up_steps",
    "lr_warmup_steps": "optimizer.lr_warm_up_steps", "l1_warm_up_steps": "optimizer.sparsity_warm_up_steps",
    "l0_warm_up_steps": "optimizer.sparsity_warm_up_steps", "sparsity_warmup_steps": "optimizer.sparsity_warm_up_steps",
    "gradient_clip": "optimizer.grad_clip", "max_grad_norm": "optimizer.grad_clip",
    "expansion_factor": "sae.d_sae", "dict_size": "sae.d_sae", "num_latents": "sae.d_sae", "d_hidden": "sae.d_sae",
    "top_k": "sae.k", "topk": "sae.k", "l1": "sae.l1_coefficient", "l1_coeff": "sae.l1_coefficient",
    "l1_penalty": "sae.l1_coefficient", "l1_alpha": "sae.l1_coefficient", "l0": "sae.l0_coefficient",
    "l0_coeff": "sae.l0_coefficient", "l0_lambda": "sae.l0_coefficient", "jumprelu_bandwidth": "sae.bandwidth",
    "jumprelu_init_threshold": "sae.initial_threshold", "aux_loss_coefficient": "sae.aux_coefficient",
    "auxk_alpha": "sae.aux_coefficient",
}  # fmt: skip
"""What a setting of a training is called in other packages → the setting here, by its dotted name."""


def types_of(field: FieldInfo) -> tuple[Any, ...]:
    """What the field may be: the members of a union, else its one type."""
    annotation: Any = field.annotation
    is_union = any(each is type(None) or isinstance(each, type) for each in get_args(annotation))
    return get_args(annotation) if is_union else (annotation,)


def suggestion(root: type[BaseModel], field: str, siblings: list[str]) -> str | None:
    """The setting that is nearest to one that there is not.

    Args:
        root: the configuration.
        field: the dotted name that was given.
        siblings: the names that its place has.

    Returns:
        A sibling by its name, any other setting by its dotted name; None where nothing is near.
    """
    parent, _, name = field.rpartition(".")
    every = list(dict.fromkeys(_settings(root)))
    if field in every:  # another architecture has it: nothing was mistyped
        return None

    def known(dotted: str) -> bool:  # here only what this place has: another architecture may have more
        above, _, last = dotted.rpartition(".")
        return last in siblings if above == parent else dotted in every

    same = [dotted for dotted in every if dotted.rpartition(".")[2] == name]
    meant = [ELSEWHERE[name], ELSEWHERE[name].rpartition(".")[2]] if name in ELSEWHERE else []  # of `sae` alone
    near = _near(name, siblings, _CLOSE_SHORT if len(name) <= _SHORT else _CLOSE)
    found = [*same, *meant, *(f"{parent}.{each}".lstrip(".") for each in near)]
    found += _near_elsewhere(name, every)
    first = next((dotted for dotted in found if dotted != field and known(dotted)), None)
    if first is None:
        return None
    above, _, last = first.rpartition(".")
    return last if above == parent else first


def _near_elsewhere(name: str, every: list[str]) -> list[str]:
    last = {dotted.rpartition(".")[2]: dotted for dotted in reversed(every)}  # the first of that name
    return [last[each] for each in _near(name, last, _CLOSE)]


def _near(name: str, names: Iterable[str], cutoff: float) -> list[str]:
    """The nearest of `names`, if one is near in its own words, too: l1_coefficient is no misspelt aux_coefficient."""
    found = get_close_matches(name, names, n=3, cutoff=cutoff)
    return [each for each in found if _is_near_without_common_words(name, each)][:1]


def _is_near_without_common_words(first: str, second: str) -> bool:
    one, other = first.split("_"), second.split("_")
    for end in (0, -1):
        while one and other and one[end] == other[end]:
            del one[end], other[end]
    left = ["_".join(one), "_".join(other)]
    if not all(left):  # a word is missing, or too many
        return True
    cutoff = _CLOSE_SHORT if min(map(len, left)) <= _SHORT else _CLOSE
    return bool(get_close_matches(left[0], left[1:], cutoff=cutoff))


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, those of `model` itself first."""
    for name in model.model_fields:
        yield prefix + name
    for name, field in model.model_fields.items():
        for each in types_of(field):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from _settings(each, f"{prefix}{name}.")
