"""The embedded default: a small language model and the public-domain text it was trained on.

`model="demo"` and `corpus="demo"` mean these. Importing this package reads no data and imports neither torch nor
transformers.
"""

from saewidgets.demo.corpus import CorpusInfo, Document, SourceInfo, corpus_info, documents
from saewidgets.demo.model import model_path, resolve_model

__all__ = ["CorpusInfo", "Document", "SourceInfo", "corpus_info", "documents", "model_path", "resolve_model"]
