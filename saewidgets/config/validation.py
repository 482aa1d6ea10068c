"""Pydantic's errors in our own words: the field's dotted name, what is wrong, what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from saewidgets.config.suggestions import suggestion, types_of
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.config.training import TrainingConfig

_MEANINGFUL = 2**53  # larger bounds only keep numbers exact on their way; nobody needs to hear of them
_LONGEST = 60  # characters of a wrong text that are repeated

_WHOLE = frozenset({"int_type", "int_parsing", "int_parsing_size", "int_from_float"})
_NUMBER = frozenset({"float_type", "float_parsing", "finite_number"})
_BOUND = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_TRUTH = frozenset({"bool_type", "bool_parsing"})
_TABLE = frozenset({"model_attributes_type", "model_type", "dict_type", "dict_attributes_type"})
_BRANCH = frozenset({"union_tag_invalid", "union_tag_not_found"})


def _sentence(item: Mapping[str, Any], field: FieldInfo | None) -> str:
    kind, context = item["type"], item.get("ctx") or {}
    if kind == "missing":
        return "A value is required."
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    given = item.get("input")
    if kind in _BRANCH:
        if kind == "union_tag_not_found":
            return "A value is required."
        name = str(context["discriminator"]).strip("'").capitalize()
        tags = str(context["expected_tags"]).replace("'", "").split(", ")
        return f"{name} is {_shown(context['tag'])}. {_choose(tags)}"
    subject = (field.title if field else None) or str(item["loc"][-1] if item["loc"] else "This").replace("_", " ")
    what = f"{subject} is {_shown(given)}"
    if kind in _WHOLE or kind in _NUMBER or kind in _BOUND:
        if field is not None and _exceeds_what_is_not_said(given, field):
            what = f"{subject} is too large"
        whole = kind in _WHOLE or (field is not None and int in types_of(field))
        return f"{what}. {_enter('a whole number' if whole else 'a number', field)}"
    if kind in _TABLE:
        return f"{what}. Give its settings as a dictionary, or a configuration object."
    if kind == "bool_type" and isinstance(given, str):  # of a field that takes no words
        return f"{what}. Write true or false, without quotes."
    if kind in _TRUTH:
        return f"{what}. Enter yes or no."
    if kind == "literal_error":
        choices = [choice for each in types_of(field) for choice in get_args(each)] if field else []
        return f"{what}. {_choose(choices or [str(context.get('expected'))])}"
    if kind == "string_unicode":
        return f"{subject} holds half a surrogate pair. Remove it."
    if kind == "string_too_long":
        return f"{subject} has {len(str(given)):,} characters. Enter at most {context['max_length']:,}."
    if kind in ("string_too_short", "string_type"):
        return f"{what}. {_enter('some text', field)}"
    return f"{what}. {item['msg']}."


def _exceeds_what_is_not_said(given: Any, field: FieldInfo) -> bool:
    """The value is above a bound that the sentence does not give."""
    bounds = [rule.le for rule in field.metadata if getattr(rule, "le", None) is not None]
    return any(isinstance(given, int | float) and given > bound >= _MEANINGFUL for bound in bounds)


def _choose(choices: list[Any]) -> str:
    return f"Choose {_listed([str(choice) for choice in choices], 'or')}."


def _listed(names: list[str], word: str) -> str:
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def _enter(noun: str, field: FieldInfo | None) -> str:
    """ "Enter a number above 0, at most 1; 3e-4 is usual." """
    if field is None:
        return f"Enter {noun}."
    low: tuple[str, float] | None = None
    high: tuple[str, float] | None = None
    for rule in field.metadata:
        for name, word in (("gt", "above"), ("ge", "at least")):
            if getattr(rule, name, None) is not None:
                low = (word, getattr(rule, name))
        for name, word in (("lt", "below"), ("le", "at most")):
            if getattr(rule, name, None) is not None and abs(getattr(rule, name)) < _MEANINGFUL:
                high = (word, getattr(rule, name))
    if low and high and (low[0], high[0]) == ("at least", "at most"):
        bounds = f" from {_shown(low[1])} to {_shown(high[1])}"
    else:
        bounds = " " + ", ".join(f"{word} {_shown(bound)}" for word, bound in filter(None, (low, high)))
        bounds = bounds.replace(" at", " of at", 1) if bounds.startswith(" at") else bounds
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
    if isinstance(value, int) and abs(value) < 10**15:
        return f"{value:,}"
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:  # an integer of more than 308 digits
            return "more than 1e308"
        if number.is_integer() and abs(number) < 10**15:
            return f"{number:,.0f}"
        text = f"{number:.6g}" if float(f"{number:.6g}") == number else repr(number)
        if 0 < abs(number) < 0.01 and "e" not in text:
            mantissa, power = f"{number:.15e}".split("e")
            text = f"{float(mantissa):.12g}e{power}"
        mantissa, _, power = text.partition("e")
        return f"{mantissa}e{int(power)}" if power else text
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= _LONGEST else f'"{value[:_LONGEST]}…"'
    if isinstance(value, list | tuple):
        return "a list"
    return "a table of settings" if isinstance(value, Mapping) else f"a value of type {type(value).__name__}"


class _Place:
    """Where a location is below a model.

    Attributes:
        name: the dotted name that a person types.
        field: its declaration; None where there is no such field.
        models: what the field may hold.
        others: what could have stood in place of the model that has the field, had another kind of it been chosen.
    """

    def __init__(self, root: type[BaseModel], location: tuple[int | str, ...]) -> None:
        self.field: FieldInfo | None = None
        self.models: list[type[BaseModel]] = [root]
        self.others: list[type[BaseModel]] = []
        names: list[str] = []
        for part in location:
            chosen = [model for model in self.models if _tag(model) == part]
            if chosen and len(self.models) > 1:
                # A union puts the tag of the branch that was chosen into the location; a person never typed it.
                self.others = [model for model in self.models if _tag(model) != part]
                self.models = chosen
                continue
            names.append(str(part))
            if isinstance(part, int):  # an entry of a list: its model is the one that the list is of
                continue
            self.field = next((model.model_fields[part] for model in self.models if part in model.model_fields), None)
            self.models, self.others = [], []
            for each in types_of(self.field) if self.field is not None else ():
                if isinstance(each, type) and issubclass(each, BaseModel):
                    self.models.append(each)
        self.name = ".".join(names)


def _unknown(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """What is said of a setting that there is not."""
    above = _Place(root, location[:-1])
    others = above.others if len(location) > 1 else _other_kinds(root)
    owners = [str(_tag(model)) for model in others if location[-1] in model.model_fields]
    if owners:
        return f"{_tag(above.models[0])} has no such setting. It belongs to {_listed(owners, 'and')}."
    siblings = [name for model in above.models for name in model.model_fields]
    near = suggestion(root, _Place(root, location).name, siblings)
    return "There is no such setting." + (f" Did you mean {near}?" if near else "")


def _other_kinds(model: type[BaseModel]) -> list[type[BaseModel]]:
    """What could stand in place of `model` in a training: the other architectures, or other kinds of text."""
    from saewidgets.config.training import TrainingConfig  # this module is below it

    for field in TrainingConfig.model_fields.values():
        if model in (kinds := types_of(field)):
            return [each for each in kinds if each is not model and isinstance(each, type)]
    return []


def _tag(model: type[BaseModel]) -> Any:
    for name in ("architecture", "kind"):
        if name in model.model_fields:
            return model.model_fields[name].default
    return None


def config_errors(error: ValidationError, model: type[BaseModel]) -> dict[str, str]:
    """Dotted field name → one sentence, for `error` of building a `model`. What concerns it as a whole: ``""``."""
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        place = _Place(model, tuple(item["loc"]))
        field, sentence = place.name, _sentence(item, place.field)
        if item["type"] == "extra_forbidden":
            sentence = _unknown(model, tuple(item["loc"]))
        context = item.get("ctx") or {}
        cause = context.get("error")
        if isinstance(cause, ConfigError) and cause.where:
            inside = not field or not cause.where.startswith(f"{field}.")
            field = ".".join(filter(None, [field, cause.where])) if inside else cause.where
            sentence = " ".join(filter(None, [cause.what, cause.hint]))
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


def validate(data: Any) -> tuple[TrainingConfig | None, dict[str, str]]:
    """Check form data: ``(config, {})`` when good, ``(None, {field: sentence, …})`` when not. Never raises."""
    from saewidgets.config.training import TrainingConfig  # this module is below it

    try:
        return TrainingConfig.model_validate(data), {}
    except ValidationError as error:
        return None, config_errors(error, TrainingConfig)
