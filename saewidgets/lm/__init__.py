"""Language models: loading, hook points ↔ modules, hooks that never stay behind."""

from saewidgets.lm.facts import ModelFacts, known_context, model_facts
from saewidgets.lm.hookpoints import HookError, HookPoint, find_blocks, hook_points, resolve_hook
from saewidgets.lm.hooks import before_head, capture, evaluating, forward, hooked, input_device, spliced
from saewidgets.lm.loading import LoadedModel, load_model, load_tokenizer, wrap_model
from saewidgets.lm.resuming import Reached, note_points, resumable, resumed
from saewidgets.lm.shape import check_context
from saewidgets.lm.tokens import SpecialTokens, TokenText, separator_id, special_tokens
from saewidgets.lm.trust import allow_remote_code

__all__ = [
    "HookError",
    "HookPoint",
    "LoadedModel",
    "ModelFacts",
    "Reached",
    "SpecialTokens",
    "TokenText",
    "allow_remote_code",
    "before_head",
    "capture",
    "check_context",
    "evaluating",
    "find_blocks",
    "forward",
    "hook_points",
    "hooked",
    "input_device",
    "known_context",
    "load_model",
    "load_tokenizer",
    "model_facts",
    "note_points",
    "resolve_hook",
    "resumable",
    "resumed",
    "separator_id",
    "special_tokens",
    "spliced",
    "wrap_model",
]
