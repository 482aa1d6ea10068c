"""Values of configurations: a number is a number, in every format."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saewidgets.errors import FormatError
from saewidgets.formats import describe, formats
from saewidgets.formats.format import Description
from saewidgets.formats.io import stored_config
from saewidgets.formats.source import MAX_YAML, FolderSource, read_yaml
from tests.formats.samples import D_IN, SAMPLES, saelens, weights, write

# Read where they decide what is computed; what else a file says (how long the training's contexts were) is passed on.
READ = {
    "d_in", "d_sae", "k", "d_model", "act_size", "dict_size", "activation_dim", "expansion_factor", "num_latents", "in",
    "out", "jump_relu_threshold", "top_k", "dimin", "exp_factor", "n_heads", "n_attn_layers", "bottleneck_factor",
    "kval_topk", "scaling_factor", "residual_threshold", "max_iterations", "activation_normalization_factor", "d_out",
    "top_k_sparsity", "hook_point_layer",
}  # fmt: skip


def _numbers(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _numbers(value, (*path, key))
        elif type(value) in (int, float):
            yield (*path, key), value


def _with(data: Any, path: tuple[str, ...], value: Any) -> Any:
    return {**data, path[0]: _with(data[path[0]], path[1:], value) if path[1:] else value}


def _maths(found: Description) -> tuple[Any, ...]:
    return found.architecture, found.d_in, found.d_sae, found.d_out, dict(found.settings), found.hook_name


@pytest.mark.parametrize("name", SAMPLES)
def test_rejects_values_of_wrong_type_by_file_and_key(name: str, tmp_path: Path) -> None:
    path = SAMPLES[name](tmp_path)
    good = _maths(describe(path))
    for file in [each for each in tmp_path.rglob("*") if each.suffix in (".json", ".yaml")]:
        read, dump = (json.loads, json.dumps) if file.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
        text = file.read_text()
        for keys, value in _numbers(read(text)):
            for bad in (True, str(value), *([value + 0.5] if keys[-1] in ("d_in", "d_sae", "k", "top_k") else [])):
                file.write_text(dump(_with(read(text), keys, bad)))
                if keys[-1] not in READ and (keys[-1] != "layer" or bad is not True):
                    assert _maths(describe(path)) == good, keys
                    continue
                with pytest.raises(FormatError) as caught:
                    describe(path)
                said = str(caught.value)
                assert said.startswith(f"{file}: {'.'.join(keys)}: The value is {json.dumps(bad)}, expected "), said
        file.write_text(text)
    assert _maths(describe(path)) == good


OWN: list[tuple[str, str, Any]] = [
    ("topk", "k", 4), ("abstopk", "k", 4), ("matching_pursuit", "residual_threshold", 0.1),
    ("matching_pursuit", "max_iterations", 3), ("transcoder", "d_out", D_IN), ("temporal", "n_heads", 2),
    ("temporal", "kval_topk", 4), ("temporal", "activation_normalization_factor", 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "key", "good"), OWN)
def test_settings_of_one_architecture_are_read_as_strictly(
    architecture: str, key: str, good: Any, tmp_path: Path
) -> None:
    path = saelens(tmp_path)
    data = json.loads((path / "cfg.json").read_text()) | {"architecture": architecture, "k": 4}
    for wrong in (bool(good), str(good)):
        write(path, data | {key: wrong}, "sae_weights.safetensors", weights(), config_file="cfg.json")
        noun = "a valid number" if isinstance(good, float) else "a valid integer"
        with pytest.raises(FormatError) as caught:
            describe(path)
        place = f"{path / 'cfg.json'}: {key}"
        assert str(caught.value).startswith(f"{place}: The value is {json.dumps(wrong)}, expected {noun}.")


@pytest.mark.parametrize("name", [format.name for format in formats() if format.config_file is not None])
def test_a_configuration_is_read_though_the_weights_are_gone(name: str, tmp_path: Path) -> None:
    path = SAMPLES[name](tmp_path)
    config_file = next(format.config_file for format in formats() if format.name == name)
    whole = stored_config(path, name)
    if not (path / str(config_file)).exists():  # these formats have folders without one too
        assert name in ("gemma_scope", "mistudio")
        return
    for file in [each for each in path.rglob("*") if each.is_file() and each.name != config_file]:
        file.write_bytes(b"")
    found = stored_config(path, name)
    if name == "mistudio":  # of a checkpoint the header says most, and what lies beside it the rest
        assert found == json.loads((path / str(config_file)).read_text())
    else:
        assert {key: found[key] for key in whole} == whole
    for file in [each for each in path.rglob("*") if each.is_file() and each.name != config_file]:
        file.unlink()
    assert stored_config(path, name) == found
    (path / str(config_file)).write_text("{[")
    with pytest.raises(FormatError, match=str(config_file)):
        stored_config(path, name)


def read_text(folder: Path, text: str) -> object:
    (folder / "c.yaml").write_text(text)
    return read_yaml(FolderSource(folder), "c.yaml")


def test_plain_yaml(tmp_path: Path) -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc:\n  d: 'q'\n  e: {f: \"g\"}\n"
    assert read_text(tmp_path, text) == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "q", "e": {"f": "g"}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "references or tags"), ("a: !!python/name:os.mkdir\n", "references or tags"),
        ("a: !!str 3\n", "references or tags"), ("a: 1\na: 2\n", "a key is repeated"), ("- a\n", "not a table"),
        ("", "not a table"), ("a: [1\n", "not plain"), ("a: 1\n---\nb: 2\n", "not plain"),
        ("? [a]\n: 1\n", "not plain"),
        ("a: " + "[" * 80 + "]" * 80, "too deeply"), ("a: [" + "1," * 5_000 + "]", "4,000 values"),
        ("a: " + "9" * 5000, "not plain"), ("a: " + "x" * MAX_YAML, "at most 32,768"), ("a: \x07", "not plain"),
    ],
)
def test_other_yaml_is_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(FormatError, match=message):
        read_text(tmp_path, text)
    assert time.perf_counter() - start < 10
