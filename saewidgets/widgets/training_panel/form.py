"""The New training form, taken from the JSON schema of the configuration models.

Labels, help, bounds, choices and defaults are those of the models: a field that is added there appears here. Only
which section a field belongs to, and what is a file or a nested model, is decided in this module.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, get_args

from saewidgets.config import TrainingConfig
from saewidgets.config.base import Config, dotted
from saewidgets.config.packing import FIELDS
from saewidgets.config.sae import SAEConfig
from saewidgets.records import DeviceInfo
from saewidgets.render.labels import choice_label
from saewidgets.widgets.messages.training import FormData, FormField, Section
from saewidgets.widgets.values import LARGEST_SAFE, corpus_text
from saewidgets.workspace.trainings import demo_config

# In the order in which the form shows them; every other field follows under "advanced".
_SHOWN: dict[Section, tuple[str, ...]] = {
    "model": ("model", "corpus", "context_size", "precision"),
    "where": ("hook_name",),
    "sae": (
        "sae.architecture", "hook_name_out", "sae.d_sae", "sae.k", "sae.target_l0", "sae.l1_coefficient",
        "sae.l0_coefficient", "sae.bandwidth", "sae.sparsity_loss", "sae.widths", "sae.skip_scale", "sae.learn_skip",
        "sae.aux_k",
    ),
    "training": ("name", "tokens", "batch_size", "optimizer.lr", "device", "seed"),
}  # fmt: skip
SECTIONS = {name: section for section, names in _SHOWN.items() for name in names}
# Headings of the advanced settings, in their order: by name, else by the part before the dot.
GROUPS = {
    "sae": "Autoencoder", "dead_window_tokens": "Dead latents", "resampling": "Dead latents",
    "": "Run", "optimizer": "Optimiser and schedules", "targets": "Targets", "activations": "Activations",
    "evaluation": "Evaluation", "checkpoints": "Checkpoints",
    "parallel": "Several workers",
}  # fmt: skip
# What a new form holds for the demo model in place of the defaults, which are for models of the hub: hours there.
OF_DEMO = ("sae.d_sae", "tokens", "batch_size", "optimizer.lr")
# The meaning of an optional setting that is left empty.
EMPTY = {
    "name": "",  # the page shows the name that it will get
    "model_revision": "the newest", "model_device": "the same", "model_compile": "not compiled",
    "activations.buffer_device": "with the SAE", "hook_name_out": "", "from_pretrained": "random weights",
    "epochs": "as Tokens says", "sae.target_l0": "as usual",
    "sae.l1_coefficient": "as Target L0 needs it", "sae.l0_coefficient": "as Target L0 needs it",
    "sae.initial_threshold": "from the first batch", "optimizer.lr": "from latents and steps",
    "dead_window_tokens": "1/20 of the run, at most 1M", "sae.widths": "1/32, 3/32, 7/32, 15/32, all",
    "sae.aux_k": "half of d_in", "sae.threshold_momentum": "0.99, less in short runs", "sae.unit_norm_from": "never",
    "sae.p_end": "p stays", "sae.pre_act_coefficient": "off",
    "resampling.every_steps": "never", "optimizer.grad_clip": "off", "optimizer.normalize_decoder_every": "never",
    "optimizer.lr_end": "a tenth of the peak", "optimizer.lr_warm_up_steps": "5 %, at most 1,000",
    "optimizer.lr_decay_steps": "20 %", "optimizer.sparsity_warm_up_steps": "5 %, at most 10,000",
    "targets.fvu": "no target", "targets.mse": "no target", "targets.l0_min": "no bound", "targets.l0_max": "no bound",
    "activations.exclude_token_ids": "none", "activations.seqpos_slice": "all",
    "evaluation.every_steps": "up to ten times per run", "evaluation.tokens": "16,384, or 8,192",
    "evaluation.ce_tokens": "as 5 % of the time allow",
    "checkpoints.every_steps": "ten times per run",
}  # fmt: skip
# What has no effect without another setting: its name, and the value that it needs (or not, `!=`) unless any will do.
NEEDS = {
    "sae.skip_max": "sae.learn_skip", "sae.tanh_scale": "sae.sparsity_loss=tanh", "sae.p_hold": "sae.p_end",
    "resampling.until_share": "resampling.every_steps", "resampling.encoder_scale": "resampling.every_steps",
    "optimizer.lr_cycles": "optimizer.lr_schedule=cosine_restarts",
    "optimizer.lr_end": "optimizer.lr_schedule!=constant",
} | dict.fromkeys((
    "model_revision", "model_dtype", "model_device", "model_compile", "activations.model_batch_size",
    *(f"activations.{name}" for name in FIELDS),
), "text")  # stored activations have theirs, and need no model  # fmt: skip
DEVICE = re.compile(r"(^|[._])device$")  # the page draws these as lists, as it knows all devices


def architectures() -> dict[str, type[SAEConfig]]:
    """Name → configuration class of every architecture that can be trained, in the order of the union."""
    union = get_args(TrainingConfig.model_fields["sae"].annotation)
    return {model.model_fields["architecture"].default: model for model in union}


def transcoders() -> tuple[str, ...]:
    """Names of the architectures that read one hook point and reconstruct another."""
    return tuple(name for name, model in architectures().items() if model(architecture=name).is_transcoder)


@lru_cache(maxsize=1)
def form_fields() -> tuple[FormField, ...]:
    """Every field of the form."""
    found = _fields_of(TrainingConfig, "")
    known = architectures()
    sae: dict[str, FormField] = {
        "sae.architecture": FormField(
            name="sae.architecture",
            label="Architecture",
            type="choice",
            choices=tuple(known),
            words=tuple(choice_label("sae.architecture", name) for name in known),
            section="sae",
            default=TrainingConfig.model_fields["sae"].default.architecture,
            help="How the few active latents are chosen, and what keeps them few.",
        )
    }
    for name, model in known.items():
        for field in _fields_of(model, "sae."):
            if field.name == "sae.architecture":
                continue
            before = sae.get(field.name)
            # The same name with another default or label per architecture would need two fields; a test watches that.
            owners = (*(before.architectures if before else ()), name)
            sae[field.name] = (before or field).model_copy(update={"architectures": owners})
    for name, field in sae.items():
        if len(field.architectures) == len(known):
            sae[name] = field.model_copy(update={"architectures": ()})
    by_name = {field.name: field for field in (*found, *sae.values())}
    by_name["hook_name_out"] = by_name["hook_name_out"].model_copy(update={"architectures": transcoders()})
    headings = list(dict.fromkeys(GROUPS.values()))
    rest = sorted((name for name in by_name if name not in SECTIONS), key=lambda n: headings.index(by_name[n].group))
    return tuple(by_name[name] for name in (*(name for name in SECTIONS if name in by_name), *rest))


def _fields_of(model: type[Config], prefix: str) -> list[FormField]:
    schema = model.model_json_schema(mode="validation")
    definitions = schema.get("$defs", {})
    fields = []
    for key, raw in schema["properties"].items():
        name = f"{prefix}{key}"
        if name == "corpus":  # text on the page: "demo" or a path; `as_corpus` understands both
            given = {key: value for key, value in raw.items() if key not in ("anyOf", "$ref")}
            fields.append(_field(name, {**given, "type": "string", "default": "demo"}, {}))
            continue
        annotation = model.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, Config):
            fields.extend(_fields_of(annotation, f"{name}."))
        elif "discriminator" not in raw:
            fields.append(_field(name, raw, definitions))
    return fields


def _field(name: str, raw: Mapping[str, Any], definitions: Mapping[str, Any]) -> FormField:
    schema = dict(raw)
    if "$ref" in schema:
        schema = {**definitions[schema.pop("$ref").rsplit("/", 1)[-1]], **schema}
    optional = "anyOf" in schema  # a type, or null
    if optional:
        schema = {**next(option for option in schema.pop("anyOf") if option.get("type") != "null"), **schema}
    choices = tuple(str(choice) for choice in schema.get("enum", ()))
    minimum = schema.get("minimum", schema.get("exclusiveMinimum"))
    maximum = schema.get("maximum", schema.get("exclusiveMaximum")) if name != "context_size" else None  # the model's
    section, kind = SECTIONS.get(name, "advanced"), schema.get("type", "string")
    words = str(schema.get("description", ""))
    if choices or DEVICE.search(name):  # a list has a choice with the meaning of an empty field
        words = words.partition(" Empty: ")[0]
    return FormField(
        name=name,
        label=str(schema.get("title", name.rsplit(".", 1)[-1])),
        help=words,
        type="choice" if choices else "text" if kind == "string" else kind,
        choices=choices,
        words=tuple(choice_label(name, choice) for choice in choices),
        default=schema.get("default"),
        minimum=minimum if minimum is None or abs(minimum) <= LARGEST_SAFE else None,
        maximum=maximum if maximum is None or abs(maximum) <= LARGEST_SAFE else None,
        optional=optional,
        empty=EMPTY[name] if optional else "",
        section=section,
        needs=NEEDS.get(name, ""),
        group=GROUPS.get(name) or GROUPS[name.rpartition(".")[0]] if section == "advanced" else "",
    )


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration data by dotted name; the corpus, and lists of numbers, as the text a person would type."""
    flat = dict(dotted({**config, "corpus": corpus_text(config["corpus"])}))
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in flat.items()}


def form_data(
    devices: Sequence[DeviceInfo],
    suggestions: Mapping[str, Sequence[str]],
    config: Mapping[str, Any] | None = None,
    stores: Mapping[str, str] | None = None,
) -> FormData:
    """Fields, what the form starts with (Edit and retry: `config`), devices, suggestions, names of stores."""
    fields = form_fields()
    defaults = {field.name: field.default for field in fields}
    of_model: dict[str, dict[str, Any]] = {}
    if config is None:
        demo = flatten(demo_config().to_data())
        of_model["demo"] = {name: demo[name] for name in OF_DEMO}
        defaults.update(of_model.get(defaults["model"], {}))
    else:
        known = {field.name for field in fields}
        defaults.update({name: value for name, value in flatten(config).items() if name in known})
    return FormData(
        fields=fields,
        defaults=defaults,
        of_model=of_model,
        devices=tuple(devices),
        suggestions={name: tuple(values) for name, values in suggestions.items()},
        stores={i: name for i, name in (stores or {}).items() if i in suggestions.get("corpus", ())},
    )
