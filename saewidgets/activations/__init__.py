"""Text → tokens → activations: corpora, packing, and the seekable activation stream."""

from saewidgets.activations.corpus import Corpus, Document, open_corpus
from saewidgets.activations.packed import PackedTokens, counted_positions, positions_needed
from saewidgets.activations.packing import pack, tokenizer_fingerprint
from saewidgets.activations.stream import ActivationStream, Batch, Windows

__all__ = [
    "ActivationStream",
    "Batch",
    "Corpus",
    "Document",
    "PackedTokens",
    "Windows",
    "counted_positions",
    "open_corpus",
    "pack",
    "positions_needed",
    "tokenizer_fingerprint",
]
