"""Defines `Workspace`, which opens a folder and holds its parts; `Jobs`, everything that runs in its background;
`default_workspace`; and `steered`, which steers a model inside a ``with`` block with SAEs of the workspace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Catalog, statuses
from saewidgets.config import TrainingConfig
from saewidgets.config.base import require
from saewidgets.config.group import PipelineConfig
from saewidgets.config.steering import Positions
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.jobs import Job, JobManager, JobSettings, ProcessExecutor
from saewidgets.jobs.states import OWNED
from saewidgets.records import JobRecord, Records
from saewidgets.render import escape, facts_card
from saewidgets.settings import Settings
from saewidgets.workspace.activations import Activations
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.deletions import Deletions
from saewidgets.workspace.extractions import Extractions
from saewidgets.workspace.features import Features
from saewidgets.workspace.folders import prepare_folder, sweep_trash
from saewidgets.workspace.hub import Hub
from saewidgets.workspace.lookup import Ref, is_ref
from saewidgets.workspace.pipeline import Pipeline
from saewidgets.workspace.ray_jobs import Ray, RayExecutor
from saewidgets.workspace.reading.evaluation_report import EvaluationReport
from saewidgets.workspace.saes import SAEs
from saewidgets.workspace.steering.steer import Steering
from saewidgets.workspace.storage import Storage
from saewidgets.workspace.tasks import subscribe_to
from saewidgets.workspace.templates import Templates
from saewidgets.workspace.training.estimates import devices
from saewidgets.workspace.trainings import Trainings

if TYPE_CHECKING:
    from saewidgets.steering import Steering as Attached


@checks_arguments
class Jobs:
    """The jobs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._manager = workspace, workspace.manager

    def list(
        self, *, status: JobStatus | str | Collection[JobStatus | str] | None = None, kind: str | None = None
    ) -> Records[JobRecord]:
        """Jobs of all processes, newest first. Raises `ConfigError` if there is no such status."""
        return self._manager.list(status=None if status is None else statuses(status), kind=kind)

    def get(self, job_id: Ref) -> Job:
        """The handle of a job. Raises `NotFoundError`."""
        return self._manager.handle(job_id)

    def pause_all(self) -> int:
        """Pause whatever is queued or running, wherever it runs; returns how many got the request."""
        return self._manager.pause_all()


