"""Predicts L0 from a sparsity coefficient, and warns before a run of a coefficient far too low or high.

Inputs are scaled to a mean norm of √d while training, so what a coefficient λ means depends on the width d. A part of
length a of an input is worth an active latent, because it lowers the squared error by more than it costs, where

- a > λ/2 with an L1 penalty, so that the same λ/√d is the same trade-off at every width;
- a² > λ with an L0 penalty, so that the same λ/d is.

L0 falls with a power of the coefficient. The laws below were measured on the embedded model and MiniLM, where they hold
within a factor of 1.3 (docs/architectures); only what is far off is worth a word before a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saewidgets.config.sae import Penalised
from saewidgets.config.training import TrainingConfig

USABLE_L0 = (8.0, 400.0)
"""Fewer active latents reconstruct little, more are not worth reading: a coefficient that leads there is warned of."""
STEERED_STEPS = 100
"""From so many steps on a steered L0 ends near its target."""
GIVEN_STEPS = 390
"""In so many steps the laws were measured: in fewer, a given coefficient does not bring L0 down to them."""
_USUAL_L0 = (100.0, 20.0)  # what coefficients lead to that are called usual
_WIDTH = 256  # of the embedded model


@dataclass(frozen=True, slots=True)
class _Law:
    """L0 = `l0` · λ^−`power` at width 256; at others λ goes with the width to the power of `width`."""

    l0: float
    power: float
    width: float

    def expected(self, coefficient: float, d: int) -> float:
        if coefficient == 0:  # latents cost nothing
            return float("inf")
        return float(self.l0 * (coefficient * (_WIDTH / d) ** self.width) ** -self.power)

    def coefficient(self, l0: float, d: float) -> float:
        return float((d / _WIDTH) ** self.width * (l0 / self.l0) ** (-1 / self.power))


_LAWS = {
    "standard": _Law(41, 1.52, 0.5),
    **dict.fromkeys(("skip", "transcoder", "skip_transcoder"), _Law(55, 1.47, 0.5)),
    "gated": _Law(72, 1.42, 0.5),
    "jumprelu": _Law(22, 0.78, 1.0),
}


def coefficient_for(architecture: str, l0: float, d: float) -> float:
    """The coefficient that leads to about `l0` active latents at a width of `d`, or a squared mean norm of `d`."""
    return _LAWS[architecture].coefficient(l0, d)


def coefficient_name(sae: Mapping[str, Any]) -> str | None:
    """The setting of an autoencoder, as plain data, that weighs sparsity, where it is given."""
    return next((name for name in ("l1_coefficient", "l0_coefficient") if sae.get(name) is not None), None)


def warning_of(config: TrainingConfig, d: int, steps: int | None) -> tuple[str, str] | None:
    """The setting whose value leads to a useless L0 (`d`: the width of what is reconstructed), and the warning; None if
    there is none. `steps`: of the run, None while its epochs are not counted."""
    sae = config.autoencoder
    if isinstance(sae, Penalised) and sae.is_steered and steps is not None and steps < STEERED_STEPS:
        return "target_l0", (
            f"Too few steps ({steps:,}) to bring L0 to {sae.aim:g}; {STEERED_STEPS} "
            f"({STEERED_STEPS * config.batch_size:,} tokens) are enough."
        )
    name, law = coefficient_name(sae.to_data()), _LAWS.get(sae.architecture)
    share = 1 - float(getattr(sae, "skip_scale", 0.0))  # with s x beside them, λ is as much as λ / (1 − s) without
    # The laws are about one penalty, and about inputs in one scale.
    usual = {"lp_norm": 1.0, "p_end": None, "sparsity_loss": "step", "learn_skip": False}
    is_usual = all(getattr(sae, setting, value) == value for setting, value in usual.items())
    is_scaled = config.activations.normalize == "expected_average_only_in"
    if not (name and law and share > 0 and is_usual and is_scaled):
        return None
    value = getattr(sae, name)
    expected = min(law.expected(value / share, d), float(sae.d_sae))
    if USABLE_L0[0] <= expected <= USABLE_L0[1]:
        if steps is None or steps >= GIVEN_STEPS:
            return None
        return name, (
            f"Too few steps ({steps:,}) to bring L0 to the {expected:.2g} that {value:g} leads to; {GIVEN_STEPS} "
            f"({GIVEN_STEPS * config.batch_size:,} tokens) are enough. Empty: training finds it for Target L0."
        )
    few = expected < USABLE_L0[0]
    low, high = (law.coefficient(l0, d) * share for l0 in _USUAL_L0)
    return name, (
        f"{value:g} is {'large' if few else 'small'} for a width of {d:,}: "
        f"expect an L0 of about {float(f'{expected:.2g}'):,g}. With {low:.2g} to {high:.2g} some 100 to 20 are active."
    )
