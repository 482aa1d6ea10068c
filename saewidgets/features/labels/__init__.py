"""Labels of latents: interpretations, labels by people and models, scores, import and export.

It works on plain values (`FeatureEvidence`, `Label`) and knows neither where examples are stored nor where labels go.
"""

from saewidgets.features.labels.evidence import Example, Examples, FeatureEvidence, held_out, shown_examples
from saewidgets.features.labels.heuristic import offline, top_tokens
from saewidgets.features.labels.http import RequestError
from saewidgets.features.labels.interpretation import (
    interpret_features,
    print_feature_summary,
    read_interpretations,
    write_interpretations,
)
from saewidgets.features.labels.label import Label, Score, by_feature, merge, shown
from saewidgets.features.labels.label_files import Imported, fetch_neuronpedia, read_labels, write_labels
from saewidgets.features.labels.labelling import LabelOptions, LabelRun, Plan, Price, label_features, plan
from saewidgets.features.labels.llm import (
    LLMAnswerError,
    LLMError,
    LLMServerError,
    LLMTimeoutError,
    Message,
    MissingKeyError,
    NoFundsError,
    RateLimitedError,
    RefusedKeyError,
    UnknownModelError,
    echo,
    openai_compatible,
    transformers_local,
)
from saewidgets.features.labels.prompts import EXAMPLES, TOKENS, Template
from saewidgets.features.labels.scoring import Sample, ScoreRun, judged_windows, score_labels

__all__ = [
    "EXAMPLES", "TOKENS", "Example", "Examples", "FeatureEvidence", "Imported", "LLMAnswerError", "LLMError",
    "LLMServerError", "LLMTimeoutError", "Label", "LabelOptions", "LabelRun", "Message", "MissingKeyError",
    "NoFundsError", "Plan", "Price", "RateLimitedError", "RefusedKeyError", "RequestError", "Sample", "Score",
    "ScoreRun", "Template", "UnknownModelError", "by_feature", "echo", "fetch_neuronpedia", "held_out",
    "interpret_features", "judged_windows", "label_features", "merge", "offline", "openai_compatible", "plan",
    "print_feature_summary", "read_interpretations", "read_labels", "score_labels", "shown", "shown_examples",
    "top_tokens", "transformers_local", "write_interpretations", "write_labels",
]  # fmt: skip
