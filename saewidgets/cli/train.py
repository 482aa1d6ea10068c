"""Defines ``saewidgets train``, a run from a file, from flags or from both, and ``saewidgets presets``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from saewidgets.cli.configfile import assignment, build_config, taken_over
from saewidgets.cli.follow import follow_group, follow_run
from saewidgets.cli.options import ConfigFile, Json, Option, Quiet, Set, Template, given, settings
from saewidgets.cli.output import answer, note, results_alone, table, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.cli.templates import base_of
from saewidgets.config import TrainingConfig
from saewidgets.config.base import require
from saewidgets.config.group import Over, expand, first_of
from saewidgets.config.templates import preset
from saewidgets.config.templates import presets as all_presets
from saewidgets.config.translate import Translation, from_mistudio, from_saelens
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.settings import resolve_device

Settings = settings("saewidgets.config.training:TrainingConfig", {
    "--name": "name", "--model": "model", "--corpus": "corpus", "--hook-name": "hook_name",
    "--architecture": "sae.architecture", "--d-sae": "sae.d_sae", "--k": "sae.k",
    "--l1-coefficient": "sae.l1_coefficient", "--l0-coefficient": "sae.l0_coefficient", "--tokens": "tokens",
    "--batch-size": "batch_size", "--lr": "optimizer.lr", "--context-size": "context_size",
    "--seqpos-slice": "activations.seqpos_slice", "--from-pretrained": "from_pretrained", "--seed": "seed",
    "--device": "device", "--model-device": "model_device", "--model-compile": "model_compile",
})  # fmt: skip


@command
def train(
    context: typer.Context,
    config: ConfigFile = None,
    template: Template = None,
    preset: Annotated[str | None, Option(metavar="NAME", help="See `saewidgets presets`.")] = None,
    from_saelens: Annotated[
        Path | None, Option(metavar="FILE", help="A runner_cfg.json or cfg.json of SAELens.")
    ] = None,
    saes: Annotated[str | None, Option(metavar="NAME,NAME", help="With --from-saelens: some of several SAEs.")] = None,
    from_mistudio: Annotated[
        Path | None,
        Option(
            "--from-mistudio", metavar="FILE",
            help="Hyper-parameters as JSON, with --model and --corpus. --template names one of several in the file.",
        ),
    ] = None,
    activation_norm: Annotated[
        float | None, Option(metavar="N", help="With --from-mistudio: mean norm of a skip SAE's activations.")
    ] = None,
    set_: Set = None,
    over: Annotated[
        list[str] | None,
        Option(
            "--over", metavar="NAME=VALUE,VALUE",
            help="Train one for each value, all fed by one forward of the model; repeatable: every combination.",
        ),
    ] = None,
    wandb: Annotated[str | None, Option(metavar="PROJECT", help="Send metrics to Weights & Biases as well.")] = None,
    trackio: Annotated[str | None, Option(metavar="PROJECT", help="Send metrics to Trackio as well.")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the configuration instead of training.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a sparse autoencoder, or with --over several at once. Ctrl-C pauses with a checkpoint."""
    changes = [*given(context).items(), *map(assignment, set_ or [])]
    sources = {
        "--config": config, "--template": template, "--preset": preset, "--from-saelens": from_saelens,
        "--from-mistudio": from_mistudio, "--saes": saes, "--activation-norm": activation_norm,
    }  # fmt: skip
    base, translation = _start(sources, changes, taken_over({}, over or []))
    several = taken_over(base, over or [])
    wanted = build_config(base, changes, several)
    if translation is not None:
        note(translation.report())
    if dry_run:
        _show(wanted, several, translation, json)
        return
    on_event = _sinks(wandb, trackio)
    with results_alone(), open_workspace() as workspace:
        if several:
            group = workspace.trainings.create_many(wanted, several, on_event=on_event)
            note(f"Training {len(group)} together: {group.name} ({group.id})")
            follow_group(group, json=json, quiet=quiet)
        else:
            run = workspace.trainings.create(wanted, on_event=on_event)
            note(f"Training {run.record.name} ({run.id})")
            follow_run(run, json=json, quiet=quiet)


