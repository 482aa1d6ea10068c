"""Defines the commands about runs: ``saewidgets demo``, ``list``, ``show``, ``metrics``, ``pause``, ``resume``, …"""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from saewidgets.cli.configfile import build_config
from saewidgets.cli.follow import RUN, ask, follow, follow_group, follow_run
from saewidgets.cli.options import Option, RunId, Status, Wait, Yes, delete_record
from saewidgets.cli.output import (
    count,
    duration,
    facts,
    moment,
    note,
    number,
    plural,
    size,
    table,
    to_data,
    write,
    write_json,
)
from saewidgets.cli.session import answer, command, command_line, listed, session
from saewidgets.errors import ConfigError
from saewidgets.records import TrainingRecord
from saewidgets.render.evaluation import FIGURES, shown
from saewidgets.render.static_views import tile_values

COLUMNS = ("id", "name", "status", "progress", "loss", "l0", "fvu", "model", "created")


def _progress(record: TrainingRecord) -> str:
    share = record.tokens_done / record.tokens_total if record.tokens_total else 0.0
    return f"{share:.0%}"


def _row(record: TrainingRecord) -> list[str]:
    latest = tile_values(record)
    values = [number(latest[key]) for key in ("loss", "l0", "fvu")]
    state = record.status.value
    return [record.id, record.name, state, _progress(record), *values, record.model, moment(record.created_at)]


def _by(record: TrainingRecord) -> str:
    return f"{record.started_by or 'somebody'} on {record.host}"


@command()
def list_runs(
    status: Status = None,
    model: Annotated[str | None, Option(help="Only runs on this model.")] = None,
    search: Annotated[str | None, Option(help="Only runs whose name or id contains this.")] = None,
) -> None:
    """List the runs of the workspace, newest first."""
    records = list(session.workspace.trainings.list(status=status, model=model, search=search))
    none = f"No runs{' match' if status or model or search else ' yet'}. Start one with: {command_line('train')}"
    if session.workspace.catalog.path is None:
        listed(records, (*COLUMNS, "by"), lambda record: [*_row(record), _by(record)], (3, 4, 5, 6), none)
    else:
        listed(records, COLUMNS, _row, (3, 4, 5, 6), none)


@command()
def show(run: RunId) -> None:
    """Show one run: where it stands, its settings, its checkpoints."""
    from saewidgets.workspace.folders import files_note  # sqlalchemy: slow to import

    handle = session.workspace.trainings.get(run)
    record, checkpoints = handle.record, list(handle.checkpoints())
    away = files_note(session.workspace, record)
    latest = ", ".join(f"{name} {number(value)}" for name, value in sorted(record.latest.items()))
    tokens = f"{count(record.tokens_done)} of {count(record.tokens_total)} tokens"
    lines = facts([
        ("id", record.id),
        ("name", record.name),
        ("status", record.status.value),
        ("progress", f"{tokens} ({_progress(record)}), step {count(record.step)}"),
        ("model", f"{record.model}, {record.hook_name}"),
        ("corpus", record.corpus),
        ("autoencoder", f"{record.architecture}, {count(record.d_in)} → {count(record.d_sae)}"),
        ("device", record.lane.rpartition("/")[2]),
        ("latest", latest or "–"),
        ("created", f"{moment(record.created_at)}, by {_by(record)}"),
        ("training time", duration(record.seconds_running)),
        ("folder", away or record.folder),
        ("SAE", "–" if away else record.sae_path or "–"),
        ("started from", record.started_from),
        ("retry of", record.retry_of),
        ("note", record.note),
    ])  # fmt: skip
    if record.error:
        lines.append("\n" + record.error.message)
    if checkpoints:
        header = ("checkpoint", "step", "tokens", "kept as", "size")
        rows = [(c.id, count(c.step), count(c.tokens), ", ".join(c.kinds), size(c.size_bytes)) for c in checkpoints]
        lines.append("\n" + table(header, rows, right=(1, 2, 4)))
    answer({**to_data(record), "checkpoints": to_data(checkpoints)}, *lines)


Since = Annotated[str | None, Option(metavar="TIME", help="From this time on: 2025-03-31, 2025-03-31T12:00.")]
Until = Annotated[str | None, Option(metavar="TIME", help="Up to this time; without a zone it is this machine's.")]


def _time(text: str | None, where: str) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a time.", where=where, hint="For example 2025-03-31T12:00.") from None


