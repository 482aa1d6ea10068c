"""What an extraction's folder holds: the names, types and shapes of its arrays, and its manifest.

    <folder>/extraction.json     the manifest; written last, so that a folder without it is not an extraction
    <folder>/<name>.npy          one file per array of `STORED`, memory-mapped when read
    <folder>/vocabulary.bin      the UTF-8 bytes of every token that occurs, see `vocabulary.npy`
    <folder>/logits/             `LOGIT_ARRAYS`, once they were computed for all latents (optional), with a
                                 `vocabulary.npy` (`LOGIT_VOCABULARY`) and `vocabulary.bin` of the tokens they name

The text itself is not copied: contexts are rows of the packed tokens that the manifest names (`PackedTokens`). A place
in the text is a *stream position*: ``row · context_size + offset``, where `row` counts the contexts that were read, in
order, and `contexts.npy` says which context of the packing that was.

A pass hands over `ARRAYS`; on disk the windows, which are mostly zeros, are kept as what is not zero (`STORED`).

Shapes use d = latents, n = contexts read, k = examples kept per latent, m = examples kept per interval,
w = 2 · `WINDOW` + 1 positions around an example, v = distinct tokens, t = tokens of the co-activation sample, and e, f,
g for numbers of entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

VERSION = 1

WINDOW = 16
"""Positions kept on either side of an example, with the latent's activation at each."""

BINS = 64
"""Bins of a latent's histogram of non-zero activations: equal, from 0 to ``2 ** scale``."""

INTERVALS = 16
"""Activation intervals: each is ``BINS // INTERVALS`` neighbouring bins of the histogram."""

COACTIVATION_ENTRIES = 16_000_000
"""Most (token, latent) pairs in the co-activation sample; see `coactivation_rate` in the manifest."""


@dataclass(frozen=True, slots=True)
class Array:
    """dtype (numpy's name, little endian), shape in the letters above, and what it says."""

    dtype: str
    shape: tuple[str, ...]
    about: str


ARRAYS: Mapping[str, Array] = {
    "contexts": Array("<i8", ("n",), "numbers of the contexts in the packed tokens, in the order they were read"),
    "firing_counts": Array("<i8", ("d",), "counted positions on which the latent was above zero"),
    "context_counts": Array("<i8", ("d",), "contexts in which it fired"),
    "document_counts": Array("<i8", ("d",), "documents in which it fired"),
    "sums": Array("<f8", ("d",), "sum of its activations"),
    "max": Array("<f4", ("d",), "its largest activation; 0 for a latent that did not fire"),
    "scale": Array("<i2", ("d",), "the histogram goes from 0 to 2 ** scale; the least such that max <= 2 ** scale"),
    "histogram": Array("<i4", ("d", "bins"), "positions whose activation is in ((b) , (b + 1)] · 2 ** scale / BINS"),
    "top_values": Array("<f4", ("d", "k"), "largest activations, descending; 0 where there are fewer"),
    "top_positions": Array("<i4", ("d", "k"), "their stream positions; -1 where there are fewer"),
    "top_windows": Array("<f2", ("d", "k", "w"), "the latent's activation around each; 0 outside its context"),
    "interval_values": Array("<f4", ("d", "intervals", "m"), "a uniform sample of the firings in each interval"),
    "interval_positions": Array("<i4", ("d", "intervals", "m"), "their stream positions; -1 where there are fewer"),
    "interval_windows": Array("<f2", ("d", "intervals", "m", "w"), "the latent's activation around each"),
    "sample_positions": Array("<i4", ("t",), "stream positions of the co-activation sample, ascending"),
    "sample_offsets": Array("<i8", ("t+1",), "where each sampled token's latents begin in sample_latents"),
    "sample_latents": Array("<i4", ("e",), "the latents that fired on each sampled token, ascending"),
    "vocabulary": Array("<i8", ("v", "3"), "token id, where its bytes begin and end in vocabulary.bin; ids ascending"),
}

WINDOWS = ("top_windows", "interval_windows")
"""The arrays that are stored as three: per example how many values are not zero, per latent where its own begin, and
offset (from −`WINDOW`) and value of each."""


def _stored() -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, array in ARRAYS.items():
        if name not in WINDOWS:
            found[name] = array
            continue
        entries = "f" if name == "top_windows" else "g"
        about = f"of {name}: "
        found |= {
            f"{name}_counts": Array("|u1", array.shape[:-1], about + "values that are not zero, per example"),
            f"{name}_starts": Array("<i8", ("d+1",), about + "where each latent's entries begin"),
            f"{name}_offsets": Array("|i1", (entries,), about + "offset from the peak"),
            f"{name}_values": Array("<f2", (entries,), about + "the activation there"),
        }
    return found


STORED: Mapping[str, Array] = _stored()

MAX_POSITION = 2**31 - 1
"""Largest stream position; an extraction reads fewer tokens."""

LOGIT_ARRAYS: Mapping[str, Array] = {
    "top_tokens": Array("<i4", ("d", "10"), "tokens whose logit the decoder direction raises most, descending"),
    "top_logits": Array("<f4", ("d", "10"), "by how much, per unit of activation"),
    "bottom_tokens": Array("<i4", ("d", "10"), "tokens whose logit it lowers most, the lowest first"),
    "bottom_logits": Array("<f4", ("d", "10"), "by how much"),
}
"""Where the model's vocabulary has fewer tokens, −1 and 0 take their place."""

LOGIT_TOKENS = 10
"""Tokens on either side."""

LOGIT_VOCABULARY = Array("<i8", ("v", "3"), "of the tokens in LOGIT_ARRAYS what `vocabulary` has of those in the text")


Size = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`extraction.json`.

    Attributes:
        version: of this layout.
        d_sae, d_in: of the SAE.
        hook_name, model, architecture: where it reads, of which model, which kind it is.
        tokens: fingerprint of the packed tokens (a folder of that name among the workspace's).
        context_size: tokens per context.
        n_contexts, n_documents: read (a document that goes on in the next context read counts once).
        n_tokens: counted positions: without special tokens and those left out by their norm.
        n_excluded_special, n_excluded_norm: positions that were left out.
        norm_limit: largest norm that was counted; None where none was.
        examples, per_interval, per_document: how many were kept.
        min_activation: share of a latent's largest activation below which no interval example is kept.
        coactivation_rate: share of the counted positions in the co-activation sample, a power of 1/2.
        settings: the whole configuration it was made with.
        facts: of the SAE and the run, for the reader: name, source, seconds, device …
    """

    version: int
    d_sae: Size
    d_in: Count
    hook_name: str
    model: str
    architecture: str
    tokens: Annotated[str, Field(pattern=r"^[^\W_]+$")]
    context_size: Size
    n_contexts: Count
    n_documents: int
    n_tokens: Count
    n_excluded_special: int
    n_excluded_norm: int
    norm_limit: float | None
    examples: Count
    per_interval: Count
    per_document: int
    min_activation: float
    coactivation_rate: float
    settings: dict[str, Any]
    facts: dict[str, Any]
