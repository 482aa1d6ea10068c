"""What asking costs: prices, estimates, and a limit that is not passed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from saewidgets.config.arguments import number
from saewidgets.errors import ConfigError
from saewidgets.features.labels.llm import Reply


@dataclass(frozen=True, slots=True)
class Price:
    """What a provider takes, in any currency.

    Attributes:
        tokens_in: per million tokens of prompts.
        tokens_out: per million tokens of answers.
    """

    tokens_in: float
    tokens_out: float

    def __post_init__(self) -> None:
        for name in ("tokens_in", "tokens_out"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError(
                    f"{value!r} is not a price.", where=f"price.{name}", hint="Give it per million tokens."
                )

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """The cost of so many tokens."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1_000_000


class Budget:
    """Counts tokens and money; used from one thread.

    A question's estimate is set aside before it is asked, so the limit also holds for what is under way. Estimates of
    tokens are not exact, so the true cost can differ from the count by as much, unless the provider reports usage.

    Args:
        price: None: nothing is known of the cost.
        limit: most that may be spent.
        tokens_out: tokens set aside for an answer.

    Raises:
        ConfigError: a limit without a price, or below zero.
    """

    def __init__(self, price: Price | None, limit: float | None, tokens_out: int) -> None:
        if limit is not None:
            number(limit, "max_cost", "the most that may be spent")
            if price is None:
                raise ConfigError(
                    "A cost limit needs a price.", where="max_cost", hint="Pass price=Price(per million in, out)."
                )
        self.price, self.limit = price, limit
        self.tokens_in = self.tokens_out = 0
        self._answer = tokens_out
        self._reserved = 0.0

    @property
    def cost(self) -> float | None:
        """Spent so far; None without a price."""
        return None if self.price is None else self.price.of(self.tokens_in, self.tokens_out)

    def reserve(self, tokens_in: int, answers: int = 1) -> bool:
        """Set aside what so many tokens and answers may cost; False if that would pass the limit."""
        if self.price is None:
            return True
        estimate = self.price.of(tokens_in, answers * self._answer)
        if self.limit is not None and (self.cost or 0.0) + self._reserved + estimate > self.limit * (1 + 1e-9):
            return False
        self._reserved += estimate
        return True

    def settle(self, reserved_in: int, usage: Usage, answers: int = 1) -> None:
        """Replace what was set aside by what it took."""
        if self.price is not None:
            self._reserved = max(0.0, self._reserved - self.price.of(reserved_in, answers * self._answer))
        self.tokens_in += usage.tokens_in
        self.tokens_out += usage.tokens_out


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or several answers."""

    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out)


def usage_of(answer: str, estimated_in: int) -> Usage:
    """What the provider reports, else estimates."""
    tokens_in = answer.tokens_in if isinstance(answer, Reply) else None
    tokens_out = answer.tokens_out if isinstance(answer, Reply) else None
    return Usage(
        estimated_in if tokens_in is None else tokens_in,
        math.ceil(len(answer.encode("utf-8", "replace")) / 4) if tokens_out is None else tokens_out,
    )
