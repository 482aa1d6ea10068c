"""Defines ``saewidgets train``, a run from a file, from flags or from both, ``saewidgets presets``, and ``saewidgets
templates``: training configurations saved under a name."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from saewidgets.cli.configfile import assignment, build_config, read_config, taken_over
from saewidgets.cli.follow import follow_group, follow_run
from saewidgets.cli.options import ConfigFile, Option, Preset, Set, Template, Yes, delete_record, settings
from saewidgets.cli.output import count, cut, facts, moment, note, plural, table, write_json
from saewidgets.cli.session import CommandGroup, answer, command, listed, session
from saewidgets.config import TrainingConfig
from saewidgets.config.base import dotted, require
from saewidgets.config.group import Over, expand, first_of
from saewidgets.config.templates import preset
from saewidgets.config.templates import presets as all_presets
from saewidgets.config.translate import Translation, from_ghosttrack, from_mistudio, from_saelens, is_ghosttrack
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError, StateError
from saewidgets.records import TemplateRecord
from saewidgets.settings import resolve_device

SETTINGS = settings(
    TrainingConfig, "name", "model", "corpus", "hook_name", "sae.architecture", "sae.d_sae", "sae.k",
    "sae.target_l0", "sae.l1_coefficient", "sae.l0_coefficient", "tokens", "batch_size", "optimizer.lr", "context_size",
    "activations.seqpos_slice", "from_pretrained", "seed", "device", "model_device", "model_compile",
)  # fmt: skip


@command(settings=SETTINGS, quiet=True)
def train(
    config: ConfigFile = None,
    template: Template = None,
    preset: Preset = None,
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
    spread: Annotated[
        str | None, Option(metavar="N", help="With --over: in N jobs, each with a forward, or all that run at once.")
    ] = None,
    wandb: Annotated[str | None, Option(metavar="PROJECT", help="Send metrics to Weights & Biases as well.")] = None,
    trackio: Annotated[str | None, Option(metavar="PROJECT", help="Send metrics to Trackio as well.")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the configuration instead of training.")] = False,
) -> None:
    """Train a sparse autoencoder, or with --over several at once. Ctrl-C pauses with a checkpoint."""
    changes = [*session.settings.items(), *map(assignment, set_ or [])]
    sources = {
        "--config": config, "--template": template, "--preset": preset, "--from-saelens": from_saelens,
        "--from-mistudio": from_mistudio, "--saes": saes, "--activation-norm": activation_norm,
    }  # fmt: skip
    base, translation = _start(sources, changes, taken_over({}, over or []))
    several = taken_over(base, over or [])
    wanted = build_config(base, changes, several)
    require(
        (spread is None or several, "--spread", "One training runs in one job.", "Give --over, too."),
        (spread in (None, "all") or spread.isdecimal(), "--spread", f"{spread!r} is not a number.", "Use one, or all."),
    )  # fmt: skip
    if translation is not None:
        note(translation.report())
    if dry_run:
        _show(wanted, several, translation)
        return
    from saewidgets.workspace.sinks import TrackioSink, WandbSink  # imports little, but nobody else needs it

    on_event = [*([WandbSink(wandb)] if wandb else []), *([TrackioSink(trackio)] if trackio else [])]
    if several:
        jobs = spread == "all" or int(spread or 0)
        group = session.workspace.trainings.create_many(wanted, several, on_event=on_event, spread=jobs)
        note(f"Training {len(group)} together: {group.name} ({group.id})")
        follow_group(group)
    else:
        run = session.workspace.trainings.create(wanted, on_event=on_event)
        note(f"Training {run.record.name} ({run.id})")
        follow_run(run)


def _start(
    sources: dict[str, Any], changes: Iterable[tuple[str, Any]], over: Over
) -> tuple[dict[str, Any], Translation | None]:
    """The settings that flags are put on, and the translation where they are of another package.

    A translation is made with the `changes` of flags, for it may only work so; where it does not work alone, the first
    combination of `over` completes it.
    """
    config, template, name, saelens, mistudio, saes, norm = sources.values()
    rivals = {**sources, "--template": None if mistudio else template, "--saes": None, "--activation-norm": None}
    require_one(rivals)
    require(
        (norm is None or mistudio, "--activation-norm", "This is for a translation of miStudio's hyper-parameters.",
         "Give --from-mistudio FILE, too."),
        (saes is None or saelens, "--saes", "This is for a configuration of several SAEs that SAELens wrote.",
         "Give --from-saelens FILE, too."),
    )  # fmt: skip
    if saelens is None and mistudio is None:
        return base_of(config, template, name, changes)
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


def _show(config: TrainingConfig, over: dict[str, Any], translation: Translation | None) -> None:
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
        note(f"As it is, it would not start. {error}")
    if session.json and translation is not None:
        write_json({"config": data, "source": translation.source, "remarks": translation.to_data()["remarks"]})
    else:
        write_json(data)


@command()
def presets() -> None:
    """List the settings for well-known models, with their sources."""
    found = all_presets()
    rows = [(each.name, each.config.model, f"{each.config.tokens:,}", each.description) for each in found]
    said = "Start one with saewidgets train --preset NAME; --json has the sources."
    answer(found, table(("preset", "model", "tokens", "what"), rows, right=(2,)), notes=[said])


templates = CommandGroup("Keep training configurations under names, and share them as files.")
TemplateName = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Id or name of the template.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A .json file.")]
COLUMNS = ("", "name", "model", "dataset", "hook", "architecture", "d_sae", "description")
_LONGEST, _LONG_SETTING = 60, 200  # characters of a description in a table, and of a setting


def require_one(sources: Mapping[str, object]) -> None:
    """Raises `ConfigError` where more than one of these options was given."""
    if len(taken := [option for option, value in sources.items() if value is not None]) > 1:
        raise ConfigError(
            f"Settings come from one source, not from {' and '.join(taken)}.", where=taken[1],
            hint="Name one; change single settings with --set.",
        )


def base_of(
    config: Path | None, template: str | None = None, name: str | None = None, changes: Iterable[tuple[str, Any]] = ()
) -> tuple[dict[str, Any], Translation | None]:
    """The settings that flags are put on: of a file, of a template, of the preset of this `name`, or none; and the
    translation where the file is GhostTrack's, made with the `changes` of flags."""
    if template is not None:
        return session.workspace.templates.load(template).to_data(), None
    if name is not None:
        return preset(name).to_data(), None
    data = read_config(config) if config else {}
    if not is_ghosttrack(data):
        return data, None
    from saewidgets.workspace.training.settle import require_width  # torch: seconds to import

    found = from_ghosttrack(data, **dict(changes))
    require_width(found.config, found.d_in)
    return found.config.to_data(), found


