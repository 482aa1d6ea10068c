"""Trainings that share one forward: each ends as it would alone, whatever happens to the others."""

import pytest

from saewidgets.config.group import expand
from saewidgets.errors import ConfigError, StorageError, TrainingError
from saewidgets.events import Interruption, JobStatus, Metrics, Progress, Request
from saewidgets.lm import hook_points, load_model
from saewidgets.training import Task, run_group, run_training
from saewidgets.training.checkpoint import list_checkpoints
from saewidgets.training.loop import Trainer
from tests.training.fakes import SAES, Recorder, Scripted, sae_tensors, same

STEPS, BATCH = 12, 64


@pytest.fixture(scope="session")
def base(twelve_steps):
    return twelve_steps.replace(dead_window_tokens=BATCH * 4)


@pytest.fixture(scope="session")
def configs(base):
    """Three hook points, three architectures, checkpoints and evaluations at different steps."""
    return [
        base,
        base.replace(hook_name="blocks.0.hook_mlp_out", sae=SAES["jumprelu"], **{"checkpoints.every_steps": 4}),
        base.replace(hook_name="blocks.0.hook_resid_post", sae=SAES["batchtopk"], **{"evaluation.every_steps": 5}),
        base.replace(**{"sae.k": 8, "optimizer.lr": 1e-3}),  # on the same hook point as the first
    ]


@pytest.fixture(scope="session")
def runs_alone(configs, tokens_folder, tmp_path_factory):
    """What each training leaves when it runs alone: its SAE, and what its evaluations found."""
    found = []
    for config in configs:
        folder, emit = tmp_path_factory.mktemp("alone"), Recorder()
        run_training(config, folder, tokens_folder=tokens_folder, emit=emit)
        found.append((sae_tensors(folder), _measured(emit)))
    return found


@pytest.fixture(scope="session")
def alone(runs_alone):
    """The SAEs."""
    return [tensors for tensors, _ in runs_alone]


def _measured(*emits):
    """Step → what was found on held-out text, of a training that was left and resumed in several parts."""
    of = [m for emit in emits for m in emit.of(Metrics) if "val_fvu" in m.values]
    return {m.step: dict(m.values) for m in of}


def _tasks(configs, folder, **changes):
    return [Task(config, folder / str(number), **changes) for number, config in enumerate(configs)]


def test_every_training_ends_in_the_bits_it_ends_in_alone(configs, runs_alone, tokens_folder, tmp_path):
    emits = [Recorder() for _ in configs]
    tasks = [Task(c, tmp_path / str(n), emit) for n, (c, emit) in enumerate(zip(configs, emits, strict=True))]
    told = []
    result = run_group(tasks, tokens_folder=tokens_folder, ended=lambda *end: told.append(end))
    assert result.status is JobStatus.COMPLETED
    assert [(r.status, r.step) for r in result.results] == [(JobStatus.COMPLETED, STEPS)] * 4
    assert [(number, error) for number, _, error in told] == [(n, None) for n in range(4)]
    assert [r for _, r, _ in told] == list(result.results)
    for number, (expected, measured) in enumerate(runs_alone):
        same(sae_tensors(tmp_path / str(number)), expected)
        assert _measured(emits[number]) == measured  # every number of every evaluation, too
        names = {"val_fvu", "val_l0", "val_mse", "val_dead", "val_tokens", "ce_loss_score", "ce_tokens"}
        assert set(measured[STEPS]) == names
    for emit, r in zip(emits, result.results, strict=True):
        assert {"loss", "fvu", "val_fvu", "ce_loss_score"} <= {n for m in emit.of(Metrics) for n in m.values}
        done = [p.done for p in emit.of(Progress)]
        assert done == sorted(done)
        assert done[-1] == STEPS * BATCH
        assert r.sae_path is not None
    assert [list(_measured(emit)) for emit in emits] == [[6, 12], [6, 12], [5, 10, 12], [6, 12]]