def _start(
    sources: dict[str, Any], changes: Iterable[tuple[str, Any]], over: Over
) -> tuple[dict[str, Any], Translation | None]:
    """The settings that flags are put on, and the translation where they are of another package.

    A translation is made with the `changes` of flags, for it may only work so; where it does not work alone, the first
    combination of `over` completes it.
    """
    config, template, name, saelens, mistudio, saes, norm = sources.values()
    rivals = {**sources, "--template": None if mistudio else template, "--saes": None, "--activation-norm": None}
    if len(taken := [option for option, value in rivals.items() if value is not None]) > 1:
        raise ConfigError(
            f"Settings come from one source, not from {' and '.join(taken)}.", where=taken[1],
            hint="Name one; single settings of another go behind --set.",
        )
    require(
        (norm is None or mistudio, "--activation-norm", "This is for a translation of miStudio's hyper-parameters.",
         "Give --from-mistudio FILE, too."),
        (saes is None or saelens, "--saes", "This is for a configuration of several SAEs that SAELens wrote.",
         "Give --from-saelens FILE, too."),
    )  # fmt: skip
    if name is not None:
        return preset(name).to_data(), None
    if saelens is None and mistudio is None:
        return base_of(config, template), None
    wanted = dict(changes)
    if wrong := sorted(wanted.keys() & {"source", "saes", "template", "activation_norm"}):
        raise ConfigError("There is no such setting.", where=wrong[0])

    def translated(changes: dict[str, Any]) -> Translation:
        if mistudio is not None:
            return from_mistudio(mistudio, template=template, activation_norm=norm, **changes)
        return from_saelens(saelens, saes=saes and [name.strip() for name in saes.split(",")], **changes)

    try:
        found = translated(wanted)
    except ConfigError:
        if not over:
            raise
        found = translated({**wanted, **first_of(over)})
    return {**found.config.to_data(), **({"over": dict(found.over)} if found.over else {})}, found


def _show(config: TrainingConfig, over: dict[str, Any], translation: Translation | None, as_json: bool) -> None:
    """What would be trained: the configuration, as a file that ``--config`` takes; with ``--json`` the remarks, too.

    What this machine or the model would refuse is told, not raised: the file may be meant for another machine.
    """
    from saewidgets.workspace.training.settle import require_fit  # torch: seconds to import

    data, runs = config.to_data(), [config]
    if over:
        runs = expand(config, over)
        note(f"{len(runs)} trainings: {', '.join(run.name or '' for run in runs)}")
        data["over"] = over
    try:
        require_fit(runs, None)
        for name in ("device", "model_device"):
            if value := getattr(config, name):
                resolve_device(value, name)
    except SAEWidgetsError as error:
        note(f"As things are here it would not start. {error}")
    if as_json and translation is not None:
        write_json({"config": data, "source": translation.source, "remarks": translation.to_data()["remarks"]})
    else:
        write_json(data)


@command
def presets(json: Json = False) -> None:
    """List the settings for well-known models, with their sources."""
    found = all_presets()
    rows = [(each.name, each.config.model, f"{each.config.tokens:,}", each.description) for each in found]
    answer(json, found, table(("preset", "model", "tokens", "what"), rows, right=(2,)))
    if not json:
        note("Start one with saewidgets train --preset NAME; --json has the sources.")


def _sinks(wandb: str | None, trackio: str | None) -> list[Any]:
    """What ``--wandb`` and ``--trackio`` stand for."""
    from saewidgets.workspace.sinks.trackers import TrackioSink, WandbSink  # imports little, but nobody else needs it

    return [*([WandbSink(wandb)] if wandb else []), *([TrackioSink(trackio)] if trackio else [])]
