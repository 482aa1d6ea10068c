"""`advise`: what to change in a run that does not go well, read off its configuration, newest metrics and loss curve;
`report`: whether its SAE is good enough to go on with, four questions answered with a number and a goal.

The limits are those of the training itself where it has targets, else the constants below. A loss that no longer falls
while much variance is left unexplained needs another configuration, not more patience.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from saewidgets.config.sae import Penalised, usual_target
from saewidgets.config.sparsity import STEERED_STEPS, coefficient_name
from saewidgets.config.training import usual_rate
from saewidgets.events import JobStatus
from saewidgets.records import Shown, TrainingRecord
from saewidgets.render.numbers import metric, tokens
from saewidgets.workspace.training.estimates import config_of, dead_window_of
from saewidgets.workspace.training.run_tables import measured, newest

Kind = Literal["dead", "flat", "l0", "longer", "nan", "memory", "worse"]

DEAD_SHARE = 0.5  # from this share of dead latents on something is wrong
DEAD_GOAL = 0.1  # a run that has ended should have fewer
WORSE = 1.02  # without any latent FVU is 1 (the bias is the mean); what is above comes from wild steps
BEGINS_BELOW, FEW_STEPS = 2.0, 200  # an SAE begins between 1 and this; fewer steps than these hardly move it
USUAL_L0 = (50.0, 100.0)  # active latents per token where the configuration has no target
DENSE = 0.25  # from this share of active latents on a code is not sparse, however few latents there are
FAR = 1.5  # L0 is far from a target when it is so many times larger or smaller
UNEXPLAINED = 0.2  # a flat loss is worth a word while this share of the variance is left
FLAT = 0.01  # a loss that fell by less than this share of itself over the last third of a run is flat
FALLING = 0.03  # a loss that still fell by more than this over the last fifth is worth more tokens
_CURVES = {"loss": "The loss", "fvu": "FVU"}
POINTS = 20  # fewer values say nothing about a curve
HISTORY = ("loss", "fvu")  # what of the recorded metrics is looked at


@dataclass(frozen=True, slots=True, repr=False)
class Advice(Shown):
    """One thing to change: what it is about, what was found, what to change and to what, why that helps; ``"warning"``
    where something is wrong, ``"info"`` where it could be better. `changes` are the same as settings, for
    `config.replace(**changes)`; empty where no single value can be named."""

    kind: Kind
    title: str
    text: str
    why: str
    severity: Literal["warning", "info"] = "warning"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.title} {self.text}"


def advise(record: TrainingRecord, history: Mapping[str, Sequence[float]] | None = None) -> list[Advice]:
    """What to change, the gravest first; `history` has the columns ``step loss fvu`` of `Trainings.metric_columns`."""
    run = _JudgedRun(record)
    failed, worse = run.failed(), run.worse()
    found = [failed, worse]
    # Dead latents and a wrong L0 follow from steps that are too large: of such a run nothing else is reported.
    if worse is None and (failed is None or failed.kind != "nan"):
        sparsity = run.sparsity()
        said = set(sparsity.changes) if sparsity else set()  # L0 decides on the coefficient: one value of it
        found += [run.dead(), sparsity]
        if history is not None and record.status is not JobStatus.FAILED:
            found.append(run.curve(history, said))
    return sorted((each for each in found if each is not None), key=lambda each: each.severity != "warning")


class _JudgedRun:
    """A run as it is judged; each method is one rule, None if it does not apply."""

    def __init__(self, record: TrainingRecord) -> None:
        self.record = record
        self.sae: Mapping[str, Any] = record.config.get("sae", {})
        self.coefficient = coefficient_name(self.sae)
        self.config = config = config_of(record)
        self.usual = usual_rate(config.sae.architecture, config.sae.d_sae, config.steps) if config else 3e-4
        self.rate: float = self.setting("optimizer.lr") or self.usual
        self.window = dead_window_of(record)
        self.is_steered = config is not None and config.sae.is_steered
        aims = config is not None and isinstance(config.sae, Penalised) and config.sae.aims
        self.target: float | None = getattr(config and config.sae, "aim" if aims else "k", self.sae.get("k"))
        self.bounds: tuple[Any, Any] = (self.setting("targets.l0_min"), self.setting("targets.l0_max"))  # of L0
        self.batch = max(1, int(self.setting("batch_size") or 1))
        self.steps = record.tokens_done // self.batch
        self.fvu, self.l0 = measured(record, "fvu"), measured(record, "l0")

    def setting(self, name: str) -> Any:
        """The setting of a dotted name, None where the record has none."""
        found: Any = self.record.config
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def has_begun(self, share: float) -> bool:
        return self.record.tokens_done >= share * self.record.tokens_total

    def longer(self, wanted: int) -> dict[str, Any]:
        return {"tokens": wanted, **({"epochs": None} if self.setting("epochs") else {})}

    # ------------------------------------------------------------------------------------------------ failures

    def smaller_steps(self) -> tuple[dict[str, Any], str]:
        """A lower learning rate, and a clip where there is none."""
        wanted = self.usual if self.rate > 10 * self.usual else _rounded(self.rate / 3)
        changes: dict[str, Any] = {"optimizer.lr": wanted}
        words = f"Lower {_from_to('Learning rate', self.rate, wanted)}"
        if self.setting("optimizer.grad_clip") is None:
            changes["optimizer.grad_clip"] = 1.0
            words += ", and set Gradient clip to 1"
        return changes, f"{words}."

    def failed(self) -> Advice | None:
        error = self.record.error
        if self.record.status is not JobStatus.FAILED or error is None:
            return None
        if error.kind in ("nan", "diverged"):
            changes, words = self.smaller_steps()
            why = "Steps that are too large throw the weights to where the loss grows; smaller ones stay in the valley."
            return Advice("nan", error.what, words, why, changes=changes)
        if error.kind != "out_of_memory":
            return None
        contexts, parts = self.setting("activations.model_batch_size") or 1, self.setting("gradient_accumulation") or 1
        changes = {"activations.model_batch_size": max(1, contexts // 2)}
        words = f"Lower Contexts per forward from {contexts} to {max(1, contexts // 2)}"
        if self.batch % (2 * parts) == 0:
            changes["gradient_accumulation"] = 2 * parts
            words += f", and raise Gradient accumulation from {parts} to {2 * parts}"
        return Advice(
            "memory", error.what, f"{words}. Fewer latents (d_sae) or bf16 save more.",
            "The model's forward and the matrix of latents are what fills the memory; both work in smaller pieces with"
            " the same result.",
            changes=changes,
        )  # fmt: skip

    def worse(self) -> Advice | None:
        fvu = self.fvu
        if fvu is None or fvu < WORSE or self.record.status is JobStatus.FAILED or not self.has_begun(0.2):
            return None  # it begins above 1 and has to come down first
        title = f"FVU is {metric('fvu', fvu)}"
        if self.rate <= 10 * self.usual and fvu < BEGINS_BELOW and self.steps < FEW_STEPS:
            wanted = max(2 * self.record.tokens_total, 5 * FEW_STEPS * self.batch)
            return Advice(
                "longer", f"{title} after {self.steps:,} steps.",
                f"Train longer, to about {tokens(wanted)} tokens ({wanted // self.batch:,} steps).",
                "That is where an SAE begins: so few steps hardly move it, and say nothing of the other settings.",
                changes=self.longer(wanted),
            )  # fmt: skip
        changes, words = self.smaller_steps()
        return Advice(
            "worse", f"{title}: the mean of the activations would explain more.", words,
            "An FVU above 1 is worse than no latent at all. Steps that are too large throw the weights about; latents"
            " that die and an L0 far from its target follow from that.",
            changes=changes,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ dead latents

    def dead(self) -> Advice | None:
        share, done = newest(self.record, "dead"), self.record.tokens_done
        if share is None or done < self.window:  # no latent can have been silent for a whole window yet
            return None
        if share <= DEAD_SHARE and not (share > DEAD_GOAL and self.record.status.is_final):
            return None
        changes, words = self._revived()
        return Advice(
            "dead", f"Dead latents {100 * share:.0f} % after {tokens(done)} tokens.",
            f"{words} More varied text helps, too.",
            "A latent that does not fire gets no gradient, so it stays dead. What revives it is an auxiliary loss that"
            " trains dead latents on what the others miss, less pressure to be sparse, a lower threshold, or smaller"
            " steps that kill fewer.",
            "warning" if share > DEAD_SHARE else "info", changes,
        )  # fmt: skip

    def _revived(self) -> tuple[dict[str, Any], str]:
        sae, slower = self.sae, f", or lower Learning rate (now {self.rate:g})."
        usual, now = max(1, (self.record.d_in or 512) // 2), sae.get("aux_k")
        if sae.get("aux_coefficient") and now is not None and now < usual:
            return {"sae.aux_k": usual}, f"Raise Auxiliary k (now {now:,}) to about {usual:,}{slower}"
        name, label, least = (
            ("aux_coefficient", "Auxiliary coefficient", 0.5) if "aux_k" in sae
            else ("pre_act_coefficient", "Pre-activation coefficient", 0.01)
        )  # fmt: skip
        weight = sae.get(name) or 0.0
        wanted = max(least, 2 * weight)
        return {f"sae.{name}": wanted}, f"Raise {_from_to(label, weight, wanted)}{slower}"

    # ------------------------------------------------------------------------------------------------ L0

    def sparsity(self) -> Advice | None:
        found, sae, name = self.l0, self.sae, self.coefficient
        if found is None or found <= 0 or not self.has_begun(0.6 if self.is_steered else 0.2):  # L0 is large at first
            return None
        (low, high), words = self._expected(found)
        if low / FAR <= found <= high * FAR:
            return None
        many = found > high
        changes: dict[str, Any] = {}
        if "k" in sae:
            text = (
                "The threshold lets more through than k: give it longer to settle, or lower Threshold momentum."
                if many
                else "Fewer latents are positive than may be kept. Revive dead latents (Auxiliary k), or lower k."
            )
        elif self.is_steered:
            length = max(2 * self.record.tokens_total, STEERED_STEPS * self.batch)
            text = f"Train longer, to about {tokens(length)} tokens, or choose a Target L0 that is nearer."
            changes.update(self.longer(length))
        elif name is not None and sae.get("sparsity_loss") == "quadratic":  # it holds L0 the better the more it weighs
            changes[f"sae.{name}"] = wanted = _rounded(max(1.0, 2 * sae[name]))
            text = f"Raise {_from_to('Sparsity coefficient', sae[name], wanted)}."
        elif name is not None:
            usual = self.target or usual_target(self.record.d_sae)
            wanted = _rounded(math.sqrt(low * high)) if any(self.bounds) else usual
            changes.update({f"sae.{name}": None, "sae.target_l0": wanted})
            text = (
                f"Leave Sparsity coefficient (now {sae[name]:g}) empty and set Target L0 to {wanted:g}: training finds "
                "the coefficient."
            )
            if self.steps < STEERED_STEPS:
                changes.update(self.longer(STEERED_STEPS * self.batch))
                text += f" It takes {STEERED_STEPS} steps, {tokens(STEERED_STEPS * self.batch)} tokens."
        else:
            text = "Change the sparsity settings."
        return Advice(
            "l0", f"L0 is {metric('l0', found)}, far {'above' if many else 'below'} {words}.", text,
            "The coefficient weighs sparsity against reconstruction: the larger it is, the fewer latents stay active."
            if "k" not in sae
            else "With k fixed, L0 differs from it only through the threshold or latents that are never positive.",
            "warning" if many or name is None else "info", changes,
        )  # fmt: skip

    @property
    def l0_goal(self) -> tuple[float | None, float | None]:
        """The least and most latents that should be active per token; None: no bound."""
        if any(self.bounds):
            return self.bounds
        if self.target is not None:
            return self.target / FAR, self.target * FAR
        most = min(USUAL_L0[1], DENSE * self.record.d_sae / FAR)
        return min(USUAL_L0[0], most / 2), most

    def _expected(self, found: float) -> tuple[tuple[float, float], str]:
        """The range of L0 that needs no advice, and its text; both allow a factor."""
        low, high = self.bounds
        if low or high:
            words = " to ".join(f"{bound:g}" for bound in (low, high) if bound)
            return (float(low or high / 2), float(high or low * 2)), f"the {words} that it should be"
        if (wanted := self.target) is not None:
            return (wanted, wanted), f"k = {wanted:,}" if "k" in self.sae else f"its target of {wanted:g}"
        # Without a target only what is an order of magnitude away is remarkable: the usual range is wide.
        widest = min(USUAL_L0[1] * 2, DENSE * self.record.d_sae / FAR)
        words = "the usual {:.0f} to {:.0f}".format(*self.l0_goal)
        if widest < USUAL_L0[1] * 2 and found > widest * FAR:  # so few that the usual number could be all of them
            words = f"what is sparse among {self.record.d_sae:,} latents"
        return (min(USUAL_L0[0] / 3, widest / 4), widest), words

    # ------------------------------------------------------------------------------------------------ the loss curve

    def curve(self, history: Mapping[str, Sequence[float]], said: Set[str]) -> Advice | None:
        name = "fvu" if self.is_steered else "loss"  # of which a coefficient that moves is a part
        values = np.asarray(history.get(name, ()), dtype=np.float64)
        loss = values[np.isfinite(values)]
        if len(loss) < POINTS or self.fvu is None or not self.has_begun(0.4):
            return None
        # Of a warm-up of the sparsity, or of the learning rate's decay at the end, the shape says nothing: a third and
        # a fifth of the whole are longer than either usually is.
        if self.fvu > UNEXPLAINED and abs(_fall(loss, 3)) < FLAT:
            return self._flat(self.fvu, said)
        fall, wanted = _fall(loss, 5), 2 * self.record.tokens_total
        if self.record.status is not JobStatus.COMPLETED or fall <= FALLING:
            return None
        return Advice(
            "longer", f"{_CURVES[name]} still fell by {100 * fall:.0f} % over the last fifth of the run.",
            f"Train longer, to about {tokens(wanted)} tokens.",
            "A curve that has not levelled off has something left to learn.", "info", self.longer(wanted),
        )  # fmt: skip

    def _flat(self, fvu: float, said: Set[str]) -> Advice:
        sae, name, d_sae = self.sae, self.coefficient, self.record.d_sae
        changes: dict[str, Any] = {"sae.d_sae": 2 * d_sae}
        words = f"Raise Latents (d_sae) from {d_sae:,} to {2 * d_sae:,}"
        if "k" in sae:
            changes["sae.k"] = min(2 * int(sae["k"]), 2 * d_sae)
            words += f" and raise Active latents (k) from {sae['k']:,} to {changes['sae.k']:,}"
        elif name is not None and sae[name] and f"sae.{name}" not in said:
            changes[f"sae.{name}"] = _rounded(sae[name] / 2)
            words += f" and lower {_from_to('Sparsity coefficient', sae[name], changes[f'sae.{name}'])}"
        slower = f"If it oscillates, lower Learning rate (now {self.rate:g})."
        return Advice(
            "flat", f"The loss is flat at FVU {metric('fvu', fvu)}.", f"{words}, or train on more tokens. {slower}",
            "So many latents at this sparsity cannot express more: more of them, or more of them at once, can.",
            changes=changes,
        )  # fmt: skip


def _fall(values: np.ndarray[Any, Any], part: int) -> float:
    """The share by which a curve fell over its last 1/`part`, from the medians of that part's two halves."""
    tail = values[-max(4, len(values) // part) :]
    half = len(tail) // 2
    first, second = float(np.median(tail[:half])), float(np.median(tail[half:]))
    return 2 * (first - second) / abs(first) if first else 0.0


def _from_to(label: str, now: float, wanted: float) -> str:
    return f"{label} from {now:g} to about {wanted:g}"


def _rounded(value: float) -> float:
    """Two significant digits: nobody wants 0.00015000000000000001."""
    return float(f"{value:.2g}")


# ------------------------------------------------------------------------------------------------ good enough?

_CHECKS = {  # what is asked: the advice that a run gives by itself on it, and what else helps
    "reconstruction": (
        {"flat", "longer", "nan", "worse"},
        ("More variance is left than wanted. Train on more tokens (or epochs), raise Latents (d_sae), or allow more "
         "active latents: a larger k or Target L0, or a smaller sparsity coefficient."),
    ),
    "active per token": (
        {"l0", "worse"}, "Set k or Target L0; of a given sparsity coefficient, a higher one leaves fewer active."
    ),
    "dead share": (
        {"dead", "worse"}, "Allow more active latents, use more diverse text, or turn on resampling of dead latents."
    ),
    "convergence": ({"flat", "longer", "nan", "worse"}, "Let it train to its end."),
}  # fmt: skip
_SETTLING = {
    "longer": "still falling", "flat": "flat, much unexplained", "nan": "diverged", "worse": "worse than the mean",
}  # fmt: skip
_TOO_SHORT = "too short to say"
_MORE = "Train on more tokens (or epochs): so few steps do not show whether the loss has settled."


@dataclass(frozen=True, slots=True)
class Check:
    """One question, ``"reconstruction"`` say: what was measured and what it should be, as text; the number that was
    measured, None where nothing was, and for convergence."""

    name: str
    value: str
    goal: str
    passed: bool
    number: float | None = None


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The report on one layer of a pipeline: the four checks of its run, and advice, the gravest first."""

    layer: int
    training_id: str
    status: JobStatus
    checks: tuple[Check, ...]
    advice: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every check was passed."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """A flat row: layer, run, status; of each check its value, its goal and whether it was passed; advice."""
        row: dict[str, Any] = {"layer": self.layer, "training_id": self.training_id, "status": self.status.value}
        for check in self.checks:
            key = check.name.replace(" ", "_")
            row[key] = check.value if check.number is None else check.number
            row[f"{key}_goal"], row[f"{key}_passed"] = check.goal, check.passed
        return {**row, "passed": self.passed, "advice": list(self.advice)}


def report(layer: int, record: TrainingRecord, history: Mapping[str, Sequence[float]]) -> LayerReport:
    """Judge one run by its newest metrics (on held-out activations where they were measured there) and its curve."""
    advice = advise(record, history)
    said: list[str] = []
    checks = _checks(record, [piece.kind for piece in advice], history)
    for check in (each for each in checks if not each.passed):
        kinds, otherwise = _CHECKS[check.name]
        if check.name == "dead share" and check.number is None:
            window = _JudgedRun(record).window
            otherwise = f"Dead latents are not known before {window:,} tokens: train on more, or shorten their window."
        elif check.value == _TOO_SHORT:
            otherwise = _MORE
        said += [str(piece) for piece in advice if piece.kind in kinds] or [otherwise]
    said += [str(piece) for piece in advice if piece.kind == "memory"]
    return LayerReport(layer, record.id, record.status, checks, tuple(dict.fromkeys(said)))


def _checks(record: TrainingRecord, kinds: Sequence[str], history: Mapping[str, Sequence[float]]) -> tuple[Check, ...]:
    run = _JudgedRun(record)
    fvu, mse = run.setting("targets.fvu"), run.setting("targets.mse")
    bounds = []  # what was measured, how to say that, what it is and at most should be
    if fvu is not None or mse is None:
        bounds.append((run.fvu, "FVU {:.3f}", "FVU", UNEXPLAINED if fvu is None else fvu))
    if mse is not None:  # about held-out text alone, in units of the activations
        bounds.append((newest(record, "val_mse"), "reconstruction loss {:.4g}", "reconstruction loss", mse))
    reconstruction = Check(
        "reconstruction", ", ".join(_words(value, form) for value, form, _, _ in bounds),
        ", ".join(f"{what} at most {most:g}" for _, _, what, most in bounds),
        all(value is not None and value <= most for value, _, _, most in bounds), bounds[0][0],
    )  # fmt: skip
    (low, high), l0 = run.l0_goal, run.l0
    fits = l0 is not None and (low is None or l0 >= low) and (high is None or l0 <= high)
    goal = f"L0 {low or 0:.0f} to {high:.0f}" if high is not None else f"L0 at least {low:.0f}"
    active = Check("active per token", _words(l0, "L0 {:.1f}"), goal, fits, l0)
    share = newest(record, "dead", "val_dead")  # before its window: what never fired on held-out text
    alive = share is not None and share < DEAD_GOAL
    dead = Check("dead share", _words(share, "{:.1%}"), f"less than {DEAD_GOAL:.0%}", alive, share)
    ended = record.status in (JobStatus.COMPLETED, JobStatus.STOPPED)
    found = next((words for kind, words in _SETTLING.items() if kind in kinds), None)
    if ended and found is None and sum(map(math.isfinite, history.get("loss", ()))) < POINTS:
        found = _TOO_SHORT
    value = found or ("settled" if ended else record.status.value)
    return reconstruction, active, dead, Check("convergence", value, "settled", ended and found is None)


def _words(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)
