"""Defines `model_facts`: the sizes of a language model from its configuration alone, fetched where it is not here."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from saewidgets.config.hook_names import head_of, without_head
from saewidgets.config.names import is_local
from saewidgets.errors import FormatError
from saewidgets.lm.loading import BUILDING, auto_class, can_fetch, explained
from saewidgets.lm.model_config import context_of, heads_of, heads_width, is_encoder, local_folder, transformers
from saewidgets.lm.remote_code import may_run_code


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Sizes of a language model, from its configuration alone; None where that does not say it."""

    name: str  # as given
    architecture: str  # transformers' model type ("gpt2", "llama", …)
    n_layers: int  # hook names run from ``blocks.0`` to ``blocks.{n_layers - 1}``
    d_model: int  # width of the residual stream
    vocab_size: int  # rows of the embedding
    context: int | None  # longest one in tokens
    parameters: int | None  # if their number can be known without loading weights
    is_encoder: bool = False  # every token also sees those after it (BERT): there is no loss of the next token
    d_heads: int | None = None  # width of all heads side by side (``attn.hook_z``)
    n_heads: int | None = None  # how many these are, in every layer

    def d_in(self, hook_name: str) -> int:
        """Width of the activations at `hook_name`; of one head that of all where their number is not known."""
        if not without_head(hook_name).endswith("attn.hook_z"):
            return self.d_model
        width = self.d_heads or self.d_model
        return width // self.n_heads if self.n_heads and head_of(hook_name) is not None else width


def model_facts(name: str, *, revision: str | None = None) -> ModelFacts:
    """Sizes of the model `name`: a local folder or "demo" (the network is never touched), or a Hugging Face id
    (only its configuration is fetched). Raises `NotFoundError` or `FormatError`."""
    folder = local_folder(name) if is_local(name) else None
    fetch = folder is None and can_fetch(name, revision=revision)
    with explained(name):
        config = transformers().AutoConfig.from_pretrained(
            str(folder or name), revision=revision, trust_remote_code=may_run_code(name, revision),
            local_files_only=not fetch,
        )
    text = config.get_text_config()
    parameters = _from_config(config) if folder is None else _counted(folder)
    return ModelFacts(
        name=name,
        architecture=str(config.model_type),
        n_layers=int(text.num_hidden_layers),
        d_model=int(text.hidden_size),
        vocab_size=int(text.vocab_size),
        context=context_of(text),
        parameters=parameters,
        is_encoder=is_encoder(text),
        d_heads=heads_width(text),
        n_heads=heads_of(text),
    )


def _from_config(config: Any) -> int | None:
    """Count on the meta device: shapes without storage."""
    kind: Any = auto_class(config)
    if type(config) not in kind._model_mapping:
        return None
    with BUILDING, torch.device("meta"):
        model = kind.from_config(config, dtype=torch.get_default_dtype())
    return int(sum(p.numel() for p in model.parameters()))


def _counted(folder: Path) -> int | None:
    """Parameters in the safetensors files of `folder`, from their headers; None where it has none."""
    parameters = 0
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        try:
            with safe_open(file, framework="pt") as found:
                parameters += sum(math.prod(found.get_slice(name).get_shape()) for name in found.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise FormatError(
                f"This is not a safetensors file ({error}).", where=str(file), hint="Download the model again."
            ) from error
    return parameters if files else None
