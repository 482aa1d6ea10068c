"""The language model, hook point, number formats and devices of a SAELens configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.hook_names import HOOK_NAME, head_of, with_head
from saewidgets.config.names import hub_model
from saewidgets.config.translate.source import Settings
from saewidgets.errors import ConfigError

_DTYPES = ("float32", "bfloat16", "float16")
_PRECISIONS = {
    f"{prefix}{name}": name if name in _DTYPES else "float32"
    for prefix in ("", "torch.") for name in (*_DTYPES, "float64")
}  # fmt: skip
# Modules of transformers models, which SAELens reads where model_class_name is AutoModelForCausalLM.
_MODULE = re.compile(
    r"(?:transformer\.h|model\.layers|gpt_neox\.layers|model\.decoder\.layers)\.(\d+)"
    r"(?:\.(mlp|self_attn|attn|attention))?"
)
_PARTS = {None: "hook_resid_post", "mlp": "hook_mlp_out"}


def model_of(settings: Settings, config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """The language model, how it is loaded, and the hook point; `changes` say which of these are given otherwise."""
    settings.ignore("model_name", "hook_name", "hook_head_index")  # a change takes their place, whatever they are
    if "model" not in changes:
        name = settings.text("model_name")
        config["model"] = hub_model(name) or name
        if name != "demo" and hub_model(name) is None and not Path(name).exists():
            settings.remark(
                "changed", "model_name", name,
                "not a short name that is known here; it is taken as the name of a hub repository or folder.",
            )
    kind = settings.take("model_class_name", "HookedTransformer")
    if kind not in ("HookedTransformer", "AutoModelForCausalLM", "HookedTransformerBridge", "TransformerBridge"):
        settings.remark("lost", "model_class_name", kind, "the model is loaded by transformers.")
    if "hook_name" not in changes:
        config["hook_name"] = at_head(
            settings, hook_of(settings.text("hook_name"), settings.spelled("hook_name")), "hook_head_index"
        )
    settings.lost("model_kwargs", "transformers' defaults are used.", {})
    _loading(settings, config)


def _loading(settings: Settings, config: dict[str, Any]) -> None:
    """The arguments that the model is loaded with."""
    loading = settings.inner("model_from_pretrained_kwargs")
    for key in ("dtype", "torch_dtype"):
        if not loading.has(key):
            continue
        if (dtype := str(loading.take(key)).removeprefix("torch.")) in _DTYPES:
            config["model_dtype"] = dtype
        else:
            loading.remark("lost", key, dtype, "the weights are loaded in float32, unless model_dtype says otherwise.")
    if loading.has("revision") and not isinstance(loading.take("revision"), str):
        loading.lost("revision", "not the name of a revision; the model's main one is loaded.")
    else:
        config["model_revision"] = loading.take("revision")
    loading.lost("center_writing_weights", "weights are those of the model; activations keep their mean.", False)
    loading.lost(
        "trust_remote_code",
        "a repository's code runs only where you say so yourself: saewidgets.allow_remote_code(model).", False,
    )
    loading.rest("the model is loaded as it is.")


def hook_of(name: str, where: str) -> str:
    """A hook point by the name that it has here.

    Raises:
        ConfigError: it is none that is known here.
    """
    if HOOK_NAME.fullmatch(name):
        return name
    if match := _MODULE.fullmatch(name):
        return f"blocks.{match[1]}.{_PARTS.get(match[2], 'hook_attn_out')}"
    raise ConfigError(
        f"{name} is not a hook point that is known here.", where=where,
        hint="Of a block, resid_pre, resid_post, mlp_out, attn_out, attn.hook_z, ln2.hook_normalized, mlp.hook_in are.",
    )


def at_head(settings: Settings, hook: str, key: str) -> str:
    """The hook name of the one head that `key` picks, where it does."""
    head = settings.take(key)
    if head is None or head == head_of(hook):
        return hook
    if not hook.endswith(".attn.hook_z"):
        settings.remark("lost", key, head, f"{hook} has no heads.")
        return hook
    found = with_head(hook, head) if type(head) is int else None
    if found is None:
        raise settings.wrong(key, "the number of a head", "Heads are counted from 0.")
    return found


def precision_of(sae: Settings, settings: Settings) -> str:
    """In which number format an SAE is computed: that of the SAE, not of the activation store."""
    found: str = sae.choice("dtype", _PRECISIONS, "float32")
    if settings.take("autocast", False):
        found = "bfloat16"  # SAELens' autocast knows no other
    if (given := sae.take("dtype", "float32").removeprefix("torch.")) != "float32":
        sae.remark(
            "changed", "dtype", given, f"matrix products run in {found}; weights and Adam's moments stay float32."
        )
    stored = settings.take("dtype", "float32").removeprefix("torch.")
    if stored != "float32":
        settings.remark(
            "changed", "dtype", stored,
            "the number format of activations that SAELens reads from its cache; here the shuffle window has that of "
            "the language model (model_dtype), and sae.dtype alone says how an SAE is computed.",
        )
    return found


def hardware_of(settings: Settings, config: dict[str, Any]) -> None:
    """Where things are, what is compiled, and the format of the language model under autocast."""
    device = settings.take("device", "cpu")
    config["device"] = "auto" if device == "cuda" else device
    of_model = _device(settings, "llm_device", device)
    of_store = _device(settings, "act_store_device", device)
    config["model_device"] = None if of_model == device else of_model
    of_store = of_model if of_store == "with_model" else of_store
    config["activations"]["buffer_device"] = None if of_store == device else of_store
    mode = settings.take("llm_compilation_mode", "default")
    if settings.take("compile_llm", False):
        config["model_compile"] = mode
    if settings.take("autocast_lm", False):
        config["model_dtype"] = "bfloat16"
        settings.remark("changed", "autocast_lm", True, "the language model's weights are loaded in bfloat16.")
    settings.lost("compile_sae", "the SAE's step is not compiled; on the CPU it has kernels of its own.", False)


def _device(settings: Settings, name: str, device: str) -> str:
    """A second device, as SAELens writes it: "None" or nothing where it is `device`."""
    found = settings.take(name, device)
    return device if found in ("None", "") else found
