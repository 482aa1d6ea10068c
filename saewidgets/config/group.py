"""Several trainings at once: a group, whose members differ in a few settings and read one stream of activations, and a
pipeline, which trains one for each of many layers on what was captured from one forward."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from saewidgets.config.base import Config, Count, ForwardBatch, StoreDtype, require
from saewidgets.config.hook_names import head_of, layer_of, without_head
from saewidgets.config.packing import whole_numbers
from saewidgets.config.training import TrainingConfig, with_changes
from saewidgets.errors import ConfigError

_NAMES = 'Dotted names are those of TrainingConfig: "sae.k", "optimizer.lr".'
SHARED = (
    "model", "model_revision", "model_dtype", "corpus", "context_size", "tokens", "epochs", "batch_size", "seed",
    "device", "model_device", "model_compile", "activations", "parallel",
)
"""What decides which text is read, in which order, by which model: the same for all trainings of a group."""
MOST = 256  # trainings of a group: far more than fit on a device, so more is a mistake

Over = Mapping[str, Iterable[Any]]
"""Dotted name → the values it takes. Names that change together are one key: ``"hook_name, hook_name_out"``, whose
values are pairs."""


def expand(base: TrainingConfig, over: Over) -> list[TrainingConfig]:
    """One configuration for every combination of the values in `over`, the last name changing fastest.

    A changed ``sae.architecture`` leaves ``sae.d_sae`` and drops the settings of the former one. Names are made from
    what changes; where ``name`` is among it, they are that with what changes beside it. Raises `ConfigError`.
    """
    require((
        isinstance(over, Mapping) and over, "over", "Nothing changes between the trainings.",
        'Name settings with their values: over={"sae.k": [16, 32]}.',
    ))  # fmt: skip
    axes = [_axis(key, values) for key, values in over.items()]
    names = Counter(name for names, _ in axes for name in names)
    number = math.prod(len(values) for _, values in axes)
    require(
        (names.total() == len(names), "over", f"{names.most_common(1)[0][0]} is named twice.",
         "Give all its values in one list."),
        (number <= MOST, "over", f"These are {number:,} trainings.", f"At most {MOST} fit in one group."),
    )  # fmt: skip
    found: list[TrainingConfig] = []
    for changes in _combinations(axes):
        data = {name: value.to_data() if isinstance(value, Config) else value for name, value in changes.items()}
        config = with_changes(base.model_dump(), data)
        if "name" not in changes:
            config = config.replace(name=_name(base, config, changes))
        elif told := {name: changes[name] for names, _ in axes if "name" not in names for name in names}:
            config = config.replace(name=_name(config, config, told))
        if any(config.replace(name=None) == other.replace(name=None) for other in found):
            said = ", ".join(f"{name}={_value(value)}" for name, value in changes.items())
            raise ConfigError(f"{said} occurs twice.", where="over", hint="Give every combination of values once.")
        found.append(config)
    require_shared(found)
    return _told_apart(found)


def base_of(data: Mapping[str, Any], over: Over) -> TrainingConfig:
    """The configuration that `over` changes, from plain data. Raises `ConfigError`.

    Where the data cannot work alone (a transcoder needs its output hook name, which may be one of the settings that
    change), the first combination completes it; if there is one of its own architecture, that one, which keeps its
    settings. Data without an autoencoder mean the usual one, to which ``sae.k`` is added: alone it would be none, which
    would hide what is wrong.
    """
    try:
        return TrainingConfig.from_data(data)
    except ConfigError:
        if not isinstance(over, Mapping) or not over:
            raise
    data = {"sae": TrainingConfig.model_fields["sae"].default.to_data(), **data}
    sae = data["sae"]
    own = sae.get("architecture") if isinstance(sae, Mapping) else getattr(sae, "architecture", None)
    tried = itertools.islice(_combinations([_axis(key, values) for key, values in over.items()]), MOST)
    same = (changes for changes in tried if changes.get("sae.architecture") == own)
    return with_changes(data, next(same, first_of(over)))


def first_of(over: Over) -> dict[str, Any]:
    """Dotted name → the first value that it takes. Raises `ConfigError` if `over` is not such a table."""
    return next(_combinations([_axis(key, values) for key, values in over.items()]))


def require_shared(configs: Sequence[TrainingConfig]) -> None:
    """Raises `ConfigError` where trainings that are to share their forwards would read different text."""
    first = configs[0]
    require((
        len(configs) == 1 or all(config.parallel.workers == 1 for config in configs), "parallel",
        "The trainings of a group have one worker each.", "Start them one by one, or leave parallel out.",
    ))  # fmt: skip
    for config in configs[1:]:
        for name in SHARED:
            if getattr(config, name) != getattr(first, name):
                raise ConfigError(
                    "The trainings of a group read one stream of text, and this setting differs.", where=name,
                    hint="Start one group for each value.",
                )


def group_name(configs: Sequence[TrainingConfig]) -> str:
    """``gpt2, 6 trainings``: the names of the runs say the rest."""
    return f"{configs[0].model.rstrip('/').split('/')[-1]}, {len(configs)} training{'s' * (len(configs) != 1)}"


def _axis(key: Any, values: Any) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The names that `key` has change together, and their values, one tuple each."""
    names = tuple(part.strip() for part in key.split(",")) if isinstance(key, str) else ()
    require((names and all(names), "over", f"{key!r} is not the name of a setting.", 'For example "sae.k".'))
    for name in names:
        top = name.split(".")[0]
        require(
            (top not in SHARED, "over",
             f"{name} is the same for all trainings of a group, which share the model and its activations.",
             f"Set it in the base configuration; start one group for each value of {name}."),
            (top in TrainingConfig.model_fields, "over", f"There is no setting {name!r}.", _NAMES),
        )  # fmt: skip
    if isinstance(values, str | bytes | Mapping | Config) or not isinstance(values, Iterable):
        raise ConfigError(f"{key} has no list of values.", where="over", hint=f'Give one: {{"{key}": [16, 32]}}.')
    listed = list(values)
    require((listed, "over", f"{key} has no values.", "Give at least one."))
    if len(names) == 1:
        return names, [(value,) for value in listed]
    for value in listed:
        require((
            isinstance(value, list | tuple) and len(value) == len(names), "over",
            f"{value!r} is not a value for each of {', '.join(names)}.", f"Give lists of {len(names)}.",
        ))  # fmt: skip
    return names, [tuple(value) for value in listed]


