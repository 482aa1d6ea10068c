"""An extraction from a caller's request to the catalog: `concrete` configurations, `estimate`, and
`run_extraction`, its job from its row. Used by `ws.extractions`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog.filestate import recorded
from saewidgets.config import TrainingConfig
from saewidgets.config.corpus import PATH_HINT
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.names import as_recorded, check_revision
from saewidgets.config.packing import Packing
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import Event, Facts, Interruption, JobStatus, LogLine, Meter, Progress, Request
from saewidgets.feature_records import ExtractionEstimate, ExtractionRecord
from saewidgets.features.store.layout import BINS, COACTIVATION_ENTRIES, INTERVALS, MANIFEST, MAX_POSITION, WINDOW
from saewidgets.features.store.query import DENSE
from saewidgets.jobs import JobContext
from saewidgets.workspace.capture.stored_corpus import as_text
from saewidgets.workspace.corpora import located, with_text
from saewidgets.workspace.folders import TOKENS
from saewidgets.workspace.live import ModelReference, load
from saewidgets.workspace.parts import Team
from saewidgets.workspace.subjects import CONTEXT, KnownSAE, files_of, find_subject
from saewidgets.workspace.training import estimates
from saewidgets.workspace.training.settle import require_settings, sizes_of
from saewidgets.workspace.user_models import UserModel, place_of

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

KIND = "extraction"
_NO_WEIGHTS = frozenset({".json", ".yaml", ".yml", ".md", ".txt"})
_DENSITY = "sparsity.safetensors"


# ------------------------------------------------------------------------------------------------ before it starts


def checked(config: ExtractionConfig | Mapping[str, Any] | None) -> ExtractionConfig:
    """The configuration that was given, as an object."""
    if isinstance(config, ExtractionConfig):
        return config
    given = {} if config is None else config
    require_settings(given, "an ExtractionConfig")
    return ExtractionConfig.from_data(given)


def concrete(
    workspace: Workspace, subject: KnownSAE, config: ExtractionConfig, held: UserModel | None
) -> ExtractionConfig:
    """The configuration with "auto" and the like made concrete: it must mean the same elsewhere."""
    from saewidgets.lm import check_context  # torch: seconds to import

    changes: dict[str, Any] = {}
    subject.place('Add it to the library again with hook_name=…, for example "blocks.6.hook_resid_post".')
    if held is not None:
        changes["device"] = place_of(held, config.device)
        changes["model"] = config.model or subject.model or held.name
    else:
        changes["device"] = workspace.settings.device_for(config.device)
        changes |= _model(subject, config)
    name = str(changes.get("model") or config.model)
    reads = None
    with contextlib.suppress(NotFoundError):  # the job says so
        _, reads, _ = sizes_of(name, changes.get("model_revision", config.model_revision), held)
    wanted_size = config.context_size or subject.context_size
    changes["context_size"] = wanted_size or min(CONTEXT, reads or CONTEXT)
    check_context(name, reads, changes["context_size"])
    changes["corpus"] = _corpus(workspace, subject, config)
    if config.tokens > MAX_POSITION:
        raise ConfigError(f"At most {MAX_POSITION:,} tokens can be read.", where="tokens", hint="Lower Tokens.")
    return config.replace(**changes)


def _corpus(workspace: Workspace, subject: KnownSAE, config: ExtractionConfig) -> Any:
    if config.corpus is None:
        if subject.corpus is None:
            raise ConfigError(
                f"The text that {subject.name} was trained on is not here.", where="corpus",
                hint=PATH_HINT,
            )
        return subject.corpus
    text = as_text(workspace, {**config.corpus.to_data(), **located(config.corpus)})
    if text is None:
        raise ConfigError(
            "The text of these stored activations is not known, or not here.", where="corpus", hint=PATH_HINT
        )
    return text


def _model(subject: KnownSAE, config: ExtractionConfig) -> dict[str, Any]:
    """Which model to load, and how: the requested one, else the SAE's own."""
    hint = 'Name it: ExtractionConfig(model="gpt2"), a Hugging Face id or a folder.'
    name = as_recorded(config.model or subject.own_model(hint))
    if config.model is not None:
        check_revision(name, config.model_revision)
        return {"model": name}
    chosen: dict[str, Any] = {"model": name}
    if "model_revision" not in config.model_fields_set:
        chosen["model_revision"] = subject.revision
    if "model_dtype" not in config.model_fields_set:
        chosen["model_dtype"] = subject.dtype
    return chosen


_FILLED = 8  # values of a window that are not zero, as they are stored: most latents fire on one token in a hundred
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_WORKING = 512 * 1024**2  # blocks of latents and activations, and torch with its kernels loaded
_RARE = 100_000  # with fewer tokens rare latents are hardly seen
# Share of the speed of a matrix product that a pass reaches: the model's own, and keeping count of what fires.
_EFFICIENCY = 0.4


