"""One extraction: which text to read with an SAE, and what to keep of every latent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from saewidgets.config.base import MAX_COUNT, Config
from saewidgets.config.corpus import CorpusConfig, as_corpus


class ExtractionConfig(Config):
    """Everything that defines an extraction besides the SAE. Two of the same on one machine are equal.

    `corpus` also takes ``"demo"``, a path or a list of paths; None takes the text that the SAE was trained on. `model`
    is needed only where neither the SAE's record nor its files name one.
    """

    corpus: CorpusConfig | None = Field(
        default=None, title="Corpus",
        description='"demo", a file or folder, or owner/name of the hub; empty: as in training.',
    )
    tokens: int = Field(
        default=1_000_000, ge=1, le=MAX_COUNT, title="Tokens",
        description="How many tokens to read; rare features need more.",
    )
    context_size: int | None = Field(
        default=None, ge=2, le=1_048_576, title="Context length",
        description="Tokens per context the model reads; empty: as in training, else 128.",
    )
    examples: int = Field(
        default=20, ge=1, le=1000, title="Examples per feature", description="Largest activations kept of each feature."
    )
    per_interval: int = Field(
        default=5, ge=0, le=100, title="Per interval",
        description="Examples kept from each interval of activations, chosen at random.",
    )
    per_document: int = Field(
        default=2, ge=1, le=1000, title="Per document", description="Most top examples from one document."
    )
    min_activation: float = Field(
        default=0.01, ge=0, lt=1, title="Minimum activation",
        description="Share of a feature's largest activation below which intervals keep no example; all are counted.",
    )
    exclude_special_tokens: bool = Field(
        default=True, title="Skip special tokens", description="BOS, EOS and padding positions do not count."
    )
    max_norm_ratio: float | None = Field(
        default=10.0, gt=1, title="Skip tokens with norm above (× median)",
        description="Attention sinks have huge activations that drown all others; empty counts every token.",
    )
    model: str | None = Field(default=None, min_length=1, title="Model", description="A Hugging Face id or a folder.")
    model_revision: str | None = Field(default=None, title="Model revision", description="Branch, tag or commit.")
    model_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", title="Model precision", description="Number format of the language model's weights."
    )
    batch_size: int = Field(
        default=16, ge=1, le=4096, title="Contexts per forward",
        description="Contexts the language model reads at once.",
    )
    device: str = Field(default="auto", title="Device", description='"auto" takes the first CUDA device, else the CPU.')
    seed: int = Field(default=0, ge=0, le=2**63 - 1, title="Seed", description="Fixes which firings are sampled.")

    @field_validator("corpus", mode="before")
    @classmethod
    def _corpus_from_text(cls, value: Any) -> Any:
        return None if value is None else as_corpus(value)
