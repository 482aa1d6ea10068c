"""Defines `Config`, the base of all configuration models, the types that several of them share, and settings by dotted
names: ``{"sae": {"k": 32}}`` is ``sae.k`` = 32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from saewidgets.config.names import MAX_NAME, one_line
from saewidgets.config.validation import to_config_error
from saewidgets.errors import ConfigError

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

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Only what differs from the defaults: `repr` and notebooks show it."""
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            if field is None or field.is_required() or value != field.get_default(call_default_factory=True):
                yield name, value

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data; `from_data` of it is equal to this."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again. Nested fields by dotted name: ``{"sae.k": 16}``.

        Raises:
            ConfigError: there is no such field, or a value cannot work.
        """
        data = self.model_dump()
        for name, value in changes.items():
            put(data, name, value)
        return self.from_data(data)


def require(*rows: tuple[object, str, str, str]) -> None:
    """Raise `ConfigError` for the first of `rows` that does not hold: (what has to hold, the setting, else what is
    wrong with it, the way out)."""
    for holds, where, what, hint in rows:
        if not holds:
            raise ConfigError(what, where=where, hint=hint)


MAX_COUNT = 2**53
"""Largest number of steps or tokens: what a page, a database and a float64 hold exactly."""

# Without a field's default, and where all fields of that name say the same also with its title and text.
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountOrNone = Annotated[int | None, Field(ge=1, le=MAX_COUNT)]
ContextSize = Annotated[
    int, Field(ge=2, le=1_048_576, title="Context length", description="Tokens per context the model reads.")
]
ForwardBatch = Annotated[int, Field(ge=1, le=4096, title="Contexts per forward")]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""Modes of torch.compile, by its own names."""
Dtype = Literal["float32", "bfloat16", "float16"]
ModelDtype = Annotated[
    Dtype, Field(title="Model precision", description="Number format of the language model's weights.")
]
StoreDtype = Annotated[
    Literal["float32", "bfloat16", "float16", "int8"] | None,
    Field(title="Number format", description="Of the stored activations; empty: the model's."),
]
ModelRevision = Annotated[str | None, Field(title="Model revision", description="Branch, tag or commit.")]
Device = Annotated[str, Field(title="Device", description='"auto" takes the first CUDA device, else the CPU.')]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, title="Seed")]


def _no_blanks(value: Any) -> Any:
    return (value.strip() or None) if isinstance(value, str) else value


def _named(value: Any) -> Any:
    return (one_line(value) or None) if isinstance(value, str) else value


def _model_named(value: str) -> str:
    if not value.strip():
        raise ConfigError("The model is missing.", hint='Enter a Hugging Face id, a local folder, or "demo".')
    return value.strip()


# Text, of which nothing but blanks is none.
Name = Annotated[str | None, Field(max_length=MAX_NAME, title="Name"), BeforeValidator(_named)]
PathOrNone = Annotated[str | None, Field(max_length=4096), BeforeValidator(_no_blanks)]
DeviceOrNone = Annotated[str | None, Field(max_length=32), BeforeValidator(_no_blanks)]
ModelName = Annotated[str, Field(min_length=1, title="Model"), AfterValidator(_model_named)]


def dotted(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that is not a mapping itself, in the order of `data`."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round, for settings by dotted names."""
    data: dict[str, Any] = {}
    for name, value in settings.items():
        put(data, name, value)
    return data


def put(data: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Set the dotted `name` in nested dictionaries, making those that are missing. Those that are there are copied.

    An unknown name is put as well: the configuration that is built from `data` refuses it, and suggests another.
    """
    *parents, last = name.split(".")
    for parent in parents:
        inner = data.get(parent, {})
        if hasattr(inner, "to_data"):  # a configuration object
            inner = inner.to_data()
        if not isinstance(inner, Mapping):
            raise ConfigError(
                f"{parent} holds a value, so nothing can be set inside it.", where=name,
                hint='Dotted names are those of TrainingConfig: "sae.k", "optimizer.lr".',
            )
        data[parent] = dict(inner)
        data = data[parent]
    data[last] = value
