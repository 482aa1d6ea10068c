"""Writes `js/src/lib/wire.ts`: the state, the commands and the answers of every widget, as the page's types.

    python tools/wire.py            # write it; `make js` does
    python tools/wire.py --check    # fail when it differs from what would be written

Everything comes from the pydantic models in `saewidgets/widgets/messages`, the records that are messages as they are
(those that these modules import), and the methods marked `@command`.
"""

import json
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from saewidgets.config.templates import MAX_BYTES
from saewidgets.hub_records import HubWarning, Preview
from saewidgets.render.labels import FORMATS
from saewidgets.widgets.commands import Commands
from saewidgets.widgets.download.commands import DownloadCommands
from saewidgets.widgets.extraction_viewer.commands import ViewerCommands
from saewidgets.widgets.messages import features, hub, saes, steering, training, wire
from saewidgets.widgets.sae_browser.commands import BrowserCommands
from saewidgets.widgets.steering.commands import SteeringCommands
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.workspace.steering.presets import PresetRecord

TARGET = Path(__file__).resolve().parent.parent / "js" / "src" / "lib" / "wire.ts"
RECORDS = (PresetRecord, HubWarning, Preview)  # answers that no module of messages names
MODULES = (wire, training, hub, saes, features, steering)
COMMANDS: dict[str, type[Commands]] = {
    "PanelCommand": PanelCommands,
    "HubCommand": DownloadCommands,
    "SaeCommand": BrowserCommands,
    "ViewerCommand": ViewerCommands,
    "SteeringCommand": SteeringCommands,
}
CONSTANTS = {
    "EMPTY_STATE": training.PanelState(),
    "EMPTY_HUB": hub.HubState(),
    "EMPTY_BROWSER": saes.SaeBrowserState(),
    "EMPTY_VIEWER": features.ViewerState(),
    "EMPTY_STEERING": steering.SteeringState(),
    "PLAIN_FIELD": training.FormField(name="", label="", type="text", section="where"),
    "LABELS": features.LabelRequest(),
}
NUMBERS = {"PAGE": hub.PAGE, "NEW_TOKENS": steering.NEW_TOKENS, "TEMPLATE_BYTES": MAX_BYTES}
WORDS = {"FORMATS": FORMATS}
HEAD = """\
/** Made by tools/wire.py from saewidgets/widgets: change the Python models and commands, then run `make js`. */
"""
SENT = """\
type Arguments<M> = M extends (of: infer A) => unknown ? A : never;
type Sent<M> = { [K in keyof M & string]: { kind: K } & Arguments<M[K]> }[keyof M & string];
export type Answers = { [K in keyof Commands]: ReturnType<Commands[K]> };"""


def type_of(schema: Mapping[str, Any]) -> str:
    """A JSON schema as a TypeScript type."""
    if "$ref" in schema:
        return re.sub(r".*(/|__)(?=[A-Z])|-Output.*", "", schema["$ref"])  # older pydantic adds module and number
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(type_of(option) for option in options))
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(type_of, schema['prefixItems']))}]"
        item = type_of(schema.get("items", {}))
        return f"({item})[]" if " | " in item else f"{item}[]"
    if kind == "object":
        keys = type_of(schema["propertyNames"]) if "propertyNames" in schema else "string"
        values = schema.get("additionalProperties", {})
        return f"Record<{keys}, {type_of(values if isinstance(values, dict) else {})}>"
    return {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}.get(
        str(kind), "unknown"
    )


def fields_of(model: type, *, optional: bool) -> Iterable[str]:
    """`name: type` of every field of a model or dataclass; `optional`: those with a default may be left out."""
    schema = TypeAdapter(model).json_schema(mode="validation" if optional else "serialization")
    for name, field in schema.get("properties", {}).items():
        missing = optional and name not in schema.get("required", ())
        yield f"{name}{'?' if missing else ''}: {type_of(field)}"


def interfaces() -> Iterable[str]:
    """One line for every model and every named type of the messages."""
    named: set[str] = set()
    for record in RECORDS:
        yield f"export interface {record.__name__} {{ {'; '.join(fields_of(record, optional=False))} }}"
    for module in MODULES:
        for name, value in vars(module).items():
            if is_dataclass(value) and name not in named:  # a record, which is the message
                named.add(name)
                yield f"export interface {name} {{ {'; '.join(fields_of(value, optional=False))} }}"
            elif isinstance(value, type) and issubclass(value, wire.Wire) and value.__module__ == module.__name__:
                if value not in (wire.Wire, wire.State, wire.Nudge):
                    yield f"export interface {name} {{ {'; '.join(fields_of(value, optional=False))} }}"
            elif typing.get_origin(value) not in (None, typing.Annotated) and name not in named:
                named.add(name)
                yield f"export type {name} = {type_of(TypeAdapter(value).json_schema())};"


def answer_of(annotation: Any) -> str:
    """The type of an answer: models by their names."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return annotation.__name__
    return type_of(TypeAdapter(annotation).json_schema(mode="serialization"))


def commands() -> Iterable[str]:
    """What each widget's page can send, without the id that `Rpc` adds, and what it is answered."""
    answers: dict[str, str] = {}
    for name, source in COMMANDS.items():
        yield f"export interface {name}s {{"
        for command in source.known().values():
            answer = answer_of(command.answer)
            if answers.setdefault(command.kind, answer) != answer:
                raise ValueError(f"Two commands are called {command.kind} and have different answers.")
            fields = "; ".join(fields_of(command.arguments, optional=True))
            yield f"  {command.kind}({f'of: {{ {fields} }}' if fields else ''}): {answer};"
        yield f"}}\nexport type {name} = Sent<{name}s>;"
    yield f"type Commands = {' & '.join(f'{name}s' for name in COMMANDS)};"
    yield SENT


def text() -> str:
    """The whole file."""
    parts = [HEAD, *interfaces(), *commands()]
    parts += [
        f"export const {name}: {type(value).__name__} = {json.dumps(value.model_dump(mode='json'))};"
        for name, value in CONSTANTS.items()
    ]
    parts += [f"export const {name} = {value};" for name, value in NUMBERS.items()]
    parts += [
        f"export const {name}: Record<string, string> = {json.dumps(dict(words), ensure_ascii=False)};"
        for name, words in WORDS.items()
    ]
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or compare it; returns the exit status."""
    wanted = text()
    if arguments == ["--check"]:
        current = TARGET.read_text("utf-8") if TARGET.is_file() else ""
        if current != wanted:
            sys.stderr.write(f"{TARGET.name} is not what the Python models say. Run `python tools/wire.py`.\n")
        return int(current != wanted)
    TARGET.write_text(wanted, "utf-8")
    print(f"{TARGET.name}, from {wire.__file__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