@command()
def metrics(
    run: RunId,
    names: Annotated[str, Option(help="Comma-separated names; all of them when empty.")] = "loss,l0,fvu",
    since: Since = None,
    until: Until = None,
    min_step: Annotated[int | None, Option(help="Leave out earlier steps.")] = None,
    last: Annotated[int | None, Option(min=1, help="Only this many newest steps.")] = None,
    csv: Annotated[bool, Option("--csv", help="Print CSV, one line per value.")] = False,
) -> None:
    """Print the metrics of a run."""
    wanted = [name.strip() for name in names.split(",") if name.strip()] or None
    if csv and session.json:
        raise ConfigError("The output is either CSV or JSON.", where="--csv", hint="Give --csv or --json.")
    frame = session.workspace.trainings.get(run).metrics(
        names=wanted, since=_time(since, "--since"), until=_time(until, "--until"), min_step=min_step
    )
    if last is not None:
        frame = frame[frame["step"].isin(sorted(frame["step"].unique())[-last:])]
    if csv:
        write(frame.to_csv(index=False).rstrip("\n"))
    elif session.json:
        text = frame.to_json(orient="records", date_format="iso", double_precision=15)  # NaN becomes null
        write_json(json.loads(text))
    elif frame.empty:
        write("No metrics in this range." if since or until or min_step else "No metrics yet.")
    else:
        wide = frame.pivot_table(index="step", columns="name", values="value")
        shown = [name for name in wanted or [] if name in wide] or [str(name) for name in wide.columns]
        rows = [
            [step, *("" if math.isnan(value) else number(float(value)) for value in row)]  # NaN: not measured then
            for step, row in zip(wide.index, wide[shown].to_numpy(), strict=True)
        ]
        write(table(["step", *shown], rows, right=range(len(shown) + 1)))


@command()
def pause(run: RunId, wait: Wait = 60.0) -> None:
    """Pause a run: it writes a checkpoint and frees its device."""
    ask(session.workspace.trainings.get(run), "pause", RUN, wait)


@command()
def stop(
    run: RunId,
    discard: Annotated[bool, Option("--discard", help="Do not keep what was learned so far.")] = False,
    wait: Wait = 60.0,
) -> None:
    """End a run early and keep what it learned."""
    record = ask(session.workspace.trainings.get(run), "stop", RUN, wait, save=not discard)
    if record.status.is_final and record.sae_path is None and not discard:
        kept = "its checkpoints are still there" if record.checkpoint_count else "it had no checkpoint yet"
        note(f"It left no SAE; {kept}.")


@command(quiet=True)
def resume(run: RunId) -> None:
    """Go on with a paused, stopped, failed or interrupted run, in this process. Ctrl-C pauses it again."""
    handle = session.workspace.trainings.get(run)
    group = handle.group
    (group or handle).resume()
    if group is not None:
        note(f"Resuming {group.name}: {len(group)} together ({group.id})")
        follow_group(group)
        return
    note(f"Resuming {handle.record.name} ({handle.id})")
    follow_run(handle)


@command(quiet=True)
def retry(run: RunId) -> None:
    """Start a new run with the settings of an earlier one."""
    handle = session.workspace.trainings.get(run).retry()
    note(f"Training {handle.record.name} ({handle.id}), a retry of {handle.record.retry_of}")
    follow_run(handle)


@command()
def delete(run: RunId, yes: Yes = False) -> None:
    """Delete a run: its record, metrics, checkpoints and files."""
    record = session.workspace.trainings.get(run).record
    kept = f" with {plural(record.checkpoint_count, 'checkpoint')}, {size(record.checkpoint_bytes)}"
    delete_record(session.workspace.trainings, record, yes, holding=kept)


_EVALUATION = (
    "fvu", "l0", "dead", "ce_loss_score", "ce_loss_clean", "ce_loss_sae", "ce_loss_zero", "density_above_10pct",
    "density_above_1pct", "density_below_1e-5",
)  # fmt: skip


def evaluation_table(values: Mapping[str, Any]) -> str:
    """The evaluation as aligned text: name, value, meaning, for what it holds."""
    known = [figure for figure in FIGURES if figure.name in _EVALUATION and figure.name in values]
    rows = [(figure.title, shown(figure, values[figure.name]), figure.says) for figure in known]
    return table(("metric", "value", "meaning"), rows, right=(1,))


@command(quiet=True)
def demo(
    tokens: Annotated[int | None, Option(help="How many tokens to train on.")] = None,
    seed: Annotated[int | None, Option(help="Fixes initialisation and shuffling.")] = None,
    features: Annotated[bool, Option("--features/--no-features", help="Read ten latents at the end.")] = True,
) -> None:
    """Train a sparse autoencoder on the embedded language model and read ten of its latents."""
    workspace = session.workspace
    base = workspace.trainings.demo_config().model_dump(mode="json")
    changes = {"tokens": tokens, "seed": seed}
    config = build_config(base, [(key, value) for key, value in changes.items() if value is not None])
    run = workspace.trainings.create(config)
    note(f"Training {config.sae.architecture}, {count(config.sae.d_sae)} latents, on {config.hook_name}")
    note(f"of the embedded model, {count(config.tokens)} tokens; Ctrl-C pauses. Run {run.id}")
    follow(run, RUN)
    note("Evaluating on held-out text")
    evaluation = workspace.evaluate(run)
    if not session.json:
        write("\n" + evaluation_table(evaluation))
    reading = None
    if features:
        note("\nReading what the latents fire on")
        reading = workspace.read_features(run, n=10)
    found = {"run": run.record, "evaluation": dict(evaluation), "features": None if reading is None else list(reading)}
    answer(found, *([] if reading is None else [f"\n{reading}"]))
    note(f"\nOpen it in JupyterLab: {command_line('lab')}")
