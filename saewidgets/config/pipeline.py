"""Many layers of one model at once: what is captured from which of them, and how each is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from saewidgets.config.base import MAX_COUNT, Config
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
    num_tokens: int = Field(
        default=10_000_000, ge=1, le=MAX_COUNT, title="Tokens to capture",
        description="How many; all of a text that has fewer.",
    )
    batch_size_extract: int = Field(
        default=16, ge=1, le=4096, title="Contexts per forward",
        description="Contexts the language model reads at once while capturing.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None, title="Number format", description="Of the stored activations; empty: the model's."
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Layers as a person types them."""
        if isinstance(value, int) and not isinstance(value, bool):
            return (value,)
        if not isinstance(value, str) or value.strip().lower() == "all":
            return value if not isinstance(value, str) else "all"
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise ConfigError(f"{value!r} is no list of layers.", hint="Write all, or 0,6,11.")
        return tuple(int(part) for part in parts)

    @model_validator(mode="after")
    def _fits_together(self) -> PipelineConfig:
        if self.layers != "all":
            if not self.layers or min(self.layers) < 0:
                raise ConfigError("Layers are numbers from 0 on, at least one.", where="layers", hint="Write 0,6,11.")
            if len(set(self.layers)) < len(self.layers):
                raise ConfigError("A layer is named twice.", where="layers", hint="Name each once.")
        if self.training.hook_name_out is not None:
            raise ConfigError(
                "A pipeline trains SAEs, which reconstruct what they read; this is a transcoder.",
                where="training.hook_name_out", hint="Use ws.trainings.create_many for transcoders of several layers.",
            )
        if self.training.corpus.kind == "activations":
            raise ConfigError(
                "A pipeline captures its own activations.", where="training.corpus", hint="Give the text itself."
            )
        return self

    def hook_name(self, layer: int) -> str:
        """The hook point of one layer: the site of the training's own hook name."""
        return f"blocks.{layer}.{self.training.hook_name.split('.', 2)[2]}"


def layers_text(layers: Sequence[int]) -> str:
    """Layers for a reader: "layer 2", "layers 0, 1, 2"."""
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
