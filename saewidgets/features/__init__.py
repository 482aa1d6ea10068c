"""What latents fire on: one-pass statistics, top examples, snippets, a first reading."""

from saewidgets.features.naming import Naming, name_examples
from saewidgets.features.reading import Feature, FeatureReading, Features, TopExamples, read_features
from saewidgets.features.snippets import Snippet, make_snippet

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
