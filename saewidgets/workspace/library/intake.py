"""`take_in`, `replace_files`, `import_training`, `locate`: files are looked at, loaded, converted and moved into place,
and only then listed. Used by `ws.saes` and downloads."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_sae_id
from saewidgets.config import arguments
from saewidgets.config.names import free_name, one_line, one_name, storable
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError, StateError
from saewidgets.records import SAERecord, TrainingRecord
from saewidgets.workspace.folders import draft_folder, folder_size, remove_tree
from saewidgets.workspace.library.sae_files import FOLDER, no_room, remove_files, unlisted

if TYPE_CHECKING:
    from saewidgets.formats.format import Description
    from saewidgets.formats.source import FolderSource
    from saewidgets.workspace.workspace import Workspace

_LAYER = re.compile(r"(?:^|[._/-])(?:blocks|layers?|h)[._-](\d{1,4})(?:[./_-]|$)|\.(\d{1,4})(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an SAE came from.

    Attributes:
        source: as in `SAERecord`.
        where: a path or a link, for people.
        name: what to call it; a number is added if that is taken.
        model, hook_name: what it was trained on, where that is known better than from the files.
        apply_b_dec_to_input: whether b_dec is subtracted from the input, where the files leave it open.
        layer: where a path says so and the hook name does not.
        repo_id, revision, repo_path: of a download.
        license: of the repository of a download, where its card says.
        facts: what is known beyond the files: ``l0``, ``canonical``, ``site``, ``width``.
    """

    source: str
    where: str
    name: str
    model: str | None = None
    hook_name: str | None = None
    apply_b_dec_to_input: bool | None = None
    layer: int | None = None
    repo_id: str | None = None
    revision: str | None = None
    repo_path: str | None = None
    license: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def layer_of(name: str | None) -> int | None:
    """The layer in a hook name or a path: ``blocks.12.hook_resid_post``, ``layers.12``, ``layer_12/width_16k``."""
    found = _LAYER.search(name or "")
    return int(found[1] or found[2]) if found else None


def checked_tags(tags: Collection[str]) -> tuple[str, ...]:
    """Tags without blanks around them and without repetitions. Raises `ConfigError` for what cannot be one."""
    if isinstance(tags, str):
        raise ConfigError("Tags are a list of words.", where="tags", hint=f"Write tags=[{tags[:40]!r}].")
    if not isinstance(tags, Iterable) or isinstance(tags, bytes):
        arguments.refuse(tags, "tags", "a list of words", 'Write tags=["a word"].')
    found: dict[str, str] = {}
    for tag in tags:
        clean = one_line(arguments.text(tag, "tags", "a list of words"))
        if not clean or len(clean) > 40:
            raise ConfigError("A tag has 1 to 40 characters.", where="tags", hint="Shorten it, or leave it out.")
        found.setdefault(clean.casefold(), clean)
    if len(found) > 20:
        raise ConfigError(f"These are {len(found)} tags; at most 20 are kept.", where="tags", hint="Leave some out.")
    return tuple(found.values())


ORIGIN_FILE = "origin.json"
SPARSITY_FILE = "sparsity.safetensors"
_LARGEST = 2**63  # whole numbers beyond it are in no file that means well, and few readers take them
MAX_ORIGIN = 256 * 1024  # a source's configuration beyond this is left out
_BESIDE = ("README.md", "LICENSE", "runner_cfg.json", SPARSITY_FILE)  # kept with files that come as they are
_MAX_BESIDE = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Taken:
    """An SAE in a folder of the library, not listed yet."""

    folder: Path
    about: dict[str, Any]  # the columns of its row that go with its files
    model: str | None  # its one name, see `one_name`; what the source called it is in the metadata
    hook_name: str | None
    metadata: dict[str, Any]


def take_in(
    workspace: Workspace, path: Path, origin: Origin, *, check: Callable[[], None] = lambda: None
) -> SAERecord:
    """Bring the SAE at `path` (a folder, or a file of one) into the library. `path` is not changed.

    It is described, loaded (which checks every tensor), and written in SAELens' format where that can express it, else
    copied as it is. It is listed last, so that what is listed can be read.

    Args:
        workspace: whose library.
        path: its files.
        origin: where they come from.
        check: called between the steps; may raise `Interruption`.
    """
    sae_id = new_sae_id()
    target = workspace.folder / FOLDER / sae_id
    with _placing(workspace, target):
        taken = bring(workspace, path, origin, target, check)
        record = _list(workspace, sae_id, taken, origin)
        if record.id != sae_id:  # another process has brought the same download
            remove_tree(workspace.folder, target)
    return record


