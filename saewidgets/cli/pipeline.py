"""Defines ``saewidgets pipeline``: activations of many layers from one forward, an SAE of each, and their checks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.configfile import assignment, build_config
from saewidgets.cli.follow import CAPTURE, EXTRACTION, GOOD, RUN, Kind, follow
from saewidgets.cli.options import Option, Preset, Set, Template, settings
from saewidgets.cli.output import count, note, plural, table, write, write_json
from saewidgets.cli.session import FAILED, PAUSED, command, session
from saewidgets.cli.train import base_of, require_one
from saewidgets.config import TrainingConfig
from saewidgets.config.base import require
from saewidgets.config.group import PipelineConfig, layers_text
from saewidgets.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from saewidgets.records import ActivationStoreRecord
    from saewidgets.workspace.activations import Capture
    from saewidgets.workspace.pipeline import Pipeline
    from saewidgets.workspace.training.advice import LayerReport


_OWN = ("layers", "num_tokens", "batch_size_extract", "dtype")
SETTINGS = {
    **settings(PipelineConfig, *_OWN),
    **settings(TrainingConfig, "model", "corpus", "tokens", "epochs", "device", "model_device", "model_compile"),
}
_ROUNDS = 2
"""Captures of one command: a second one where the first shows that the model is another than that of earlier stores."""


def _require_texts(paths: list[str] | None) -> None:
    """Raise `NotFoundError` for a missing file before hours of training."""
    for path in paths or ():
        if path != "demo" and not Path(path).expanduser().exists():
            raise NotFoundError(
                "There is no such file or folder.", where=f"--texts {path}", hint="Check the path of the text."
            )


@command(settings=SETTINGS, quiet=True)
def pipeline(
    extract_only: Annotated[bool, Option("--extract-only", help="Capture the activations, train nothing.")] = False,
    train_only: Annotated[bool, Option("--train-only", help="Train on all that was captured before.")] = False,
    config: Annotated[
        Path | None, Option("--config", "-c", metavar="FILE", help="How each layer is trained; flags win.")
    ] = None,
    template: Template = None,
    preset: Preset = None,
    cache_dir: Annotated[
        Path | None, Option(metavar="DIR", file_okay=False, help="Workspace with activations and runs (--home).")
    ] = None,
    save_dir: Annotated[
        Path | None, Option(metavar="DIR", file_okay=False, help="Where SAEs and histories go, else pipeline/ there.")
    ] = None,
    interpret: Annotated[bool, Option("--interpret", help="Write what the features of each layer fire on.")] = False,
    texts: Annotated[
        list[str] | None,
        Option(
            "--texts", metavar="FILE",
            help="With --interpret: the text to read, repeatable; else as in training.",
        ),
    ] = None,
    import_: Annotated[bool, Option("--import", help="Put the SAE of each layer into the library.")] = False,
    set_: Set = None,
) -> None:
    """Capture several layers, train an SAE of each, check them. The same command again goes on where it was left."""
    require(
        (not (extract_only and train_only), "--train-only",
         "With --extract-only and --train-only nothing is left to do.", "Give one."),
        (not extract_only or not (interpret or import_), "--extract-only", "This trains no SAE to interpret or import.",
         "Leave it out."),
        (interpret or not texts, "--texts", "This is the text that features are interpreted with.", "Add --interpret."),
    )  # fmt: skip
    _require_texts(texts)
    require_one({"--config": config, "--template": template, "--preset": preset})
    if cache_dir is not None:
        session.home = cache_dir.expanduser().absolute()
    # The command as it was typed, quoted for a shell; `command_line` puts the workspace before it.
    again = tuple(map(shlex.quote, sys.argv[sys.argv.index("pipeline") :])) if "pipeline" in sys.argv else ("pipeline",)
    own = {name: value for name, value in session.settings.items() if name in _OWN}
    flags = [(name, value) for name, value in session.settings.items() if name not in own]
    workspace, changes = session.workspace, [*flags, *map(assignment, set_ or [])]
    base, translation = base_of(config, template, preset, changes)
    if translation is not None:
        note(translation.report())
    asked = workspace.pipeline(build_config(base, changes), **own)
    if train_only:
        asked = asked.as_captured()
    _extract(asked, workspace.folder, train_only, again)
    if extract_only:
        if session.json:
            write_json(_records(asked.stores(imported=train_only)))
        return
    failed = _train(asked, again)
    folder, refused = (save_dir or workspace.folder / "pipeline").expanduser().absolute(), None
    try:
        if written := asked.save(folder):
            note(f"Best and final SAEs and histories of {plural(len(written), 'layer')}: {folder}")
    except StorageError as error:  # results so far are shown all the same
        refused = error
    if import_:
        added = [run.import_to_saes().id for run in asked.runs().values() if run.record.sae_path is not None]
        note(f"In the library: {', '.join(added)}")
    interpretations = None
    if interpret:
        extractions = asked.read(texts[0] if texts and len(texts) == 1 else texts)
        missing = {layer: each for layer, each in extractions.items() if each.status not in GOOD}
        _say({
            "{} read before": [each.id for layer, each in extractions.items() if layer not in missing],
            "Reading {}": [each.id for each in missing.values()],
        })  # fmt: skip
        failed += _follow_each(missing, EXTRACTION, again)
        interpretations = asked.write_interpretations(folder, extractions)
        note(f"Interpretations of {plural(len(interpretations), 'layer')}: {folder / 'interpretations'}")
    reports = asked.validate(interpretations)
    if session.json:
        write_json([report.to_dict() for report in reports])
    else:
        _show(reports)
    if refused is not None:
        raise refused
    if failed:
        raise typer.Exit(FAILED)


def _extract(asked: Pipeline, home: Path, train_only: bool, again: tuple[str, ...]) -> None:
    """Capture, or find what was captured; with `train_only` only the latter, or the states that a script has saved."""
    there = asked.stores(imported=train_only)
    if len(there) < len(asked.layers):
        for record in asked.outdated():
            note(f"The text has changed since {record.name} ({record.id}) was captured, so that store is not read.")
    for record in _records(there):
        if record.is_whole:
            note(f"Activations: {record.name} ({record.id}), {count(record.n_tokens)} tokens, {record.source} before.")
    for _ in range(_ROUNDS):
        missing = [layer for layer in asked.layers if layer not in there]
        if not missing and all(store.record.is_whole for store in there.values()):
            return
        if not missing or not train_only:
            store = asked.extract()
            note(f"Capturing {plural(len(store.record.hook_names), 'layer')} from one forward ({store.id})")
        else:
            imported = asked.import_states(home)
            if imported is None:
                raise NotFoundError(
                    f"No activations of {layers_text(missing)} were captured with these settings.",
                    where="--train-only",
                    hint="Run it without --train-only first, or with the same --cache-dir and settings as then.",
                )
            store = imported
            note(f"Taking over the states in {home / 'hidden_states'} ({store.id})")
        follow(store, CAPTURE, resume=again)
        there = asked.stores(imported=train_only)


def _records(stores: Mapping[int, Capture]) -> list[ActivationStoreRecord]:
    """The records of the stores of layers, each once, in their order."""
    return list({store.id: store.record for store in stores.values()}.values())


def _train(asked: Pipeline, again: tuple[str, ...]) -> list[int]:
    """Train every layer; the layers whose run failed."""
    there = {run.id: run.status in GOOD for run in asked.runs().values()}
    runs = asked.train()
    _say({
        "{} trained before": [i for i, is_done in there.items() if is_done],
        "Going on with {}": [i for i, is_done in there.items() if not is_done],
        "Training {}": [run.id for run in runs.values() if run.id not in there],
    })  # fmt: skip
    return _follow_each({layer: run for layer, run in runs.items() if not there.get(run.id)}, RUN, again)


def _say(done: Mapping[str, Iterable[str]]) -> None:
    """A line for every sentence with the ids that it is about, if there are any."""
    for words, ids in done.items():
        if listed := list(ids):
            note(f"{words.format(plural(len(listed), 'layer'))}: {', '.join(listed)}")


def _follow_each(jobs: Mapping[int, Any], kind: Kind, again: tuple[str, ...]) -> list[int]:
    """Show one job of a layer after the other until it ends; the layers whose job failed."""
    failed = []
    for layer, job in jobs.items():
        try:
            follow(job, kind, resume=again)
        except typer.Exit as ended:  # the other layers are worth having
            if ended.exit_code == PAUSED:
                raise
            failed.append(layer)
    return failed


def _show(reports: Sequence[LayerReport]) -> None:
    if not reports:  # no training got so far
        return
    names = [check.name for check in reports[0].checks]
    rows = []
    for report in reports:
        cells = [f"{'✓' if check.passed else '✗'} {check.value}" for check in report.checks]
        rows.append([report.layer, *cells, "pass" if report.passed else "see below"])
    write(table(["Layer", *(name.capitalize() for name in names), "Result"], rows, right=[0]))
    for check in reports[0].checks:
        note(f"{check.name.capitalize()}: {check.goal}.")
    for report in reports:
        for piece in report.advice:
            write(f"Layer {report.layer}: {piece}")