def _combinations(axes: Sequence[tuple[tuple[str, ...], list[tuple[Any, ...]]]]) -> Iterator[dict[str, Any]]:
    """Dotted name → value, of every combination; the last axis changes fastest."""
    for chosen in itertools.product(*(values for _, values in axes)):
        yield {name: value for (names, _), values in zip(axes, chosen, strict=True)
               for name, value in zip(names, values, strict=True)}  # fmt: skip


def _told_apart(configs: Sequence[TrainingConfig]) -> list[TrainingConfig]:
    """Names that are the same get the differing settings of the autoencoder, else a number."""
    named = list(configs)
    for name, count in Counter(config.name for config in configs).items():
        if count == 1:
            continue
        same = [index for index, config in enumerate(configs) if config.name == name]
        saes = [configs[index].sae.to_data() for index in same]
        differ = [key for key in dict.fromkeys(key for sae in saes for key in sae)
                  if any(sae.get(key) != saes[0].get(key) for sae in saes)]  # fmt: skip
        for index, sae in zip(same, saes, strict=True):
            parts = [f"{key}{_value(sae[key])}" for key in differ if sae.get(key) is not None]
            named[index] = configs[index].replace(name="-".join([str(name), *parts])[:120])
    taken = Counter(config.name for config in named)
    seen: Counter[str | None] = Counter()
    for index, config in enumerate(named):
        seen[config.name] += 1
        if taken[config.name] > 1:
            named[index] = config.replace(name=f"{str(config.name)[:110]}-{seen[config.name]}")
    return named


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("architecture", ""))
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "architecture", value))


def _site(hook_name: str, layer: int) -> str:
    """``mlp_out``, or ``z5`` of a head, and ``l6-mlp_out`` if its layer differs from the one in the name already."""
    head = head_of(hook_name)
    site = without_head(hook_name).split(".")[-1].removeprefix("hook_") + ("" if head is None else f"{head}")
    return site if layer_of(hook_name) == layer else f"l{layer_of(hook_name)}-{site}"


def _name(base: TrainingConfig, config: TrainingConfig, changes: Mapping[str, Any]) -> str:
    """The name of the base (without one that of a single training) with what sets this training apart."""
    said = set() if base.name is not None else {"hook_name", "hook_name_out", "sae", "sae.architecture", "sae.k"}
    changed = [(name.split(".")[-1], value) for name, value in changes.items()
               if name not in said and not name.startswith("hook_name")]  # fmt: skip
    parts = [f"no-{name}" if value is None else f"{name}{_value(value)}" for name, value in changed]
    if any(name.startswith("hook_name") for name in changes):
        parts.insert(0, "-".join(_site(name, config.layer) for name in config.hook_names))
        if base.name is not None:
            parts.insert(0, f"l{config.layer}")
    return "-".join([base.name or config.default_name, *parts])[:120]


class PipelineConfig(Config):
    """A pipeline: activations of several layers from one forward, then an SAE for each from what was stored.

    `layers` takes ``"all"``, a list of numbers, or text such as ``"0,6,11"``.
    """

    training: TrainingConfig = Field(
        default=TrainingConfig(), title="Training",
        description="The training of each layer: its model, text, context length, hook site and everything else.",
    )
    layers: Literal["all"] | tuple[int, ...] = Field(
        default="all", title="Layers", description='"all", or the numbers of layers.'
    )
    num_tokens: Count = Field(
        default=10_000_000, title="Tokens to capture", description="How many; all of a text that has fewer."
    )
    batch_size_extract: ForwardBatch = Field(
        default=16, description="Contexts the language model reads at once while capturing."
    )
    dtype: StoreDtype = None

    @field_validator("layers", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Layers as a person types them."""
        if not isinstance(value, str):
            return (value,) if type(value) is int else value
        if value.strip().lower() == "all":
            return "all"
        if not (found := whole_numbers(value)):
            raise ConfigError(f"{value!r} is not a list of layers.", hint="Write all, or 0,6,11.")
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> PipelineConfig:
        layers = (0,) if self.layers == "all" else self.layers
        require(
            (layers and min(layers) >= 0, "layers", "Layers are numbers from 0 on, at least one.", "Write 0,6,11."),
            (len(set(layers)) == len(layers), "layers", "A layer is named twice.", "Name each once."),
            (self.training.hook_name_out is None, "training.hook_name_out",
             "A pipeline trains SAEs, which reconstruct what they read; this is a transcoder.",
             "Use ws.trainings.create_many for transcoders of several layers."),
            (self.training.corpus.kind != "activations", "training.corpus",
             "A pipeline captures its own activations.", "Give the text itself."),
        )  # fmt: skip
        return self

    def hook_name(self, layer: int) -> str:
        """The hook point of one layer: the site of the training's own hook name."""
        return f"blocks.{layer}.{self.training.hook_name.split('.', 2)[2]}"


def layers_text(layers: Sequence[int]) -> str:
    """Layers for a reader: "layer 2", "layers 0, 1, 2"."""
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
