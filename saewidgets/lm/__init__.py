"""Language models: loading, hook points ↔ modules, hooks that are always removed."""

from saewidgets.lm.hookpoints import HookError, HookPoint, find_blocks, hook_points, resolve_hook
from saewidgets.lm.hooks import before_head, capture, evaluating, forward, hooked, input_device, spliced
from saewidgets.lm.loading import LoadedModel, load_model, load_tokenizer, wrap_model
from saewidgets.lm.model_config import check_context
from saewidgets.lm.model_info import ModelFacts, model_facts
from saewidgets.lm.partial_forward import ForwardTrace, note_points, resumable, resumed
from saewidgets.lm.remote_code import allow_remote_code
from saewidgets.lm.tokens import SpecialTokens, TokenText, separator_id, special_tokens

__all__ = [
    "ForwardTrace", "HookError", "HookPoint", "LoadedModel", "ModelFacts", "SpecialTokens", "TokenText",
    "allow_remote_code", "before_head", "capture", "check_context", "evaluating", "find_blocks", "forward",
    "hook_points", "hooked", "input_device", "load_model", "load_tokenizer", "model_facts", "note_points",
    "resolve_hook", "resumable", "resumed", "separator_id", "special_tokens", "spliced", "wrap_model",
]  # fmt: skip
