"""``saewidgets train``: a run from a configuration file, from flags, or from both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saewidgets.cli.configfile import assignment, build_config
from saewidgets.cli.follow import finish, follow
from saewidgets.cli.options import Json, Quiet
from saewidgets.cli.output import note, results_alone, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.cli.sources import (
    ActivationNorm,
    DryRun,
    FromMiStudio,
    FromSAELens,
    Preset,
    SAEs,
    Sources,
    Trackio,
    Wandb,
    show,
    sinks,
    tell,
)
from saewidgets.cli.together import follow_group, taken_over

Option = typer.Option


@command
def train(
    config: Annotated[
        Path | None, Option("--config", "-c", metavar="FILE", help="A .json, .toml or .yaml file; flags win.")
    ] = None,
    template: Annotated[str | None, Option("--template", help="Id or name of a template to start from.")] = None,
    preset: Preset = None,
    from_saelens: FromSAELens = None,
    saes: SAEs = None,
    from_mistudio: FromMiStudio = None,
    activation_norm: ActivationNorm = None,
    name: Annotated[str | None, Option(help="Name of the run.")] = None,
    model: Annotated[str | None, Option(help='A Hugging Face id, a local folder, or "demo".')] = None,
    corpus: Annotated[str | None, Option(help='Files or folder, owner/name of the hub, or "demo".')] = None,
    hook_name: Annotated[str | None, Option("--hook-name", help="For example blocks.2.hook_resid_post.")] = None,
    architecture: Annotated[
        str | None,
        Option(help="standard, topk, batchtopk, matryoshka, jumprelu, gated, skip, transcoder or skip_transcoder."),
    ] = None,
    d_sae: Annotated[int | None, Option("--d-sae", help="How many latents.")] = None,
    k: Annotated[int | None, Option("--k", help="Active latents per token (topk, batchtopk, matryoshka).")] = None,
    l1_coefficient: Annotated[
        float | None, Option("--l1-coefficient", help="Sparsity (standard, gated, skip, transcoders).")
    ] = None,
    l0_coefficient: Annotated[float | None, Option("--l0-coefficient", help="Sparsity (jumprelu).")] = None,
    tokens: Annotated[int | None, Option(help="How many activations to train on.")] = None,
    batch_size: Annotated[int | None, Option("--batch-size", help="Tokens per optimiser step.")] = None,
    lr: Annotated[float | None, Option("--lr", help="Learning rate.")] = None,
    context_size: Annotated[int | None, Option("--context-size", help="Tokens per context.")] = None,
    seqpos_slice: Annotated[
        str | None, Option("--seqpos-slice", help="Train on these positions of every context only: 5:-5 or 0:64:2.")
    ] = None,
    from_pretrained: Annotated[
        str | None, Option("--from-pretrained", help="Start from an SAE: id or name in the library, or a folder.")
    ] = None,
    seed: Annotated[int | None, Option(help="Fixes initialisation and shuffling.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda:0, … or auto.")] = None,
    model_device: Annotated[
        str | None, Option("--model-device", help="Of the language model, if it is on another: cuda:1.")
    ] = None,
    model_compile: Annotated[
        str | None, Option("--model-compile", help="Compile the model with this mode of torch.compile: default, …")
    ] = None,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", help="Any setting by its dotted name; repeatable.")
    ] = None,
    over: Annotated[
        list[str] | None,
        Option(
            "--over", metavar="NAME=VALUE,VALUE",
            help="Train one for each value, all fed by one forward of the model; repeatable: every combination.",
        ),
    ] = None,
    wandb: Wandb = None,
    trackio: Trackio = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a sparse autoencoder, or with --over several at once. Ctrl-C pauses with a checkpoint."""
    flags = {
        "name": name, "model": model, "corpus": corpus, "hook_name": hook_name, "sae.architecture": architecture,
        "sae.d_sae": d_sae, "sae.k": k, "sae.l1_coefficient": l1_coefficient, "sae.l0_coefficient": l0_coefficient,
        "tokens": tokens, "batch_size": batch_size, "optimizer.lr": lr, "context_size": context_size, "seed": seed,
        "device": device, "model_device": model_device, "model_compile": model_compile,
        "activations.seqpos_slice": seqpos_slice, "from_pretrained": from_pretrained,
    }  # fmt: skip
    changes = [(key, value) for key, value in flags.items() if value is not None]
    changes += [assignment(text) for text in set_ or []]
    sources = Sources(config, template, preset, from_saelens, from_mistudio, activation_norm, saes)
    base, translation = sources.settings(changes, taken_over({}, over or []))
    several = taken_over(base, over or [])
    wanted = build_config(base, changes, several)
    tell(translation)
    if dry_run:
        show(wanted, several, translation, json)
        return
    on_event = sinks(wandb, trackio)
    with results_alone(), open_workspace() as workspace:
        if several:
            group = workspace.trainings.create_many(wanted, several, on_event=on_event)
            note(f"Training {len(group)} together: {group.name} ({group.id})")
            follow_group(group, as_json=json, quiet=quiet)
            return
        run = workspace.trainings.create(wanted, on_event=on_event)
        note(f"Training {run.record.name} ({run.id})")
        record = follow(run, quiet=quiet)
        if json:
            write_json(run.record)
        finish(record)
