"""Features token by token: on a text that somebody has typed, and on the context around an example.

Defines `TextReading`, `PromptReading` and what `LiveFeatures` calls. It needs torch; `live` imports it when it is used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from saewidgets.config.arguments import readable
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.store.feature_data import pieces
from saewidgets.features.store.layout import WINDOW
from saewidgets.features.store.read import Store
from saewidgets.lm import capture, evaluating, resolve_hook, special_tokens
from saewidgets.steering import SteeringSource
from saewidgets.steering.loss_effect import LossEffect, loss_effect
from saewidgets.workspace.live import Live, LiveModel, Opened
from saewidgets.workspace.reading.views import View, store_of

if TYPE_CHECKING:
    import pandas as pd

    from saewidgets.workspace.reading.live_features import LiveFeatures

MOST_TOKENS = 2048
_LATENTS = 1 << 26  # latents × tokens at once: 256 MiB in float32
_LEAST = 64


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A text as the model reads it.

    Attributes:
        ids: int64 ``[n]``, without the BOS that goes before it.
        bos: that BOS, or None.
        closing: the [SEP] that goes behind it for an encoder, or None.
        pieces: the texts of the tokens.
        counted: bool ``[n]``: false for special tokens, on which no feature counts.
        note: what was left out or cut, as a sentence; ``""`` if nothing was.
    """

    ids: npt.NDArray[np.int64]
    bos: int | None
    closing: int | None
    pieces: tuple[str, ...]
    counted: npt.NDArray[np.bool_]
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class TextReading:
    """One feature on a text.

    Attributes:
        index: number of the latent.
        ids, pieces, counted, note: as of `Prompt`.
        activations: float32 ``[n]``; 0 on special tokens.
        seconds: that it took.
        position, peak: of a stored example: its stream position, and which token that is.
        complete: whether every activation is known; else those near the peak.
    """

    index: int
    ids: npt.NDArray[np.int64]
    pieces: tuple[str, ...]
    counted: npt.NDArray[np.bool_]
    activations: npt.NDArray[np.float32]
    note: str = ""
    seconds: float = 0.0
    position: int | None = None
    peak: int | None = None
    complete: bool = True

    @property
    def max(self) -> float:
        return float(self.activations.max()) if len(self.activations) else 0.0

    @property
    def fired(self) -> int:
        return int((self.activations > 0).sum())

    def to_df(self) -> pd.DataFrame:
        """One row per token: ``position token activation``."""
        import pandas as pd  # costs half a second

        return pd.DataFrame(
            {"position": np.arange(len(self.pieces)), "token": list(self.pieces), "activation": self.activations}
        )


@dataclass(frozen=True, slots=True, eq=False)
class PromptReading:
    """All features that fire on a text.

    Attributes:
        ids, pieces, counted, note: as of `Prompt`.
        indices: int64 ``[m]``: the latents that fire, the largest activation first.
        activations: float32 ``[m, n]``; 0 on special tokens.
        seconds: that it took.
        labels: number of a latent → its label, where it has one.
    """

    ids: npt.NDArray[np.int64]
    pieces: tuple[str, ...]
    counted: npt.NDArray[np.bool_]
    indices: npt.NDArray[np.int64]
    activations: npt.NDArray[np.float32]
    note: str
    seconds: float
    labels: dict[int, str]

    def ranked(self, by: str = "max", token: int | None = None) -> npt.NDArray[np.int64]:
        """Places in `indices`, the first one leading: by ``max`` or ``sum`` over the text, or on one ``token``.

        Args:
            by: see above.
            token: its position; those that are silent on it are left out.

        Raises:
            ConfigError: there is no such order or token.
        """
        if by == "token":
            if token is None or not 0 <= token < len(self.pieces):
                raise ConfigError(f"The text has no token {token}.", where="token", hint="Choose one of its tokens.")
            keys = self.activations[:, token]
            order = np.argsort(-keys, kind="stable")
            return order[keys[order] > 0]
        if by not in ("max", "sum"):
            raise ConfigError(f"{by!r} is not an order.", where="by", hint="Use max, sum or token.")
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


