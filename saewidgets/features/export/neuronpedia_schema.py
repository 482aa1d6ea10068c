"""The fields of Neuronpedia's files, as its own tools write and read them.

`Batch` is a batch file of SAEDashboard's Neuronpedia runner: the names are those of `NeuronpediaDashboardBatch`,
`NeuronpediaDashboardFeature` and `NeuronpediaDashboardActivation` of sae-dashboard 0.8.0
(``sae_dashboard/neuronpedia/neuronpedia_dashboard.py``), which ``convert-saedashboard-to-neuronpedia-export.py`` reads.

The other models are rows of the export that Neuronpedia's importer reads (``apps/webapp/app/api/admin/import/route.ts``
and ``lib/db/import.ts`` of hijohnnylin/neuronpedia at ebb8426): the columns of its tables (``prisma/schema.prisma``)
that its converter fills (``neuronpedia_utils/db_models``). The importer takes the columns from the first line of a
file, so all lines of a file have the same keys, and knows no others than its tables have.
"""

# ruff: noqa: N815 - the names are Neuronpedia's

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Index = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ModelId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
"""As Neuronpedia checks it, in lower case; its own models have dots too (``gemma-2-2b``, ``llama3.1-8b``)."""


class Strict(BaseModel):
    """No other fields, no NaN and no infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class BatchActivation(Strict):
    """An example. In ``bin_min`` −1 marks the top examples, whose ``bin_contains`` is −1 too."""

    bin_min: float
    bin_max: float
    bin_contains: float = Field(ge=-1, le=1)
    tokens: list[str] = Field(min_length=1)
    values: list[float] = Field(min_length=1)
    qualifying_token_index: Index

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.tokens) != len(self.values):
            raise ValueError("tokens and values differ in length")
        if self.qualifying_token_index >= len(self.tokens):
            raise ValueError("qualifying_token_index is not one of its tokens")
        return self


class _Statistics(Strict):
    """What both forms of a feature share."""

    neuron_alignment_indices: list[Index]
    neuron_alignment_values: list[float]
    neuron_alignment_l1: list[float]
    correlated_neurons_indices: list[Index]
    correlated_neurons_pearson: list[float]
    correlated_neurons_l1: list[float]
    correlated_features_indices: list[Index]
    correlated_features_pearson: list[float]
    correlated_features_l1: list[float]
    neg_str: list[str]
    neg_values: list[float]
    pos_str: list[str]
    pos_values: list[float]
    frac_nonzero: Share
    freq_hist_data_bar_heights: list[float]
    freq_hist_data_bar_values: list[float]
    logits_hist_data_bar_heights: list[float]
    logits_hist_data_bar_values: list[float]
    decoder_weights_dist: list[float]

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for a, b in (
            ("neg_str", "neg_values"), ("pos_str", "pos_values"),
            ("freq_hist_data_bar_heights", "freq_hist_data_bar_values"),
            ("logits_hist_data_bar_heights", "logits_hist_data_bar_values"),
            ("neuron_alignment_indices", "neuron_alignment_values"),
            ("neuron_alignment_indices", "neuron_alignment_l1"),
        ):
            if len(getattr(self, a)) != len(getattr(self, b)):
                raise ValueError(f"{a} and {b} differ in length")
        return self


class BatchFeature(_Statistics):
    """A feature of a batch file."""

    feature_index: Index
    n_prompts_total: Count
    n_tokens_in_prompt: Count
    dataset: str
    activations: list[BatchActivation]
    vector: list[float]


class Batch(Strict):
    """A file ``batch-<n>.json``."""

    model_id: ModelId
    layer: Index
    sae_set: str = Field(min_length=1)
    sae_id_suffix: str | None
    features: list[BatchFeature] = Field(min_length=1)


class Release(Strict):
    """``release.jsonl``."""

    name: str = Field(min_length=1)
    description: str
    descriptionShort: str
    urls: list[str]
    creatorName: str
    creatorNameShort: str
    creatorId: str = Field(min_length=1)
    visibility: str
    createdAt: str


class Model(Strict):
    """``model.jsonl``; used only where the receiving Neuronpedia does not have the model."""

    id: ModelId
    instruct: bool
    displayNameShort: str
    displayName: str
    creatorId: str = Field(min_length=1)
    visibility: str
    inferenceEnabled: bool
    layers: Count
    neuronsPerLayer: Count
    owner: str
    createdAt: str
    updatedAt: str


class SourceSet(Strict):
    """``sourceset.jsonl``."""

    modelId: ModelId
    name: str = Field(min_length=1)
    description: str
    type: str
    creatorName: str
    creatorId: str = Field(min_length=1)
    urls: list[str]
    releaseName: str
    hasDashboards: bool
    visibility: str
    createdAt: str


class Source(Strict):
    """``source.jsonl``; its id is ``<layer>-<set>``, with ``__<suffix>`` where there is one."""

    id: str = Field(pattern=r"^[0-9]+-[^_].*$")
    modelId: ModelId
    setName: str = Field(min_length=1)
    creatorId: str = Field(min_length=1)
    hasDashboards: bool
    inferenceEnabled: bool
    visibility: str
    num_prompts: Count
    num_tokens_in_prompt: Count
    dataset: str
    hfRepoId: str | None
    hfFolderId: str | None
    createdAt: str


class Neuron(_Statistics):
    """A line of ``features/batch-<n>.jsonl.gz``; ``layer`` is the id of the source."""

    modelId: ModelId
    layer: str = Field(min_length=1)
    index: str = Field(pattern=r"^[0-9]+$")
    sourceSetName: str = Field(min_length=1)
    creatorId: str = Field(min_length=1)
    createdAt: str
    maxActApprox: float
    hasVector: bool
    vector: list[float]
    vectorDefaultSteerStrength: float
    hookName: str | None
    topkCosSimIndices: list[Index]
    topkCosSimValues: list[float]


class Activation(Strict):
    """A line of ``activations/batch-<n>.jsonl.gz``."""

    id: str = Field(min_length=1)
    tokens: list[str] = Field(min_length=1)
    modelId: ModelId
    layer: str = Field(min_length=1)
    index: str = Field(pattern=r"^[0-9]+$")
    maxValue: float
    maxValueTokenIndex: Index
    minValue: float
    values: list[float] = Field(min_length=1)
    dfaValues: list[float]
    lossValues: list[float]
    creatorId: str = Field(min_length=1)
    createdAt: str
    binMin: float
    binMax: float
    binContains: float
    qualifyingTokenIndex: Index


class Explanation(Strict):
    """A line of ``explanations/batch-<n>.jsonl.gz``."""

    id: str = Field(min_length=1)
    modelId: ModelId
    layer: str = Field(min_length=1)
    index: str = Field(pattern=r"^[0-9]+$")
    description: str = Field(min_length=1)
    authorId: str = Field(min_length=1)
    createdAt: str
