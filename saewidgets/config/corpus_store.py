"""Activations that were captured before, in place of text."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from saewidgets.config.base import Config
from saewidgets.errors import ConfigError

STORE_ID = re.compile(r"acts_[0-9A-HJKMNP-TV-Z]{26}")
"""What `ws.activations` calls its stores."""


class ActivationCorpus(Config):
    """A store of activations, see `ws.activations`: no text is read, and no language model is loaded for batches.

    `ActivationCorpus("acts_01J…")`. Model, context length and number format are those that it was captured with.

    Attributes:
        store_id: the id of the store; without a workspace the path of its folder.
        cross_entropy: load the language model all the same, to measure `ce_loss_score` in evaluations; all other
            metrics are measured on held-out activations of the store.
    """

    kind: Literal["activations"] = "activations"
    store_id: str = Field(title="Store", description="Id of the store of activations.")
    cross_entropy: bool = Field(
        default=False, title="Measure the cross-entropy", description="Loads the language model for evaluations."
    )

    def __init__(self, store_id: Any = None, /, **data: Any) -> None:
        """`ActivationCorpus(store_id)`; a record or handle of a store stands for its id."""
        if store_id is not None:
            data["store_id"] = getattr(store_id, "id", store_id)
        super().__init__(**data)

    @field_validator("store_id")
    @classmethod
    def _is_named(cls, store_id: str) -> str:
        if not store_id.strip() or "\0" in store_id:
            raise ConfigError(
                "The store of activations is missing.", hint="Give its id, as ws.activations.list() shows it."
            )
        return store_id.strip()

    @property
    def label(self) -> str:
        return self.store_id
