"""The names of this package, each with the module that defines it: `__init__.py` reads them from here."""

from .corpus import Corpus as Corpus
from .corpus import Document as Document
from .corpus import open_corpus as open_corpus
from .packed import PackedTokens as PackedTokens
from .packed import counted_positions as counted_positions
from .packed import positions_needed as positions_needed
from .packing import pack as pack
from .stream import ActivationStream as ActivationStream
from .stream import Batch as Batch
from .stream import Windows as Windows
