"""``saewidgets hub …``: looking at SAEs on the Hugging Face hub, and downloading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli import hub_downloads
from saewidgets.cli.options import Json, Quiet, SubtractBDec, TokenStdin
from saewidgets.cli.output import count, moment, note, number, plural, size, table, write, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.cli.tokens import ask_token
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.hub_records import Preview, RepoInfo, Variant

hub = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Repo = Annotated[
    str,
    typer.Argument(metavar="REPO", help="owner/name[@revision][/folder], a link, or a SAELens release."),
]
Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="The SAE's folder, if REPO does not name it.")]
Revision = Annotated[str | None, typer.Option(metavar="REV", help="Branch, tag or commit, if REPO does not name it.")]
COLUMNS = ("folder", "format", "site", "layer", "d_sae", "l0", "size", "")


@hub.callback()
def group() -> None:
    """Look at SAEs on the Hugging Face hub and download them."""  # what `saewidgets hub --help` begins with


@hub.command("info")
@command
def info(repo: Repo, token_stdin: TokenStdin = False, json: Json = False) -> None:
    """Show a repository: commit, licence, gate, base models, size."""
    token = ask_token(token_stdin)
    with open_workspace() as workspace:
        found = workspace.hub.repo_info(repo, token)
    if json:
        write_json(found)
        return
    for label, value in _info(found):
        write(f"{label:<14}{value}")
    _say_cached(found.from_cache)


def _say_cached(from_cache: bool) -> None:
    if from_cache:
        note("Offline mode (HF_HUB_OFFLINE): this is what the cache of this machine has; the repository may hold more.")


def _info(found: RepoInfo) -> list[tuple[str, str]]:
    if found.from_cache:
        return [
            ("repository", found.repo_id), ("revision", found.revision),
            ("cached", f"{plural(found.files, 'file')}, {size(found.size_bytes)}"),
        ]  # fmt: skip
    access = ["private" if found.private else "public", f"gated ({found.gated})" if found.gated else ""]
    return [
        ("repository", found.repo_id),
        ("revision", found.revision),
        ("access", ", ".join(filter(None, access))),
        ("library", found.library or "–"),
        ("licence", found.license or "–"),
        ("base models", ", ".join(found.base_models) or "–"),
        ("files", f"{count(found.files)}, {size(found.size_bytes)}"),
        ("changed", moment(found.last_modified)),
        ("page", found.url or "–"),
    ]


@hub.command("variants")
@command
def variants(
    repo: Repo,
    site: Annotated[str | None, typer.Option(help="Only this site, e.g. resid_post.")] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer.")] = None,
    width: Annotated[str | None, typer.Option(help="Only this width as the repository writes it, e.g. 16k.")] = None,
    token_stdin: TokenStdin = False,
    json: Json = False,
) -> None:
    """List the SAEs of a repository."""
    token = ask_token(token_stdin)
    with open_workspace() as workspace:
        found = [
            variant for variant in workspace.hub.variants(repo, token)
            if (site is None or variant.site == site) and (layer is None or variant.layer == layer)
            and (width is None or variant.width == width)
        ]  # fmt: skip
    if json:
        write_json(found)
    elif found:
        write(table(COLUMNS, map(_row, found), right=(3, 4, 5, 6)))
        _say_cached(found[0].from_cache)
    else:
        write("No SAEs match.")


def _row(variant: Variant) -> list[str]:
    marks = ["canonical" if variant.canonical else "", "cached" if variant.cached else ""]
    return [
        variant.path or ".", variant.format, variant.site or "–", number(variant.layer), number(variant.d_sae),
        number(variant.l0), size(variant.size_bytes), ", ".join(filter(None, marks)),
    ]  # fmt: skip


@hub.command("preview")
@command
def preview(
    repo: Repo,
    folder: Folder = "",
    revision: Revision = None,
    device: Annotated[str | None, typer.Option(help="Warn if it does not fit there: cpu, cuda:0, …")] = None,
    token_stdin: TokenStdin = False,
    json: Json = False,
) -> None:
    """Show one SAE before it is downloaded: dimensions, sizes, warnings. No weights are read."""
    token = ask_token(token_stdin)
    with open_workspace() as workspace:
        workspace.hub.check_device(device, where="--device")
        found = workspace.hub.preview(repo, folder, token, device, revision)
    if json:
        write_json(found)
        return
    for label, value in _facts(found):
        write(f"{label:<14}{value}")
    for warning in found.warnings:
        note(f"{warning.what} {warning.hint or ''}".strip())


def _model(found: Preview) -> str:
    gate = {True: " (gated)", False: "", None: " (not known whether it is gated)"}[found.gated_model]
    return found.model + gate if found.model else "–"


def _facts(found: Preview) -> list[tuple[str, str]]:
    settings = ", ".join(f"{key} {number(value)}" for key, value in found.settings.items() if value is not None)
    return [
        ("SAE", f"{found.repo_id} {found.path}".strip()),
        ("revision", found.revision),
        ("format", f"{found.format}, {found.dtype or '–'}"),
        ("architecture", f"{found.architecture or '–'}, {count(found.d_in)} → {count(found.d_sae)}"),
        ("model", f"{_model(found)}, {found.hook_name or '–'}"),
        ("settings", settings or "–"),
        ("download", size(found.download_bytes) + (" (all in the cache)" if found.cached else "")),
        ("memory", f"{size(found.memory_bytes)} as float32, {size(found.gpu_bytes)} as stored"),
    ]


@hub.command("download")
@command
def download(
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="As in info; left out with --resume.", show_default=False)
    ] = "",
    folder: Folder = "",
    revision: Revision = None,
    name: Annotated[str | None, typer.Option(help="What to call it in the library.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="JOB", help="Go on with a download that was paused.")] = None,
    apply_b_dec_to_input: SubtractBDec = None,
    token_stdin: TokenStdin = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download an SAE into the library. Ctrl-C pauses; what arrived is kept."""
    if bool(repo) == bool(resume):
        raise ConfigError("Give a repository, or --resume with the id of a download.", where="REPO")
    token = ask_token(token_stdin)
    with open_workspace() as workspace:
        if resume:
            job = workspace.hub.resume(resume, token)
        else:
            job = workspace.hub.download(
                repo, folder, revision, token, name, apply_b_dec_to_input=apply_b_dec_to_input
            )
        hub_downloads.run_here(workspace, job, json=json, quiet=quiet)


hub.command("downloads")(hub_downloads.list_downloads)
hub.command("pause")(hub_downloads.pause)
hub.command("resume")(hub_downloads.resume)
hub.command("cancel")(hub_downloads.cancel)
