"""The Hugging Face hub: what SAEs a repository holds, previews by ranged reads, downloads, publishing.

All functions take a reference (``owner/name``, ``owner/name@revision``, ``owner/name/folder``, a pasted link, a SAELens
release; see `parse_reference`) and a `HubClient`, which holds the endpoint, the token (in memory only) and the cache.
Names load on first use: huggingface_hub takes half a second to import.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