def test_one_forward_feeds_all(base, configs, tokens_folder, tmp_path):
    """As many forwards to train four as the deepest alone; the stream is read once."""
    without = {"evaluation.every_steps": 10**6}
    lm = load_model(base.model)
    hook_points(lm.model)  # the first use runs the model once
    forwards = []
    lm.model.transformer.h[0].register_forward_hook(lambda *_: forwards.append(1))

    def forwards_of(some, folder):
        marks = []

        def emit(event):
            if isinstance(event, Progress) and event.phase != "training" and event.step == STEPS and not marks:
                marks.append(len(forwards))  # evaluations and saving come after

        forwards.clear()
        run_group(
            [Task(c.replace(**without), folder / str(n), emit) for n, c in enumerate(some)],
            tokens_folder=tokens_folder, model=lm,
        )
        return marks[0]

    assert forwards_of(configs[::-1], tmp_path / "all") == forwards_of(configs[:1], tmp_path / "one") > 0


@pytest.mark.parametrize("share", [0.15, 0.97])
def test_pause_anywhere_and_resume(share, configs, alone, tokens_folder, tmp_path, total_checks):
    at = int(total_checks * share)
    result = run_group(_tasks(configs, tmp_path), tokens_folder=tokens_folder, control=Scripted(Request.PAUSE, at))
    assert result.status is JobStatus.PAUSED
    for folder, r in zip(sorted(tmp_path.iterdir()), result.results, strict=True):
        found = list_checkpoints(folder / "checkpoints")
        assert (found[0].step if found else 0) == r.step
    result = run_group(_tasks(configs, tmp_path, resume=True), tokens_folder=tokens_folder)
    assert result.status is JobStatus.COMPLETED
    for number, expected in enumerate(alone):
        same(sae_tensors(tmp_path / str(number)), expected)


@pytest.fixture(scope="session")
def total_checks(configs, tokens_folder, tmp_path_factory):
    """How often a whole run of the group asks its control."""
    control = Scripted()
    run_group(_tasks(configs, tmp_path_factory.mktemp("counted")), tokens_folder=tokens_folder, control=control)
    return control.calls


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_leaves_trainings_at_different_steps_that_catch_up(
    configs, alone, tokens_folder, tmp_path, total_checks
):
    class Kill(Scripted):
        def check(self):
            super().check()
            if self.calls >= total_checks * 0.9:
                raise Killed

    with pytest.raises(Killed):
        run_group(_tasks(configs, tmp_path), tokens_folder=tokens_folder, control=Kill())
    newest = [list_checkpoints(tmp_path / str(n) / "checkpoints")[:1] for n in range(4)]
    assert len({found[0].step if found else 0 for found in newest}) > 1  # 5, 4, 5, 5 …
    emits = [Recorder() for _ in configs]
    tasks = [Task(c, tmp_path / str(n), emits[n], resume=True) for n, c in enumerate(configs)]
    assert run_group(tasks, tokens_folder=tokens_folder).status is JobStatus.COMPLETED
    for number, expected in enumerate(alone):
        same(sae_tensors(tmp_path / str(number)), expected)
    for found, emit in zip(newest, emits, strict=True):
        training = [p.step for p in emit.of(Progress) if p.phase == "training"]
        assert not found or min(training) >= found[0].step  # nobody is shown behind the checkpoint it has


class Evaluating(Scripted):
    """Asks for something, or is killed, at the n-th forward of evaluations."""

    def __init__(self, at, request=None):
        super().__init__()
        self.phase, self.forwards, self.last, self.asked = "", 0, at, request
        self.done = False

    def emit(self, event):
        self.phase = getattr(event, "phase", self.phase)

    def check(self):
        self.forwards += self.phase == "evaluating"
        if self.forwards >= self.last and (self.asked is not Request.STOP or not self.done):
            self.done = True
            raise Killed if self.asked is None else Interruption(self.asked)


