"""``saewidgets demo``: train on the embedded model, then read what ten latents fire on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from saewidgets.cli.configfile import build_config
from saewidgets.cli.follow import finish, follow
from saewidgets.cli.options import Json, Quiet
from saewidgets.cli.output import count, note, number, table, to_data, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace

# key of the evaluation, its name on the screen, what it says
ROWS = (
    ("fvu", "FVU", "fraction of variance unexplained; 0 is perfect"),
    ("l0", "L0", "active latents per token"),
    ("dead", "Dead share", "latents that never fired on the evaluation text"),
    ("ce_loss_score", "CE recovered", "share of the model's cross-entropy kept with the SAE spliced in; 1 is perfect"),
    ("ce_loss_clean", "  CE, model", "cross-entropy per token in nats"),
    ("ce_loss_sae", "  CE, with SAE", "the same with the reconstruction in place of the activation"),
    ("ce_loss_zero", "  CE, zeroed", "the same with zeros in its place"),
    ("density_above_10pct", "Dense, > 10 %", "share of latents that fire on more than a tenth of the tokens"),
    ("density_above_1pct", "Dense, > 1 %", "share of latents that fire on more than one token in a hundred"),
    ("density_below_1e-5", "Rare, < 1e-5", "share of latents that fire on less than one token in a hundred thousand"),
    ("n_tokens", "Tokens", "held-out tokens this was measured on"),
)


def evaluation_table(values: Mapping[str, Any]) -> str:
    """The evaluation as aligned text: name, value, meaning, for what it holds."""
    rows = [
        (label, (count if key == "n_tokens" else number)(values[key]), meaning)
        for key, label, meaning in ROWS
        if key in values
    ]
    return table(("metric", "value", "meaning"), rows, right=(1,))


@command
def demo(
    tokens: Annotated[int | None, typer.Option(help="How many tokens to train on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes initialisation and shuffling.")] = None,
    features: Annotated[bool, typer.Option("--features/--no-features", help="Read ten latents at the end.")] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a sparse autoencoder on the embedded language model and read ten of its latents."""
    with open_workspace() as workspace:
        base = workspace.trainings.demo_config().model_dump(mode="json")
        changes = {"tokens": tokens, "seed": seed}
        config = build_config(base, [(key, value) for key, value in changes.items() if value is not None])
        run = workspace.trainings.create(config)
        note(f"Training {config.sae.architecture}, {count(config.sae.d_sae)} latents, on {config.hook_name}")
        note(f"of the embedded model, {count(config.tokens)} tokens; Ctrl-C pauses. Run {run.id}")
        finish(follow(run, quiet=quiet))
        note("Evaluating on held-out text")
        evaluation = workspace.evaluate(run)
        if not json:
            write("\n" + evaluation_table(evaluation))
        reading = None
        if features:
            note("\nReading what the latents fire on")
            reading = workspace.read_features(run, n=10)
            if not json:
                write(f"\n{reading}")
        if json:
            write_json({
                "run": to_data(run.record), "evaluation": to_data(dict(evaluation)),
                "features": to_data(list(reading)) if reading is not None else None,
            })  # fmt: skip
        note(f"\nOpen it in JupyterLab: {command_line('lab')}")
