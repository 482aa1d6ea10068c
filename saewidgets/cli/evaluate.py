"""``saewidgets evaluate``: how well an SAE reconstructs, and what the language model loses by it."""

from __future__ import annotations

from typing import Annotated

import typer

from saewidgets.cli.options import Json, Quiet
from saewidgets.cli.output import note, table, write, write_json
from saewidgets.cli.session import command, open_workspace

Option = typer.Option


@command
def evaluate(
    sae: Annotated[
        str,
        typer.Argument(
            metavar="SAE", help="Id, beginning of it or name of an SAE or a run, a path, or a repository of the hub."
        ),
    ],
    corpus: Annotated[
        str | None,
        Option(help='A text file, a folder, a dataset, "demo" or a store (acts_…), else the held-out text of the run.'),
    ] = None,
    tokens: Annotated[int, Option(help="About how many tokens, or stored rows, to read.", min=1)] = 65_536,
    hook_name: Annotated[str | None, Option("--hook-name", help="Where it reads, else where it was trained.")] = None,
    hook_name_out: Annotated[
        str | None, Option("--hook-name-out", help="What a transcoder reconstructs, else what it was trained for.")
    ] = None,
    context_size: Annotated[int | None, Option("--context-size", help="Tokens per context.", min=2)] = None,
    batch_size: Annotated[int | None, Option("--batch-size", help="Contexts per forward.", min=1)] = None,
    special_tokens: Annotated[
        bool | None,
        Option("--include-special-tokens/--exclude-special-tokens", help="Let them count or not, else as trained."),
    ] = None,
    seqpos_slice: Annotated[
        str | None, Option("--seqpos-slice", help='Only these positions: 5:-5; ":" is all. Else as trained.')
    ] = None,
    cross_entropy: Annotated[
        bool | None,
        Option("--cross-entropy/--no-cross-entropy", help="Also what the language model loses; usual on text."),
    ] = None,
    mean_ablation: Annotated[
        bool, Option("--mean-ablation", help="Also CE recovered against the mean activation.")
    ] = False,
    model: Annotated[str | None, Option(help='A Hugging Face id, a folder or "demo", else its own.')] = None,
    device: Annotated[str | None, Option(help="cpu, cuda:0, … or auto.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure an SAE on text: reconstruction, sparsity, and what the language model loses by it.

    On stored activations everything but the last is measured, and no language model is run.
    """
    with open_workspace() as workspace:
        report = workspace.evaluate(
            sae, corpus, tokens=tokens, hook_name=hook_name, hook_name_out=hook_name_out, context_size=context_size,
            batch_size=batch_size, exclude_special_tokens=None if special_tokens is None else not special_tokens,
            seqpos_slice=seqpos_slice, cross_entropy=cross_entropy, mean_ablation=mean_ablation, model=model,
            device=device, progress=not quiet,
        )  # fmt: skip
    if json:
        write_json(report.to_dict())
        return
    for label, value in [("Name", report.name), *report.facts()]:
        write(f"{label:<8}{value}")
    write("\n" + table(("figure", "value", ""), report.rows(), right=(1,)))
    for said in report.notes:
        note(said)