def replace_files(
    workspace: Workspace, record: SAERecord, path: Path, origin: Origin, *, check: Callable[[], None] = lambda: None
) -> SAERecord:
    """Bring the SAE at `path` in the place of the files of `record`, which keeps its id, name, notes and tags."""
    target = _another_folder(workspace, record)
    with _placing(workspace, target, Path(record.path)):
        taken = bring(workspace, path, origin, target, check)
        replaced, before = workspace.catalog.saes.replace(
            record.id, path=target, metadata=taken.metadata, **taken.about
        )
        remove_files(workspace, Path(before))
    return replaced


def _another_folder(workspace: Workspace, record: SAERecord) -> Path:
    """Beside the one that it has: its row changes from one whole copy to the next in one transaction."""
    return workspace.folder / FOLDER / f"{record.id}-{uuid.uuid4().hex[:8]}"


@contextmanager
def _placing(workspace: Workspace, target: Path, *others: Path) -> Iterator[None]:
    """Around what fills `target` and writes its row; `others` are folders that it takes the place of. Where that
    fails, the library is as it was."""
    with unlisted(workspace, target, *others):
        try:
            yield
        except BaseException:
            with suppress(SAEWidgetsError):  # the note stays then
                if not workspace.catalog.saes.names_folder(target):
                    remove_tree(workspace.folder, target)
            raise


def bring(workspace: Workspace, path: Path, origin: Origin, target: Path, check: Callable[[], None]) -> Taken:
    """The files of an SAE in a new folder of the library, whole; no row names them yet. Arguments as in `take_in`."""
    # Torch: seconds to import.
    from saewidgets.formats import load_sae
    from saewidgets.formats.registry import locate

    found = locate(path)
    source = found.source()
    answers = found.format.answers(origin.apply_b_dec_to_input)
    description = found.format.describe(source, **answers)
    check()
    sae = load_sae(found.path, apply_b_dec_to_input=origin.apply_b_dec_to_input)
    check()
    model, hook_name = (
        storable(name) if name else None
        for name in (origin.model or description.model, origin.hook_name or description.hook_name)
    )
    for key, value in (("model_name", model), ("hook_name", hook_name)):
        if value is not None:
            sae.metadata[key] = value
    with draft_folder(workspace.folder / FOLDER) as draft:
        inner = draft / "sae"
        try:
            kept = _write(sae, source, description, inner, found.format.beside(source.only) if source.only else ())
            if kept is not None and answers:
                _write_answers(inner, description, answers)
            check()
            metadata = _metadata(sae, description, origin, kept)
            listed = one_name(model) if model else None
            if listed != model:
                metadata["origin"]["model"] = model
            if kept is None and description.format != "saelens":
                _write_origin(inner, description)
            inner.rename(target)
        except OSError as error:  # also what a format says of a disk that is full
            raise no_room(error, target.parent, origin.where, description.size_bytes) from error
    about = {
        "architecture": sae.cfg.architecture, "d_in": sae.d_in, "d_sae": sae.d_sae, "d_out": sae.d_out,
        "dtype": str(sae.W_dec.dtype).removeprefix("torch."), "format": description.format if kept else "saelens",
    }  # fmt: skip
    return Taken(target, about, listed[:512] if listed else None, hook_name[:255] if hook_name else None, metadata)


def _write(
    sae: Any, source: FolderSource, description: Description, target: Path, beside: Iterable[str]
) -> str | None:
    """Write the SAE into `target`. Returns why it is kept as it came; None if it is in SAELens' format now. `beside`
    names what lies beside its one file and goes along where that is kept as it came."""
    from saewidgets.formats import save_sae  # torch: seconds to import

    if description.format == "saelens":  # as it is, byte by byte: whoever knows its hash finds it again
        _copy(source, target, description.files)
        return None
    try:
        save_sae(sae, target, format="saelens")
    except (ConfigError, FormatError) as error:
        _copy(source, target, description.files)
        if (around := source.around()) is not None:
            _copy_beside(around, target, beside)
        return error.what
    _copy_beside(source, target, (SPARSITY_FILE,))
    return None


def _copy(source: FolderSource, target: Path, names: Iterable[str]) -> None:
    for name in names:
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(source.path(name), file)
    _copy_beside(source, target, _BESIDE)


