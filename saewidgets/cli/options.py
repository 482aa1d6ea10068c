"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
RunId = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Id of the run, a unique beginning of it (4 characters or more), or its name."),
]
SubtractBDec = Annotated[
    bool | None,
    typer.Option(
        "--apply-b-dec-to-input/--no-apply-b-dec-to-input",
        help="Whether b_dec is subtracted from the input, where the files leave it open.", show_default=False,
    ),
]
TokenStdin = Annotated[
    bool, typer.Option("--token-stdin", help="Read an access token from standard input, or ask for it at a terminal.")
]
