"""Text → tokens → activations: corpora, packing, and the seekable activation stream.

Names load on first use: the stream needs torch, reading stored tokens does not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
