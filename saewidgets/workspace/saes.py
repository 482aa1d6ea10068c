"""Defines `ws.saes`, the library of SAEs: trained here, downloaded, or added from this machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.config import arguments
from saewidgets.config.names import one_line
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError, StorageError
from saewidgets.jobs import Listeners
from saewidgets.records import Comparison, Records, SAERecord
from saewidgets.workspace import checked
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.folders import require_files
from saewidgets.workspace.library import adding, sae_files
from saewidgets.workspace.library.sae_files import folder_of, remove_files, sweep, unlisted
from saewidgets.workspace.lookup import Ref, short_name
from saewidgets.workspace.reading.evaluation_report import EvaluationReport

if TYPE_CHECKING:
    import pandas as pd

    from saewidgets.workspace.workspace import Workspace

# Architectures that `sae_lens.SAE.load_from_disk` opens.
_SAE_LENS = frozenset({
    "standard", "gated", "topk", "abstopk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
    "jumprelu_skip_transcoder", "temporal", "matching_pursuit",
})  # fmt: skip


@checks_arguments
class SAEs:
    """The SAEs of a workspace."""

    NAMED: ClassVar = dict.fromkeys(("sae_id", "wanted", "a", "b"), ("sae", "training"))

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._rows = workspace.catalog.saes
        self.changes = Listeners()
        sweep(workspace)

    # ------------------------------------------------------------------------------------------------ find

    def list(
        self,
        *,
        source: str | None = None,
        model: str | None = None,
        layer: int | None = None,
        architecture: str | None = None,
        format: str | None = None,
        tag: str | None = None,
        search: str | None = None,
        sort: str = "newest",
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[SAERecord]:
        """SAEs that fit all that is given. Of a missing or altered file the record's `state` says so.

        Args:
            source: ``"trained"``, ``"huggingface"``, ``"gemma_scope"`` or ``"local"``.
            model: any of its names: ``"gpt2-small"`` finds those of ``"openai-community/gpt2"``, as records have it.
            search: words that all have to be somewhere in name, model, hook name, repository, architecture, format,
                tags, notes or id.
            sort: newest, oldest, name, model, layer, d_sae or size (the last two: largest first).

        Raises:
            ConfigError: there is no such source or order, or a value is of another kind; `where` names the argument.
        """
        return self._rows.list(
            source=source, model=model, layer=layer, architecture=architecture, format=format, tag=tag, search=search,
            sort=sort, limit=limit, offset=offset,
        )

    def to_df(self, **filters: Any) -> pd.DataFrame:
        """The list as a DataFrame: one row per SAE, one column per field. Arguments as for `list`."""
        return self.list(**filters).to_df()

    def count(self, **filters: Any) -> tuple[int, int]:
        """How many SAEs fit (filters as in `list`), and how many bytes their files have together."""
        return self._rows.count(**filters)

    def facets(self, **filters: Any) -> dict[str, dict[Any, int]]:
        """``source model layer architecture format`` → value → how many SAEs have it (filters as in `list`). A facet's
        own filter does not count for it, so that its other values can be seen."""
        return self._rows.facets(**filters)

    def get(self, sae_id: Ref) -> SAERecord:
        """The SAE with this id or name, or whose id begins so, or that of a training; and its `statistics` if they were
        computed. Raises `NotFoundError`; of a training that was not imported the hint says how to."""
        try:
            return self._rows.get(sae_id)
        except NotFoundError:
            if not sae_id.startswith("train_"):
                raise
        name = self._workspace.catalog.trainings.get(sae_id).name
        if (found := self._rows.by_training(sae_id)) is None:
            raise NotFoundError(
                f"The SAE of the training {name} is not in the library.", where=sae_id,
                hint=f"Import it when the training has ended: ws.trainings.get({sae_id!r}).import_to_saes().",
            )
        return found

    def find(self, wanted: Ref) -> SAERecord:
        """The same as `get`."""
        return self.get(wanted)

    # ------------------------------------------------------------------------------------------------ read

    def folder_of(self, record: SAERecord) -> Path:
        """Where its files are. Raises `NotFoundError` if they are not on this machine, or some are gone."""
        hint = "Take it from ws.saes.get(id)."
        return folder_of(self._workspace, arguments.kind(record, SAERecord, "record", "the record of an SAE", hint))

    def load(self, sae_id: Ref, *, device: str = "cpu") -> Any:
        """The SAE as a torch module of the right class, frozen. Raises `NotFoundError` where it or its files are not on
        this machine, `FormatError` if they are damaged, and `ConfigError` if there is no such device."""
        from saewidgets.formats import load_sae  # torch: seconds to import

        return load_sae(folder_of(self._workspace, self.get(sae_id)), device=device)

    def config(self, sae_id: Ref) -> dict[str, Any]:
        """The configuration in its files; ``"origin"`` has that of the format it was converted from. It is read though
        the weights are gone or damaged, but in a format that keeps it with them. Raises as `load`."""
        record = self.get(sae_id)
        from saewidgets.formats.io import stored_config  # torch: seconds to import

        folder = folder_of(self._workspace, record, whole=False)
        try:
            found = dict(stored_config(folder, record.format))
        except SAEWidgetsError:
            folder_of(self._workspace, record)  # raises if a file is gone, which says more
            raise
        try:
            origin = json.loads((folder / sae_files.ORIGIN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it came in the format it has, or from a training
            return found
        return {**found, "origin": origin}

    def statistics(self, sae_id: Ref) -> dict[str, Any]:
        """Numbers that its files tell, computed once and kept.

        Returns:
            ``decoder_norms``, ``encoder_norms``, ``threshold`` and ``density``: each None or a histogram ``edges counts
            min max mean sd``. ``density`` is that of the share of tokens on which a latent fires, of those that did,
            in logarithmic bins; its ``zeros`` (never) and ``dense`` (above 0.1) count latents; where its file cannot
            be used, it is None and ``density_note`` says why. ``b_dec_norm``,
            ``size_bytes``; ``l0`` and ``dead`` (how many latents), None where not known; and ``measured``: what was
            measured when it was trained (``l0 fvu ce_loss_score mse``, and ``dead`` as a share). Where its files do not
            say something of that, the last `ws.evaluate` does, which is in ``evaluated``, and for the cross-entropy
            the last that measured it, of which ``cross_entropy`` has the text and the numbers. Raises as `load`.
        """
        from saewidgets.workspace.library import statistics  # torch: seconds to import

        record = self.get(sae_id)
        if record.statistics.get("version") == statistics.VERSION:
            return dict(record.statistics)
        found = statistics.compute(folder_of(self._workspace, record), record.metadata)
        found = statistics.with_evaluations(found, record.statistics)
        self._rows.update(record.id, statistics=found)
        return found

    def keep_evaluation(self, sae_id: Ref, report: EvaluationReport) -> None:
        """Let `statistics` know what was measured, until its files are replaced. Raises `NotFoundError`."""
        arguments.kind(report, EvaluationReport, "report", "an evaluation report", "Give what ws.evaluate returned.")
        data = report.to_dict()
        kept = {name: data[name] for name in ("corpus", "held_out", "n_tokens", "context_size", "metrics", "density")}
        losses = {name: value for name, value in data["metrics"].items() if name.startswith("ce_loss")}
        # The rest is computed again when it is read: it may have come from an earlier evaluation.
        record = self.get(sae_id)
        found = {"cross_entropy": record.statistics.get("cross_entropy"), "evaluated": kept}
        if losses:
            about = {name: kept[name] for name in ("corpus", "held_out", "n_tokens")}
            found["cross_entropy"] = {**about, "metrics": losses}
        self._rows.update(record.id, statistics={name: value for name, value in found.items() if value is not None})
        self.changes.tell(record.id)

    def compare(self, a: Ref, b: Ref, top: int = 50) -> Comparison:
        """Which latents of `b` write what latents of `a` write: cosines of decoder rows, block by block; the `top`
        matches are listed. Raises as `load`, and `ConfigError` if they write to different numbers of dimensions."""
        first, second, top = self.get(a), self.get(b), arguments.count(top, "top", "a number of matches")
        from saewidgets.workspace.library.statistics import compare  # torch: seconds to import

        return compare(first, second, (self.folder_of(first), self.folder_of(second)), top)

    def load_code(self, sae_id: Ref) -> dict[str, str]:
        """Lines of Python that load it: ``saewidgets``, and ``sae_lens`` (``""`` where that cannot read it)."""
        record = self.get(sae_id)
        home = "" if self._workspace.is_default else json.dumps(self._workspace.place)
        ours = (
            "import saewidgets as sw\n\n"
            f"sae = sw.Workspace({home}).saes.load({json.dumps(short_name(self._workspace, 'sae', record.id))})\n"
            f"# {record.architecture}, d_sae {record.d_sae:,} × d_in {record.d_in:,}\n"
        )
        theirs = ""
        if record.format == "saelens" and record.architecture in _SAE_LENS:
            theirs = f"from sae_lens import SAE\n\nsae = SAE.load_from_disk({json.dumps(record.path)})\n"
        return {"saewidgets": ours, "sae_lens": theirs}

    # ------------------------------------------------------------------------------------------------ bring in

    def import_training(self, training_id: Ref) -> SAERecord:
        """Copy what a training learned into the library. A training has one SAE there.

        A second call returns the same record; if the training has learned more since, the record then stands for the
        new files (its id and name stay).

        Raises:
            StateError: it has not ended, or has left no SAE, or that in the library is on another machine.
            StorageError: the files cannot be copied; the library is as it was.
        """
        return self._told(sae_files.import_training(self._workspace, training_id))

    def add_local(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        model: str | None = None,
        hook_name: str | None = None,
        apply_b_dec_to_input: bool | None = None,
    ) -> SAERecord:
        """Copy an SAE from this machine into the library.

        It is loaded to see that every tensor is whole, and kept in SAELens' format where that can express it, else as
        it is. `metadata["origin"]` says what it was and where it came from.

        Args:
            path: a folder in any known format, a file of one, or a ``.zip`` of them.
            name: what to call it; None takes the name of the folder.
            model, hook_name: what it was trained on, where the files do not say so. A short name of a known model is
                listed as its repository on the hub; `metadata["origin"]["model"]` keeps it.
            apply_b_dec_to_input: whether b_dec is subtracted from the input, where the files leave it open.

        Raises:
            NotFoundError: there is nothing at `path`.
            FormatError: no known format, or damaged, or an archive that must not be unpacked.
            StorageError: the disk is full. The library is as it was.
            ConfigError: an argument is of another kind, or says what the files say themselves; `where` names it.
        """
        return self._told(adding.add_local(
            self._workspace, Path(path), name=name, model=model, hook_name=hook_name,
            apply_b_dec_to_input=apply_b_dec_to_input,
        ))  # fmt: skip

    def add_upload(
        self,
        files: Mapping[str, bytes | str | Path],
        *,
        name: str | None = None,
        model: str | None = None,
        hook_name: str | None = None,
        apply_b_dec_to_input: bool | None = None,
    ) -> SAERecord:
        """As `add_local`, for files that a page has sent: relative names (with ``/`` if a folder was chosen) → content,
        or the path of a file with it. A single ``.zip`` is unpacked."""
        return self._told(adding.add_upload(
            self._workspace, files, name=name, model=model, hook_name=hook_name,
            apply_b_dec_to_input=apply_b_dec_to_input,
        ))  # fmt: skip

    # ------------------------------------------------------------------------------------------------ change

    def update(
        self, sae_id: Ref, *, name: str | None = None, notes: str | None = None, tags: Collection[str] | None = None
    ) -> SAERecord:
        """Rename it, or replace its notes or tags. None leaves as it is. Raises `ConfigError` if a name or tag is empty
        or too long, or an argument is of another kind."""
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = arguments.name(name, "a name for the SAE")
        if notes is not None:
            changes["notes"] = checked.notes(notes)
        if tags is not None:
            changes["tags"] = _checked_tags(tags)
        return self._told(self._rows.update(self.get(sae_id).id, **changes))

    def locate(self, sae_id: Ref, path: str | Path) -> SAERecord:
        """Say where the files of an SAE are now. They stay there: the library does not copy them.

        A copy of its own that the library still has is removed, if it is the same SAE or is not whole any more.

        Raises:
            FormatError: the SAE there has other widths than this one, is damaged, or is another one while the library's
                own files are whole.
            ConfigError: the folder belongs to another SAE of the library.
            StateError: a job that has not ended reads it, or its files are on another machine.
            NotFoundError: there is nothing at `path`.
        """
        return self._told(sae_files.locate(self._workspace, self.get(sae_id), path))

    def delete(self, sae_id: Ref) -> int:
        """Remove an SAE from the library, and its files if they are the library's own. Returns the bytes freed.

        Its extractions go with it, and the labels of its features. The training it came from stays.

        Raises:
            StateError: a job that has not ended reads it, or downloads its files again; the message names the job. Or
                its files, or those of an extraction of it, are on a machine whose folder is not seen here.
        """
        record = self.require_deletable(sae_id)
        sae_id = record.id
        extractions = self._workspace.catalog.extractions.owned_by(sae_id=sae_id)
        with unlisted(self._workspace, Path(record.path)):
            record = self._rows.delete(sae_id)
            freed = remove_files(self._workspace, Path(record.path))
        freed += self._workspace.extractions.remove_files(extractions)
        self._workspace.features.forget(sae_id)
        self.changes.tell(sae_id)
        return freed

    def require_deletable(self, sae_id: str) -> SAERecord:
        """The record of an SAE that `delete` would remove now. Raises what `delete` raises."""
        record = self.get(sae_id)
        extractions = self._workspace.catalog.extractions.owned_by(sae_id=record.id)
        require_files(self._workspace, record, *map(self._workspace.catalog.extractions.get, extractions))
        self._rows.require_unused(record.id)
        return record

    # ------------------------------------------------------------------------------------------------ take out

    def export(self, sae_id: Ref, dest: str | Path, format: str = "saelens") -> Path:
        """Write it into the folder `dest`, whole or not at all; returns the folder. An SAE in the same format that is
        there already is replaced.

        Raises:
            FormatError, ConfigError: the format cannot express it, for the reason in the message, or does not exist.
            StorageError: `dest` holds something else (an SAE in another format, too), lies in the workspace, or cannot
                be written.
            NotFoundError: its files are not here.
        """
        # Torch: seconds to import.
        from saewidgets.durable import whole_folder
        from saewidgets.formats import convert, validate
        from saewidgets.formats.io import own_files, same_format

        record = self.get(sae_id)
        folder = folder_of(self._workspace, record)
        target = Path(os.path.abspath(Path(dest).expanduser()))
        if target.resolve().is_relative_to(self._workspace.folder.resolve()):
            raise StorageError(
                "This folder is inside the workspace, which looks after its files itself.", where=str(target),
                hint="Choose a folder outside it.",
            )
        if format != record.format:
            sae_files.hide_paths(converted := convert(folder, target, format))
            return converted
        if problems := validate(folder):
            raise FormatError(
                f"The SAE is damaged and was not exported. {problems[0]}", where=str(folder),
                hint="Say where whole files are (locate), or download or import it again.",
            )
        replaceable = [*(path.name for path in folder.iterdir()), *own_files(target, format)]
        with same_format(target, format), whole_folder(target, replaceable) as draft:
            shutil.copytree(folder, draft, dirs_exist_ok=True)
            sae_files.hide_paths(draft)
        return target

    def convert(self, sae_id: Ref, format: str, dest: str | Path) -> Path:
        """`export`, with the format first."""
        return self.export(sae_id, dest, format)

    def push_to_hub(
        self,
        sae_id: Ref,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool = True,
        path: str = "",
        license: str = "unknown",
        base_model: str | None = None,
        card: str | None = None,
    ) -> str:
        """Publish it in a model repository of the Hugging Face hub, with a model card; returns its address. Paths of
        this machine are left out of card and files.

        Args:
            sae_id: the SAE; it goes out in the format in which it is kept.
            repo_id: ``owner/name``; made if it does not exist. A card that it has stays.
            token: with permission to write; None leaves it to huggingface_hub. Kept nowhere.
            private: whether a new repository is private.
            path: the folder in the repository; ``""`` is the root.
            license: as the hub spells it, ``"mit"``; for a new card.
            base_model: ``owner/name`` of the SAE's model, needed if that is a folder here; ``""`` names none.
            card: text of the model card, such as an edited one of `model_card`; it replaces a card that is there.

        Raises:
            ConfigError: the model is a folder and `base_model` is not given.
            NotFoundError: no such SAE, or its files are not here.
            HubError: nobody is signed in, the token may not write there, unreachable, …
        """
        record = self.get(sae_id)
        from saewidgets.workspace.library.publishing import push  # the hub's client: a second to import

        client = self._workspace.hub.client(token)
        return push(
            self._workspace, record, client, repo_id, private=private, path=path, license=license,
            base_model=base_model, card_text=card,
        )  # fmt: skip

    def model_card(
        self, sae_id: Ref, repo_id: str, *, path: str = "", license: str = "unknown", base_model: str | None = None
    ) -> str:
        """The model card that `push_to_hub` with these arguments writes into a repository without one. Nothing is sent.
        """
        record = self.get(sae_id)
        from saewidgets.workspace.library.publishing import base_of, card  # the hub's client: a second to import

        endpoint = self._workspace.hub.client().endpoint
        return card(record, repo_id, path, license, endpoint, base_of(record, base_model))

    # ------------------------------------------------------------------------------------------------ inside

    def _told(self, record: SAERecord) -> SAERecord:
        self.changes.tell(record.id)
        return record


def _checked_tags(tags: Collection[str]) -> tuple[str, ...]:
    """Tags without blanks around them and without repetitions."""
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        arguments.refuse(tags, "tags", "a list of tags", 'Write tags=["a tag"].')
    found: dict[str, str] = {}
    for tag in tags:
        clean = one_line(arguments.text(tag, "tags", "a tag"))
        if not clean or len(clean) > 40:
            raise ConfigError("A tag has 1 to 40 characters.", where="tags", hint="Shorten it, or leave it out.")
        found.setdefault(clean.casefold(), clean)
    if len(found) > 20:
        raise ConfigError(f"These are {len(found)} tags; at most 20 are kept.", where="tags", hint="Leave some out.")
    return tuple(found.values())