@pytest.fixture(scope="session")
def evaluation_forwards(configs, tokens_folder, tmp_path_factory):
    """How many forwards a whole run of the group takes to evaluate."""
    control = Evaluating(10**9)
    tasks = _tasks(configs, tmp_path_factory.mktemp("evaluating"), emit=control.emit)
    run_group(tasks, tokens_folder=tokens_folder, control=control)
    return control.forwards


@pytest.mark.parametrize(("share", "asked"), [(0.01, None), (0.7, None), (1, Request.PAUSE)])
def test_left_in_the_middle_of_an_evaluation(
    share, asked, configs, runs_alone, tokens_folder, tmp_path, evaluation_forwards
):
    """Paused or killed: each evaluation is there once, with the numbers it has alone."""
    control = Evaluating(max(1, round(evaluation_forwards * share)), asked)
    emits = [Recorder() for _ in configs]

    def tell(number):
        return lambda event: (emits[number](event), control.emit(event))

    tasks = [Task(c, tmp_path / str(n), tell(n)) for n, c in enumerate(configs)]
    if asked is None:
        with pytest.raises(Killed):
            run_group(tasks, tokens_folder=tokens_folder, control=control)
    else:
        assert run_group(tasks, tokens_folder=tokens_folder, control=control).status is JobStatus.PAUSED
    again = [Recorder() for _ in configs]
    tasks = [Task(c, tmp_path / str(n), again[n], resume=True) for n, c in enumerate(configs)]
    assert run_group(tasks, tokens_folder=tokens_folder).status is JobStatus.COMPLETED
    for number, (expected, measured) in enumerate(runs_alone):
        same(sae_tensors(tmp_path / str(number)), expected)
        assert _measured(emits[number], again[number]) == measured


