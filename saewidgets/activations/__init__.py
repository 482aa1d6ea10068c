"""Text → tokens → activations: corpora, packing, and the seekable activation stream."""

from saewidgets.activations.corpus import Corpus, Document, open_corpus
from saewidgets.activations.packing import PackedTokens, pack, tokenizer_fingerprint
from saewidgets.activations.stream import ActivationStream

__all__ = ["ActivationStream", "Corpus", "Document", "PackedTokens", "open_corpus", "pack", "tokenizer_fingerprint"]
