"""What errors of the library say on a page: their hints name Python's methods, a page has buttons."""

from __future__ import annotations

import re

from saewidgets.errors import SAEWidgetsError

# what a hint holds → what to do on the page
_HINTS = (
    ("ws.saes.locate(", "If they were moved, press Locate files and say where to."),
    ("ws.saes.list(", "It was deleted, maybe by another notebook."),
    ("(locate)", "Locate whole files, or download or import it again."),
    ("tags=[", "Write them with commas between."),
    ("ExtractionConfig(model=", "Enter it under Model: a Hugging Face id or a folder."),
    ("with hook_name=", "Add it to the library again and fill in Hook name."),
    ("Start an extraction: ws.", "Press Start extraction."),
)
_IN_USE = re.compile(r" is in use: a job of kind (\w+) \((\w+)\) reads it\.")


# names of arguments: on a page the form they were typed into says where
_ARGUMENTS = frozenset({"a", "b", "files", "name", "notes", "path", "sae_id", "tags"})


def in_page_words(error: SAEWidgetsError) -> SAEWidgetsError:
    """The same error with what to do on the page instead of in Python."""
    if error.where in _ARGUMENTS:
        error.where = None
    error.what = _IN_USE.sub(lambda found: _in_use(*found.groups()), error.what)
    for part, words in _HINTS:
        if error.hint and part in error.hint:
            error.hint = words
    return error


def _in_use(kind: str, status: str) -> str:
    noun = kind.replace("_", " ")
    article = "an" if noun[:1] in "aeiou" else "a"
    return f" is in use: {article} {noun} that is {status} reads it."
