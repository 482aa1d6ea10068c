"""Which column of a table holds the text, or the token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from saewidgets.errors import ConfigError

TEXT = ("text", "content", "document", "raw_content", "body", "article", "story", "passage", "sentence", "code")
_TALKS = ("conversation", "conversations", "messages", "chat")
CHAT = (*_TALKS, "text")
TOKENS = ("input_ids", "tokens", "token_ids", "ids")


def text_column(columns: Mapping[str, bool], wanted: str | None, where: str) -> str:
    """The column to read.

    Args:
        columns: name → whether it holds strings.
        wanted: what the person named; None: the first of the usual names, else the only one with strings.
        where: file or dataset, for messages.

    Raises:
        ConfigError: there is no such column, it holds no text, or none was named and several or conversations could be
            meant.
    """
    talks = [name for name in _TALKS if columns.get(name) is False]
    if wanted is None and talks and not any(columns.get(name) for name in TEXT):
        raise ConfigError(
            f"{where} has no column that is known for text, but one that is known for conversations, {talks[0]!r}.",
            where="corpus.chat", hint="Read these with chat=True, or name a column with text: text_field=….",
        )
    return _chosen(columns, wanted, where, TEXT, "text", "text_field")


def token_column(columns: Mapping[str, bool], wanted: str | None, where: str) -> str:
    """As `text_column`, for columns with lists of whole numbers."""
    return _chosen(columns, wanted, where, TOKENS, "token ids", "column")


def chat_column(columns: Mapping[str, bool], wanted: str | None, where: str) -> str:
    """As `text_column`, for columns with conversations, or with strings that count as what a user says."""
    return _chosen(columns, wanted, where, CHAT, "conversations", "text_field")


def _chosen(
    columns: Mapping[str, bool], wanted: str | None, where: str, usual: tuple[str, ...], what: str, field: str
) -> str:
    fitting = [name for name, fits in columns.items() if fits]
    has = f"It has {_listed(columns)}." if columns else "It has no columns."
    if wanted is not None:
        if wanted not in columns:
            raise ConfigError(f"{where} has no column {wanted!r}.", where=f"corpus.{field}", hint=has)
        if wanted not in fitting:
            raise ConfigError(
                f"The column {wanted!r} of {where} holds no {what}.", where=f"corpus.{field}",
                hint=f"Columns with {what}: {_listed(fitting)}." if fitting else has,
            )
        return wanted
    for name in usual:
        if name in fitting:
            return name
    if len(fitting) == 1:
        return fitting[0]
    problem = f"has no column with {what}" if not fitting else f"has several columns with {what}"
    raise ConfigError(
        f"{where} {problem}.", where=f"corpus.{field}",
        hint=f"{has} Say which one to read: {field}=…." if fitting else has,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)[:400]
