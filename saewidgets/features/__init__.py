"""What latents fire on: one-pass statistics, top examples, snippets, a first reading."""

from saewidgets.features.naming import Naming, name_examples
from saewidgets.features.reading import Feature, FeatureReading, Features, read_features
from saewidgets.features.snippets import Snippet, make_snippet
from saewidgets.features.topexamples import TopExamples

__all__ = [
    "Feature",
    "FeatureReading",
    "Features",
    "Naming",
    "Snippet",
    "TopExamples",
    "make_snippet",
    "name_examples",
    "read_features",
]
