"""Defines `loads` and `loads_yaml`, for JSON and YAML that strangers wrote: no key twice, of bounded depth and size,
also where little text stands for much; and `read_table`, for files of settings in these and TOML."""

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml

from saewidgets.errors import ConfigError, NotFoundError, StorageError

try:
    from yaml import CSafeLoader as _Base  # ten times as quick
except ImportError:  # yaml without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

MAX_DEPTH = 64
MAX_VALUES = 20_000
MAX_PLAIN = 4_000


def read_table(path: Path, what: str, most: int, kind: str | None = None) -> dict[str, Any]:
    """The settings in a ``.json``, ``.toml``, ``.yaml`` or ``.yml`` file of at most `most` bytes; without such a suffix
    it is read as `kind`, if one is named. `what` names what is read in errors.

    Raises:
        NotFoundError, StorageError: there is no such file, or it cannot be read.
        ConfigError: it holds something else.
    """
    where, kind = str(path), _KINDS.get(path.suffix.lower(), kind)
    if not path.is_file():
        raise NotFoundError(f"There is no file with {what} here.", where=where)
    if kind is None:
        said = f"{path.suffix or 'No suffix'} is not a known kind of configuration."
        raise ConfigError(said, where=where, hint="Use a .json, .toml or .yaml file.")
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise StorageError(f"The file cannot be read ({error.strerror}).", where=where) from error
    if len(raw) > most:
        raise ConfigError(f"This file is too large for {what}.", where=where)
    try:
        text = raw.decode("utf-8-sig")
        data = loads(text) if kind == "JSON" else tomllib.loads(text) if kind == "TOML" else loads_yaml(text)
        data = json.loads(json.dumps(data, default=str))  # TOML and YAML have dates, and keys that are not text
        if is_deep(data):
            raise RecursionError
    except UnicodeDecodeError as error:
        raise ConfigError("This file is not UTF-8 text.", where=where) from error
    except RecursionError as error:
        raise ConfigError(f"This file is nested deeper than {MAX_DEPTH} levels.", where=where) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"Not valid {kind}: {error}.", where=where, hint=f"Give {what}.") from error
    if not isinstance(data, dict):
        raise ConfigError("This is not a table of settings.", where=where, hint=f"Give {what}.")
    return data


_KINDS = {".json": "JSON", ".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}


def loads(raw: bytes | str) -> Any:
    """The value of `raw`: UTF-8, with or without a byte order mark; NaN and infinity are numbers.

    Raises `ValueError` where it is not JSON or not UTF-8, or a key is repeated.
    """
    try:
        text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw.removeprefix("\ufeff")
        return json.loads(text, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def is_deep(data: Any) -> bool:
    """Whether tables and lists are nested in more than `MAX_DEPTH` levels. What holds itself is endlessly deep."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        level = [item for value in level if isinstance(value, dict | list)
                 for item in (value.values() if isinstance(value, dict) else value)]  # fmt: skip
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def loads_yaml(text: str, *, plain: bool = False) -> Any:
    """The value of `text`. References (``&``, ``*``, ``<<``) are followed, unless it has to be `plain`.

    Raises `ValueError` where it is not YAML, a key is repeated, it is nested too deeply or holds more than `MAX_VALUES`
    values, those behind references counted wherever they stand; `plain` text has at most `MAX_PLAIN`, and no tags.
    """
    try:
        _look(text, plain)  # the structure alone, which takes little whatever it is
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _look(text: str, plain: bool) -> None:
    total = 0
    sizes: dict[str | None, int] = {}  # by anchor; most values have none
    above: list[tuple[str | None, int]] = []  # anchors of the collections that are open, and what came before them
    for event in yaml.parse(text, Loader=_Base):
        anchor = getattr(event, "anchor", None)
        if plain and (anchor is not None or getattr(event, "tag", None) is not None):
            raise ValueError("it uses references or tags")
        if isinstance(event, yaml.CollectionStartEvent):
            above.append((anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = above.pop()
            sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == each for each, _ in above):
                raise ValueError(f"*{anchor} refers to a value that contains it")
            total += sizes.get(anchor, 1)  # the composer refuses one that there is not
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[anchor] = 1
        if len(above) > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if total > (most := MAX_PLAIN if plain else MAX_VALUES):
            raise ValueError(f"it expands to more than {most:,} values")


class _Loader(_Base):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._looked: dict[int, yaml.MappingNode] = {}  # by identity; kept, so that none is used again

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges ``<<`` into `node`, whose own keys are looked at before."""
        if id(node) not in self._looked:
            self._looked[id(node)] = node
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) != len(set(keys)):
                raise ValueError("a key is repeated")
        super().flatten_mapping(node)
