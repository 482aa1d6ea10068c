"""Errors a user can meet. Each says what was wrong, where, and what to do next.

`str(error)` is one readable paragraph, safe for a terminal; the parts stay available as attributes so that a form can
put the message under the field it belongs to and a command line can print the hint on its own line.
"""

# Names of files, tensors and repositories stand in messages, and a terminal obeys control characters (escape sequences
# begin with one) and marks of direction. They become visible; line breaks and tabs stay.
_OBEYED = (*range(9), *range(11, 32), *range(127, 160), 0x061C, *range(0x200E, 0x2010), *range(0x202A, 0x202F),
           *range(0x2066, 0x206A))  # fmt: skip
_VISIBLE = {code: chr(code).encode("unicode_escape").decode("ascii") for code in _OBEYED}

_LONGEST = 2_000  # characters of a part of a message


def visible(text: str) -> str:
    """`text` without what a terminal would obey or cannot print: ``\\x1b``, ``\\ud800`` in words instead."""
    return encodable(text).translate(_VISIBLE)


def encodable(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of surrogate pairs are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(text: str) -> str:
    """`text` without its middle if it is too long to be read."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


class SAEWidgetsError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        what: what happened, one full sentence.
        where: the field, file or object it concerns (``"sae.k"``, ``"cfg.json"``), if there is one.
        hint: what to do about it, one full sentence.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        # Its parts are printed and sent as they are, and may repeat what a user has typed.
        self.what = encodable(_cut(what))
        self.where = None if where is None else encodable(_cut(where))
        self.hint = None if hint is None else encodable(_cut(hint))
        super().__init__(self.what, self.where, self.hint)

    @property
    def message(self) -> str:
        """What happened, and what to do about it."""
        return f"{self.what} {self.hint}" if self.hint else self.what

    def __str__(self) -> str:
        return visible(f"{self.where}: {self.message}" if self.where else self.message)


class ConfigError(SAEWidgetsError, ValueError):
    """A setting has a value that cannot work; `where` is the dotted field name."""


class NotFoundError(SAEWidgetsError, LookupError):
    """A model, file, record or hook point that was named does not exist."""


class FormatError(SAEWidgetsError, ValueError):
    """A file is not what its name or its configuration says; `where` is the file (and key)."""


class CatalogError(SAEWidgetsError):
    """The catalog cannot be opened, migrated or written."""


class StateError(SAEWidgetsError):
    """The object is not in a state in which this can be done (pausing a finished run, say)."""


class StorageError(SAEWidgetsError, OSError):
    """The disk is full, not writable, or a path leads out of its folder."""


class TrainingError(SAEWidgetsError):
    """A training stopped itself (NaN, divergence, out of memory); it names the step and the last good checkpoint.

    Args:
        what, where, hint: see `SAEWidgetsError`.
        kind: "nan", "diverged", "out_of_memory", or "error" for anything else; advice goes by it.
        step: where that was, if it is known.
        resumes: False where going on from the newest checkpoint would not help, since it is damaged, too.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        kind: str = "error",
        step: int | None = None,
        resumes: bool = True,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind, self.step, self.resumes = kind, step, resumes
