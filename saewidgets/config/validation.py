"""Turns pydantic's errors into `ConfigError`: the field's dotted name, what is wrong, what would be right."""

import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from saewidgets.errors import ConfigError

_CLOSE = 0.66  # share of letters that two names have in common: of kk and k

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
"""Name of a setting of a training in other packages → its dotted name here."""


def types_of(field: FieldInfo) -> tuple[Any, ...]:
    """The types of the field: the members of a union, else its one type."""
    annotation: Any = field.annotation
    is_union = any(each is type(None) or isinstance(each, type) for each in get_args(annotation))
    return get_args(annotation) if is_union else (annotation,)


def _suggestion(root: type[BaseModel], field: str, siblings: list[str]) -> str | None:
    """The setting that is nearest to the unknown `field`: one of the `siblings` that its place has by its name, any
    other by its dotted name."""
    parent, _, name = field.rpartition(".")
    every = list(dict.fromkeys(_settings(root)))
    if field in every:  # another architecture has it: nothing was mistyped
        return None
    places = {dotted.rpartition(".")[2]: dotted for dotted in reversed(every)}  # the first of that name
    elsewhere = ELSEWHERE.get(name, "")
    found = [places.get(name, ""), elsewhere, elsewhere.rpartition(".")[2]]  # the last where `root` is an SAE's
    found += [f"{parent}.{each}".lstrip(".") for each in _near(name, siblings)]
    found += [places[each] for each in _near(name, places)]
    for dotted in filter(None, found):
        above, _, last = dotted.rpartition(".")
        if above == parent and last in siblings:  # only what this place has: another architecture may have more
            return last
        if above != parent and dotted in every:
            return dotted
    return None


def _near(name: str, names: Iterable[str]) -> list[str]:
    """The names that `name` may be a misspelling of. Few misspell the first letter, and many names end alike."""
    found = get_close_matches(name, names, cutoff=_CLOSE)
    return [each for each in found if each[0] == name[0] or name in each]


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, those of `model` itself first."""
    for name in model.model_fields:
        yield prefix + name
    for name, field in model.model_fields.items():
        for each in types_of(field):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from _settings(each, f"{prefix}{name}.")


_MEANINGFUL = 2**53  # larger bounds only keep numbers exact on their way; nobody needs to hear of them
_LONGEST = 60  # characters of a wrong text that are repeated
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_BRANCH = ("union_tag_invalid", "union_tag_not_found")
_KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "number"),
    **dict.fromkeys(("greater_than", "greater_than_equal", "less_than", "less_than_equal"), "number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "truth"),
    **dict.fromkeys(("model_attributes_type", "model_type", "dict_type", "dict_attributes_type"), "table"),
    **dict.fromkeys(("string_too_short", "string_type"), "text"),
}
"""Pydantic's types of errors → what the value should have been."""


def _sentence(item: Mapping[str, Any], field: FieldInfo | None) -> str:
    kind, context, given = item["type"], item.get("ctx") or {}, item.get("input")
    if kind in ("missing", "union_tag_not_found"):
        return "A value is required."
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    if kind == "union_tag_invalid":
        name = str(context["discriminator"]).strip("'").capitalize()
        tags = str(context["expected_tags"]).replace("'", "").split(", ")
        return f"{name} is {_shown(context['tag'])}. Choose {_listed(tags, 'or')}."
    subject = (field.title if field else None) or str(item["loc"][-1] if item["loc"] else "This").replace("_", " ")
    what, wanted = f"{subject} is {_shown(given)}", _KINDS.get(kind)
    if wanted in ("number", "whole number"):
        bounds = [getattr(rule, "le", None) for rule in field.metadata] if field is not None else []
        if isinstance(given, int | float) and any(bound and given > bound >= _MEANINGFUL for bound in bounds):
            what = f"{subject} is too large"  # for a bound that the sentence does not give
        is_whole = wanted == "whole number" or (field is not None and int in types_of(field))
        return f"{what}. {_enter('a whole number' if is_whole else 'a number', field)}"
    if wanted == "table":
        return f"{what}. Give its settings as a dictionary, or a configuration object."
    if kind == "bool_type" and isinstance(given, str):  # of a field that takes no words
        return f"{what}. Write true or false, without quotes."
    if wanted == "truth":
        return f"{what}. Enter yes or no."
    if kind == "literal_error":
        choices = [str(choice) for each in types_of(field) for choice in get_args(each)] if field else []
        return f"{what}. Choose {_listed(choices or [str(context.get('expected'))], 'or')}."
    if kind == "string_unicode":
        return f"{subject} holds half a surrogate pair. Remove it."
    if kind == "string_too_long":
        return f"{subject} has {len(str(given)):,} characters. Enter at most {context['max_length']:,}."
    return f"{what}. {_enter('some text', field)}" if wanted == "text" else f"{what}. {item['msg']}."