class Workspace:
    """A folder with a catalog, the files it names, and the jobs that run in this process.

    Args:
        folder: where everything is kept; None takes ``$SAEWIDGETS_HOME``, else ``~/.saewidgets``. Or the URL of a
            storage that fsspec opens (``s3://bucket/lab``), for the files: the rows are in the catalog.
        catalog_url: an SQLAlchemy URL of a shared catalog; None takes ``$SAEWIDGETS_CATALOG``, else keeps it in
            ``catalog.sqlite`` in the folder.
        runner: where jobs run, ``"thread"`` (of this process, which pauses them when it ends) or ``"process"`` (a child
            process each, which outlives this one); None takes ``$SAEWIDGETS_RUNNER``, else threads. Downloads are
            threads always.
        executor: the cluster on which jobs run instead, `Ray` or its text (``"ray?gpus=1"``); None takes
            ``$SAEWIDGETS_EXECUTOR`` unless `runner` is given, else none.
        settings: host name, default device; None reads the environment.
        jobs: times of the job manager (polling, heartbeats), for tests.

    Several processes may open the same folder. Threads may share one `Workspace`.

    Raises:
        StorageError: the folder cannot be created or written.
        CatalogError: the catalog is damaged, or was written by a newer version of this package.
        ConfigError: there is no such runner or executor, or Ray is not installed.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        catalog_url: str | None = None,
        runner: str | None = None,
        executor: Ray | str | None = None,
        settings: Settings | None = None,
        jobs: JobSettings | None = None,
    ) -> None:
        found = settings or Settings.from_environment()
        found = found if folder is None else found.at(folder)
        executor = executor or (found.executor if runner is None else None)
        catalog_url, runner = catalog_url or found.catalog_url, runner or found.runner
        known, hint = runner in ("thread", "process"), 'Use "thread" or "process".'
        require((known, "runner", f"There is no runner {runner!r}.", hint))
        self.settings = replace(found, catalog_url=catalog_url, runner=runner)
        cluster = Ray.from_text(executor) if isinstance(executor, str) else executor
        if cluster is not None:
            hint = 'Use sw.Ray(gpus=1), or "ray?gpus=1".'
            require((isinstance(cluster, Ray), "executor", f"Not an executor: {cluster!r}.", hint))
            self.settings = replace(self.settings, places=cluster.devices)
        self.folder = prepare_folder(found.home)
        self.storage = Storage(self.folder, found.storage, found.cache_gb * 1e9, self._in_use)
        self.is_default = folder is None
        self.catalog = Catalog(self.folder, catalog_url, host=self.settings.host, user=self.settings.user)
        self.catalog.files.elsewhere = self.storage.has
        sweep_trash(self.folder)
        jobs = replace(jobs or JobSettings(), host=self.settings.host)
        if cluster is not None:  # what waits there waits for no device of this machine
            jobs = replace(jobs, place=" (Ray)")
        self.manager = JobManager(self.catalog.jobs, jobs)
        self.launcher: Callable[[], Any] | None = None  # of the other workers of a training; None: on this machine
        if cluster is not None:
            self.manager.executor = RayExecutor(cluster, found.storage or self.folder, catalog_url)
        elif runner == "process":
            self.manager.executor = ProcessExecutor(self.settings.child_environment(), self.folder / "logs")
        self.activations = Activations(self)
        self.trainings = Trainings(self)
        self.templates = Templates(self)
        self.saes = SAEs(self)
        self.hub = Hub(self)
        self.extractions = Extractions(self)
        self.features = Features(self)
        self.steering = Steering(self)
        self.jobs = Jobs(self)
        self._cluster, self.closed = cluster, False
        self.deletions = Deletions(self)
        self.deletions.finish()

    @property
    def label(self) -> str:
        """How a panel names this workspace."""
        return "default workspace" if self.is_default else Path(self.place).name or self.place

    @property
    def place(self) -> str:
        """Its folder, or the URL it was opened with, as it may be shown."""
        return self.storage.name if self.storage.url else str(self.folder)

    @property
    def notice(self) -> str | None:
        """A note for the user about the whole workspace (for example a catalog on a network drive)."""
        if self.catalog.notice is None and self.storage.url is not None and self.catalog.path is not None:
            return (
                f"The list of what {self.storage.name} holds is on this machine only ({self.catalog.path}). "
                "Open it with a shared catalog (catalog_url=, SAEWIDGETS_CATALOG)."
            )
        return self.catalog.notice

    def devices(self) -> list[dict[str, Any]]:
        """Devices of this machine: ``id``, ``label``, ``total_bytes``, ``free_bytes``."""
        return [asdict(device) for device in devices()]

    def places(self) -> int:
        """How many trainings run at once: one for each GPU here, or as many as the cluster has resources for."""
        return max(1, len(devices()) - 1) if self._cluster is None else self._cluster.places()

    def suggestions(self) -> Mapping[str, Sequence[str]]:
        """Models and datasets used here before, newest first, for the form."""
        models = self.catalog.models.names(limit=20)
        corpora = self.catalog.datasets.names(limit=20)
        return {"model": tuple(dict.fromkeys(["demo", *models])), "corpus": tuple(dict.fromkeys(["demo", *corpora]))}

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Call `callback` after a training has changed, with its id, or None if it may be any.

        Called from a background thread, at most about ten times a second per run. Returns the function that ends it.
        """
        return self.trainings.subscribe(callback)

    def subscribe_saes(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """As `subscribe`, after the library or a download has changed, with the id of the SAE or job; also from the
        thread that changes it, but not for what other processes add to the library."""
        return subscribe_to((self.saes.changes.add, self.hub.subscribe), callback)

    def evaluate(
        self,
        what: Any,
        corpus: Any = None,
        *,
        tokens: int = 65_536,
        hook_name: str | None = None,
        hook_name_out: str | None = None,
        context_size: int | None = None,
        batch_size: int | None = None,
        exclude_special_tokens: bool | Sequence[int] | None = None,
        seqpos_slice: str | Sequence[int | None] | None = None,
        cross_entropy: bool | None = None,
        mean_ablation: bool = False,
        model: Any = None,
        tokenizer: Any = None,
        device: str | None = None,
        progress: bool = True,
    ) -> EvaluationReport:
        """Measure an SAE on text it was not trained on, or on stored activations.

        What it finds of an SAE of the library is kept: `ws.saes.statistics` shows it where the files say nothing.

        Args:
            what: the id, name or record of an SAE or a training, a `Run`, a path, a repository of the hub, or a loaded
                SAE.
            corpus: other text than the one it was trained on (then all of it may be used); None takes the held-out
                part of its own. Or a store of activations (`store.corpus`, its id): then everything that takes no text
                is measured on its rows, on the held-out ones if it was trained from that store, and no language model
                is run.
            tokens: about how many tokens, or rows of a store, to read.
            hook_name: where the SAE reads; None: where it was trained.
            hook_name_out: what a transcoder reconstructs; None: what it was trained for.
            context_size: tokens per context; None: as in its training, else 128.
            batch_size: contexts per forward of the language model; None: as in its training, else 16.
            exclude_special_tokens: leave them out of every number, or in their place the tokens with these ids; None:
                as in its training, else yes.
            seqpos_slice: only these positions of every context count: "5:-5", or start, stop and maybe step; ":" is all
                of them. None: as in its training.
            cross_entropy: False leaves the language model's losses and divergences out, and two of three forwards;
                None measures them on text. True refuses stored activations, on which they cannot be measured.
            mean_ablation: also the cross-entropy recovered against the mean activation instead of zeros.
            model, tokenizer: a loaded model to measure it in, needed if it was trained on one that is no longer in
                memory; or the name of a model. None: its own is loaded.
            device: where the model is loaded; None: the run's device if this machine has it.

        Returns:
            a report: a mapping of figures (``fvu explained_variance mse l0 ce_loss_score kl_div_score dead …``, defined
            in docs/evaluation.md) with ``.to_dict()``, ``.to_df()``, ``.density`` and an HTML representation.

        Raises:
            StateError: it is not known what it was trained on, or it was trained on a model that is not here.
            NotFoundError: there is no such SAE, training or text, or its files are not here.
            ConfigError, HookError: an argument does not fit; nothing was measured.
        """
        from saewidgets.workspace.reading.sae_evaluation import EvaluationRequest, evaluate  # torch: seconds to import

        (report,) = evaluate(self, EvaluationRequest(
            what=what, corpus=corpus, tokens=tokens, hook_name=hook_name, hook_name_out=hook_name_out,
            context_size=context_size, batch_size=batch_size, exclude_special_tokens=exclude_special_tokens,
            seqpos_slice=seqpos_slice, cross_entropy=cross_entropy, mean_ablation=mean_ablation, model=model,
            tokenizer=tokenizer, device=device, progress=progress,
        ))  # fmt: skip
        return report

    def pipeline(self, training: TrainingConfig | Mapping[str, Any] | None = None, **settings: Any) -> Pipeline:
        """Activations of several layers from one forward, and an SAE of each: a `Pipeline`. Nothing is started.

        `training` says how each layer is trained (the layer of its hook name is not looked at), `settings` are ``layers
        num_tokens batch_size_extract dtype``, see `PipelineConfig`. Raises `ConfigError` where one cannot work.
        """
        given = {} if training is None else {"training": training}
        return Pipeline(self, PipelineConfig.from_data({**given, **settings}))

    def evaluate_many(self, what: Any, corpus: Any = None, **settings: Any) -> Records[EvaluationReport]:
        """Measure several SAEs (a list of what `evaluate` takes, or a `TrainingGroup`) one after the other, each as
        `evaluate` does; a model that they share is loaded once. ``.to_df()`` and the HTML representation have one row
        per SAE. What is raised loses the reports before it, not what the library keeps of them."""
        from saewidgets.workspace.reading.sae_evaluation import evaluate_many  # torch: seconds to import

        return evaluate_many(self, what, corpus, settings)

    def read_features(
        self,
        what: Any,
        corpus: Any = None,
        *,
        n: int = 10,
        tokens: int = 131_072,
        model: Any = None,
        tokenizer: Any = None,
    ) -> Any:
        """The `n` most clearly interpretable latents with the text they fire on (arguments as in `evaluate`): a reading
        with ``.to_text()``, ``.to_data()`` and an HTML representation."""
        from saewidgets.workspace.reading.sae_evaluation import EvaluationRequest, read_features  # torch: seconds

        return read_features(
            self, EvaluationRequest(what=what, corpus=corpus, tokens=tokens, model=model, tokenizer=tokenizer), n
        )

    def steer(
        self,
        model: Any,
        features: Sequence[Any],
        prompt: str | Sequence[Mapping[str, str]],
        *,
        sae: Ref | None = None,
        tokenizer: Any = None,
        swept: int = 0,
        stop: Callable[[], bool] | None = None,
        on_token: Callable[[Any], None] | None = None,
        **settings: Any,
    ) -> Any:
        """Continue `prompt` without and with features turned up, down or off, with the same random numbers.

        It runs token by token between the batches of a job that uses the same device, and returns when it is done.

        Args:
            model: None takes the model that the SAE was made for; else its name, a `LoadedModel`, or a transformers
                model with `tokenizer`.
            features: each ``(sae, index, strength)``, ``(sae, index, strength, mode)``, ``(feature, strength)`` with a
                `FeatureRecord`, or a `SteeringFeature`; the modes are in `docs/steering.md`. A strength in units of the
                feature's largest activation takes it from the newest extraction, else from an estimate.
            prompt: a text, or the messages ``{"role": …, "content": …}`` of a chat. A chat goes on with ``chat=True,
                turns=result.turns``: each side from its own answers.
            sae: the SAE of features that name none.
            swept: number of the feature that `strengths` are for.
            stop, on_token: called at every token, from a background thread.
            settings: ``new_tokens temperature top_p frequency_penalty seed multiplier positions steer_bos prepend_bos
                chat system turns strengths``, see `SteeringConfig`.

        Returns:
            a `SteeringResult`: ``.baseline``, ``.steered``, ``.sweep``, ``.to_data()``, and an HTML representation.

        Raises:
            ConfigError, NotFoundError, StateError, HookError: something does not fit; nothing was generated.
            SteeringError: the model could not be steered as asked.
        """
        return self.steering.steer(
            model, features, prompt, sae=sae, tokenizer=tokenizer, swept=swept, stop=stop, on_token=on_token, **settings
        )

    def _in_use(self) -> set[str]:
        """Ids in what running jobs are to do."""
        found = [value for job in self.catalog.jobs.list(status=OWNED) for value in job.payload.values()]
        return {str(each) for value in found for each in (value if isinstance(value, list) else [value])}

    def close(self) -> None:
        """Let running jobs write a checkpoint, then close the catalog. May be called twice."""
        if self.closed:
            return
        self.closed = True
        self.features.live.close()
        self.manager.close(at_rest=self.trainings.close)
        self.catalog.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<Workspace {self.place} · closed>"
        runs, saes = len(self.trainings.list()), self.saes.count()[0]
        return f"<Workspace {self.place} · {runs} training{'s' * (runs != 1)}, {saes} SAE{'s' * (saes != 1)}>"

    def _repr_html_(self) -> str:
        if self.closed:
            return str(escape(repr(self)))
        parts = "trainings saes extractions activations templates jobs".split()
        counts = {f"ws.{part}": f"{len(getattr(self, part).list()):,}" for part in parts}
        return str(facts_card(f"Workspace {self.place}", counts))


_lock = threading.Lock()
_default: Workspace | None = None


def default_workspace() -> Workspace:
    """The workspace in ``$SAEWIDGETS_HOME`` (else ``~/.saewidgets``), opened at the first call."""
    global _default
    with _lock:
        if _default is None or _default.closed:
            _default = Workspace()
        return _default


@contextmanager
def steered(
    model: Any,
    features: Sequence[Any],
    *,
    sae: Any = None,
    ws: Workspace | None = None,
    positions: Positions | Sequence[int] = "all",
    steer_bos: bool = False,
    tokenizer: Any = None,
    prompt_tokens: int | None = None,
) -> Iterator[Attached]:
    """Steer a model with features of SAEs inside a ``with`` block; ``model.generate(…)`` works as always.

    >>> with steered(model, [("sae_5f0c9a1e", 7451, 2.0)]):
    ...     model.generate(**tokenizer("In the morning", return_tensors="pt"))

    Args:
        model: a transformers causal language model, or a `LoadedModel`; None takes the SAE's own, which the block
            yields as ``.model``.
        features: as in `Workspace.steer`.
        sae: the SAE of features that name none: its id, name, record or run; or the SAE itself (what `load_sae`
            returns, a `SteeringSource` or a mapping of those), then no workspace is used.
        ws: where ids are looked up; None takes the default workspace.
        positions, steer_bos, prompt_tokens: see `saewidgets.steering.steered`.
        tokenizer: the model's, else that of the model that the SAE names: reads the text for an estimate.

    Raises:
        ConfigError, NotFoundError, HookError: something does not fit; the model is as it was.
        SteeringError: the model would have run unsteered, or to no end.
    """
    settings: dict[str, Any] = {
        "positions": positions, "steer_bos": steer_bos, "prompt_tokens": prompt_tokens, "tokenizer": tokenizer
    }  # fmt: skip
    if sae is not None and not is_ref(sae):
        from saewidgets.steering import steered as attach  # torch: seconds to import

        if ws is not None:
            raise ConfigError(
                "An SAE and a workspace were given.", where="sae", hint="Give its id as sae=…, or leave ws=… out."
            )
        with attach(model, features, sae=sae, **settings) as steering:
            yield steering
        return
    with (ws or default_workspace()).steering.attached(model, features, sae=sae, **settings) as steering:
        yield steering
