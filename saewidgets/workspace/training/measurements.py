"""What earlier runs of a device say about how fast others will be: single ones, and those that shared a forward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.jobs import compute_lane
from saewidgets.records import TrainingRecord
from saewidgets.training.estimate import ModelSize, evaluation_share, flops_together

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

LOOK_BACK = 50  # runs among which a comparable one is looked for
_IDENTICAL_SECONDS = 1.0  # how long a run must have run to stand for another of the same settings
_SCALED_SECONDS = 5.0  # and for one of other settings: starting up is no small part of less
_FIRST = 10  # steps that a run must have made, unless it is at its end: what it says before of itself is little
_STEPS = 50  # that a run must have made for its rate to say something of another: the first ones are slow
_MINUTE = 60.0  # or how long they must have taken
_FARTHEST = 100.0  # times more or fewer operations per token: a run farther away says less than a matrix product
_OTHER_ARCHITECTURE = 0.5  # as far as this logarithm of a ratio of operations
_OTHER_NUMBER = 0.25  # likewise, times the logarithm of the ratio of how many shared a forward


@dataclass(frozen=True, slots=True)
class Measurement:
    """A run, or several that shared a forward, with their speed.

    Attributes:
        records: of the runs.
        configs: their settings, less their text, which may lie elsewhere.
        rate: tokens per second that each of them made, as it was reported while training, that is without evaluations;
            over the whole run where `whole`.
        settled: whether that rate holds for longer than this run.
        overall: tokens per second over the whole run, with loading and evaluations; of one under way, as far as it can
            tell how long it will take. None where it cannot.
    """

    records: tuple[TrainingRecord, ...]
    configs: tuple[TrainingConfig, ...]
    rate: float
    whole: bool = False
    settled: bool = True
    overall: float | None = None

    def rate_of_training(self, model: ModelSize, sparse: bool) -> float:
        """The rate without evaluations, of which a `whole` one has its share."""
        return self.rate * (1 + evaluation_share(self.configs, model, sparse=sparse)) if self.whole else self.rate

    def is_as_long(self, config: TrainingConfig) -> bool:
        """Whether a run of these settings takes as many tokens, and is evaluated and saved as often."""
        keys = ("tokens", "epochs", "evaluation", "checkpoints")
        return all(getattr(self.configs[0], key) == getattr(config, key) for key in keys)

    @property
    def name(self) -> str:
        """For the reader of an estimate."""
        others = len(self.records) - 1
        return self.records[0].name + (f" and {others} other{'s' * (others > 1)}" if others else "")

    def is_of(self, configs: Sequence[TrainingConfig]) -> bool:
        """Whether those do the same work, in whatever order."""
        if len(configs) != len(self.configs):
            return False
        left = list(self.configs)
        for config in configs:
            match = next((then for then in left if _same_work(then, config)), None)
            if match is None:
                return False
            left.remove(match)
        return True

    def scaled(self, configs: Sequence[TrainingConfig], model: ModelSize, sparse: bool) -> tuple[float, float] | None:
        """(How far those are from these, the rate that they will have); None where this says nothing of them."""
        then, first = self.configs[0], self.records[0]
        size = model if same_model(then, configs[0]) else size_of(first.facts.get("model_facts") or {})
        if size is None or first.seconds_running < _SCALED_SECONDS or then.precision != configs[0].precision:
            return None
        ratio = flops_together(self.configs, size, sparse=sparse) / flops_together(configs, model, sparse=sparse)
        distance = abs(math.log(ratio)) + _OTHER_NUMBER * abs(math.log(len(self.configs) / len(configs)))
        distance += _OTHER_ARCHITECTURE * (_architectures(self.configs) != _architectures(configs))
        return (distance, self.rate_of_training(size, sparse) * ratio) if distance < math.log(_FARTHEST) else None


def measurements(workspace: Workspace, device: str) -> Iterator[Measurement]:
    """Those of a device that went on long enough, newest first."""
    trainings = workspace.catalog.trainings
    lane, seen = compute_lane(workspace.settings.host, device), set()
    for record in trainings.list(limit=LOOK_BACK):
        if record.lane != lane or record.seconds_running <= _IDENTICAL_SECONDS or record.tokens_done <= 0:
            continue
        together: tuple[TrainingRecord, ...] = (record,)
        all_along = True
        if record.group_id is not None:
            if record.job_id is None or record.job_id in seen:
                continue
            seen.add(record.job_id)
            members = trainings.by_job(record.job_id)
            together = _side_by_side(members)
            all_along = len(together) == len(members)
        configs = [config_of(each) for each in together]
        if together and None not in configs:
            known = tuple(config for config in configs if config is not None)
            lead = together[0]
            rate, whole = _rate(lead)
            settled = lead.tokens_done >= min(_STEPS * known[0].batch_size, _MINUTE * rate)
            if lead.status is JobStatus.COMPLETED or lead.tokens_done >= _FIRST * known[0].batch_size:
                yield Measurement(together, known, rate, whole, settled, _overall(lead) if all_along else None)


def _side_by_side(records: Sequence[TrainingRecord]) -> tuple[TrainingRecord, ...]:
    """Of a group those that have gone on together to where it is; none, where others took part for a while: then its
    seconds are not those of these."""
    going = [record for record in records if record.status is JobStatus.RUNNING]
    if going:
        return tuple(going)  # the recent rate is theirs
    if len({record.tokens_done for record in records}) > 1 or len({record.group_id for record in records}) > 1:
        return ()
    return tuple(records)


def _rate(record: TrainingRecord) -> tuple[float, bool]:
    """Tokens per second of training, as the run reported it last; where it did not, over the whole run, and True.

    The whole run has more: loading the model, packing the text, evaluations. Of a short one that is most of the time.
    """
    recent = record.progress.rate if record.progress is not None else None
    if recent and math.isfinite(recent):
        return recent, False
    return record.tokens_done / record.seconds_running, True


def _overall(record: TrainingRecord) -> float | None:
    """Tokens per second of a run from its beginning to its end, if it has ended or says when it will."""
    if record.status is JobStatus.COMPLETED:
        return record.tokens_done / record.seconds_running
    left = record.progress.eta_seconds if record.progress is not None else None
    if record.status is not JobStatus.RUNNING or left is None or not math.isfinite(left):
        return None
    return record.tokens_total / (record.seconds_running + left)


def config_of(record: TrainingRecord) -> TrainingConfig | None:
    """The settings of a run, less its text; None if another version wrote them."""
    corpus = record.config.get("corpus")
    stored = isinstance(corpus, Mapping) and corpus.get("kind") == "activations"  # no model runs then
    try:
        return TrainingConfig.from_data({**record.config, "corpus": corpus if stored else "demo"})
    except ConfigError:
        return None


def _same_work(then: TrainingConfig, config: TrainingConfig) -> bool:
    keys = (
        "hook_name",
        "hook_name_out",
        "context_size",
        "batch_size",
        "precision",
        "model_dtype",
        "gradient_accumulation",
        "model_device",
        "model_compile",
    )
    return (
        same_model(then, config)
        and (then.corpus.kind == "activations") == (config.corpus.kind == "activations")
        and all(getattr(then, key) == getattr(config, key) for key in keys)
        and then.sae.architecture == config.sae.architecture
        and then.sae.d_sae == config.sae.d_sae
        and getattr(then.sae, "k", None) == getattr(config.sae, "k", None)
    )


def _architectures(configs: Sequence[TrainingConfig]) -> set[str]:
    return {config.sae.architecture for config in configs}


def same_model(then: TrainingConfig, config: TrainingConfig) -> bool:
    """A folder may be written in several ways; runs keep its absolute path."""
    return then.model == config.model or then.model == str(Path(config.model).expanduser().absolute())


def size_of(facts: Mapping[str, Any]) -> ModelSize | None:
    """Sizes of a model from what a run recorded of it; None where that is too little."""
    try:
        return ModelSize(
            facts.get("parameters"), int(facts["d_model"]), int(facts["n_layers"]), facts.get("vocab_size")
        )
    except (KeyError, TypeError, ValueError):
        return None
