"""What the steered and the unsteered model think of one text: a distribution each, at every new token.

Both read the whole text (teacher forcing), so that the two distributions of a place have the same text before it, also
behind the point where baseline and steered text part.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from torch import Tensor

from saewidgets.lm import LoadedModel, TokenText
from saewidgets.steering.decoder import Decoder
from saewidgets.steering.result import Candidate, NewToken
from saewidgets.steering.steered import Steering

LOGIT_BYTES = 1 << 27  # most memory for one model's log-probabilities at once
TOP = 5


def score(
    lm: LoadedModel, prompt: Sequence[int], new: Sequence[int], steering: Steering | None, text: TokenText
) -> tuple[NewToken, ...]:
    """The new tokens with their probabilities under both models.

    Args:
        lm: the language model.
        prompt, new: token ids of the prompt and of what was generated.
        steering: fresh, with `prompt_tokens` set; None where nothing is changed.
        text: of the tokenizer.
    """
    plain, other = Decoder(lm), Decoder(lm) if steering is not None and not steering.changes_nothing else None
    pieces = text.pieces(new)
    most = max(1, LOGIT_BYTES // (4 * lm.vocab_size))
    found: list[NewToken] = []
    given: list[int] = list(prompt)  # read next; its last position predicts the next new token
    while len(found) < len(new):
        # After the prompt, which predicts one token, as many at once as memory allows.
        ahead = 1 if not found else len(given)
        baseline = plain(given, ahead).float().log_softmax(-1)
        if other is None:
            changed = baseline
        else:
            with steering.attached() if steering is not None else nullcontext():
                changed = other(given, ahead).float().log_softmax(-1)
        for row in range(ahead):
            at = len(found)
            found.append(_token(new[at], pieces[at], baseline[row], changed[row], text))
        given = list(new[len(found) - 1 : min(len(found) - 1 + most, len(new) - 1)])
    return tuple(found)


def _token(token: int, piece: str, baseline: Tensor, steered: Tensor, text: TokenText) -> NewToken:
    """From two rows of log-probabilities ``[vocabulary]``."""
    likely = dict.fromkeys([*baseline.topk(min(TOP, len(baseline))).indices.tolist(),
                            *steered.topk(min(TOP, len(steered))).indices.tolist()])  # fmt: skip
    candidates = [
        Candidate(each, text.text([each]), math.exp(float(baseline[each])), math.exp(float(steered[each])))
        for each in likely
    ]
    candidates.sort(key=lambda each: (-max(each.baseline, each.steered), each.token))
    p = steered.exp()
    kl = float((p * (steered - baseline)).nansum())  # 0 · (−∞) counts nothing
    return NewToken(
        token, piece, math.exp(float(baseline[token])), math.exp(float(steered[token])), max(0.0, kl), tuple(candidates)
    )


def perplexity(tokens: Sequence[NewToken]) -> float | None:
    """exp of the mean −log probability in the unsteered model; None without tokens."""
    if not tokens:
        return None
    # A probability too small for a float64 counts as its smallest number, so that the result stays one too.
    return math.exp(-sum(math.log(max(each.baseline, sys.float_info.min)) for each in tokens) / len(tokens))
