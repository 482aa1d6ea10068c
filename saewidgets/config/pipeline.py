"""Many layers of one model at once: what is captured from which of them, and how each is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from saewidgets.config.base import Config, Count, ForwardBatch, StoreDtype, require
from saewidgets.config.positions import whole_numbers
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError


class PipelineConfig(Config):
    """A pipeline: activations of several layers from one forward, then an SAE for each from what was stored.

    `layers` takes ``"all"``, a list of numbers, or text such as ``"0,6,11"``.
    """

    training: TrainingConfig = Field(
        default=TrainingConfig(), title="Training",
        description="The training of each layer: its model, text, context length, hook site and everything else.",
    )
    layers: Literal["all"] | tuple[int, ...] = Field(
        default="all", title="Layers", description='"all", or the numbers of layers.'
    )
    num_tokens: Count = Field(
        default=10_000_000, title="Tokens to capture", description="How many; all of a text that has fewer."
    )
    batch_size_extract: ForwardBatch = Field(
        default=16, description="Contexts the language model reads at once while capturing."
    )
    dtype: StoreDtype = None

    @field_validator("layers", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Layers as a person types them."""
        if not isinstance(value, str):
            return (value,) if type(value) is int else value
        if value.strip().lower() == "all":
            return "all"
        if not (found := whole_numbers(value)):
            raise ConfigError(f"{value!r} is not a list of layers.", hint="Write all, or 0,6,11.")
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> PipelineConfig:
        layers = (0,) if self.layers == "all" else self.layers
        require(
            (layers and min(layers) >= 0, "layers", "Layers are numbers from 0 on, at least one.", "Write 0,6,11."),
            (len(set(layers)) == len(layers), "layers", "A layer is named twice.", "Name each once."),
            (self.training.hook_name_out is None, "training.hook_name_out",
             "A pipeline trains SAEs, which reconstruct what they read; this is a transcoder.",
             "Use ws.trainings.create_many for transcoders of several layers."),
            (self.training.corpus.kind != "activations", "training.corpus",
             "A pipeline captures its own activations.", "Give the text itself."),
        )  # fmt: skip
        return self

    def hook_name(self, layer: int) -> str:
        """The hook point of one layer: the site of the training's own hook name."""
        return f"blocks.{layer}.{self.training.hook_name.split('.', 2)[2]}"


def layers_text(layers: Sequence[int]) -> str:
    """Layers for a reader: "layer 2", "layers 0, 1, 2"."""
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
