"""What came in from a file or server, and what was wrong with it, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError, FormatError
from saewidgets.features.labels.label import Label

OnError = Literal["raise", "skip"]

_SHOWN = 5  # problems that an error lists


@dataclass(frozen=True, slots=True)
class LineProblem:
    """One line that cannot be taken.

    Attributes:
        where: the file (or server) and the line's number.
        field: which of its fields.
        what: what is wrong with it.
        wide: the latent lies outside the SAE: the labels are of another one.
    """

    where: str
    field: str
    what: str
    wide: bool = False

    def __str__(self) -> str:
        return f"{self.where}, {self.field}: {self.what}"


@dataclass
class Imported:
    """Labels, and the lines that were skipped."""

    labels: list[Label] = field(default_factory=list)
    problems: list[LineProblem] = field(default_factory=list)


def checked_on_error(on_error: str) -> None:
    """Raises `ConfigError` unless `on_error` is one of the two."""
    if on_error not in get_args(OnError):
        raise ConfigError(
            f"{shown(on_error)} is no way to treat errors.", where="on_error", hint='Use "raise" or "skip".'
        )


def collect(found: Iterable[Label | LineProblem], on_error: OnError, what: str) -> Imported:
    """All of `found`. Nothing is returned if it has problems that are not to be skipped.

    Raises:
        FormatError: it has problems; the first ones are listed. Labels of latents that the SAE does not have are never
            skipped: they are of another SAE.
    """
    imported = Imported()
    for item in found:
        if isinstance(item, LineProblem):
            imported.problems.append(item)
        else:
            imported.labels.append(item)
    wide = any(problem.wide for problem in imported.problems)
    if imported.problems and (wide or on_error == "raise"):
        listed = "; ".join(map(str, [p for p in imported.problems if p.wide or not wide][:_SHOWN]))
        more = len(imported.problems) - _SHOWN
        raise FormatError(
            f"{len(imported.problems):,} of the lines cannot be taken. {listed.rstrip('.')}"
            + (f"; and {more:,} more." if more > 0 else "."),
            where=what,
            hint="These labels belong to another SAE: check its width." if wide
            else 'Correct the lines, or leave them out with on_error="skip" (--skip-errors).',
        )
    return imported


def label_of(data: Mapping[str, Any], d_sae: int | None, where: str) -> Label | LineProblem:
    """The label in one line's data, or what is wrong with it."""
    try:
        label = Label.from_data(data)
    except ConfigError as error:
        return LineProblem(where, error.where or "line", error.what)
    if d_sae is not None and label.index >= d_sae:
        return LineProblem(where, "index", f"{label.index:,} is outside the SAE's {d_sae:,} latents.", wide=True)
    return label


def numbered(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, bytes]]:
    """Lines that are not blank, each with its place."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{name}, line {number}", line
