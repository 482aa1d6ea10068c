"""What latents stand for: interpretations, labels by people and models, scores, import and export.

It works on plain values (`FeatureEvidence`, `Label`) and knows neither where examples are stored nor where labels go.
"""

from saewidgets.features.labels.asking import Price
from saewidgets.features.labels.evidence import Example, Examples, FeatureEvidence, held_out, shown_examples
from saewidgets.features.labels.heuristic import offline, top_tokens
from saewidgets.features.labels.http import RequestError
from saewidgets.features.labels.interpretation import (
    common_tokens,
    feature_summary,
    interpret_feature,
    interpret_features,
    print_feature_summary,
    read_interpretations,
    write_interpretations,
)
from saewidgets.features.labels.label import Label, Score, by_feature, merge, ranked, shown
from saewidgets.features.labels.label_files import Imported, LineProblem, read_table, write_labels
from saewidgets.features.labels.labelling import LabelOptions, LabelRun, Plan, Question, label_features, plan
from saewidgets.features.labels.llm import (
    LLM,
    LLMAnswerError,
    LLMError,
    LLMServerError,
    LLMTimeoutError,
    Message,
    MissingKeyError,
    NoFundsError,
    RateLimitedError,
    Reader,
    RefusedKeyError,
    Reply,
    UnknownModelError,
    echo,
    transformers_local,
)
from saewidgets.features.labels.neuronpedia_labels import fetch_neuronpedia, read_labels, read_neuronpedia
from saewidgets.features.labels.openai_api import openai_compatible
from saewidgets.features.labels.prompts import EXAMPLES, TEMPLATES, TOKENS, Template
from saewidgets.features.labels.scoring import ScoreRun, score_labels

__all__ = [
    "EXAMPLES",
    "LLM",
    "TEMPLATES",
    "TOKENS",
    "Example",
    "Examples",
    "FeatureEvidence",
    "Imported",
    "LLMAnswerError",
    "LLMError",
    "LLMServerError",
    "LLMTimeoutError",
    "Label",
    "LabelOptions",
    "LabelRun",
    "LineProblem",
    "Message",
    "MissingKeyError",
    "NoFundsError",
    "Plan",
    "Price",
    "Question",
    "RateLimitedError",
    "Reader",
    "RefusedKeyError",
    "Reply",
    "RequestError",
    "Score",
    "ScoreRun",
    "Template",
    "UnknownModelError",
    "by_feature",
    "common_tokens",
    "echo",
    "feature_summary",
    "fetch_neuronpedia",
    "held_out",
    "interpret_feature",
    "interpret_features",
    "label_features",
    "merge",
    "offline",
    "openai_compatible",
    "plan",
    "print_feature_summary",
    "ranked",
    "read_interpretations",
    "read_labels",
    "read_neuronpedia",
    "read_table",
    "score_labels",
    "shown",
    "shown_examples",
    "top_tokens",
    "transformers_local",
    "write_interpretations",
    "write_labels",
]
