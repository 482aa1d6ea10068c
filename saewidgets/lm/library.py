"""The transformers library, imported by one thread at a time.

Its modules load lazily; two threads that ask for their first names at once get "cannot import name …". A form that
looks at a model while a run loads one is exactly that case.
"""

from __future__ import annotations

import threading
from typing import Any

_NAMES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoTokenizer")
_lock = threading.Lock()


def transformers() -> Any:
    """The module, with the classes this package uses already loaded. Seconds the first time."""
    with _lock:
        import transformers as library  # seconds to import

        for name in _NAMES:
            getattr(library, name)
    return library