def _listed(names: list[str], word: str) -> str:
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def _enter(noun: str, field: FieldInfo | None) -> str:
    """ "Enter a number above 0, at most 1; 3e-4 is usual." """
    if field is None:
        return f"Enter {noun}."
    rules = [(name, getattr(rule, name)) for rule in field.metadata for name in _BOUNDS if hasattr(rule, name)]
    known = {name: _shown(bound) for name, bound in rules if bound is not None and abs(bound) < _MEANINGFUL}
    if known.keys() == {"ge", "le"}:
        bounds = f" from {known['ge']} to {known['le']}"
    else:
        bounds = ", ".join(f"{word} {known[name]}" for name, word in _BOUNDS.items() if name in known)
        bounds = f" of {bounds}" if bounds.startswith("at") else f" {bounds}"
    empty = ", or leave it empty" if type(None) in types_of(field) else ""
    default = field.get_default(call_default_factory=False)
    usual = f"; {_shown(default)} is usual" if isinstance(default, int | float | str) and default != "" else ""
    return f"Enter {noun}{bounds.rstrip()}{empty}{usual}."


def _shown(value: Any) -> str:
    """A value as a reader would type it: 20,000, 3e-4, 1e30, "abc"."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:  # an integer of more than 308 digits
            return "more than 1e308"
        if number.is_integer() and abs(number) < 10**15:
            return f"{number:,.0f}"
        if not math.isfinite(number) or 0.01 <= abs(number) < 10**15:
            return f"{number:.12g}"
        mantissa, power = f"{number:.15e}".split("e")
        return f"{float(mantissa):.12g}e{int(power)}"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= _LONGEST else f'"{value[:_LONGEST]}…"'
    if isinstance(value, list | tuple):
        return "a list"
    return "a table of settings" if isinstance(value, Mapping) else f"a value of type {type(value).__name__}"


class _FieldLocation:
    """Where a location is below a model.

    Attributes:
        name: the dotted name that a person types.
        field: its declaration; None where there is no such field.
        models: what the field may hold.
        others: the alternatives to the model that has the field, had another kind of it been chosen.
    """

    def __init__(self, root: type[BaseModel], location: tuple[int | str, ...]) -> None:
        self.name = ""
        self.field: FieldInfo | None = None
        self.models: list[type[BaseModel]] = [root]
        self.others: list[type[BaseModel]] = []
        for part in location:
            chosen = [model for model in self.models if _tag(model) == part]
            if chosen and len(self.models) > 1:
                # A union puts the tag of the branch that was chosen into the location; a person never typed it.
                self.others = [model for model in self.models if _tag(model) != part]
                self.models = chosen
                continue
            self.name = f"{self.name}.{part}".lstrip(".")
            if isinstance(part, str):  # an entry of a list has the model that the list is of
                fields = (model.model_fields[part] for model in self.models if part in model.model_fields)
                self.field, self.others = next(fields, None), []
                kinds = types_of(self.field) if self.field is not None else ()
                self.models = [each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)]


def _unknown(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """The sentence about an unknown setting."""
    above = _FieldLocation(root, location[:-1])
    others = above.others if len(location) > 1 else _other_kinds(root)
    owners = [str(_tag(model)) for model in others if location[-1] in model.model_fields]
    if owners:
        return f"{_tag(above.models[0])} has no such setting. It belongs to {_listed(owners, 'and')}."
    siblings = [name for model in above.models for name in model.model_fields]
    near = _suggestion(root, _FieldLocation(root, location).name, siblings)
    return "There is no such setting." + (f" Did you mean {near}?" if near else "")


def _other_kinds(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The alternatives to `model`: the other architectures, or other kinds of text."""
    below: list[type[BaseModel]] = [model.__mro__[model.__mro__.index(BaseModel) - 1]]
    for each in below:  # which grows on the way
        below += [kind for kind in each.__subclasses__() if kind not in below]
    kinds = (each for each in below[1:] if each.__module__ == model.__module__ and each is not model)
    return [each for each in kinds if isinstance(_tag(each), str)]


def _tag(model: type[BaseModel]) -> Any:
    for name in ("architecture", "kind"):
        if name in model.model_fields:
            return model.model_fields[name].default
    return None


def config_errors(error: ValidationError, model: type[BaseModel]) -> dict[str, str]:
    """Dotted field name → one sentence, for `error` of building a `model`. What concerns it as a whole: ``""``."""
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        place = _FieldLocation(model, tuple(item["loc"]))
        field, sentence = place.name, _sentence(item, place.field)
        if item["type"] == "extra_forbidden":
            sentence = _unknown(model, tuple(item["loc"]))
        context = item.get("ctx") or {}
        cause = context.get("error")
        if isinstance(cause, ConfigError) and cause.where:
            inside = not f"{cause.where}.".startswith(f"{field}.")
            field = ".".join(filter(None, [field, cause.where])) if inside else cause.where
            sentence = cause.message
        elif item["type"] in _BRANCH:
            field = ".".join(filter(None, [field, str(context.get("discriminator", "")).strip("'")]))
        found.setdefault(field, sentence)
    return found


def to_config_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first problem as a `ConfigError`; the number of further ones is mentioned."""
    found = config_errors(error, model)
    field, sentence = next(iter(found.items()))
    more = f"{len(found) - 1} more: {', '.join(list(found)[1:])}." if len(found) > 1 else None
    return ConfigError(sentence, where=field or None, hint=more)
