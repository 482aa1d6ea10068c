"""YAML that strangers wrote: no key twice, and of bounded size even where little text stands for much."""

from __future__ import annotations

from typing import Any

import yaml

from saewidgets.config.strict_json import MAX_DEPTH

try:
    from yaml import CSafeLoader as _Base  # ten times as quick
except ImportError:  # yaml without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

MAX_VALUES = 20_000
MAX_PLAIN = 4_000


def loads(text: str, *, plain: bool = False) -> Any:
    """The value that `text` stands for. References (``&``, ``*``, ``<<``) are followed, unless it has to be `plain`.

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
    sizes: dict[str, int] = {}
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
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == each for each, _ in above):
                raise ValueError(f"*{anchor} stands inside of what it refers to")
            total += sizes.get(str(anchor), 1)  # the composer refuses one that there is not
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if anchor is not None:
                sizes[anchor] = 1
        if len(above) > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if total > (most := MAX_PLAIN if plain else MAX_VALUES):
            raise ValueError(f"it stands for more than {most:,} values")


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
