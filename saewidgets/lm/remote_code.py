"""Defines `allow_remote_code`: models that bring Python code are loaded only after the user has allowed it.

The permission belongs to this process (or its environment) and is never read from a configuration, a template or a
catalog: those come from other people, too, and a row must not be able to run code here.
"""

import threading
from pathlib import Path

from saewidgets.errors import ConfigError
from saewidgets.settings import trusted_code

_lock = threading.Lock()
_allowed: set[tuple[str, str | None]] = set()


def allow_remote_code(model: str, *, revision: str | None = None) -> None:
    """Let the Python code in the repository of a model run when the model is loaded, until this process ends.

    Such code can do whatever you can: read what it does first. Jobs in another process need this call there, or
    ``SAEWIDGETS_TRUST_REMOTE_CODE=NAME@COMMIT`` in its environment.

    Args:
        model: a Hugging Face id or a local folder, written as in the configuration of the run.
        revision: only this branch, tag or commit. None: any revision, so that the code may change
            under you; a commit is better.

    Raises:
        ConfigError: `model` or `revision` is empty or no text.
    """
    for value, where, hint in (
        (model, "model", "Give a Hugging Face id or a local folder."),
        ("-" if revision is None else revision, "revision", "Give a branch, tag or commit, or leave it out."),
    ):
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"Not a {where}: {value!r}.", where=where, hint=hint)
    with _lock:
        _allowed.add((_key(model), revision))


def may_run_code(model: str, revision: str | None = None) -> bool:
    """Whether the person has allowed the code of `model` at `revision` to run here."""
    key = _key(model)
    named = {(_key(name), of or None) for name, _, of in (entry.partition("@") for entry in trusted_code())}
    with _lock:
        said = _allowed | named
    return (key, None) in said or (revision is not None and (key, revision) in said)


def _key(model: str) -> str:
    """A folder by its real path, however it is written."""
    model = model.strip()
    folder = Path(model).expanduser()
    try:
        return str(folder.resolve()) if folder.is_dir() else model
    except (OSError, ValueError):  # no path can have such a name
        return model
