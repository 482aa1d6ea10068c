"""The base of all configuration models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from saewidgets.config.dotted import put
from saewidgets.config.validation import to_config_error

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as Meta  # type(BaseModel), for the checker
else:

    class Meta(type(BaseModel)):
        """Turns pydantic's error into ours where a person calls the class.

        An overridden `__init__` would do so too, but pydantic then calls it for nested models and reports only the
        first of several wrong fields.
        """

        def __call__(cls, *args: Any, **data: Any) -> Any:
            try:
                return super().__call__(*args, **data)
            except ValidationError as error:
                raise to_config_error(error, cls) from error


MAX_COUNT = 2**53
"""Largest number of steps or tokens: what a page, a database and a float64 hold exactly."""


class Config(BaseModel, metaclass=Meta):
    """A frozen set of values. Unknown names are refused, so that a misspelt option is never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """Build from plain JSON data. Raises `ConfigError` naming the first field that is wrong."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise to_config_error(error, cls) from error

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data; `from_data` of it is equal to this."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again. Nested fields by dotted name: ``{"sae.k": 16}``.

        Raises:
            ConfigError: a name is none of a field, or a value cannot work.
        """
        data = self.model_dump()
        for name, value in changes.items():
            put(data, name, value)
        return self.from_data(data)


CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""Modes of torch.compile, by its own names."""
