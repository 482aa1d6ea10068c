"""The command line: ``saewidgets …``. One verb per file, each a thin call into the workspace."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``saewidgets`` command; exits the process with its status."""
    from saewidgets.cli.app import app  # typer takes longer to load than `import saewidgets` may

    app()
