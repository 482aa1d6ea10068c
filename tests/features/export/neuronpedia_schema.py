"""The fields of Neuronpedia's files as its own tools write and read them, to hold our exports to.

`Batch` is a batch file of SAEDashboard's Neuronpedia runner: the names are those of `NeuronpediaDashboardBatch`,
`NeuronpediaDashboardFeature` and `NeuronpediaDashboardActivation` of sae-dashboard 0.8.0
(``sae_dashboard/neuronpedia/neuronpedia_dashboard.py``), which ``convert-saedashboard-to-neuronpedia-export.py`` reads.

The other models are rows of the export that Neuronpedia's importer reads (``apps/webapp/app/api/admin/import/route.ts``
and ``lib/db/import.ts`` of hijohnnylin/neuronpedia at ebb8426): the columns of its tables (``prisma/schema.prisma``)
that its converter fills (``neuronpedia_utils/db_models``).
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

Index = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Number = Annotated[str, Field(pattern=r"^[0-9]+$")]
ModelId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
"""As Neuronpedia checks it, in lower case; its own models have dots too (``gemma-2-2b``, ``llama3.1-8b``)."""
SourceId = Annotated[str, Field(pattern=r"^[0-9]+-[^_].*$")]
Indices, Numbers, Texts = list[Index], list[float], list[str]


class Strict(BaseModel):
    """No other fields, no NaN and no infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _model(name: str, base: type[BaseModel] = Strict, /, **types: Any) -> Any:
    return create_model(name, __base__=base, **{field: (type_, ...) for field, type_ in types.items()})


class BatchActivation(Strict):
    bin_min: float
    bin_max: float
    bin_contains: float = Field(ge=-1, le=1)
    tokens: list[str] = Field(min_length=1)
    values: list[float] = Field(min_length=1)
    qualifying_token_index: Index

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.tokens) != len(self.values) or self.qualifying_token_index >= len(self.tokens):
            raise ValueError("tokens, values and qualifying_token_index do not fit")
        return self


class _Statistics(_model(  # type: ignore[misc] # made from names
    "_Fields", neuron_alignment_indices=Indices, neuron_alignment_values=Numbers, neuron_alignment_l1=Numbers,
    **{f"correlated_{kind}_{part}": Indices if part == "indices" else Numbers
       for kind in ("neurons", "features") for part in ("indices", "pearson", "l1")},
    neg_str=Texts, neg_values=Numbers, pos_str=Texts, pos_values=Numbers, frac_nonzero=Share,
    freq_hist_data_bar_heights=Numbers, freq_hist_data_bar_values=Numbers, logits_hist_data_bar_heights=Numbers,
    logits_hist_data_bar_values=Numbers, decoder_weights_dist=Numbers,
)):  # fmt: skip
    """What both forms of a feature share."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for name in type(self).model_fields:
            other = name.replace("_str", "_values").replace("_heights", "_values").replace("_indices", "_values")
            if name.startswith(("neg", "pos", "freq", "logits", "neuron_alignment")) and other != name:
                assert len(getattr(self, name)) == len(getattr(self, other)), name
        return self


BatchFeature = _model(
    "BatchFeature", _Statistics, feature_index=Index, n_prompts_total=Index, n_tokens_in_prompt=Index, dataset=str,
    activations=list[BatchActivation], vector=Numbers,
)
Batch = _model(
    "Batch", model_id=ModelId, layer=Index, sae_set=Text, sae_id_suffix=str | None,
    features=Annotated[list[BatchFeature], Field(min_length=1)],
)
Release = _model(
    "Release", name=Text, description=str, descriptionShort=str, urls=Texts, creatorName=str, creatorNameShort=str,
    creatorId=Text, visibility=str, createdAt=str,
)
Model = _model(
    "Model", id=ModelId, instruct=bool, displayNameShort=str, displayName=str, creatorId=Text, visibility=str,
    inferenceEnabled=bool, layers=Index, neuronsPerLayer=Index, owner=str, createdAt=str, updatedAt=str,
)
SourceSet = _model(
    "SourceSet", modelId=ModelId, name=Text, description=str, type=str, creatorName=str, creatorId=Text, urls=Texts,
    releaseName=str, hasDashboards=bool, visibility=str, createdAt=str,
)
Source = _model(
    "Source", id=SourceId, modelId=ModelId, setName=Text, creatorId=Text, hasDashboards=bool, inferenceEnabled=bool,
    visibility=str, num_prompts=Index, num_tokens_in_prompt=Index, dataset=str, hfRepoId=str | None,
    hfFolderId=str | None, createdAt=str,
)
Neuron = _model(
    "Neuron", _Statistics, modelId=ModelId, layer=Text, index=Number, sourceSetName=Text, creatorId=Text, createdAt=str,
    maxActApprox=float, hasVector=bool, vector=Numbers, vectorDefaultSteerStrength=float, hookName=str | None,
    topkCosSimIndices=Indices, topkCosSimValues=Numbers,
)
Activation = _model(
    "Activation", id=Text, tokens=Annotated[Texts, Field(min_length=1)], modelId=ModelId, layer=Text, index=Number,
    maxValue=float, maxValueTokenIndex=Index, minValue=float, values=Annotated[Numbers, Field(min_length=1)],
    dfaValues=Numbers, lossValues=Numbers, creatorId=Text, createdAt=str, binMin=float, binMax=float,
    binContains=float, qualifyingTokenIndex=Index,
)
Explanation = _model(
    "Explanation", id=Text, modelId=ModelId, layer=Text, index=Number, description=Text, authorId=Text, createdAt=str
)