def bytes_needed(d_sae: int, config: ExtractionConfig) -> tuple[int, int]:
    """What a pass keeps of all latents in memory, which is also what a checkpoint takes; what it leaves on the disk."""
    kept = config.examples + INTERVALS * config.per_interval
    table = d_sae * (kept * (4 + 8 + 8 + 2 * (2 * WINDOW + 1)) + 4 * BINS + 64)
    sample = min(COACTIVATION_ENTRIES, 64 * config.tokens) * 4
    return table, d_sae * (kept * (4 + 4 + 1 + 3 * _FILLED) + 4 * BINS + 64) + sample


def estimate(workspace: Workspace, subject: KnownSAE, config: ExtractionConfig) -> ExtractionEstimate:
    """Estimate an extraction whose configuration is concrete."""
    table, store = bytes_needed(subject.d_sae, config)
    disk = table + store + 4 * config.tokens
    disk_free = shutil.disk_usage(workspace.folder).free
    found = next((each for each in estimates.devices_of_jobs(workspace) if each.id == config.device), None)
    free = found.free_bytes if found is not None else None
    model_bytes, rate = _rate(workspace, subject, config)
    if subject.of_training or subject.origin.sae_id is None:
        record = workspace.catalog.trainings.get(subject.id)
        sae_bytes = 8 * (record.d_in or 0) * record.d_sae
    else:
        sae_bytes = workspace.saes.get(subject.origin.sae_id).size_bytes
    memory = _WORKING + table + sae_bytes + model_bytes
    warnings = []
    if free is not None and memory > free:
        warnings.append(
            f"This needs more memory than is free on {config.device}. Lower Examples per feature or Per interval."
        )
    if disk > disk_free:
        warnings.append("What it writes does not fit on the disk.")
    if config.tokens < _RARE:
        warnings.append("Latents that fire rarely are hardly seen on so little text.")
    return ExtractionEstimate(
        seconds=config.tokens / rate if rate else None, tokens_per_second=rate, basis="estimated" if rate else "",
        disk_bytes=disk, disk_free=disk_free, memory_bytes=memory, memory_free=free, device=config.device,
        warnings=tuple(warnings),
    )  # fmt: skip


def _rate(workspace: Workspace, subject: KnownSAE, config: ExtractionConfig) -> tuple[int, float | None]:
    """Bytes of the model, and tokens per second of its forward and the encoder, as fast as matrices multiply now."""
    # Torch: seconds to import.
    from saewidgets.lm import model_facts
    from saewidgets.training.estimate import ModelSize, model_flops

    try:
        facts = model_facts(config.model or "", revision=config.model_revision)
    except (SAEWidgetsError, OSError):  # not here, and no network: the run itself will say which
        return 0, None
    bytes_ = (facts.parameters or 0) * _DTYPE_BYTES[config.model_dtype]
    try:
        as_training = TrainingConfig(
            model=config.model or "demo", hook_name=subject.hook_name or "", context_size=config.context_size or 128
        )
        size = ModelSize(facts.parameters, facts.d_model, facts.n_layers, facts.vocab_size)
        flops = model_flops(as_training, size) + 2 * size.d_model * subject.d_sae
        busy = bool(estimates.load_of(workspace, config.device)[0])
        return bytes_, _EFFICIENCY * estimates.speed(config.device, config.model_dtype, busy) / flops
    except (SAEWidgetsError, RuntimeError):  # a hook name that no training takes; no memory left on the device
        return bytes_, None


