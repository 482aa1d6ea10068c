"""A transformers model on this machine as the one that labels."""

from __future__ import annotations

import threading
from typing import Any

from saewidgets.errors import ConfigError
from saewidgets.features.labels.llm import LLMAnswerError, Message, Reply
from saewidgets.lm import evaluating


class TransformersLocal:
    """A language model in memory; call it with messages. One answer at a time, the most likely one (no sampling)."""

    def __init__(self, model: Any, tokenizer: Any = None, *, max_tokens: int = 200, name: str | None = None) -> None:
        pipeline = tokenizer is None and hasattr(model, "tokenizer") and hasattr(model, "model")
        self._model, self._tokenizer = (model.model, model.tokenizer) if pipeline else (model, tokenizer)
        if self._tokenizer is None or not callable(getattr(self._model, "generate", None)):
            raise ConfigError(
                "This is not a text-generating model with its tokenizer.", where="model",
                hint="Pass a transformers model and its tokenizer, a LoadedModel, or a text-generation pipeline.",
            )
        if not 1 <= max_tokens <= 100_000:
            raise ConfigError(f"{max_tokens} is not a length.", where="max_tokens")
        config = getattr(self._model, "config", None)
        path = str(getattr(config, "_name_or_path", "") or "")
        # Of a folder the last part: where it lies on this machine is nobody's business.
        self.model = name or path.replace("\\", "/").rstrip("/").rpartition("/")[2] or type(self._model).__name__
        if not name and path.count("/") == 1 and not path.startswith(("/", ".")):
            self.model = path
        self._max_tokens = max_tokens
        self._context = getattr(config, "max_position_embeddings", None)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"transformers_local({self.model!r})"

    def __call__(self, messages: list[Message]) -> Reply:
        """The model's answer.

        Raises:
            LLMAnswerError: the prompt does not fit into the model's context.
        """
        import torch  # seconds to import

        tokenizer, model = self._tokenizer, self._model
        if getattr(tokenizer, "chat_template", None):
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        else:  # a base model goes on with a text
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
        length = int(ids.shape[1])
        if isinstance(self._context, int) and length + self._max_tokens > self._context:
            raise LLMAnswerError(
                f"The prompt has {length:,} tokens and the answer may have {self._max_tokens:,}; the model's context "
                f"has {self._context:,}.",
                where=self.model, hint="Show fewer or shorter examples (n_examples, context), or lower max_tokens.",
            )
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        with self._lock, evaluating(model), torch.no_grad():
            ids = ids.to(next(model.parameters()).device)
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=self._max_tokens, do_sample=False,
                pad_token_id=padding,
            )
        answer = tokenizer.decode(out[0, length:], skip_special_tokens=True)
        return Reply(answer, length, int(out.shape[1]) - length)


def transformers_local(
    model: Any, tokenizer: Any = None, *, max_tokens: int = 200, name: str | None = None
) -> TransformersLocal:
    """A transformers model that is loaded already.

    Args:
        model: a causal language model, a `LoadedModel`, or a text-generation pipeline; used as it is, not moved.
        tokenizer: its tokenizer; None for a pipeline or `LoadedModel`. Its chat template is used if it has one.
        max_tokens: longest answer.
        name: what labels call it; its own name if left out.

    Raises:
        ConfigError: it is no such model.
    """
    return TransformersLocal(model, tokenizer, max_tokens=max_tokens, name=name)
