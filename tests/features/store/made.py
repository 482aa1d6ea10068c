"""A small extraction, made from a dense matrix of latents."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.packed import PackedTokens
from saewidgets.config import ExtractionConfig, TextCorpus
from saewidgets.features.extraction.accumulate import Accumulator
from saewidgets.features.extraction.encoding import ContextChunk, Encoder, Firings, make_chunk
from saewidgets.features.store.layout import Manifest, vocabulary_of, write_store
from saewidgets.lm import TokenText

D = 40


class Given(Encoder):
    """Latents that are already known: the activations of a chunk are the latents themselves."""

    def __init__(self, d_sae: int, block: int) -> None:
        self._d_sae, self._step = d_sae, block

    def firings(self, chunk: ContextChunk) -> Iterator[Firings]:
        f = chunk.x.reshape(-1, self._d_sae).index_select(0, chunk.kept)
        for first in range(0, self._d_sae, self._step):
            part = f[:, first : first + self._step].T.contiguous()
            latents, rows = (part <= 0).logical_not().nonzero().unbind(1)
            yield Firings(first, first + len(part), latents + first, rows, part[latents, rows])


def packed_text(tokenizer: Any, folder: Path, texts: list[str], context_size: int = 24) -> PackedTokens:
    """The texts as packed contexts in `folder`."""
    corpus = open_corpus(TextCorpus(strings=texts))
    return pack(corpus, tokenizer, folder=folder, context_size=context_size)


def make_store(
    folder: Path, packed: PackedTokens, tokenizer: Any, latents: npt.NDArray[np.float32], *, k: int = 4, m: int = 2,
    **facts: Any,
) -> Manifest:
    """Write the extraction whose latents are ``[contexts · context_size, d_sae]``, each context a document."""
    n, size, d = packed.n_contexts, packed.context_size, latents.shape[1]
    ids = packed.contexts(range(n))
    x = torch.from_numpy(latents.reshape(n, size, d))
    positions, documents = torch.arange(n * size).view(n, size), torch.arange(n)[:, None].repeat(1, size)
    config = ExtractionConfig(examples=k, per_document=k, per_interval=m, min_activation=0)
    accumulator = Accumulator(d, config, torch.device("cpu"), "hook")
    # The positions in place of the ids: no two examples have the same surroundings.
    chunk = make_chunk(x, positions, torch.arange(n), torch.from_numpy(packed.kept(ids)), documents, 0, 0)
    accumulator.update(chunk, Given(d, d))
    vocabulary, data = vocabulary_of(np.unique(ids).tolist(), TokenText(tokenizer))
    arrays = {"contexts": np.arange(n), "vocabulary": vocabulary, **accumulator.finish()}
    manifest = Manifest(
        version=1, d_sae=d, d_in=8, hook_name="blocks.1.hook_resid_post", model="tiny", architecture="topk",
        tokens=packed.fingerprint, context_size=size, n_contexts=n, n_documents=packed.facts.n_documents,
        n_tokens=int(packed.kept(ids).sum()), n_excluded_special=int((~packed.kept(ids)).sum()), n_excluded_norm=0,
        norm_limit=None, examples=k, per_interval=m, per_document=k, min_activation=0.0, coactivation_rate=1.0,
        settings={}, facts={},
    )
    manifest = replace(manifest, **facts)
    write_store(folder, arrays, manifest, data)
    return manifest


def sparse_latents(n: int, d: int, share: float = 0.1, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random activations; latent 0 never fires, latent 1 always does."""
    rng = np.random.default_rng(seed)
    found = (rng.gamma(2.0, 2.0, (n, d)) * (rng.random((n, d)) < share)).astype(np.float32)
    found[:, 0] = 0
    found[:, 1] = rng.gamma(2.0, 0.1, n)
    return found