def _row(record: TemplateRecord) -> list[str]:
    return [
        "★" if record.favorite else "", record.name, record.model, record.corpus, record.hook_name, record.architecture,
        count(record.d_sae), cut(" ".join(record.description.split()), _LONGEST),
    ]  # fmt: skip


@templates.verb("list")
def list_templates(
    search: Annotated[str | None, Option(help="Words that are all in name, description, model, dataset, …")] = None,
) -> None:
    """List the templates, favourites first."""
    records = list(session.workspace.templates.list(search=search))
    listed(records, COLUMNS, _row, (6,), "No templates match." if search else "No templates yet.")


@templates.verb("show")
def show(template: TemplateName) -> None:
    """Show a template with all its settings."""
    record = session.workspace.templates.get(template)
    lines = facts([
        ("id", record.id), ("name", record.name), ("favourite", "yes" if record.favorite else "no"),
        ("description", record.description), ("saved", moment(record.updated_at)),
    ])  # fmt: skip
    settings = [
        (name, value if isinstance(value, str) else dumps(value, ensure_ascii=False))
        for name, value in dotted(record.config)  # by the names that --set takes
    ]
    answer(record, *lines, "", *(f"{name:<36}{cut(value, _LONG_SETTING)}" for name, value in settings))


@templates.verb("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    config: ConfigFile = None,
    run: Annotated[str | None, Option(metavar="RUN", help="The settings of this run.")] = None,
    set_: Set = None,
    description: Annotated[str | None, Option(help="What it is good for; --replace keeps the former one.")] = None,
    favorite: Annotated[bool, Option("--favorite", help="List it first.")] = False,
    replace: Annotated[bool, Option("--replace", help="Take the place of a template with this name.")] = False,
) -> None:
    """Keep settings from a file, a run or --set under a name."""
    require(
        (not (config and run), "--run", "Settings come from a file or from a run, not from both.", "Name one of them."),
        (config or run or set_, "NAME", "There are no settings to keep.", "Give --config, --run or --set."),
    )
    base = session.workspace.trainings.get(run).template_config().to_data() if run else base_of(config)[0]
    require((
        "over" not in base, f"{config}: over", "A template holds one training, and this table makes several.",
        f"Leave it out, and give it when you train: saewidgets train --template {name!r} --over NAME=VALUE,VALUE.",
    ))  # fmt: skip
    wanted = build_config(base, [assignment(text) for text in set_ or []])
    with _taken_is_usage(" or add --replace"):
        record = session.workspace.templates.save(
            name, wanted, description=description, favorite=favorite, replace=replace
        )
    answer(record, f"Saved {record.name} ({record.id})")


@templates.verb("rename")
def rename(template: TemplateName, name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")]) -> None:
    """Give a template another name."""
    with _taken_is_usage():
        record = session.workspace.templates.rename(template, name)
    answer(record, f"Renamed to {record.name} ({record.id})")


@templates.verb("favorite")
def favorite(
    template: TemplateName,
    off: Annotated[bool, Option("--off", help="Make it an ordinary one again.")] = False,
) -> None:
    """Make a template a favourite."""
    record = session.workspace.templates.favorite(template, not off)
    said = "Not a favourite any more:" if off else "Favourite:"
    answer(record, f"{said} {record.name} ({record.id})")


@templates.verb("delete")
def delete(template: TemplateName, yes: Yes = False) -> None:
    """Delete a template. Runs that were started from it stay."""
    delete_record(session.workspace.templates, session.workspace.templates.get(template), yes, holding="")


@templates.verb("export")
def export(
    path: File,
    template: Annotated[
        list[str] | None, typer.Argument(metavar="[TEMPLATE]...", help="Ids or names, else all.", show_default=False)
    ] = None,
) -> None:
    """Write templates into a JSON file, replacing it if it is there and making folders that are missing."""
    written = session.workspace.templates.export_json(template or None, path)
    number = len(dict.fromkeys(template)) if template else len(session.workspace.templates.list())
    answer({"path": written, "templates": number}, f"{plural(number, 'template')} written to {written}")


@templates.verb("import")
def import_templates(path: File) -> None:
    """Take over all templates of a file, or none; names that are taken get a number."""
    try:
        records = list(session.workspace.templates.import_json(path))
    except FormatError as error:  # as a file that --config cannot take
        raise ConfigError(error.what, where=error.where, hint=error.hint) from error
    answer(records, "Imported " + ", ".join(record.name for record in records))


@contextmanager
def _taken_is_usage(otherwise: str = "") -> Iterator[None]:
    """A name that another template has, as the command's own mistake."""
    try:
        yield
    except StateError as error:
        raise ConfigError(error.what, where="NAME", hint=f"Choose another name{otherwise}.") from error
