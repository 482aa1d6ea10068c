"""Text → tokens → activations: corpora, packing, and the seekable activation stream."""

from saewidgets.activations.corpus import Corpus as Corpus
from saewidgets.activations.corpus import Document as Document
from saewidgets.activations.corpus import open_corpus as open_corpus
from saewidgets.activations.packed import PackedTokens as PackedTokens
from saewidgets.activations.packed import counted_positions as counted_positions
from saewidgets.activations.packed import positions_needed as positions_needed
from saewidgets.activations.packing import pack as pack
from saewidgets.activations.stream import ActivationStream as ActivationStream
from saewidgets.activations.stream import Batch as Batch
from saewidgets.activations.stream import Windows as Windows
