"""Ways to damage the files of an SAE. A `Case` changes a valid folder; all but a few must then be refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save

from tests.formats.hostile_archives import npz_cases, pt_cases, zip_cases
from tests.formats.hostile_case import Case, Evil, bad_tensors, put, replace

WIDTHS = {"d_in", "d_sae", "d_model", "activation_dim", "dict_size", "act_size", "dimin", "expansion_factor"}
# Changes that make another good SAE: a checkpoint of miStudio's second generation, circuit-tracer's first orientation,
# a bias with a row, square matrices.
OTHER_TENSORS = {
    "mistudio": {"model.decoder.bias is missing"}, "circuit_tracer": {"W_dec is transposed"},
    "temporal": {
        "b has one dimension more", "attn_layers.0.c_proj.weight is transposed",
        "attn_layers.0.v_ctx.weight is transposed",
    },
}
OPTIONAL_FILES = {  # whose absence is allowed
    "gemma_scope_2": {"config.json"}, "mistudio": {"config.json"}, "circuit_tracer": {"config.yaml"},
    "connor_rob": {"gpt2-small_L5_Hcat_z_lr1.20e-03_l11.00e+00_ds16_v9_cfg.json"},
}


def cases(format: str, root: Path) -> Iterator[Case]:
    """Every damage to every file below `root`, an SAE of `format`."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = str(path.relative_to(root))
        optional = path.name in OPTIONAL_FILES.get(format, ())
        yield from _whole_file(name, path.read_bytes(), optional)
        if path.suffix == ".json":
            yield from _json(name, json.loads(path.read_text()))
        elif path.suffix == ".safetensors":
            yield from _safetensors(name, path, OTHER_TENSORS.get(format, set()))
        elif path.suffix == ".npz":
            yield from npz_cases(name, path)
            yield from zip_cases(name, path)
        elif path.suffix == ".yaml":
            yield from _yaml(name, path.read_text())
        elif path.suffix in (".pt", ".pth"):
            yield from pt_cases(name, path)
            yield from zip_cases(name, path)


# --- any file --------------------------------------------------------------------------------------------------------


