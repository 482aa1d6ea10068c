"""The command line: ``saewidgets …``. One group of commands per file, each a thin call into the workspace."""

from saewidgets.cli.interrupts import leave_at_once


def main() -> None:
    """Entry point of the ``saewidgets`` command; exits the process with its status."""
    leave_at_once()  # until a command has begun (see `session.command`)
    from saewidgets.cli.app import app  # typer takes longer to load than `import saewidgets` may
    from saewidgets.settings import sleep_soon

    sleep_soon()  # before a command loads torch
    app()
