"""Train, collect, read and steer sparse autoencoders of language models without leaving the notebook.

The public names load when they are first used, so that ``import saewidgets`` costs nothing. They are listed in
``__init__.pyi``, where type checkers look for them, each imported from the module that defines it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
