"""Language models: loading, hook points ↔ modules, hooks that are always removed.

Names load on first use, because torch takes seconds to import and reading stored results needs none.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
