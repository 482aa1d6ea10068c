"""Defines the list of formats, in the order in which a folder is checked for them, and `locate`, which finds the SAE at
a path of this machine."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.formats import adapters, dictionary_learning, gemma_scope, llama_scope, mistudio, saelens
from saewidgets.formats.format import Format
from saewidgets.formats.source import FolderSource, ListedSource, Source, listed

# A folder that two formats could claim goes to the first: those with a mark of their own before those without one, and
# single files last.
_FORMATS: tuple[Format, ...] = (
    saelens.FORMAT,
    gemma_scope.GEMMA_SCOPE,
    mistudio.EXPORT,
    saelens.LEGACY,  # whatever else is in cfg.json and sae_weights.safetensors
    adapters.SPARSIFY,
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
_CROSS_LAYER = (
    "This is a cross-layer transcoder: its latents write into all later layers, so it is not a transcoder on its own.",
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


def formats() -> tuple[Format, ...]:
    """All formats, in the order in which they are tried."""
    return _FORMATS


def get(name: str) -> Format:
    """The format `name`. Raises `ConfigError` listing the known ones."""
    for format in _FORMATS:
        if format.name == name:
            return format
    known = ", ".join(format.name for format in _FORMATS)
    raise ConfigError(f"There is no format {arguments.shown(name)}.", where="format", hint=f"Known formats: {known}.")


def match(source: Source) -> Format | None:
    """The format of the SAE in `source` itself (not in a folder below it); None if there is none."""
    return next((format for format in _FORMATS if format.matches(source)), None)


def find_all(source: Source) -> Iterator[tuple[str, Format]]:
    """Every SAE in `source` and the folders below it, outer ones first: its folder (``""``: the source itself) or, for
    single-file formats, its file. Folders of an SAE that was found are not searched."""
    below: dict[str, dict[str, int]] = {}  # folder → what is in it or below it, by the names that it has there
    for name, size in source.files().items():
        parts = name.split("/")
        for depth in range(len(parts)):
            below.setdefault("/".join(parts[:depth]), {})["/".join(parts[depth:])] = size
    taken: list[str] = []
    for folder in sorted(below, key=lambda folder: (folder.count("/") + bool(folder), folder)):
        if any(folder.startswith(outer) for outer in taken):
            continue
        prefix = f"{folder}/" if folder else ""
        label = f"{source.label}/{folder}" if folder else source.label

        def read(name: str, start: int, length: int | None, prefix: str = prefix) -> bytes:
            return source.read(prefix + name, start, length)

        format = match(ListedSource(label, below[folder], read))
        if format is not None and format.single_file:
            files = {name: size for name, size in below[folder].items() if "/" not in name}
            yield from (
                (prefix + name, format)
                for name, size in files.items()
                if match(ListedSource(label, {name: size}, read)) is format
            )
        elif format is not None:
            taken.append(prefix)
            yield folder, format


def unread(files: Iterable[str]) -> tuple[str, str] | None:
    """Why files with these names are not read, and the way out; None where nothing is known about them."""
    names = list(files)
    return next(((why, hint) for pattern, why, hint in _UNREAD if any(map(pattern.fullmatch, names))), None)


# --- Paths of this machine -------------------------------------------------------------------------------------------

_OUTER = 2  # how many folders up a file's SAE may be: checkpoints/final.safetensors
_CONFIGURATIONS = (".json", ".yaml")  # of an SAE that is another file beside or below it


class SeveralSAEsError(FormatError):
    """A folder holds several SAEs; the message lists them."""


class SAELocation(NamedTuple):
    """An SAE on this machine: `path` is its folder, or its file where the format is of single files."""

    path: Path
    format: Format

    def source(self) -> FolderSource:
        return FolderSource(self.path)


def locate(path: str | Path) -> SAELocation:
    """The SAE that `path` means: its folder; a file of it; or a folder in which exactly one SAE is.

    Raises:
        NotFoundError: the path does not exist.
        FormatError: no known format, or several SAEs; the message lists what was found.
        ConfigError: `path` is not a path.
    """
    path = arguments.path(path, "path", "the path of an SAE")
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise NotFoundError("There is no such file or folder.", where=str(path), hint="Check the path of the SAE.")
    single = match(FolderSource(path)) if path.is_file() else None
    if single is not None and single.single_file:  # a checkpoint lies inside the folder of another SAE
        return SAELocation(path, single)
    for depth, folder in enumerate(list(path.parents)[:_OUTER]):
        with contextlib.suppress(FormatError):  # a crowded folder (Downloads) around a single file
            source = FolderSource(folder, depth + 1)
            source.files()
            if (format := match(source)) is not None and not format.single_file:
                return SAELocation(folder, format)
    if path.suffix in _CONFIGURATIONS:
        with contextlib.suppress(FormatError):  # beside several SAEs, or none: the file itself is not one
            return _of_folder(path.parent)
    what, hint = unread([path.name]) or (
        "This is a single file, not an SAE folder.",
        "Give the folder of the SAE, with its configuration and its weights.",
    )
    raise FormatError(what, where=str(path), hint=hint)


def _of_folder(path: Path) -> SAELocation:
    source = FolderSource(path)
    found = list(find_all(source))
    if not found:
        names = sorted(source.files())
        what, hint = unread(names) or (
            f"This is not an SAE in a known format; it holds {listed([name[:80] for name in names], 8) or 'nothing'}.",
            f"A SAELens SAE has {' and '.join(saelens.FILES)}; docs/formats.md lists the other formats.",
        )
        raise FormatError(what, where=source.label, hint=hint)
    if len(found) > 1:
        what = f"This folder holds {len(found)} SAEs: {listed([name for name, _ in found], 5)}."
        raise SeveralSAEsError(what, where=str(path), hint="Give the path of one of them.")
    name, format = found[0]
    return SAELocation(path / name, format)


def detect_format(path: str | Path) -> str:
    """The name of the format of the SAE at `path`, its folder or a file of it: ``"saelens"``, ``"gemma_scope"``, …

    Raises:
        NotFoundError: the path does not exist.
        FormatError: no known format, or several SAEs; the message lists what was found.
    """
    return locate(path).format.name