# ------------------------------------------------------------------------------------------------ the job


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What an extraction found: its status, tokens that counted, latents by how often they fired, bytes on disk."""

    status: JobStatus
    n_tokens: int
    seen: int
    dead: int
    dense: int
    size_bytes: int


def run_extraction(
    workspace: Workspace, context: JobContext, ids: Sequence[str], held: UserModel | None
) -> ExtractionResult | None:
    """Load what it needs, read the text, and write down what was found. A helper returns None."""
    # Torch: seconds to import.
    import torch

    from saewidgets.activations import open_corpus, pack
    from saewidgets.activations.corpus import exact_again, with_exact_revision
    from saewidgets.features.extraction import borders, extract, extract_part
    from saewidgets.formats import load_sae
    from saewidgets.lm import check_context

    rows, (extraction_id,) = workspace.catalog.extractions, ids
    record = rows.get(extraction_id)
    config, facts = ExtractionConfig.from_data(with_text(record.config, record.folder)), record.facts
    check = context.control.check
    total, seen = record.tokens_total, None
    team = Team(workspace, workspace.extractions.helpers, context, record.folder)
    check()
    subject = find_subject(workspace, (record.training_id if record.source_type == "training" else record.sae_id) or "")
    path = files_of(workspace, subject)
    # What is resumed goes on with the same, or not at all.
    if team.leads and (not context.resumed or "weights" not in facts):
        # Before they are loaded: files that are replaced meanwhile then count as other ones.
        rows.update(extraction_id, facts={**facts, "weights": weights_of(path)})

    def emit(event: Event) -> None:
        nonlocal seen
        if isinstance(event, Facts):
            seen = event.values["seen"]
        elif isinstance(event, LogLine) and event.level == "warning" and team.leads:  # why bits may differ
            rows.update(extraction_id, note=event.message)
        context.emit(event)

    def phase(words: str) -> None:
        check()
        emit(Progress(0, total, phase=words))

    phase("loading model")
    named = ModelReference(record.model, config.model_revision, config.model_dtype, team.device or config.device)
    lm = load(held or named, record.model, phase)
    text = with_exact_revision(exact_again(config.corpus, facts.get("revision")))
    if getattr(text, "commit", None) and team.leads:  # what is resumed reads the same, whatever was added since
        rows.update(extraction_id, facts={**rows.get(extraction_id).facts, "revision": text.revision})
    # Where the model is known only now; before the whole text is tokenised.
    check_context(lm.name, lm.context, int(config.context_size or 0))
    check()
    sae = load_sae(path, device=str(lm.device))
    check()
    try:
        packed = pack(
            open_corpus(text), lm.tokenizer, folder=workspace.folder / TOKENS,
            context_size=int(config.context_size or 0), packing=Packing.from_data(facts),
            validation_share=float(facts.get("validation_share", 0.0)), wanted=config.tokens, check=check,
            # The text is tokenised, once; of the requested tokens none is read yet.
            on_progress=lambda done: emit(Progress(0, total, phase="tokenising")),
        )
        contexts = packed.spread(config.tokens)
        if team.leads:
            rows.update(extraction_id, tokens_total=len(contexts) * packed.context_size)
        read = sae, lm, packed, contexts, record.hook_name, config
        folder, parts = Path(record.folder), list[Path]()
        if team.jobs > 1 and not (folder / MANIFEST).is_file():
            pairs = list(pairwise(borders(sae, packed, len(contexts), team.jobs)))

            def write(number: int, into: Path, on_progress: Callable[[int], None]) -> None:
                extract_part(
                    *read, into, pairs[number], control=context.control,
                    emit=lambda event: on_progress(event.done) if isinstance(event, Progress) else emit(event),
                )

            sizes = [(last - first) * packed.context_size for first, last in pairs]
            parts = team.share(sizes, write, Meter(emit, sum(sizes)), "reading")
        if not team.leads:
            return None
        manifest = extract(
            *read, folder, control=context.control, emit=emit, resume=context.resumed, parts=parts,
            facts={"name": record.name, "source": record.source, "sae_id": record.sae_id,
                   "training_id": record.training_id},
        )  # fmt: skip
        stopped = bool(manifest.facts.get("stopped"))
        result = record_result(workspace, extraction_id, JobStatus.STOPPED if stopped else JobStatus.COMPLETED)
        team.end()
        return result
    except Interruption as interruption:
        if not team.leads:
            raise
        if interruption.request is not Request.PAUSE:
            team.end()
        rows.update(extraction_id, seen=seen if interruption.request is Request.PAUSE else None)
        raise
    finally:
        del sae, lm
        if torch.cuda.is_available():  # the memory of the pass is free for the next job of the lane
            torch.cuda.empty_cache()


def weights_of(folder: Path) -> dict[str, list[Any]]:
    """The files with the weights of the SAE in `folder`, with what shows whether they were replaced."""
    from saewidgets.formats import describe  # torch: seconds to import

    files = describe(folder).files
    try:
        return recorded(folder, [name for name in files if Path(name).suffix not in _NO_WEIGHTS and name != _DENSITY])
    except OSError as error:
        raise NotFoundError(
            f"A file of the SAE cannot be read: {error.strerror or error}.", where=str(folder),
            hint="See what is wrong with it in the library.",
        ) from error


def record_result(workspace: Workspace, extraction_id: str, status: JobStatus) -> ExtractionResult:
    """Write what the extraction in its folder has found into its row."""
    from saewidgets.features.store.read import FeatureStore  # torch: seconds to import

    rows = workspace.catalog.extractions
    store = FeatureStore(Path(rows.get(extraction_id).folder), workspace.folder / TOKENS)
    seen = int((store.fired > 0).sum())
    found = {
        "n_tokens": store.manifest.n_tokens, "seen": seen, "dead": store.d_sae - seen,
        "dense": int((store.density > DENSE).sum()), "size_bytes": store.size_bytes,
    }  # fmt: skip
    if workspace.storage.url is not None:  # what its examples are places in goes with it
        shutil.copytree(store.packed.folder, store.folder / TOKENS / store.manifest.tokens, dirs_exist_ok=True)
    rows.update(extraction_id, **found)  # before the status changes, so that "completed" means readable
    return ExtractionResult(status, **found)


def nothing_to_show(record: ExtractionRecord) -> StateError:
    """Why an extraction without data cannot be opened, and the way out."""
    hint = "Wait until it has completed, or stop it and keep what was read."
    if record.status.is_final:
        hint = "Start it again: resume it, or create a new one."
    what = f"The extraction has nothing to show: its status is {record.status.value}."
    return StateError(what, where=record.id, hint=hint)
