"""Defines `ExtractionConfig`: which text an SAE reads, and what is kept of every latent."""

from pydantic import Field

from saewidgets.config.base import Config, Count, Device, ForwardBatch, ModelDtype, ModelRevision, Seed
from saewidgets.config.corpus import Corpus


class ExtractionConfig(Config):
    """Everything that defines an extraction besides the SAE. Two of the same on one machine are equal.

    `corpus` also takes ``"demo"``, a path or a list of paths; None takes the text that the SAE was trained on. `model`
    is needed only where neither the SAE's record nor its files name one.
    """

    corpus: Corpus | None = Field(
        default=None, title="Corpus",
        description='"demo", a file or folder, or owner/name of the hub; empty: as in training.',
    )
    tokens: Count = Field(
        default=1_000_000, title="Tokens",
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
    model_revision: ModelRevision = None
    model_dtype: ModelDtype = "float32"
    batch_size: ForwardBatch = Field(default=16, description="Contexts the language model reads at once.")
    device: Device = "auto"
    seed: Seed = Field(default=0, description="Fixes which firings are sampled.")