def prepare(model: LiveModel, text: str, d_sae: int, prepend_bos: bool) -> Prompt:
    """The text as the model reads it, cut to what it can read.

    Raises:
        ConfigError: there is nothing to read.
    """
    if not isinstance(text, str) or not text:
        raise ConfigError("There is no text.", where="text", hint="Enter some.")
    ids = model.ids(readable(text, "text"))
    special = special_tokens(model.lm.tokenizer)
    bos = special.bos if prepend_bos else None
    closing = special.closing if prepend_bos else None
    most = min(model.lm.context or MOST_TOKENS, MOST_TOKENS, max(_LEAST, _LATENTS // d_sae))
    most -= (bos is not None) + (closing is not None)
    notes = []
    if len(ids) > most:
        notes.append(f"Cut to the first {most:,} of {len(ids):,} tokens.")
        ids = ids[:most]
    if not ids:
        raise ConfigError("The text has no token.", where="text", hint="Enter some more.")
    if bos is not None:
        notes.append(
            "The token that begins every context is left out." if closing is None
            else "The tokens that begin and end every context are left out."
        )
    found = np.asarray(ids, dtype=np.int64)
    return Prompt(found, bos, closing, tuple(model.text.pieces(ids)), ~np.isin(found, special.all), " ".join(notes))


def latents(live: Live, opened: Opened, prompt: Prompt, index: int | None = None) -> tuple[Any, Any]:
    """(numbers of the latents that fire ``[m]``, their activations ``[m, n]``); of latent `index` alone if given."""
    skip = int(prompt.bos is not None)
    ends = [[] if each is None else [each] for each in (prompt.bos, prompt.closing)]
    whole = np.concatenate([ends[0], prompt.ids, ends[1]]).astype(np.int64)

    def compute() -> tuple[Any, Any]:
        sae = opened.sae
        ids = torch.from_numpy(whole)[None]
        x = capture(opened.model.lm.model, [opened.hook_name], ids)[opened.hook_name]
        with evaluating(sae):
            f = sae.encode(x.to(sae.W_enc.device, torch.float32))[0, skip : skip + len(prompt.ids)]
        f = f.float() * torch.from_numpy(prompt.counted).to(f.device)[:, None]
        if index is not None:
            return np.asarray([index]), f[:, [index]].T.cpu().numpy()
        fires = (f > 0).any(0).nonzero().view(-1)
        return fires.cpu().numpy(), f[:, fires].T.cpu().numpy()

    point = resolve_hook(opened.model.lm.model, opened.hook_name)
    if point.width != opened.sae.d_in:
        raise ConfigError(
            f"The SAE's d_in is {opened.sae.d_in:,}, but activations at {opened.hook_name} have width "
            f"{point.width:,}.", where="d_in", hint="Choose the SAE's own model and hook_name.",
        )
    found, values = live.run(opened, compute)
    return found, np.ascontiguousarray(values, dtype=np.float32)


def read_all(live: Live, opened: Opened, text: str, prepend_bos: bool) -> PromptReading:
    """All features that fire on `text`. Raises `ConfigError` for an empty one."""
    prompt = prepare(opened.model, text, opened.sae.d_sae, prepend_bos)
    begun = time.perf_counter()
    found, values = latents(live, opened, prompt)
    order = np.argsort(-values.max(1), kind="stable") if len(found) else np.empty(0, np.int64)
    return PromptReading(
        prompt.ids, prompt.pieces, prompt.counted, found[order].astype(np.int64), values[order], prompt.note,
        time.perf_counter() - begun, {},
    )


def read_one(live: Live, opened: Opened, text: str, index: int, prepend_bos: bool) -> TextReading:
    """One feature on `text`. Raises `ConfigError` for an empty one."""
    prompt = prepare(opened.model, text, opened.sae.d_sae, prepend_bos)
    begun = time.perf_counter()
    _, values = latents(live, opened, prompt, index)
    return TextReading(
        index, prompt.ids, prompt.pieces, prompt.counted, values[0], prompt.note, time.perf_counter() - begun
    )


def context(features: LiveFeatures, view: View, index: int, position: int) -> TextReading:
    """See `Features.context`."""
    store = store_of(view)
    size = store.manifest.context_size
    row, offset = _place_in(store, position)
    ids = store.context(row)
    begun = time.perf_counter()
    counted = store.packed.kept(ids)
    note, complete = "", True
    try:
        prompt = Prompt(ids, None, None, tuple(pieces(store, ids)), counted, "")
        values = latents(features.live, features.open_live(view), prompt, index)[1][0]
    except (SAEWidgetsError, OSError) as error:
        what = error.what if isinstance(error, SAEWidgetsError) else str(error)
        note, complete = f"Only activations near the example are known: {what}", False
        values = _stored(store, index, row, size)
    first = int(offset > 0 and int(ids[0]) in store.special_ids)  # the BOS is no text that comes before
    return TextReading(
        index, ids[first:], tuple(pieces(store, ids[first:])), counted[first:], values[first:], note,
        time.perf_counter() - begun, position, offset - first, complete,
    )


def _place_in(store: Store, position: int) -> tuple[int, int]:
    """(context, offset in it) of a position of the text that an extraction has read. Raises `ConfigError`."""
    size = store.manifest.context_size
    end = store.manifest.n_contexts * size
    if not 0 <= position < end:
        raise ConfigError(
            f"There is no position {position!r} in the text.", where="position", hint=f"Use 0 to {end - 1:,}."
        )
    return divmod(position, size)


def _stored(store: Store, index: int, row: int, size: int) -> npt.NDArray[np.float32]:
    values = np.zeros(size, dtype=np.float32)
    for kind in ("top", "interval"):
        windows = store.windows(kind, index).reshape(-1, 2 * WINDOW + 1)
        positions = np.asarray(store[f"{kind}_positions"][index], dtype=np.int64).ravel()
        exact = np.asarray(store[f"{kind}_values"][index]).ravel()
        for at in np.flatnonzero((positions >= row * size) & (positions < (row + 1) * size)):
            offset = int(positions[at]) - row * size
            begin, end = max(0, offset - WINDOW), min(size, offset + WINDOW + 1)
            near = windows[at, begin - offset + WINDOW : end - offset + WINDOW]
            values[begin:end] = np.maximum(values[begin:end], near)
            values[offset] = exact[at]
    return values


def loss_at(
    features: LiveFeatures, view: View, index: int, position: int | None, text: str | None, token: int | None,
    prepend_bos: bool,
) -> LossEffect:
    """The loss effect at a stream position of the text that was read, or at a token of a text, counted without BOS."""
    if position is not None:
        row, at = _place_in(store_of(view), position)
        opened, ids = features.open_live(view), np.asarray(store_of(view).context(row))
    elif text is None or token is None:
        raise ConfigError("No token is named.", where="position", hint="Give position, or text and token.")
    else:
        opened = features.open_live(view)
        prompt = prepare(opened.model, text, opened.sae.d_sae, prepend_bos)
        if not 0 <= token < len(prompt.ids):
            raise ConfigError(f"The text has no token {token!r}.", where="token", hint="Choose one of its tokens.")
        head = [] if prompt.bos is None else [prompt.bos]
        ids, at = np.concatenate([head, prompt.ids]).astype(np.int64), token + len(head)
    lm = opened.model.lm
    if at + 1 < len(ids) and int(ids[at + 1]) in special_tokens(lm.tokenizer).all:
        raise ConfigError(
            "The text ends here: what follows is a special token, which no loss counts.", where="position",
            hint="Choose a token before the last one.",
        )
    out = opened.sae.metadata.get("hook_name_out")
    source = SteeringSource(opened.sae, opened.hook_name, out, name=opened.subject.name)

    def compute() -> LossEffect:
        return loss_effect(lm, source, index, torch.from_numpy(np.array(ids)), at, opened.model.losses)

    return features.live.run(opened, compute)
