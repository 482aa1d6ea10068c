"""Labels of latents: interpretations, labels by people and models, scores, import and export.

It works on plain values (`FeatureEvidence`, `Label`) and knows neither where examples are stored nor where labels go.
"""

from saewidgets.features.labels.evidence import Example as Example
from saewidgets.features.labels.evidence import Examples as Examples
from saewidgets.features.labels.evidence import FeatureEvidence as FeatureEvidence
from saewidgets.features.labels.evidence import held_out as held_out
from saewidgets.features.labels.evidence import shown_examples as shown_examples
from saewidgets.features.labels.heuristic import offline as offline
from saewidgets.features.labels.heuristic import top_tokens as top_tokens
from saewidgets.features.labels.http import RequestError as RequestError
from saewidgets.features.labels.interpretation import interpret_features as interpret_features
from saewidgets.features.labels.interpretation import print_feature_summary as print_feature_summary
from saewidgets.features.labels.interpretation import read_interpretations as read_interpretations
from saewidgets.features.labels.interpretation import write_interpretations as write_interpretations
from saewidgets.features.labels.label import Label as Label
from saewidgets.features.labels.label import Score as Score
from saewidgets.features.labels.label import by_feature as by_feature
from saewidgets.features.labels.label import merge as merge
from saewidgets.features.labels.label import shown as shown
from saewidgets.features.labels.label_files import Imported as Imported
from saewidgets.features.labels.label_files import fetch_neuronpedia as fetch_neuronpedia
from saewidgets.features.labels.label_files import read_labels as read_labels
from saewidgets.features.labels.label_files import write_labels as write_labels
from saewidgets.features.labels.labelling import LabelOptions as LabelOptions
from saewidgets.features.labels.labelling import LabelRun as LabelRun
from saewidgets.features.labels.labelling import Plan as Plan
from saewidgets.features.labels.labelling import Price as Price
from saewidgets.features.labels.labelling import label_features as label_features
from saewidgets.features.labels.labelling import plan as plan
from saewidgets.features.labels.llm import LLMAnswerError as LLMAnswerError
from saewidgets.features.labels.llm import LLMError as LLMError
from saewidgets.features.labels.llm import LLMServerError as LLMServerError
from saewidgets.features.labels.llm import LLMTimeoutError as LLMTimeoutError
from saewidgets.features.labels.llm import Message as Message
from saewidgets.features.labels.llm import MissingKeyError as MissingKeyError
from saewidgets.features.labels.llm import NoFundsError as NoFundsError
from saewidgets.features.labels.llm import RateLimitedError as RateLimitedError
from saewidgets.features.labels.llm import RefusedKeyError as RefusedKeyError
from saewidgets.features.labels.llm import UnknownModelError as UnknownModelError
from saewidgets.features.labels.llm import echo as echo
from saewidgets.features.labels.llm import openai_compatible as openai_compatible
from saewidgets.features.labels.llm import transformers_local as transformers_local
from saewidgets.features.labels.prompts import EXAMPLES as EXAMPLES
from saewidgets.features.labels.prompts import TOKENS as TOKENS
from saewidgets.features.labels.prompts import Template as Template
from saewidgets.features.labels.scoring import ScoreRun as ScoreRun
from saewidgets.features.labels.scoring import score_labels as score_labels