@pytest.mark.parametrize("asked", [Request.STOP, Request.CANCEL])
def test_all_are_ended_in_the_middle_of_an_evaluation(asked, configs, tokens_folder, tmp_path, evaluation_forwards):
    control = Evaluating(evaluation_forwards // 2, asked)
    tasks = _tasks(configs, tmp_path, emit=control.emit)
    result = run_group(tasks, tokens_folder=tokens_folder, control=control)
    stopped = asked is Request.STOP
    assert result.status is (JobStatus.STOPPED if stopped else JobStatus.CANCELLED)
    assert [bool(r.sae_path) for r in result.results] == [stopped] * 4
    assert not stopped or all("ce_loss_score" in r.metrics for r in result.results)


@pytest.mark.parametrize(("number", "asked"), [(0, Request.STOP), (1, Request.CANCEL)])
def test_one_is_ended_alone_while_it_waits_for_an_evaluation(
    number, asked, configs, runs_alone, tokens_folder, tmp_path
):
    """It has taken its sixth step; the first one has all evaluated, or the third itself, when this one ends."""
    emits = [Recorder() for _ in configs]
    evaluates = lambda: any((p.phase, p.step) == ("evaluating", 6) for p in emits[number].of(Progress))  # noqa: E731
    wanted = lambda: asked if evaluates() else Request.RUN  # noqa: E731
    tasks = [Task(c, tmp_path / str(n), emits[n], *([wanted] if n == number else [])) for n, c in enumerate(configs)]
    result = run_group(tasks, tokens_folder=tokens_folder)
    ended = JobStatus.STOPPED if asked is Request.STOP else JobStatus.CANCELLED
    assert [r.status for r in result.results] == [ended if n == number else JobStatus.COMPLETED for n in range(4)]
    assert result.results[number].step == 6
    assert (tmp_path / str(number) / "sae").exists() == (asked is Request.STOP)
    for other in {0, 1, 2, 3} - {number}:
        same(sae_tensors(tmp_path / str(other)), runs_alone[other][0])
        assert _measured(emits[other]) == runs_alone[other][1]


def test_where_all_diverge_the_error_is_that_of_the_first(configs, tokens_folder, tmp_path, monkeypatch):
    def failing(self):
        if self.step >= 3:
            raise TrainingError(f"Loss became NaN with {self.config.sae.architecture}.", where="loss")

    monkeypatch.setattr(Trainer, "flush", failing)
    told = []
    with pytest.raises(TrainingError, match="NaN with topk"):
        run_group(
            _tasks(configs[:2], tmp_path), tokens_folder=tokens_folder,
            ended=lambda number, r, error: told.append((number, r.status.value, error.what)),
        )
    assert told == [(0, "failed", "Loss became NaN with topk."), (1, "failed", "Loss became NaN with jumprelu.")]


def test_a_full_disk_ends_all_and_all_can_be_resumed(configs, alone, tokens_folder, tmp_path, monkeypatch):
    save = Trainer.save

    def full(self, *kinds):
        if self.config == configs[2] and self.step >= 5:
            raise StorageError("The disk is full.")
        return save(self, *kinds)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", full)
        with pytest.raises(StorageError, match="disk is full"):
            run_group(_tasks(configs, tmp_path), tokens_folder=tokens_folder)
    assert "disk is full" in (tmp_path / "0" / "log.txt").read_text()
    assert run_group(_tasks(configs, tmp_path, resume=True), tokens_folder=tokens_folder).status is JobStatus.COMPLETED
    for number, expected in enumerate(alone):
        same(sae_tensors(tmp_path / str(number)), expected)


def test_what_reads_different_text_is_refused(configs, tokens_folder, tmp_path):
    with pytest.raises(ConfigError, match="one stream of text") as caught:
        run_group(_tasks([configs[0], configs[1].replace(seed=1)], tmp_path), tokens_folder=tokens_folder)
    assert caught.value.where == "seed"


def test_combinations(base):
    found = expand(base, {"hook_name": ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"], "sae.k": [2, 4]})
    assert [(c.hook_name, c.sae.k) for c in found] == [
        ("blocks.0.hook_resid_post", 2), ("blocks.0.hook_resid_post", 4), ("blocks.1.hook_mlp_out", 2),
        ("blocks.1.hook_mlp_out", 4),
    ]  # fmt: skip
    assert len({c.name for c in found}) == 4
    assert found[3].name.endswith("-l1-topk-k4-mlp_out")
    named = expand(base.replace(name="sweep"), {"sae.k": [2, 4], "optimizer.lr": [1e-3, 3e-4]})
    assert [c.name for c in named][:2] == ["sweep-k2-lr0.001", "sweep-k2-lr0.0003"]
    mixed = expand(base, {"sae.architecture": ["topk", "standard"], "sae.d_sae": [128]})
    assert [(c.sae.architecture, c.sae.d_sae) for c in mixed] == [("topk", 128), ("standard", 128)]
    whole = expand(base, {"sae": [c.sae for c in mixed]})
    assert [c.sae for c in whole] == [c.sae for c in mixed]
    pairs = expand(base, {"name, sae.k": [["a", 2], ("b", 4)]})
    assert [(c.name, c.sae.k) for c in pairs] == [("a", 2), ("b", 4)]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({}, "Nothing changes"),
        ({"seed": [1, 2]}, "seed is the same for all trainings"),
        ({"activations.shuffle_tokens": [1, 2]}, "is the same for all trainings"),
        ({"nonsense": [1]}, "no setting 'nonsense'"),
        ({"optimizer.nonsense": [1]}, "no such setting"),
        ({"optimizer.lr.x": [1]}, "lr holds a value, so nothing can be set inside it"),
        ({"sae.k": 16}, "no list of values"),
        ({"sae.k": []}, "no values"),
        ({"sae.k": [4, 4]}, "occurs twice"),
        ({"sae.k": [4], "sae.d_sae, sae.k": [[64, 4]]}, "named twice"),
        ({"sae.k, sae.d_sae": [4]}, "is not a value for each"),
        ({"sae.k": range(1, 300)}, "299 trainings"),
        ({1: [2]}, "is not the name"),
        ({"sae.k": [4, 1000]}, "d_sae is 64"),
    ],
)
def test_what_cannot_be_combined(base, over, words):
    with pytest.raises(ConfigError, match=words):
        expand(base, over)
