"""Defines `from_saelens`: SAELens (version 6) → `TrainingConfig`, from a runner's configuration, one of several SAEs (a
group of trainings), or what an SAE's own cfg.json records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saewidgets.config.arguments import refuse
from saewidgets.config.base import dotted, nested
from saewidgets.config.group import SHARED
from saewidgets.config.names import free_name
from saewidgets.config.training import TrainingConfig, with_changes
from saewidgets.config.translate.saelens_run import cfg_of, names_the_text, runner_of
from saewidgets.config.translate.translation import Remark, Settings, Translation, read
from saewidgets.errors import ConfigError

WHAT = "a SAELens configuration (runner_cfg.json or cfg.json)"
_OWN = {"hook_names": "hook_name", "hook_head_indices": "hook_head_index"}  # one for each SAE, or one for all


def from_saelens(
    source: str | Path | Mapping[str, Any], *, saes: Sequence[str] | None = None, **changes: Any
) -> Translation:
    """Translate a SAELens training configuration.

    Args:
        source: ``runner_cfg.json`` as SAELens writes it beside checkpoints and outputs, the ``cfg.json`` of an SAE
            (which records less: what is missing gets this package's defaults), the path of either, or
            ``to_dict()`` of a ``LanguageModelSAERunnerConfig`` or ``MultiSAETrainingRunnerConfig``.
        saes: which SAEs of a configuration of several; None: all.
        changes: settings of `TrainingConfig` by dotted name that replace what was translated, or supply what the
            source lacks: ``from_saelens(path, corpus="notes.txt", tokens=1_000_000)``.

    Returns:
        the configuration, every setting that was lost or changed its meaning, and in `over` what tells its SAEs apart
        where it is one of several.

    Raises:
        ConfigError: an architecture or hook point that cannot be trained here, or a value that makes no sense; `where`
            is the name in SAELens' configuration, or in ours.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = read(source, WHAT)
    if data.get("saes") is not None:
        return _of_several(data, saes, changes)
    if saes is not None:
        raise ConfigError(
            "There are no several SAEs in it to choose from.", where="saes",
            hint="Leave out saes, or --saes: the settings are one SAE's.",
        )
    if isinstance(data.get("sae"), Mapping):
        settings = Settings(data)
        config = runner_of(settings, changes)
    else:
        settings, config = cfg_of(data, changes)
    return Translation(with_changes(nested(config), changes), tuple(settings.remarks), "SAELens")


def _of_several(data: Mapping[str, Any], wanted: Sequence[str] | None, changes: Mapping[str, Any]) -> Translation:
    """The configuration of the first SAE, and in `over` what is another for the others. Each SAE is trained as
    `LanguageModelSAERunnerConfig` would alone, and is translated so."""
    saes = Settings(data).take("table", "saes", {})
    if not saes:
        raise ConfigError("There is no SAE in it.", where="saes", hint="Name each with its settings.")
    names = _chosen(saes, wanted)
    parts = {name: _alone(data, saes, name) for name in names}
    configs: dict[str, TrainingConfig] = {}
    for name, settings in parts.items():
        config = runner_of(settings, changes)
        if settings.has("resume_from_checkpoint"):  # it has a folder for each
            config["from_pretrained"] = str(Path(config["from_pretrained"]) / name)
        try:
            configs[name] = with_changes(nested(config), changes)
        except ConfigError as error:
            if error.where is None or not error.where.startswith("sae."):
                raise
            some = "It was given for all of its SAEs; --saes NAME,NAME, or saes=[...], takes some."
            hint = some if error.where in changes and len(names) > 1 else None
            raise ConfigError(error.what, where=f"saes.{name}.{error.where[4:]}", hint=error.hint or hint) from error
    remarks = _together({name: settings.remarks for name, settings in parts.items()})
    if (text := _text(data, changes)) is not None:
        remarks.append(text)
    remarks += _twice(configs)
    if len(configs) > 1:
        said = f"{len(configs)} SAEs: a group, which create_many trains from one forward."
        remarks.append(Remark("changed", "saes", list(configs), said))
    remarks.sort(key=lambda each: each.setting)
    named = _names(configs)
    first = next(iter(configs.values()))
    if len(configs) == 1:
        return Translation(first.replace(name=first.name or named[0]), tuple(remarks), "SAELens")
    return Translation(first, tuple(remarks), "SAELens", _over(configs, named))


def _chosen(saes: Mapping[str, Any], wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return list(saes)
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        refuse(wanted, "saes", "a list of names", f'For example saes=["{next(iter(saes))}"].')
    if unknown := [name for name in wanted if name not in saes]:
        raise ConfigError(f"There is no SAE {unknown[0]!r} in it.", where="saes", hint=f"It has {', '.join(saes)}.")
    return [name for name in saes if name in wanted]


def _alone(data: Mapping[str, Any], saes: Mapping[str, Any], name: str) -> Settings:
    """The settings of a runner that trains one of the SAEs, by the names that they have in the configuration of all."""
    found = {key: value for key, value in data.items() if key not in ("saes", *_OWN)}
    found["sae"], called = saes[name], {"sae": f"saes.{name}"}
    for key, own in _OWN.items():
        found[own], called[own] = data.get(key), key
        if isinstance(given := data.get(key), Mapping):
            if unknown := [each for each in given if each not in saes]:
                raise ConfigError(
                    f"It names {unknown[0]!r}, which is none of the SAEs.", where=key,
                    hint=f"These are {', '.join(saes)}.",
                )
            found[own], called[own] = given.get(name), f"{key}.{name}"
    found.setdefault("is_dataset_tokenized", False)
    return Settings(found, called=called)


def _text(data: Mapping[str, Any], changes: Mapping[str, Any]) -> Remark | None:
    """What is taken for granted of the text: no setting says whether it is tokenised, SAELens looks."""
    path = data.get("dataset_path")
    if names_the_text(changes) or data.get("use_chat_formatting") or "is_dataset_tokenized" in data:
        return None
    said = (
        "it is read as text. SAELens looks whether it holds token ids; if it does, give corpus=TokensCorpus(...), or "
        f"--set corpus.kind=tokens --set corpus.source={path}."
    )
    return Remark("changed", "dataset_path", path, said)


def _together(remarks: Mapping[str, Sequence[Remark]]) -> list[Remark]:
    """Of all SAEs, each once; what is said of every SAE as of ``saes.*``."""
    if len(remarks) > 1:
        every = {name: [_of_any(each, name) for each in said] for name, said in remarks.items()}
        common = [each for each in next(iter(every.values())) if all(each in said for said in every.values())]
        return [*common, *(r for name, said in remarks.items() for r in said if _of_any(r, name) not in common)]
    return [each for said in remarks.values() for each in said]


def _of_any(remark: Remark, name: str) -> Remark:
    start = f"saes.{name}."
    if not remark.setting.startswith(start):
        return remark
    return replace(remark, setting=f"saes.*.{remark.setting.removeprefix(start)}")


def _twice(configs: dict[str, TrainingConfig]) -> list[Remark]:
    """Take out SAEs that are the same as one before, and say so."""
    found = []
    for name, config in list(configs.items()):
        first = next(other for other, known in configs.items() if known == config)
        if first != name:
            del configs[name]
            said = (
                f"the same as {first}, and a group has one seed: it would learn the same. saes=[{name!r}] with another "
                f"seed, or --saes {name} --seed 1, trains it apart."
            )
            found.append(Remark("lost", f"saes.{name}", config.sae.architecture, said))
    return found


def _names(configs: Mapping[str, TrainingConfig]) -> list[str]:
    """Names of the runs: those of the SAEs, behind the name of the whole where it has one."""
    found: list[str] = []
    for name, config in configs.items():
        found.append(free_name("-".join(filter(None, [config.name, name])) or str(len(found) + 1), found))
    return found


def _over(configs: Mapping[str, TrainingConfig], names: Sequence[str]) -> dict[str, list[Any]]:
    """What differs between the configurations, as names that change together and their values. Raises `ConfigError`
    where the trainings of a group have it in common."""
    plain = [config.to_data() for config in configs.values()]
    flat = [dict(dotted(data)) for data in plain]
    if len({config.sae.architecture for config in configs.values()}) > 1:
        flat = [
            {**{key: value for key, value in each.items() if not key.startswith("sae.")}, "sae": data["sae"]}
            for each, data in zip(flat, plain, strict=True)
        ]
    differ = [key for key in flat[0] if any(each[key] != flat[0][key] for each in flat)]
    for key in differ:
        if key.split(".")[0] in SHARED:
            raise _apart(key, {name: each[key] for name, each in zip(configs, flat, strict=True)})
    values = [[name, *(each[key] for key in differ)] for name, each in zip(names, flat, strict=True)]
    return {", ".join(["name", *differ]): values}


def _apart(key: str, values: Mapping[str, Any]) -> ConfigError:
    """That the SAEs differ in what the trainings of a group have in common."""
    agree: dict[Any, list[str]] = {}
    for name, value in values.items():
        agree.setdefault(value, []).append(name)
    value, names = next(iter(agree.items()))
    said = "; ".join(f"{', '.join(each)}: {value}" for value, each in agree.items())
    return ConfigError(
        f"Its SAEs differ in {key} ({said}), which the trainings of a group have in common.", where="saes",
        hint=f"Translate those that agree: saes={names!r}, or --saes {','.join(names)}. Or give all of them one: "
        f"--set {key}={value}.",
    )