def _copy_beside(source: FolderSource, target: Path, names: Iterable[str]) -> None:
    """What may lie beside the weights and is worth keeping, if it is there and no larger than it should be."""
    for name in names:
        size = source.files().get(name)
        if size is None or size > _MAX_BESIDE or (target / name).exists():
            continue
        _copy_file(source.path(name), target / name)


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb+") as file:  # what is listed must survive a power cut
        os.fsync(file.fileno())


def _write_answers(folder: Path, description: Description, answers: Mapping[str, bool]) -> None:
    """What the files left open goes into their configuration: whoever loads them next is not asked again."""
    file = folder / next((name for name in description.files if name.endswith(".json")), "config.json")
    said = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**said, **answers}, indent=2, ensure_ascii=False), "utf-8")


def _metadata(sae: Any, description: Description, origin: Origin, kept: str | None) -> dict[str, Any]:
    settings = {key: value for key, value in description.settings.items() if key not in ("d_in", "d_sae", "d_out")}
    found: dict[str, Any] = {
        "origin": {"format": description.format, "where": storable(origin.where)},
        "settings": plain(settings),
        **plain(dict(origin.facts)),
    }
    if kept is not None:
        found["origin"]["kept"] = kept
    if origin.license:
        found["origin"]["license"] = storable(origin.license)[:200]
    if description.notes:
        found["origin"]["notes"] = list(description.notes)
    for name in ("l0", "fvu", "ce_loss_score", "training_tokens", "neuronpedia_id", "context_size", "dataset_path"):
        value = sae.metadata.get(name)
        if isinstance(value, bool | int | float | str) and name not in found:
            found[name] = plain(value)
    return found


def _write_origin(folder: Path, description: Description) -> None:
    """The source's own configuration, which a conversion would lose. No path of this machine: it may be published."""
    data = {"format": description.format, "config": plain(dict(description.config))}
    text = json.dumps(data, indent=1, ensure_ascii=False)
    if len(text) <= MAX_ORIGIN:
        (folder / ORIGIN_FILE).write_text(text, encoding="utf-8")


def plain(value: Any, depth: int = 8) -> Any:
    """`value` as strict JSON data: what a stranger's file says may hold anything."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else None
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if depth > 0 and isinstance(value, Mapping):
        return {storable(str(key)): plain(item, depth - 1) for key, item in value.items()}
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth - 1) for item in value]
    return str(value)[:200]


def _list(workspace: Workspace, sae_id: str, taken: Taken, origin: Origin) -> SAERecord:
    rows = workspace.catalog.saes
    layer = layer_of(taken.hook_name)
    return rows.add(
        id=sae_id, name=free_name(origin.name or "sae", rows.names()), source=origin.source, path=taken.folder,
        model=taken.model, hook_name=taken.hook_name, layer=layer if layer is not None else origin.layer,
        repo_id=origin.repo_id, revision=origin.revision, repo_path=origin.repo_path, metadata=taken.metadata,
        **taken.about,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ of trainings


def import_training(workspace: Workspace, training_id: str) -> SAERecord:
    """See `SAEs.import_training`."""
    run = workspace.trainings.get(training_id)
    record = run.record
    existing = workspace.catalog.saes.by_training(record.id)
    if existing is not None and (not record.status.is_final or _is_current(existing, record)):
        return existing
    if not record.status.is_final:
        raise StateError(f"{record.name} is {record.status}.", where=record.id, hint="Import it when it has ended.")
    sae_id = existing.id if existing is not None else new_sae_id()
    folder = workspace.folder / FOLDER / sae_id if existing is None else _another_folder(workspace, existing)
    with _placing(workspace, folder, *([Path(existing.path)] if existing is not None else [])):
        _copy_folder(run.sae_path, folder, record.name)
        metadata, about = _learned(workspace, record, folder)
        rows = workspace.catalog.saes
        if existing is not None:
            taken, before = rows.replace(existing.id, path=folder, metadata=metadata, **about)
            remove_files(workspace, Path(before))
            return taken
        taken = rows.add(
            id=sae_id, name=record.name, source="trained", model=one_name(record.model), hook_name=record.hook_name,
            layer=layer_of(record.hook_name), path=folder, training_id=record.id, metadata=metadata, **about,
        )  # fmt: skip
        if taken.id != sae_id:  # another process was quicker
            remove_files(workspace, folder)
    return taken


def _learned(workspace: Workspace, record: TrainingRecord, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata of the SAE that a training left in `folder`, and the columns of its row that go with its files."""
    from saewidgets.formats import describe  # torch: seconds to import

    found = describe(folder)
    config = dict(record.config)
    if isinstance(corpus := config.get("corpus"), Mapping) and corpus.get("strings"):
        del config["corpus"]  # text that was held in memory goes with the training
    metadata: dict[str, Any] = {
        "trained_as": record.architecture, "tokens": record.tokens_done, "latest": dict(record.latest),
        "settings": plain(dict(found.settings)), "config": config,  # so that it can be measured without its training
        "model_given": workspace.trainings.was_given_a_model(record),
    }  # fmt: skip
    if one_name(record.model) != record.model:
        metadata["origin"] = {"model": record.model}
    about: dict[str, Any] = {
        "architecture": found.architecture or record.architecture, "d_in": found.d_in, "d_sae": found.d_sae,
        "d_out": found.d_out, "dtype": found.dtype, "format": found.format,
    }  # fmt: skip
    return metadata, about


