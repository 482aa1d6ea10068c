"""Features token by token, on a typed text and on the context of an example: `TextReading`, `PromptReading` and the
functions behind them. Used by `FeatureAccess`. It needs torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from saewidgets.config.arguments import readable
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.evaluation.place import fitting_point
from saewidgets.features.store.layout import WINDOW
from saewidgets.features.store.read import FeatureStore
from saewidgets.lm import capture, evaluating, special_tokens
from saewidgets.steering import SteeringSource
from saewidgets.steering.steer import LossEffect, loss_effect
from saewidgets.workspace.live import LiveCache, LiveSAE

if TYPE_CHECKING:
    import pandas as pd

MOST_TOKENS = 2048
_LATENTS = 1 << 26  # latents × tokens at once: 256 MiB in float32
_LEAST = 64
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prompt:
    """A text as the model reads it."""

    ids: npt.NDArray[np.int64]  # [n], without the BOS that goes before it
    pieces: tuple[str, ...]  # the texts of the tokens
    counted: npt.NDArray[np.bool_]  # [n]: false for special tokens, on which no feature counts
    note: str = ""  # what was left out or cut, as a sentence
    seconds: float = 0.0  # that reading it took


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TextReading(Prompt):
    """One feature on a text."""

    index: int
    activations: npt.NDArray[np.float32]  # [n]; 0 on special tokens
    position: int | None = None  # of a stored example: its stream position,
    peak: int | None = None  # and which token that is
    complete: bool = True  # every activation is known; else those near the peak

    @property
    def max(self) -> float:
        """The largest activation; 0 for an empty text."""
        return float(self.activations.max()) if len(self.activations) else 0.0

    @property
    def fired(self) -> int:
        """The number of tokens on which the feature fires."""
        return int((self.activations > 0).sum())

    def to_df(self) -> pd.DataFrame:
        """One row per token: ``position token activation``."""
        import pandas as pd  # costs half a second

        return pd.DataFrame(
            {"position": np.arange(len(self.pieces)), "token": list(self.pieces), "activation": self.activations}
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class PromptReading(Prompt):
    """All features that fire on a text."""

    indices: npt.NDArray[np.int64]  # [m]: the latents that fire, the largest activation first
    activations: npt.NDArray[np.float32]  # [m, n]; 0 on special tokens
    labels: dict[int, str] = field(default_factory=dict)  # of latents that have one

    def ranked(self, by: str = "max", token: int | None = None) -> npt.NDArray[np.int64]:
        """Places in `indices`, the first one leading: by ``max`` or ``sum`` over the text, or on one ``token`` (of this
        position; those that are silent on it are left out). Raises `ConfigError`."""
        if by == "token":
            if token is None or not 0 <= token < len(self.pieces):
                raise ConfigError(f"The text has no token {token}.", where="token", hint="Choose one of its tokens.")
            keys = self.activations[:, token]
            order = np.argsort(-keys, kind="stable")
            return order[keys[order] > 0]
        if by not in ("max", "sum"):
            raise ConfigError(f"{by!r} is not a sort order.", where="by", hint="Use max, sum or token.")
        keys = self.activations.max(1) if by == "max" else self.activations.sum(1)
        return np.argsort(-keys, kind="stable") if len(keys) else np.empty(0, np.int64)

    def to_df(self) -> pd.DataFrame:
        """One row per firing: ``position token index activation label``."""
        import pandas as pd  # costs half a second

        at, position = np.nonzero(self.activations)
        order = np.lexsort((-self.activations[at, position], position))
        at, position = at[order], position[order]
        return pd.DataFrame({
            "position": position, "token": [self.pieces[i] for i in position], "index": self.indices[at],
            "activation": self.activations[at, position],
            "label": [self.labels.get(int(i), "") for i in self.indices[at]],
        })  # fmt: skip

    def __repr__(self) -> str:
        return f"<PromptReading: {len(self.indices):,} features fire on {len(self.pieces):,} tokens>"


def _prompt(opened: LiveSAE, text: str, prepend_bos: bool) -> tuple[Prompt, Ids, int]:
    """The text cut to what the model, and an SAE so wide, can read; its tokens between those that begin and end every
    context (BOS, and the [SEP] of an encoder), and where among them it begins."""
    if not isinstance(text, str) or not text:
        raise ConfigError("There is no text.", where="text", hint="Enter some.")
    model = opened.model
    ids = model.ids(readable(text, "text"))
    special = special_tokens(model.lm.tokenizer)
    before, behind = ([token] if prepend_bos and token is not None else [] for token in (special.bos, special.closing))
    most = min(model.lm.context or MOST_TOKENS, MOST_TOKENS, max(_LEAST, _LATENTS // opened.sae.d_sae))
    most -= len(before) + len(behind)
    notes = []
    if len(ids) > most:
        notes.append(f"Cut to the first {most:,} of {len(ids):,} tokens.")
        ids = ids[:most]
    if not ids:
        raise ConfigError("The text has no token.", where="text", hint="Enter some more.")
    if before:
        notes.append(
            "The tokens that begin and end every context are left out." if behind
            else "The token that begins every context is left out."
        )
    found = np.asarray(ids, dtype=np.int64)
    counted = ~np.isin(found, special.all)
    prompt = Prompt(ids=found, pieces=tuple(model.text.pieces(ids)), counted=counted, note=" ".join(notes))
    return prompt, np.asarray([*before, *ids, *behind], dtype=np.int64), len(before)


def _latents(
    live: LiveCache, opened: LiveSAE, ids: Ids, skip: int, counted: npt.NDArray[np.bool_], index: int | None = None
) -> tuple[Any, Any]:
    """(numbers of the latents that fire ``[m]``, their activations ``[m, n]``) on the `n` tokens of `ids` from `skip`
    on, of which those that are `counted` count; of latent `index` alone if given."""
    fitting_point(opened.model.lm.model, opened.hook_name, opened.sae.d_in)

    def compute() -> tuple[Any, Any]:
        sae = opened.sae
        x = capture(opened.model.lm.model, [opened.hook_name], torch.from_numpy(ids)[None])[opened.hook_name]
        with evaluating(sae):
            f = sae.encode(x.to(sae.W_enc.device, torch.float32))[0, skip : skip + len(counted)]
        f = f.float() * torch.from_numpy(counted).to(f.device)[:, None]
        fires = (f > 0).any(0).nonzero().view(-1) if index is None else torch.tensor([index], device=f.device)
        return fires.cpu().numpy(), f[:, fires].T.cpu().numpy()

    found, values = live.run(opened, compute)
    return found, np.ascontiguousarray(values, dtype=np.float32)


def read_all(live: LiveCache, opened: LiveSAE, text: str, prepend_bos: bool) -> PromptReading:
    """All features that fire on `text`."""
    prompt, ids, skip = _prompt(opened, text, prepend_bos)
    begun = time.perf_counter()
    found, values = _latents(live, opened, ids, skip, prompt.counted)
    order = np.argsort(-values.max(1), kind="stable") if len(found) else np.empty(0, np.int64)
    return PromptReading(
        ids=prompt.ids, pieces=prompt.pieces, counted=prompt.counted, note=prompt.note,
        seconds=time.perf_counter() - begun, indices=found[order].astype(np.int64), activations=values[order],
    )


def read_one(live: LiveCache, opened: LiveSAE, text: str, index: int, prepend_bos: bool) -> TextReading:
    """One feature on `text`."""
    prompt, ids, skip = _prompt(opened, text, prepend_bos)
    begun = time.perf_counter()
    _, values = _latents(live, opened, ids, skip, prompt.counted, index)
    return TextReading(
        ids=prompt.ids, pieces=prompt.pieces, counted=prompt.counted, note=prompt.note,
        seconds=time.perf_counter() - begun, index=index, activations=values[0],
    )


def read_context(
    live: LiveCache, open_live: Callable[[], LiveSAE], store: FeatureStore, index: int, position: int
) -> TextReading:
    """One feature on the context around a stream position; where it cannot be computed, what is stored near it."""
    ids, offset = place_in(store, position)
    begun = time.perf_counter()
    counted = store.packed.kept(ids)
    note, complete = "", True
    try:
        values = _latents(live, open_live(), ids, 0, counted, index)[1][0]
    except (SAEWidgetsError, OSError) as error:
        what = error.what if isinstance(error, SAEWidgetsError) else str(error)
        note, complete = f"Only activations near the example are known: {what}", False
        values = _stored(store, index, position - offset)
    first = int(offset > 0 and int(ids[0]) in store.special_ids)  # the BOS is not text that comes before
    return TextReading(
        index=index, ids=ids[first:], pieces=tuple(store.pieces(ids[first:])), counted=counted[first:],
        activations=values[first:], note=note, seconds=time.perf_counter() - begun, position=position,
        peak=offset - first, complete=complete,
    )


def place_in(store: FeatureStore, position: int) -> tuple[Ids, int]:
    """The context at a position of the text that an extraction has read, and where in it that is."""
    size = store.manifest.context_size
    end = store.manifest.n_contexts * size
    if not 0 <= position < end:
        raise ConfigError(
            f"There is no position {position!r} in the text.", where="position", hint=f"Use 0 to {end - 1:,}."
        )
    row, offset = divmod(position, size)
    return np.array(store.context(row), dtype=np.int64), offset


def place_on(opened: LiveSAE, text: str, token: int, prepend_bos: bool) -> tuple[Ids, int]:
    """The tokens of a text with its BOS, and which of them is `token`, counted without that."""
    prompt, ids, skip = _prompt(opened, text, prepend_bos)
    if not 0 <= token < len(prompt.ids):
        raise ConfigError(f"The text has no token {token!r}.", where="token", hint="Choose one of its tokens.")
    return ids[: skip + len(prompt.ids)], token + skip


def _stored(store: FeatureStore, index: int, begin: int) -> npt.NDArray[np.float32]:
    """Activations of a latent in the context that begins at a position, as far as its examples show them."""
    size = store.manifest.context_size
    values = np.zeros(size, dtype=np.float32)
    for kind in ("top", "interval"):
        windows = store.windows(kind, index).reshape(-1, 2 * WINDOW + 1)
        offsets = np.asarray(store[f"{kind}_positions"][index], dtype=np.int64).ravel() - begin
        exact = np.asarray(store[f"{kind}_values"][index]).ravel()
        for at in np.flatnonzero((offsets >= 0) & (offsets < size)):
            offset = int(offsets[at])
            low, high = max(0, offset - WINDOW), min(size, offset + WINDOW + 1)
            near = windows[at, low - offset + WINDOW : high - offset + WINDOW]
            values[low:high] = np.maximum(values[low:high], near)
            values[offset] = exact[at]
    return values


def loss_at(live: LiveCache, opened: LiveSAE, index: int, ids: Ids, at: int) -> LossEffect:
    """The loss effect of a feature at one of the tokens `ids`."""
    lm = opened.model.lm
    if at + 1 < len(ids) and int(ids[at + 1]) in special_tokens(lm.tokenizer).all:
        raise ConfigError(
            "The text ends here: what follows is a special token, which no loss counts.", where="position",
            hint="Choose a token before the last one.",
        )
    out = opened.sae.metadata.get("hook_name_out")
    source = SteeringSource(opened.sae, opened.hook_name, out, name=opened.subject.name)

    def compute() -> LossEffect:
        return loss_effect(lm, source, index, torch.from_numpy(ids), at, opened.model.losses)

    return live.run(opened, compute)
