"""Train, collect, read and steer sparse autoencoders of language models without leaving the notebook.

The public names load when they are first used, so that ``import saewidgets`` costs nothing. They are listed in
``__init__.pyi``, where type checkers look for them, each imported from the module that defines it.
"""

import ast
from importlib import import_module
from typing import Any

with open(f"{__file__}i", encoding="utf-8") as _stub:
    _HOME_OF = {
        alias.name: str(node.module)
        for node in ast.parse(_stub.read()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'saewidgets' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return __all__
