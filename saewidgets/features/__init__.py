"""What latents fire on: one-pass statistics, top examples, labels, exports, a first reading (`read_features`).

Names load on first use: `read_features` needs torch, labels and lists do not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