def _whole_file(name: str, raw: bytes, optional: bool) -> Iterator[Case]:
    lines = name.endswith(".yaml")  # of which the first ones are good YAML too
    for part in (0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        yield Case(f"{name} cut to {part:.0%}", put(name, raw[: int(len(raw) * part)]), must=not (lines and part))
    yield Case(f"{name} without its last byte", put(name, raw[:-1]), must=not lines)
    junk = {
        "zeros": bytes(len(raw)), "ones": b"\xff" * len(raw), "text": b"not an SAE\n" * 40, "html": b"<html>404</html>",
        "a pickle": pickle.dumps(Evil()), "an old pickle": pickle.dumps(Evil(), 0), "a zip": _empty_zip(),
        "an LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 302\n", "null": b"null",
        "a list": b"[1, 2]", "an elf": b"\x7fELF" + bytes(100), "npy": b"\x93NUMPY\x01\x00" + bytes(60),
        "torch's old format": _old_torch(),
    }
    for what, content in junk.items():
        yield Case(f"{name} is {what}", put(name, content))
    yield Case(f"{name} is a folder", replace(name, Path.mkdir), must=not optional)
    yield Case(f"{name} is a pipe", replace(name, os.mkfifo), must=not optional)
    yield Case(f"{name} is a device", replace(name, lambda path: path.symlink_to("/dev/zero")), must=not optional)
    yield Case(f"{name} leads nowhere", replace(name, lambda path: path.symlink_to("/no/such")), must=not optional)
    yield Case(f"{name} leads to itself", replace(name, lambda path: path.symlink_to(path)), must=not optional)
    yield Case(f"{name} leads out", replace(name, lambda path: path.symlink_to("/etc/passwd")), must=not optional)
    yield Case(f"{name} is missing", replace(name, lambda path: None), must=not optional)


def _empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


def _old_torch() -> bytes:
    buffer = io.BytesIO()
    torch.save({"W_enc": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


# --- configurations --------------------------------------------------------------------------------------------------


def _json(name: str, data: dict[str, Any]) -> Iterator[Case]:
    text = json.dumps(data)
    first = json.dumps(next(iter(data)))
    yield Case(f"{name} deep list", put(name, b"[" * 100_000))
    yield Case(f"{name} deep objects", put(name, b'{"a":' * 100_000))
    yield Case(f"{name} nested value", put(name, (text[:-1] + ', "x": ' + "[" * 500 + "]" * 500 + "}").encode()))
    yield Case(f"{name} repeated key", put(name, (text[:-1] + f", {first}: 1}}").encode()))
    yield Case(f"{name} too large", put(name, (text[:-1] + ', "x": "' + "y" * (2 << 20) + '"}').encode()))
    yield Case(f"{name} huge", lambda root: os.truncate(root / name, 1 << 40))
    yield Case(f"{name} not UTF-8", put(name, text[:-1].encode() + b', "x": "\xff\xfe"}'))
    yield Case(f"{name} huge number", put(name, (text[:-1] + ', "x": ' + "9" * 5000 + "}").encode()))
    yield Case(f"{name} two objects", put(name, (text + text).encode()))
    for path, value in _leaves(data):
        for bad in (-1, 0, 3, 1 << 40, 1e300, 8.5, "8", True, [], {}, None, "\x00", "x" * 1000):
            if type(bad) is type(value) and bad == value:
                continue
            must = path[-1] in WIDTHS and not (path[-1] == "expansion_factor" and bad in (True, 8.5))
            yield Case(f"{name} {'.'.join(path)} = {str(bad)[:20]!r}", put(name, _with(data, path, bad)), must)


def _yaml(name: str, text: str) -> Iterator[Case]:
    """Damages to a table in YAML: the language's tricks, and wrong values."""
    data = yaml.safe_load(text)
    first = next(iter(data))
    levels = "".join(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]\n" for i in range(1, 12))
    tricks = {
        "code": "x: !!python/object/apply:os.mkdir [owned]\n", "new": "x: !!python/object/new:os.mkdir [owned]\n",
        "name": "x: !!python/name:os.mkdir\n", "laughs": "a0: &a0 [lol, lol]\n" + levels, "reference": "x: &x [*x]\n",
        "a tag": "x: !mine 1\n", "binary": "x: !!binary aaaa\n", "a set": "x: !!set {a, b}\n",
        "repeated key": f"{first}: 1\n", "tab": "x:\n\t- 1\n", "two documents": "---\nx: 1\n",
        "no end": "x: [1, 2\n", "not UTF-8": "x: \udcff\n", "control": "x: \x07\n",
        "long number": "x: " + "9" * 5000 + "\n", "many": "x: [" + "1, " * 8000 + "]\n",
        "deep list": "x: " + "[" * 5000 + "]" * 5000 + "\n", "deep open": "x: " + "[" * 9000,
        "deep rows": "".join(" " * i + f"k{i}:\n" for i in range(200)), "questions": "? " * 5000,
        "too large": "x: " + "y" * (1 << 16) + "\n",
    }
    for what, more in tricks.items():
        yield Case(f"{name} {what}", put(name, (text + more).encode(errors="surrogateescape")))
    yield Case(f"{name} huge", lambda root: os.truncate(root / name, 1 << 40))
    for path, value in _leaves(data):
        for bad in (-1, 0, 3, 1 << 40, 1e300, "8", True, [], {}, None, "x" * 1000, float("nan"), float("inf")):
            if type(bad) is type(value) and bad == value:
                continue
            changed = yaml.safe_dump(json.loads(_with(data, path, bad))).encode()
            yield Case(f"{name} {'.'.join(path)} = {str(bad)[:20]!r}", put(name, changed), must=path[-1] in WIDTHS)


def _leaves(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        yield (*path, key), value


def _with(data: dict[str, Any], path: tuple[str, ...], value: Any) -> bytes:
    changed = json.loads(json.dumps(data))
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return json.dumps(changed).encode()


# --- tensors ---------------------------------------------------------------------------------------------------------


def _safetensors(name: str, path: Path, others: set[str]) -> Iterator[Case]:
    tensors, raw = load_file(path), path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    metadata = header.get("__metadata__")
    for what, changed in bad_tensors(tensors):
        yield Case(f"{name} {what}", put(name, save(changed, metadata)), must=what not in others)
    for claimed in (0, 1, length - 1, length + 1, len(raw), 1 << 20, 1 << 32, 1 << 62, (1 << 64) - 1):
        yield Case(f"{name} header of {claimed}", put(name, struct.pack("<Q", claimed) + raw[8:]))

    def with_header(text: bytes, payload: bytes = data) -> bytes:
        return struct.pack("<Q", len(text)) + text + payload

    deep = (b"[" * 50_000, b'{"a":' * 50_000, b" " * (1 << 20) + b"{}")
    for junk in (b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", *deep):
        yield Case(f"{name} header {junk[:6]!r}", put(name, with_header(junk)))
    first = next(key for key in header if key != "__metadata__")
    text = json.dumps(header)
    repeated = f'{text[:-1]}, {json.dumps(first)}: {json.dumps(header[first])}}}'
    yield Case(f"{name} repeated tensor", put(name, with_header(repeated.encode())))
    begin, end = header[first]["data_offsets"]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("1 TB", {"shape": [1 << 20, 1 << 18], "data_offsets": [0, 1 << 40]}),
        ("1 TB in small bytes", {"shape": [1 << 20, 1 << 18]}),
        ("overflow", {"shape": [1 << 33, 1 << 33]}),
        ("1000 dimensions", {"shape": [1] * 1000}),
        *(
            (f"dtype {dtype}", {"dtype": dtype})
            for dtype in ("F64", "I32", "BF16", "F8_E4M3", "Q4", "", None, 3, ["F32"])
        ),
        *(("shape", {"shape": shape}) for shape in ([], [-1], [1.5], ["8"], "8", None, [True], [[8]], {})),
        *(
            ("offsets", {"data_offsets": offsets})
            for offsets in (
                [begin], [end, begin], [begin, end + 4], [begin + 4, end + 4], [-4, end], [0, 1 << 60], None, "x"
            )
        ),
    ]
    for what, change in changes:
        altered = header | {first: header[first] | change}
        if what == "shape" and change["shape"] == header[first]["shape"]:
            continue
        yield Case(f"{name} {what} {change}"[:90], put(name, with_header(json.dumps(altered).encode())))
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_000)}
    yield Case(f"{name} 10,000 tensors", put(name, with_header(json.dumps(header | many).encode())))
    yield Case(f"{name} metadata", put(name, with_header(json.dumps(header | {"__metadata__": {"a": 1}}).encode())))
    yield Case(f"{name} trailing bytes", put(name, raw + b"more"))
    yield Case(f"{name} 1 TB of nothing", lambda root: os.truncate(root / name, 1 << 40))
