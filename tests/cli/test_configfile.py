"""Configurations from files and flags."""

from pathlib import Path

import pytest

from saewidgets.cli.configfile import MAX_BYTES, assignment, build_config, read_config
from saewidgets.errors import ConfigError

SAME = {
    "run.json": '{"model": "gpt2", "tokens": 5000, "sae": {"architecture": "jumprelu", "d_sae": 64}}',
    "run.toml": 'model = "gpt2"\ntokens = 5000\n[sae]\narchitecture = "jumprelu"\nd_sae = 64\n',
    "run.yaml": "model: gpt2\ntokens: 5000\nsae: {architecture: jumprelu, d_sae: 64}\n",
}


def _nested(line: str, innermost: str) -> bytes:
    """Nine lines of YAML, each of which refers to the one above it nine times."""
    names = "abcdefghi"
    lists = [", ".join([innermost] * 9), *(", ".join([f"*{name}"] * 9) for name in names)]
    return "".join(line.format(name=name, many=many) for name, many in zip(names, lists, strict=False)).encode()


BOMB = _nested("{name}: &{name} [{many}]\n", "1")
MERGES = _nested("{name}: &{name} {{<<: [{many}]}}\n", "{{x: 1}}")


@pytest.mark.parametrize("name", SAME)
def test_three_kinds_of_file_say_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(SAME[name])
    config = build_config(read_config(tmp_path / name), [])
    assert (config.model, config.tokens, config.sae.architecture, config.sae.d_sae) == ("gpt2", 5000, "jumprelu", 64)


def test_references_of_yaml_are_followed(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "sae: &usual {architecture: topk, k: 4}\nover: {sae: [*usual, {<<: *usual, k: 8}]}\nname: &n x\nmodel: *n\n"
    )
    data = read_config(tmp_path / "run.yaml")
    assert data["over"]["sae"] == [{"architecture": "topk", "k": 4}, {"architecture": "topk", "k": 8}]
    assert data["model"] == "x"


def test_another_architecture_drops_settings_it_lacks() -> None:
    base = {"sae": {"architecture": "topk", "d_sae": 128, "k": 4}}
    config = build_config(base, [("sae.architecture", "standard")])
    assert (config.sae.architecture, config.sae.d_sae) == ("standard", 128)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", b"{", "Not valid JSON"),
        ("run.toml", b"= 3", "Not valid TOML"),
        ("run.yaml", b"a: [", "Not valid YAML"),
        ("run.yaml", b"!!python/object/apply:os.system [echo]", "Not valid YAML"),
        ("run.json", b"[1, 2]", "table of settings"),
        ("run.json", b"\xff\xfe", "not UTF-8"),
        ("run.txt", b"x", "not a known kind"),
        ("run.json", b"[" * 100_000, "nested too deeply"),
        ("run.json", b'{"a": ' * 100 + b"1" + b"}" * 100, "nested deeper than 64"),
        ("run.toml", b"a = " + b"[" * 100_000, "nested deeper than 64"),
        ("run.yaml", b"a: " + b"[" * 100_000, "nested too deeply"),
        ("run.yaml", BOMB, "more than 20,000 values"),
        ("run.yaml", MERGES, "more than 20,000 values"),
        ("run.yaml", b"sae: &a {x: *a}", "refers to a value that contains it"),
        ("run.yaml", b"sae: *a", "undefined alias"),
        ("run.yaml", b"tokens: 1\ntokens: 2", "a key is repeated"),
        ("run.json", b'{"tokens": 1, "tokens": 2}', "a key is repeated"),
        ("run.json", b" " * (MAX_BYTES + 1), "too large"),
    ],
)
def test_a_bad_file_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)


def test_assignments() -> None:
    assert assignment("optimizer.lr=1e-3") == ("optimizer.lr", 1e-3)
    assert assignment("model=gpt2") == ("model", "gpt2")
    assert assignment("optimizer.grad_clip=null") == ("optimizer.grad_clip", None)
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        assignment("optimizer.lr")
