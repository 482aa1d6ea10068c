"""Which formats there are, in the order in which a folder is asked whether it holds one."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats import (
    adapters,
    dictionary_learning,
    gemma_scope,
    llama_scope,
    mistudio,
    saelens,
    sparsify,
)
from saewidgets.formats.base import Format
from saewidgets.formats.source import ListedSource, Source, alone

# A folder that two formats could claim goes to the first: those with a mark of their own before those without one, and
# single files last.
_FORMATS: tuple[Format, ...] = (
    saelens.FORMAT,
    gemma_scope.GEMMA_SCOPE,
    mistudio.EXPORT,
    saelens.LEGACY,  # whatever else is in cfg.json and sae_weights.safetensors
    sparsify.FORMAT,
    dictionary_learning.DICTIONARY_LEARNING,
    llama_scope.LLAMA_SCOPE,
    llama_scope.LLAMA_SCOPE_R1,
    llama_scope.LLAMASCOPIUM,  # whatever else is in config.json and sae_weights.safetensors
    gemma_scope.GEMMA_SCOPE_2,
    mistudio.FORMAT,
    adapters.TEMPORAL,
    adapters.QWEN_SCOPE,
    adapters.CONNOR_ROB,
    adapters.CIRCUIT_TRACER,
    adapters.DEEPSEEK_R1,
    dictionary_learning.DICTIONARY_LEARNING_CHECKPOINT,
    adapters.GOODFIRE,
    adapters.GHOSTTRACK,
    adapters.OPENAI,
)
_LISTED = 8
_CROSS_LAYER = (
    "This is a cross-layer transcoder: its latents write into all later layers, so it is no transcoder by itself.",
    "Per-layer transcoders (layer_….safetensors) of the same model can be read.",
)
_UNREAD = (
    (re.compile(r"(?:.*/)?W_(?:enc|dec)_[0-9]+\.safetensors"), *_CROSS_LAYER),
    (
        re.compile(r"(?:.*/)?sae_weights\.dcp/.*"),
        "The weights are a distributed checkpoint of torch, which is made of pickles.",
        "Save them as sae_weights.safetensors with the package they come from.",
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """An SAE below a source: `path` is its folder (``""``: the source itself) or, for single-file formats, its file."""

    path: str
    format: Format


def formats() -> tuple[Format, ...]:
    """All formats, in the order in which they are tried."""
    return _FORMATS


def get(name: str) -> Format:
    """The format `name`. Raises `ConfigError` listing the known ones."""
    for format in _FORMATS:
        if format.name == name:
            return format
    raise ConfigError(
        f"There is no format {shown(name)}.", where="format", hint=f"Known are {', '.join(f.name for f in _FORMATS)}."
    )


def match(source: Source) -> Format | None:
    """The format of the SAE in `source` itself (not in a folder below it); None if there is none."""
    return next((format for format in _FORMATS if format.matches(source)), None)


def find(source: Source) -> Format:
    """As `match`, but raises `FormatError` listing what was found instead."""
    found = match(source)
    if found is None:
        raise unknown(source)
    return found


def find_all(source: Source) -> Iterator[Found]:
    """Every SAE in `source` and the folders below it. Folders of an SAE that was found are not searched."""
    for folder, part in _folders(source):
        format = match(part)
        if format is None:
            continue
        if not format.single_file:
            yield Found(folder, format)
            continue
        prefix = f"{folder}/" if folder else ""
        for name in part.files():
            if "/" not in name and (match(alone(part, name)) is format):
                yield Found(prefix + name, format)


def unknown(source: Source) -> FormatError:
    """The error for a folder without an SAE in a known format."""
    names = sorted(source.files())
    if known := unread(names):
        return FormatError(known[0], where=source.label, hint=known[1])
    listed = ", ".join(name[:80] for name in names[:_LISTED])
    listed += f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return FormatError(
        f"This is not an SAE in a known format; it holds {listed or 'nothing'}.", where=source.label,
        hint=f"A SAELens SAE has {' and '.join(saelens.FILES)}; docs/formats.md lists the other formats.",
    )


def unread(files: Iterable[str]) -> tuple[str, str] | None:
    """Why files with these names are not read, and the way out; None where nothing is known about them."""
    for name in files:
        for pattern, why, hint in _UNREAD:
            if pattern.fullmatch(name):
                return why, hint
    return None


def _folders(source: Source) -> Iterator[tuple[str, Source]]:
    """All folders with files in them or below, outer ones first, without those below a folder that holds an SAE."""
    below: dict[str, dict[str, int]] = {}
    for name, size in source.files().items():
        folder = name.rpartition("/")[0]
        inner = name
        parts = folder.split("/") if folder else []
        for depth in range(len(parts) + 1):
            below.setdefault("/".join(parts[:depth]), {})[inner] = size
            inner = inner.partition("/")[2]
    taken: list[str] = []
    for folder in sorted(below, key=lambda folder: (folder.count("/") + bool(folder), folder)):
        if any(folder.startswith(f"{outer}/") or not outer for outer in taken):
            continue
        label = f"{source.label}/{folder}" if folder else source.label
        part = ListedSource(label, below[folder], functools.partial(_read_below, source, folder))
        format = match(part)
        if format is not None and not format.single_file:
            taken.append(folder)
        yield folder, part


def _read_below(source: Source, folder: str, name: str, start: int, length: int | None) -> bytes:
    return source.read(f"{folder}/{name}" if folder else name, start, length)
