"""The prompt as tokens, and whether it fits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from saewidgets.config.arguments import readable
from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, special_tokens


def prompt_ids(lm: LoadedModel, prompt: str | Sequence[int], prepend_bos: bool) -> list[int]:
    """Token ids of `prompt`; ids are taken as they are.

    A special token that is spelled out in a text is text, as in the corpora that SAEs are trained on.

    Raises:
        ConfigError: there is not a single token, an id outside the vocabulary, or half a surrogate pair in a text.
    """
    if isinstance(prompt, str):
        readable(prompt, "prompt")
        ids = ([bos] if (bos := special_tokens(lm.tokenizer).bos) is not None and prepend_bos else []) + _encode(
            lm.tokenizer, prompt
        )
    else:
        ids = [int(each) for each in prompt]
        if wrong := [each for each in ids if not 0 <= each < lm.vocab_size]:
            raise ConfigError(
                f"There is no token {wrong[0]}: the vocabulary has {lm.vocab_size:,}.", where="prompt",
                hint="Use the model's own tokenizer.",
            )
    if not ids:
        raise ConfigError("The prompt is empty.", where="prompt", hint="Write at least one word.")
    return ids


def check_fits(n_prompt: int, n_new: int, context: int | None) -> None:
    """Raises `ConfigError` with the numbers where prompt and new tokens exceed the context."""
    if context is None or n_prompt + n_new <= context:
        return
    over, room = n_prompt + n_new - context, context - n_prompt
    raise ConfigError(
        f"the prompt is {_count(n_prompt, 'token')} and {n_new:,} new {'one is' if n_new == 1 else 'ones are'} asked, "
        f"but the context is {context:,}.",
        where="Nothing was generated",
        hint=f"Shorten the prompt by {_count(over, 'token')}{f' or ask for {room:,}' if room > 0 else ''}.",
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _encode(tokenizer: Any, text: str) -> list[int]:
    # A copy: the call changes settings of a fast tokenizer, which other threads may be using.
    own = copy.deepcopy(tokenizer)
    found: list[int] = own.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return found
