"""Defines ``saewidgets saes``, the library of SAEs, and ``saewidgets evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from saewidgets.cli.options import Option, SubtractBDec, Yes, delete_record, named
from saewidgets.cli.output import count, facts, moment, number, size, table, to_data
from saewidgets.cli.session import CommandGroup, answer, command, listed, session
from saewidgets.records import SAERecord

saes = CommandGroup("Look after the library of SAEs.")
SAEId = Annotated[str, named("SAE", "SAE")]
COLUMNS = ("id", "name", "source", "model", "hook", "architecture", "d_sae", "d_in", "size", "added")


def _row(record: SAERecord) -> list[str]:
    mark = {"ok": "", "missing": " (files missing)", "changed": " (files changed)"}[record.state]
    return [
        record.id, record.name + mark, record.source, record.model or "–", record.hook_name or "–", record.architecture,
        count(record.d_sae), count(record.d_in), size(record.size_bytes), moment(record.created_at),
    ]  # fmt: skip


@saes.verb("list")
def list_saes(
    source: Annotated[str | None, Option(help="trained, huggingface, gemma_scope or local.")] = None,
    model: Annotated[str | None, Option(help="Only SAEs of this model.")] = None,
    layer: Annotated[int | None, Option(help="Only SAEs of this layer.")] = None,
    architecture: Annotated[str | None, Option(help="Only SAEs of this architecture.")] = None,
    format: Annotated[str | None, Option(help="Only SAEs kept in this format.")] = None,
    tag: Annotated[str | None, Option(help="Only SAEs with this tag.")] = None,
    search: Annotated[str | None, Option(help="Words that are all in name, model, repository, tags, notes, …")] = None,
    sort: Annotated[str, Option(help="newest, oldest, name, model, layer, d_sae or size.")] = "newest",
) -> None:
    """List the SAEs of the workspace."""
    asked = {
        "source": source, "model": model, "layer": layer, "architecture": architecture, "format": format, "tag": tag,
        "search": search,
    }  # fmt: skip
    records = list(session.workspace.saes.list(sort=sort, **asked))  # type: ignore[arg-type]
    none = "No SAEs match." if any(v is not None for v in asked.values()) else "No SAEs yet."
    listed(records, COLUMNS, _row, (6, 7, 8), none)


@saes.verb("show")
def show(
    sae: SAEId,
    statistics: Annotated[bool, Option("--statistics", help="Also what the weights tell: norms, densities.")] = False,
) -> None:
    """Show one SAE: what it is, where it came from, how to load it."""
    workspace = session.workspace
    record = workspace.saes.find(sae)
    code = workspace.saes.load_code(record.id)
    numbers = workspace.saes.statistics(record.id) if statistics else dict(record.statistics)
    origin = record.metadata.get("origin", {})
    place = f"{record.repo_id}@{(record.revision or '')[:7]} {record.repo_path}" if record.repo_id else None
    lines = facts([
        ("id", record.id),
        ("name", record.name),
        ("source", record.source),
        ("model", f"{record.model or '–'}, {record.hook_name or '–'}"),
        ("architecture", f"{record.architecture}, {count(record.d_in)} → {count(record.d_sae)}"),
        ("format", f"{record.format}, {record.dtype or '–'}, {size(record.size_bytes)}"),
        ("added", moment(record.created_at)),
        ("folder", record.path),
        ("came as", origin.get("format") if origin.get("format") != record.format else None),
        ("came from", place or origin.get("where")),
        ("training", record.training_name or record.training_id),
        ("tags", ", ".join(record.tags)),
        ("notes", record.notes),
        ("files", record.state_note),
    ])  # fmt: skip
    if statistics:
        lines.append("")
        for name in ("decoder_norms", "encoder_norms", "threshold", "density"):
            if found := numbers.get(name):
                mean = number(found["mean"])
                lines.append(f"{name:<14}{number(found['min'])} to {number(found['max'])}, mean {mean}")
    data = {**to_data(record), "statistics": to_data(numbers), "load": code}
    answer(data, *lines, "\n" + code["saewidgets"].strip())


@saes.verb("add")
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of an SAE, a file of one, or a .zip of them.")],
    name: Annotated[str | None, Option(help="What to call it, else like its folder.")] = None,
    model: Annotated[str | None, Option(help="The model it was trained on, if its files do not say.")] = None,
    hook_name: Annotated[str | None, Option(help="The hook point, if its files do not say.")] = None,
    apply_b_dec_to_input: SubtractBDec = None,
) -> None:
    """Copy an SAE from this machine into the library, checked and in SAELens' format where that can express it."""
    added(session.workspace.saes.add_local(
        path, name=name, model=model, hook_name=hook_name, apply_b_dec_to_input=apply_b_dec_to_input
    ))  # fmt: skip


