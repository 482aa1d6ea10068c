"""Defines `CaptureConfig`: which model reads which text, and which activations a capture keeps."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from saewidgets.config.base import (
    CompileMode,
    ContextSize,
    Count,
    Device,
    ForwardBatch,
    ModelDtype,
    ModelName,
    ModelRevision,
    Name,
    StoreDtype,
    require,
)
from saewidgets.config.corpus import Corpus, DemoCorpus
from saewidgets.config.hook_names import HookName
from saewidgets.config.packing import PackingConfig


class CaptureConfig(PackingConfig):
    """Everything that defines a store of activations. `corpus` also takes what `TrainingConfig.corpus` takes."""

    name: Name = Field(default=None, description="Empty: from model and text.")
    model: ModelName = Field(default="demo", description="A Hugging Face id or a local folder.")
    model_revision: ModelRevision = None
    model_dtype: ModelDtype = "float32"
    corpus: Corpus = Field(default=DemoCorpus(), title="Dataset")
    hook_names: tuple[HookName, ...] = Field(title="Hook names", description="Which activations; all from one forward.")
    tokens: Count = Field(title="Tokens", description="How many; all of a text that has fewer.")
    dtype: StoreDtype = None
    context_size: ContextSize = 256
    model_batch_size: ForwardBatch = 16
    device: Device = "auto"
    model_compile: CompileMode | None = Field(
        default=None, title="Compile model", description="With this mode of torch.compile; empty: not compiled."
    )

    @field_validator("hook_names", mode="before")
    @classmethod
    def _several_hook_names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> CaptureConfig:
        require(
            (self.hook_names, "hook_names", "No hook point is named.", "Give at least one."),
            (len(set(self.hook_names)) == len(self.hook_names), "hook_names", "A hook point is named twice.",
             "Name each once."),
            (self.corpus.kind != "activations", "corpus", "A store of activations cannot be captured again.",
             "Give the text itself."),
        )  # fmt: skip
        return self
