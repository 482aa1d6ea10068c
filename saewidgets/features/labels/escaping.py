"""Text of strangers inside a prompt: on one line, bounded, with nothing invisible, and unable to leave its marks.

A window is one line. Line ends show as ↵, other control and invisible characters by their number, as ``[U+202E]``.
``<<…>>`` marks the tokens on which a latent fires; every ``<``, ``>`` and ``\\`` of the text itself gets a backslash,
so that an unescaped ``<<`` is a mark and nothing else (`unescaped` undoes it).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

OPEN, CLOSE = "<<", ">>"
THRESHOLD = 0.3
"""Tokens above this share of the window's largest activation are marked."""
MAX_TOKEN = 120
"""Characters of one token that a prompt shows."""

_ESCAPE = re.compile(r"[\\<>]")
_UNESCAPE = re.compile(r"\\([\\<>])")
_LINE_ENDS = re.compile(r"\r\n|[\n\r]")
_PLAIN = re.compile(r"[ -~]*")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # control, format, surrogate, private, line, paragraph
_JOINERS = "\u200c\u200d"  # part of the spelling in several scripts, and of emoji


def visible(text: str) -> str:
    """`text` on one line; control, invisible and bidirectional characters are shown by number.

    The result can always be encoded as UTF-8.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(map(_shown, _LINE_ENDS.sub("↵", text).replace("\t", " ")))


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if (category in _HIDDEN and character not in _JOINERS) or _is_noncharacter(character):
        return f"[U+{ord(character):04X}]"
    return character


def _is_noncharacter(character: str) -> bool:
    code = ord(character)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def shortened(text: str, limit: int) -> str:
    """`text`, or its beginning and how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}…[{len(text) - limit:,} more characters]"


def escaped(text: str) -> str:
    """`text` without anything that could be taken for a mark."""
    return _ESCAPE.sub(r"\\\g<0>", text)


def unescaped(text: str) -> str:
    """What `escaped` was given."""
    return _UNESCAPE.sub(r"\1", text)


@lru_cache(1 << 16)  # a text has few different tokens, and each is shown many times
def token_text(token: str) -> str:
    """One token as prompts show it."""
    return escaped(visible(shortened(token, MAX_TOKEN)))


def active(activations: Sequence[float]) -> list[bool]:
    """Which tokens are marked: those above `THRESHOLD` of the window's largest activation."""
    limit = THRESHOLD * max(activations, default=0.0)
    return [value > limit and value > 0 for value in activations]


def marked(tokens: Sequence[str], marks: Sequence[bool]) -> str:
    """The window on one line; runs of marked tokens stand between one ``<<`` and one ``>>``."""
    parts: list[str] = []
    inside = False
    for token, mark in zip(tokens, marks, strict=True):
        if mark != inside:
            parts.append(OPEN if mark else CLOSE)
            inside = mark
        parts.append(token_text(token))
    if inside:
        parts.append(CLOSE)
    return "".join(parts)


def plain(tokens: Sequence[str]) -> str:
    """The window on one line, without marks."""
    return "".join(map(token_text, tokens))


_SECRETS = re.compile(r"(?i:bearer\s+)\S+|\b(?:sk|pk|rk|hf|gsk|xai|api_org)[-_][\w-]{6,}|\bAIza[\w-]{20,}")


def redacted(text: str, *secrets: str | None) -> str:
    """`text` without `secrets`, and without whatever else looks like a key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    return _SECRETS.sub("…", text)
