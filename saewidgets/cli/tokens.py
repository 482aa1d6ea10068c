"""An access token for one command: never an argument, where every process of the machine could read it."""

from __future__ import annotations

import sys

import typer

from saewidgets.errors import ConfigError

_LONGEST = 1_000


def ask_token(from_stdin: bool) -> str | None:
    """The token that was typed or piped; None leaves it to huggingface_hub (``HF_TOKEN``, a saved login).

    Raises:
        ConfigError: standard input holds no token.
    """
    if not from_stdin:
        return None
    if sys.stdin.isatty():
        text = typer.prompt("Access token", hide_input=True, default="", show_default=False)
    else:
        text = sys.stdin.readline(_LONGEST + 1)
    token = str(text).strip()
    if not token or len(token) > _LONGEST:
        raise ConfigError(
            "There is no access token on standard input.", where="--token-stdin",
            hint="Pipe it, or leave the option out to use HF_TOKEN or a saved login.",
        )
    return token
