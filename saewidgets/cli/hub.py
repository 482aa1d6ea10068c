"""Defines ``saewidgets hub``: looking at SAEs on the Hugging Face hub, and downloading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.follow import DOWNLOAD, ask, follow, phase
from saewidgets.cli.options import Option, SubtractBDec, Wait, named
from saewidgets.cli.output import count, facts, moment, note, number, plural, size
from saewidgets.cli.saes import added
from saewidgets.cli.session import CommandGroup, answer, command_line, listed, session
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.hub_records import Variant
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job

hub = CommandGroup("Look at SAEs on the Hugging Face hub and download them.")
Repo = Annotated[
    str,
    typer.Argument(metavar="REPO", help="owner/name[@revision][/folder], a link, or a SAELens release."),
]
Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="The SAE's folder, if REPO does not name it.")]
Revision = Annotated[str | None, Option(metavar="REV", help="Branch, tag or commit, if REPO does not name it.")]
DownloadId = Annotated[str, named("DOWNLOAD", "download")]
COLUMNS = ("folder", "format", "site", "layer", "d_sae", "l0", "size", "")


@hub.verb("info", token=True)
def info(repo: Repo) -> None:
    """Show a repository: commit, licence, gate, base models, size."""
    found = session.workspace.hub.repo_info(repo, session.token)
    access = ["private" if found.private else "public", f"gated ({found.gated})" if found.gated else ""]
    shown = [("repository", found.repo_id), ("revision", found.revision)]
    if found.from_cache:
        shown.append(("cached", f"{plural(found.files, 'file')}, {size(found.size_bytes)}"))
    else:
        shown += [
            ("access", ", ".join(filter(None, access))),
            ("library", found.library or "–"),
            ("licence", found.license or "–"),
            ("base models", ", ".join(found.base_models) or "–"),
            ("files", f"{count(found.files)}, {size(found.size_bytes)}"),
            ("changed", moment(found.last_modified)),
            ("page", found.url or "–"),
        ]
    answer(found, *facts(shown))
    _say_cached(found.from_cache)


def _say_cached(is_cached: bool) -> None:
    if is_cached and not session.json:
        note("Offline mode (HF_HUB_OFFLINE): this is what the cache of this machine has; the repository may hold more.")


@hub.verb("variants", token=True)
def variants(
    repo: Repo,
    site: Annotated[str | None, Option(help="Only this site, e.g. resid_post.")] = None,
    layer: Annotated[int | None, Option(help="Only this layer.")] = None,
    width: Annotated[str | None, Option(help="Only this width as the repository writes it, e.g. 16k.")] = None,
) -> None:
    """List the SAEs of a repository."""
    found = [
        variant for variant in session.workspace.hub.variants(repo, session.token)
        if (site is None or variant.site == site) and (layer is None or variant.layer == layer)
        and (width is None or variant.width == width)
    ]  # fmt: skip
    listed(found, COLUMNS, _row, (3, 4, 5, 6), "No SAEs match.")
    _say_cached(bool(found) and found[0].from_cache)


def _row(variant: Variant) -> list[str]:
    marks = ["canonical" if variant.canonical else "", "cached" if variant.cached else ""]
    return [
        variant.path or ".", variant.format, variant.site or "–", number(variant.layer), number(variant.d_sae),
        number(variant.l0), size(variant.size_bytes), ", ".join(filter(None, marks)),
    ]  # fmt: skip


@hub.verb("preview", token=True)
def preview(
    repo: Repo,
    folder: Folder = "",
    revision: Revision = None,
    device: Annotated[str | None, Option(help="Warn if it does not fit there: cpu, cuda:0, …")] = None,
) -> None:
    """Show one SAE before it is downloaded: dimensions, sizes, warnings. No weights are read."""
    session.workspace.hub.check_device(device, where="--device")
    found = session.workspace.hub.preview(repo, folder, session.token, device, revision)
    gate = {True: " (gated)", False: "", None: " (not known whether it is gated)"}[found.gated_model]
    settings = ", ".join(f"{key} {number(value)}" for key, value in found.settings.items() if value is not None)
    lines = facts([
        ("SAE", f"{found.repo_id} {found.path}".strip()),
        ("revision", found.revision),
        ("format", f"{found.format}, {found.dtype or '–'}"),
        ("architecture", f"{found.architecture or '–'}, {count(found.d_in)} → {count(found.d_sae)}"),
        ("model", f"{found.model + gate if found.model else '–'}, {found.hook_name or '–'}"),
        ("settings", settings or "–"),
        ("download", size(found.download_bytes) + (" (all in the cache)" if found.cached else "")),
        ("memory", f"{size(found.memory_bytes)} as float32, {size(found.gpu_bytes)} as stored"),
    ])  # fmt: skip
    notes = [f"{warning.what} {warning.hint or ''}".strip() for warning in found.warnings]
    answer(found, *lines, notes=notes)


@hub.verb("download", token=True, quiet=True)
def download(
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="As in info; left out with --resume.", show_default=False)
    ] = "",
    folder: Folder = "",
    revision: Revision = None,
    name: Annotated[str | None, Option(help="What to call it in the library.")] = None,
    resume: Annotated[str | None, Option(metavar="JOB", help="Go on with a download that was paused.")] = None,
    apply_b_dec_to_input: SubtractBDec = None,
) -> None:
    """Download an SAE into the library. Ctrl-C pauses; what arrived is kept."""
    if bool(repo) == bool(resume):
        raise ConfigError("Give a repository, or --resume with the id of a download.", where="REPO")
    downloads, centred = session.workspace.hub, apply_b_dec_to_input
    if resume:
        _run_here(downloads.resume(resume, session.token))
    else:
        _run_here(downloads.download(repo, folder, revision, session.token, name, apply_b_dec_to_input=centred))


DOWNLOADS = ("id", "name", "status", "arrived", "size", "from", "created")


def _download_row(record: JobRecord) -> list[str]:
    payload, progress = record.payload, record.progress
    total = int(payload.get("total_bytes") or 0)
    done = record.status is JobStatus.COMPLETED
    share = 1.0 if done else min(1.0, progress.done / total) if progress is not None and total else 0.0
    place = f"{payload.get('repo_id', '–')} {payload.get('path') or ''}".strip()
    return [
        record.id, str(payload.get("name") or "–"), phase(record), f"{share:.0%}", size(total), place,
        moment(record.created_at),
    ]  # fmt: skip


@hub.verb("downloads")
def list_downloads(
    unfinished: Annotated[bool, Option("--unfinished", help="Leave out those that have ended.")] = False,
) -> None:
    """List the downloads of the workspace, newest first."""
    found = list(session.workspace.hub.downloads(unfinished=unfinished))
    none = f"No downloads. Start one with: {command_line('hub', 'download')}"
    listed(found, DOWNLOADS, _download_row, (3, 4), none)


@hub.verb("pause")
def pause(download: DownloadId, wait: Wait = 60.0) -> None:
    """Pause a download: what arrived is kept."""
    ask(session.workspace.hub.find_download(download), "pause", DOWNLOAD, wait)


@hub.verb("cancel")
def cancel(download: DownloadId, wait: Wait = 60.0) -> None:
    """Cancel a download: what arrived of unfinished files is removed."""
    ask(session.workspace.hub.find_download(download), "cancel", DOWNLOAD, wait)


@hub.verb("resume", token=True, quiet=True)
def resume(download: DownloadId) -> None:
    """Go on with a paused, cancelled, failed or interrupted download, in this process. Ctrl-C pauses it again."""
    downloads = session.workspace.hub
    _run_here(downloads.resume(downloads.find_download(download).id, session.token))


def _run_here(job: Job) -> None:
    payload = job.record.payload
    note(f"Downloading {payload['repo_id']} {payload['path']}, {size(payload.get('total_bytes'))} ({job.id})")
    record = follow(job, DOWNLOAD)
    added(session.workspace.saes.get(str(record.result)), job_id=record.id)
