"""Transcoder: latents of one place in the model reconstruct another (Dunefsky et al. 2024, arXiv:2406.11944).

The usual pair is an MLP's input and its output. `b_dec` belongs to the output and is not subtracted from the input; an
input that is normalised at run time leaves the output as it is.
"""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.inference import AnyTranscoderConfig
from saewidgets.errors import ConfigError
from saewidgets.sae.loaded import LoadedSAE


class TranscoderSAE(LoadedSAE):
    """ReLU transcoder; `W_dec` [d_sae, d_out], `b_dec` [d_out]."""

    architecture = "transcoder"
    cfg: AnyTranscoderConfig

    def _add_state(self) -> None:
        if self.cfg.apply_b_dec_to_input and self.d_out != self.d_in:
            raise ConfigError(
                f"b_dec has d_out {self.d_out:,} entries and cannot be subtracted from inputs of d_in {self.d_in:,}.",
                where="apply_b_dec_to_input", hint="Set it to no.",
            )

    @property
    def d_out(self) -> int:
        return self.cfg.d_out

    @property
    def is_transcoder(self) -> bool:
        return not self.cfg.apply_b_dec_to_input  # only SAEs with a skip path centre their input

    @property
    def needs_input(self) -> bool:
        return False

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def fold_scale(self, s: float) -> None:
        """Always raises `ConfigError`: input and output have scales of their own."""
        self._check_scale(s)
        self._refuse("have an input and an output with scales of their own: one scale cannot be folded in")
