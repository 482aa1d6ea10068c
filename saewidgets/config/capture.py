"""One capture of activations: which model reads which text, and what is kept."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from saewidgets.config.base import MAX_COUNT, CompileMode
from saewidgets.config.corpus import CorpusConfig, DemoCorpus, as_corpus
from saewidgets.config.hook_names import HOOK_NAME
from saewidgets.config.names import MAX_NAME, one_line
from saewidgets.config.packing import PackingConfig
from saewidgets.errors import ConfigError


class CaptureConfig(PackingConfig):
    """Everything that defines a store of activations. `corpus` also takes what `TrainingConfig.corpus` takes."""

    name: str | None = Field(default=None, max_length=MAX_NAME, title="Name", description="Empty: from model and text.")
    model: str = Field(default="demo", min_length=1, title="Model", description="A Hugging Face id or a local folder.")
    model_revision: str | None = Field(default=None, title="Model revision", description="Branch, tag or commit.")
    model_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", title="Model precision", description="Number format of the language model's weights."
    )
    corpus: CorpusConfig = Field(default=DemoCorpus(), title="Dataset")
    hook_names: tuple[str, ...] = Field(title="Hook names", description="Which activations; all from one forward.")
    tokens: int = Field(ge=1, le=MAX_COUNT, title="Tokens", description="How many; all of a text that has fewer.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None, title="Number format", description="Of the stored activations; empty: the model's."
    )
    context_size: int = Field(
        default=256, ge=2, le=1_048_576, title="Context length", description="Tokens per context the model reads."
    )
    model_batch_size: int = Field(default=16, ge=1, le=4096, title="Contexts per forward")
    device: str = Field(default="auto", title="Device", description='"auto" takes the first CUDA device, else the CPU.')
    model_compile: CompileMode | None = Field(
        default=None, title="Compile model", description="With this mode of torch.compile; empty: not compiled."
    )

    @field_validator("name", mode="before")
    @classmethod
    def _plain_name(cls, name: Any) -> Any:
        return (one_line(name) or None) if isinstance(name, str) else name

    @field_validator("model")
    @classmethod
    def _model_is_named(cls, model: str) -> str:
        if not model.strip():
            raise ConfigError("The model is missing.", hint='Enter a Hugging Face id, a local folder, or "demo".')
        return model.strip()

    @field_validator("corpus", mode="before")
    @classmethod
    def _corpus_from_text(cls, value: Any) -> Any:
        return as_corpus(value)

    @field_validator("hook_names", mode="before")
    @classmethod
    def _several_hook_names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> CaptureConfig:
        if not self.hook_names:
            raise ConfigError("No hook point is named.", where="hook_names", hint="Give at least one.")
        for name in self.hook_names:
            if not HOOK_NAME.fullmatch(name):
                raise ConfigError(
                    f"{name!r} is not a hook name.", where="hook_names",
                    hint="Use names such as blocks.6.hook_resid_post.",
                )
        if len(set(self.hook_names)) < len(self.hook_names):
            raise ConfigError("A hook point is named twice.", where="hook_names", hint="Name each once.")
        if self.corpus.kind == "activations":
            raise ConfigError(
                "A store of activations cannot be captured again.", where="corpus", hint="Give the text itself."
            )
        return self