def _is_current(sae: SAERecord, record: TrainingRecord) -> bool:
    """Whether the library has what the training left last, or the training has nothing (any more) to compare."""
    if record.sae_path is None or not Path(record.sae_path).is_dir():
        return True
    if sae.state != "ok":  # the library's files are gone or altered: they are brought back
        return False
    try:  # cfg.json says after how many tokens it was exported, and what was measured then
        ours, theirs = (Path(folder, "cfg.json").read_bytes() for folder in (sae.path, record.sae_path))
        return ours == theirs
    except OSError:
        return False


def _copy_folder(source: Path, target: Path, name: str) -> None:
    with draft_folder(target.parent) as draft:
        try:
            for file in sorted(source.iterdir()):
                shutil.copyfile(file, draft / file.name)
            draft.rename(target)
        except OSError as error:
            raise no_room(error, target.parent, name, folder_size(source)) from error


# ------------------------------------------------------------------------------------------------ elsewhere

_OWN = "Choose the folder of the same SAE, or add this one as an SAE of its own."


def locate(workspace: Workspace, record: SAERecord, path: str | Path) -> SAERecord:
    """Let a record stand for the files at `path`; see `SAEs.locate`."""
    # Torch: seconds to import.
    from saewidgets.formats import load_sae
    from saewidgets.formats.registry import locate as found_at

    wanted = Path(path).expanduser().absolute()
    library = (workspace.folder / FOLDER).resolve()
    if library in wanted.resolve().parents and wanted.resolve() != Path(record.path).resolve():
        raise ConfigError(
            "This folder belongs to the library, and so to another SAE.", where="path",
            hint="Choose a folder outside the workspace.",
        )
    found = found_at(wanted)
    description = found.format.describe(found.source())
    if found_at(found.source().folder).path != found.path:  # raises if there are several: a row names a folder
        raise FormatError("This folder holds other files of SAEs too.", where=str(path), hint="Move this one out.")
    sae = load_sae(found.path)  # checks every tensor
    for key in ("d_in", "d_sae", "d_out"):
        expected, here = getattr(record, key), getattr(sae, key)
        if expected is not None and expected != here:
            raise FormatError(
                f"The SAE here has {key} {here:,}; {record.name} has {expected:,}.", where=str(path), hint=_OWN
            )
    owned = library in Path(record.path).resolve().parents
    if owned and record.state == "ok" and Path(record.path).is_dir():  # a whole copy is about to be removed
        _refuse_another(record, sae, load_sae(record.path), path)
    with unlisted(workspace, Path(record.path)):
        located, before = workspace.catalog.saes.replace(
            record.id, path=found.source().folder, files=description.files, format=description.format, unused=True,
            architecture=sae.cfg.architecture, dtype=str(sae.W_dec.dtype).removeprefix("torch."), d_out=sae.d_out,
        )  # fmt: skip
        if Path(before) != Path(located.path):
            remove_files(workspace, Path(before))
    return located


def _refuse_another(record: SAERecord, here: Any, own: Any, path: str | Path) -> None:
    """Raises FormatError unless the two are the same SAE: the library's whole copy goes when its record moves on."""
    import torch  # seconds to import

    same = here.cfg.architecture == own.cfg.architecture and all(
        torch.allclose(getattr(here, name).float(), getattr(own, name).float(), rtol=1e-2, atol=1e-4)
        for name in ("W_enc", "b_enc", "W_dec", "b_dec")
        if isinstance(getattr(own, name, None), torch.Tensor) and isinstance(getattr(here, name, None), torch.Tensor)
    )
    if not same:
        raise FormatError(
            f"The files of {record.name} are where they belong, and the SAE here is another one.", where=str(path),
            hint=_OWN,
        )
