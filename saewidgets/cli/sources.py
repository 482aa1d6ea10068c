"""Where the settings of ``saewidgets train`` begin: a file, a template, a preset, or what another package wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.options import Json
from saewidgets.cli.output import note, table, write, write_json
from saewidgets.cli.session import command
from saewidgets.cli.templates import base_of
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.settings import resolve_device

if TYPE_CHECKING:
    from saewidgets.config import TrainingConfig
    from saewidgets.config.group import Over
    from saewidgets.config.translate import Translation


@dataclass(frozen=True, slots=True)
class Sources:
    """The options that say where settings begin; at most one is given."""

    config: Path | None = None
    template: str | None = None
    preset: str | None = None
    saelens: Path | None = None
    mistudio: Path | None = None
    activation_norm: float | None = None
    saes: str | None = None

    def settings(
        self, changes: Iterable[tuple[str, Any]], over: Over | None = None
    ) -> tuple[dict[str, Any], Translation | None]:
        """The settings that flags are put on, and the translation where they are of another package.

        Args:
            changes: what flags say; a translation is made with them, for it may only work so.
            over: what ``--over`` says; where a translation does not work alone, its first combination completes it.

        Raises:
            ConfigError: more than one was given, or what was given makes no sense.
        """
        options = {
            "--config": self.config, "--template": None if self.mistudio else self.template, "--preset": self.preset,
            "--from-saelens": self.saelens, "--from-mistudio": self.mistudio,
        }  # fmt: skip
        if len(given := [name for name, value in options.items() if value is not None]) > 1:
            raise ConfigError(
                f"Settings come from one source, not from {' and '.join(given)}.", where=given[1],
                hint="Name one; single settings of another go behind --set.",
            )
        if self.activation_norm is not None and self.mistudio is None:
            raise ConfigError(
                "This is for a translation of miStudio's hyper-parameters.", where="--activation-norm",
                hint="Give --from-mistudio FILE, too.",
            )
        if self.saes is not None and self.saelens is None:
            raise ConfigError(
                "This is for a configuration of several SAEs that SAELens wrote.", where="--saes",
                hint="Give --from-saelens FILE, too.",
            )
        if self.preset is not None:
            from saewidgets.config.presets import preset  # pydantic: `saewidgets --help` does without

            return preset(self.preset).to_data(), None
        if self.saelens is None and self.mistudio is None:
            return base_of(self.config, self.template), None
        found = self._translated(dict(changes), over or {})
        return {**found.config.to_data(), **({"over": dict(found.over)} if found.over else {})}, found

    def _translated(self, changes: dict[str, Any], over: Over) -> Translation:
        from saewidgets.config.group import first_of  # as above
        from saewidgets.config.translate import from_mistudio, from_saelens

        parameters = {"source", "saes", "template", "activation_norm"}
        if wrong := sorted(changes.keys() & parameters):
            raise ConfigError("There is no such setting.", where=wrong[0])
        try:
            if self.mistudio is None:
                saes = None if self.saes is None else [name.strip() for name in self.saes.split(",")]
                return from_saelens(self.saelens or "", saes=saes, **changes)
            return from_mistudio(
                self.mistudio, template=self.template, activation_norm=self.activation_norm, **changes
            )
        except ConfigError:
            if not over:
                raise
        return self._translated({**changes, **first_of(over)}, {})


def tell(translation: Translation | None) -> None:
    """What was lost and what changed, beside the output."""
    if translation is not None:
        note(translation.report())


def show(config: TrainingConfig, over: dict[str, Any], translation: Translation | None, as_json: bool) -> None:
    """What would be trained: the configuration, as a file that ``--config`` takes; with ``--json`` the remarks, too.

    What this machine or the model would refuse is told, not raised: the file may be meant for another machine.

    Raises:
        ConfigError: a combination of the values in `over` cannot work.
    """
    from saewidgets.workspace.training.settle import require_fit  # torch: seconds to import

    data, runs = config.to_data(), [config]
    if over:
        from saewidgets.config.group import expand  # pydantic: `saewidgets --help` does without

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
    from saewidgets.config.presets import presets as every  # pydantic: `saewidgets --help` does without

    if json:
        write_json([
            {
                "name": each.name, "description": each.description, "sources": each.sources, "ours": each.ours,
                "config": each.config.to_data(),
            }
            for each in every()
        ])
        return
    write(table(("preset", "model", "tokens", "what"), [
        (each.name, each.config.model, f"{each.config.tokens:,}", each.description) for each in every()
    ], right=(2,)))  # fmt: skip
    note("Start one with saewidgets train --preset NAME; sources are in docs/presets.md and --json.")


Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="See `saewidgets presets`.")]
FromSAELens = Annotated[
    Path | None, typer.Option("--from-saelens", metavar="FILE", help="A runner_cfg.json or cfg.json of SAELens.")
]
FromMiStudio = Annotated[
    Path | None,
    typer.Option(
        "--from-mistudio", metavar="FILE",
        help="Hyper-parameters as JSON; give --model and --corpus, too. --template names one of several in the file.",
    ),
]
SAEs = Annotated[
    str | None,
    typer.Option("--saes", metavar="NAME,NAME", help="With --from-saelens: these of a configuration of several."),
]
ActivationNorm = Annotated[
    float | None,
    typer.Option("--activation-norm", metavar="N", help="With --from-mistudio: mean norm of a skip SAE's activations."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the configuration instead of training.")]
Wandb = Annotated[
    str | None, typer.Option("--wandb", metavar="PROJECT", help="Send metrics to Weights & Biases as well.")
]
Trackio = Annotated[str | None, typer.Option("--trackio", metavar="PROJECT", help="Send metrics to Trackio as well.")]


def sinks(wandb: str | None, trackio: str | None) -> list[Any]:
    """What ``--wandb`` and ``--trackio`` stand for."""
    from saewidgets.workspace.sinks.trackio_sink import TrackioSink  # imports little, but nobody else needs it
    from saewidgets.workspace.sinks.wandb_sink import WandbSink

    return [*([WandbSink(wandb)] if wandb else []), *([TrackioSink(trackio)] if trackio else [])]
