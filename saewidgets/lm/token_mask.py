"""Defines `TokenMask`, the rule that says which positions of a context take part in training and metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saewidgets.config.packing import SeqposSlice, positions
from saewidgets.config.training import ActivationsConfig


@dataclass(frozen=True, slots=True)
class TokenMask:
    """A rule; by itself it keeps everything but special tokens.

    Attributes:
        exclude_special: leave out positions that hold a special token of the tokenizer.
        exclude_ids: leave out positions that hold one of these tokens as well.
        seqpos_slice: keep only these positions of a context; None: all.
    """

    exclude_special: bool = True
    exclude_ids: tuple[int, ...] = ()
    seqpos_slice: SeqposSlice | None = None

    @classmethod
    def of(cls, settings: ActivationsConfig) -> TokenMask:
        """The rule that a configuration states."""
        return cls(settings.exclude_special_tokens, settings.exclude_token_ids or (), settings.seqpos_slice)

    @property
    def advice(self) -> str:
        """What else helps where there are too few positions, to go on in a sentence."""
        return "" if self.seqpos_slice is None and not self.exclude_ids else ", or leave fewer Positions and tokens out"

    def in_slice(self, context_size: int) -> npt.NDArray[np.bool_]:
        """Whether `seqpos_slice` takes each position, ``[context_size]``."""
        found = np.zeros(context_size, dtype=bool)
        found[list(positions(self.seqpos_slice, context_size))] = True
        return found

    def mask(
        self, tokens: npt.NDArray[np.integer], special: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.bool_]:
        """The positions that are kept, of the shape of `tokens` ``[..., context_size]``; `special` says which tokens
        are special, where that matters."""
        kept = np.ones(tokens.shape, dtype=bool) if special is None or not self.exclude_special else ~special
        if self.exclude_ids:
            kept &= ~np.isin(tokens, self.exclude_ids)
        if self.seqpos_slice is not None:
            kept &= self.in_slice(tokens.shape[-1])
        return kept

    @property
    def layout(self) -> dict[str, object]:
        """What bit-identity depends on; settings that are not used say nothing, as before there were any."""
        more = {"exclude_token_ids": list(self.exclude_ids), "seqpos_slice": list(self.seqpos_slice or ())}
        used = {name: value for name, value in more.items() if value}
        return {"exclude_special_tokens": self.exclude_special, **used}