def added(sae: SAERecord, **more: object) -> None:
    """What came into the library."""
    width = f"{count(sae.d_in)} → {count(sae.d_sae)}"
    kept = sae.metadata.get("origin", {}).get("kept")
    notes = [f"Kept in its own format, {sae.format}: {kept}"] if kept else []
    answer({**to_data(sae), **more}, f"Added {sae.name} ({sae.id}): {sae.architecture}, {width}", notes=notes)


@saes.verb("convert")
def convert(
    sae: SAEId,
    dest: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an SAE of that format.")],
    to: Annotated[str, Option(metavar="FORMAT", help="The format to write.")] = "saelens",
) -> None:
    """Write an SAE into a folder, in any format that can express it."""
    record = session.workspace.saes.find(sae)
    written = session.workspace.saes.export(record.id, dest, to)
    answer({"id": record.id, "format": to, "path": written}, f"Wrote {record.name} to {written} ({to})")


@saes.verb("delete")
def delete(sae: SAEId, yes: Yes = False) -> None:
    """Delete an SAE with its files. The training it came from stays."""
    delete_record(session.workspace.saes, session.workspace.saes.find(sae), yes)


@saes.verb("push", token=True)
def push(
    sae: SAEId,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the Hugging Face hub.")],
    path: Annotated[str, Option(metavar="FOLDER", help="The folder in the repository, else its root.")] = "",
    license: Annotated[
        str, Option(metavar="ID", help="The licence of a new model card as the hub spells it, e.g. mit.")
    ] = "unknown",
    base_model: Annotated[
        str | None,
        Option(metavar="OWNER/NAME", help='The SAE\'s model on the hub, asked for if it is a folder; "" names none.'),
    ] = None,
    public: Annotated[bool, Option("--public", help="Make the repository public; a new one is private.")] = False,
) -> None:
    """Publish an SAE on the Hugging Face hub, with a model card."""
    library = session.workspace.saes
    record = library.find(sae)
    url = library.push_to_hub(
        record.id, repo, token=session.token, private=not public, path=path, license=license, base_model=base_model
    )
    data = {"id": record.id, "repo_id": repo, "path": path, "url": url}
    answer(data, f"Published {record.name}: {url}")


@command(quiet=True)
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
    hook_name: Annotated[str | None, Option(help="Where it reads, else where it was trained.")] = None,
    hook_name_out: Annotated[
        str | None, Option(help="What a transcoder reconstructs, else what it was trained for.")
    ] = None,
    context_size: Annotated[int | None, Option(help="Tokens per context.", min=2)] = None,
    batch_size: Annotated[int | None, Option(help="Contexts per forward.", min=1)] = None,
    special_tokens: Annotated[
        bool | None,
        Option("--include-special-tokens/--exclude-special-tokens", help="Let them count or not, else as trained."),
    ] = None,
    seqpos_slice: Annotated[str | None, Option(help='Only these positions: 5:-5; ":" is all. Else as trained.')] = None,
    cross_entropy: Annotated[
        bool | None,
        Option("--cross-entropy/--no-cross-entropy", help="Also what the language model loses; usual on text."),
    ] = None,
    mean_ablation: Annotated[
        bool, Option("--mean-ablation", help="Also CE recovered against the mean activation.")
    ] = False,
    model: Annotated[str | None, Option(help='A Hugging Face id, a folder or "demo", else its own.')] = None,
    device: Annotated[str | None, Option(help="cpu, cuda:0, … or auto.")] = None,
) -> None:
    """Measure an SAE on text: reconstruction, sparsity, and what the language model loses by it.

    On stored activations everything but the last is measured, and no language model is run.
    """
    report = session.workspace.evaluate(
        sae, corpus, tokens=tokens, hook_name=hook_name, hook_name_out=hook_name_out, context_size=context_size,
        batch_size=batch_size, exclude_special_tokens=None if special_tokens is None else not special_tokens,
        seqpos_slice=seqpos_slice, cross_entropy=cross_entropy, mean_ablation=mean_ablation, model=model,
        device=device, progress=not session.quiet,
    )  # fmt: skip
    lines = facts([("Name", report.name), *report.facts()], width=8)
    lines.append("\n" + table(("figure", "value", ""), report.rows(), right=(1,)))
    answer(report.to_dict(), *lines, notes=report.notes)
