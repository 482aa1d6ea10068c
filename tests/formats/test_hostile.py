"""A thousand damaged and hostile files over all formats: each a typed error, at once, in little memory, no trace.

A `Case` changes a valid folder; all but a few must then be refused. Damages are to any file, to configurations, to
tensors, to archives, and programs in place of the pickle of a ``.pt``."""

import functools
import io
import json
import os
import pickle
import shutil
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save

from saewidgets.errors import SAEWidgetsError
from saewidgets.formats import describe, formats, load_sae, validate
from tests.formats.samples import SAMPLES

FREE_TENSORS = {"stats_last_nonzero", "step", "k"}  # not weights: their values may be anything


@dataclass(frozen=True)
class Case:
    """One damage: `apply` changes the files in a folder. `must` says that loading has to fail."""

    name: str
    apply: Callable[[Path], None]
    must: bool = True


class Evil:
    """Unpickled, this runs code; the test looks for the file that it would leave."""

    def __init__(self, function: Callable[..., Any] = os.mkdir, *arguments: Any) -> None:
        self.call = (function, arguments or ("owned",))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def put(name: str, raw: bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(raw) and None


def replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / name).unlink()
        make(root / name)

    return apply


def bad_tensors(tensors: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`tensors` with one of them damaged."""
    for key, tensor in tensors.items():
        if key in FREE_TENSORS or not isinstance(tensor, torch.Tensor) or tensor.numel() < 2:
            continue
        rest = {other: value for other, value in tensors.items() if other != key}
        for value in (float("nan"), float("inf"), float("-inf")):
            changed = tensor.clone()
            changed.view(-1)[-1] = value
            yield f"{key} holds {value}", rest | {key: changed}
        yield f"{key} is missing", rest
        yield f"{key} is renamed", rest | {f"{key}x": tensor}
        yield f"{key} is whole numbers", rest | {key: tensor.to(torch.int32)}
        yield f"{key} is booleans", rest | {key: tensor > 0}
        yield f"{key} is short", rest | {key: tensor[:-1].contiguous()}
        yield f"{key} has one dimension more", rest | {key: tensor[None].contiguous()}
        yield f"{key} is empty", rest | {key: tensor[:0].contiguous()}
        if tensor.dim() == 2:
            yield f"{key} is transposed", rest | {key: tensor.T.contiguous()}
            yield f"{key} is flat", rest | {key: tensor.reshape(-1)}


# --- zips ------------------------------------------------------------------------------------------------------------


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: dict[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_cases(name: str, path: Path) -> Iterator[Case]:
    """Tricks with the archive itself; `path` is a valid one."""
    members, raw = _members(path), path.read_bytes()
    big = max(members, key=lambda member: len(members[member]))
    for member in members:
        rest = {other: content for other, content in members.items() if other != member}
        free = not member.endswith((".npy", "data.pkl")) and "/data/" not in member
        yield Case(f"{name} without {member}", put(name, _zipped(rest)), must=not free and path.suffix != ".pt")
    yield Case(f"{name} bomb", put(name, _zipped(members | {big: bytes(100 << 20)}, zipfile.ZIP_DEFLATED)))
    with_twins = [*members.items(), (big, members[big])]
    yield Case(f"{name} twins", put(name, _quietly(with_twins)))
    yield Case(f"{name} 30,000 members", put(name, _many()))
    directory = raw.rindex(b"PK\x01\x02" + b"", 0, len(raw))
    entry = raw.index(b"PK\x01\x02")
    for offset, size, values in (
        (8, 2, (1, 0x41)), (10, 2, (1, 12, 99)), (20, 4, (0, 3, 1 << 31, (1 << 32) - 1)),
        (24, 4, (0, 3, 1 << 31, (1 << 32) - 1)), (28, 2, (0, 1, 60_000)), (42, 4, (1, 1000, 1 << 31)),
    ):
        for value in values:
            for at in (entry, directory):
                changed = bytearray(raw)
                changed[at + offset : at + offset + size] = value.to_bytes(size, "little")
                yield Case(f"{name} entry {at}+{offset} = {value}", put(name, bytes(changed)), must=offset in (8, 10))
    end = raw.rindex(b"PK\x05\x06")
    for offset, size in ((8, 2), (10, 2), (12, 4), (16, 4)):
        for value in (0, 1, (1 << (8 * size)) - 2):
            changed = bytearray(raw)
            changed[end + offset : end + offset + size] = value.to_bytes(size, "little")
            yield Case(f"{name} end+{offset} = {value}", put(name, bytes(changed)), must=False)
    yield Case(f"{name} overlap", put(name, _overlapping(members, big)))
    yield Case(f"{name} 1 TB of nothing", lambda root: os.truncate(root / name, 1 << 40))
    above = {f"../../{member}": content for member, content in members.items()}
    yield Case(f"{name} escapes", put(name, _zipped(above)))


@functools.cache
def _many() -> bytes:
    return _zipped({f"m{i}": b"" for i in range(30_000)})


def _quietly(members: list[tuple[str, bytes]]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says that a name is there twice: that is the point
        return _zipped(members)


def _overlapping(members: dict[str, bytes], big: str) -> bytes:
    """An archive of which many entries share the bytes of one: it would unpack to a hundred times its size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for i in range(100):
            info = zipfile.ZipInfo(f"copy{i}")
            source = archive.getinfo(big)
            info.file_size, info.compress_size, info.CRC = source.file_size, source.compress_size, source.CRC
            info.header_offset = source.header_offset
            archive.filelist.append(info)
    return buffer.getvalue()


# --- .npz ------------------------------------------------------------------------------------------------------------


def _npy(descr: str, shape: str, data: bytes) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz_cases(name: str, path: Path) -> Iterator[Case]:
    with np.load(path) as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays}
    for what, changed in bad_tensors(tensors):
        buffer = io.BytesIO()
        np.savez(buffer, **{key: tensor.numpy() for key, tensor in changed.items()})
        yield Case(f"{name} {what}", put(name, buffer.getvalue()))
    members = _members(path)
    first = next(iter(members))
    data = tensors[first.removesuffix(".npy")].numpy().tobytes()
    evil = pickle.dumps(np.array([Evil()], dtype=object))
    heads = {
        "objects": _npy("'|O'", "(1,)", evil), "1 TB": _npy("'<f4'", "(1048576, 262144)", data),
        "overflow": _npy("'<f4'", "(4611686018427387904, 4)", data), "negative": _npy("'<f4'", "(-8, -16)", data),
        "no shape": _npy("'<f4'", "None", data), "list": _npy("'<f4'", "[8, 16]", data),
        "call": _npy("'<f4'", "__import__('os').mkdir('owned')", data), "text": _npy("'<U8'", "(4,)", data),
        "record": _npy("[('a', '<f4')]", "(8, 16)", data), "big-endian": _npy("'>f4'", "(8, 16)", data),
        "complex": _npy("'<c8'", "(8, 8)", data), "deep": _npy("'<f4'", "(" * 300 + "1" + ")" * 300, data),
        "wide": _npy("'<f4'", "(" + "1," * 1000 + ")", data), "version": b"\x93NUMPY\x09\x00" + bytes(100),
        "long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + bytes(100), "magic": bytes(400),
        "truncated": members[first][:60], "empty": b"",
    }
    for what, content in heads.items():
        yield Case(f"{name} {first} {what}", put(name, _zipped(members | {first: content})))


# --- .pt -------------------------------------------------------------------------------------------------------------


def pt_cases(name: str, path: Path) -> Iterator[Case]:
    whole = torch.load(path, weights_only=True)
    inner = "model_state_dict" if "model_state_dict" in whole else None
    tensors = whole[inner] if inner else whole
    for what, changed in bad_tensors(tensors):
        buffer = io.BytesIO()
        torch.save(whole | {inner: changed} if inner else changed, buffer)
        yield Case(f"{name} {what}", put(name, buffer.getvalue()))
    key = max((k for k, v in tensors.items() if isinstance(v, torch.Tensor)), key=lambda k: tensors[k].numel())
    tensor = tensors[key]
    views = {
        "expanded": torch.zeros(1).expand(*tensor.shape),
        "a slice": torch.rand(*(2 * n for n in tensor.shape))[::2, ::2],
        "sparse": tensor.to_sparse(), "complex": tensor.to(torch.complex64), "a text": "W_enc", "None": None,
        "a list": tensor.tolist(), "on no device": tensor.to("meta"),
    }
    for what, value in views.items():
        buffer = io.BytesIO()
        changed = tensors | {key: value}
        torch.save(whole | {inner: changed} if inner else changed, buffer)
        yield Case(f"{name} {key} is {what}", put(name, buffer.getvalue()))
    others = {"a list": [whole], "a tensor": tensor, "a text": "weights", "nothing": None, "empty": {}}
    for what, value in others.items():
        buffer = io.BytesIO()
        torch.save(value, buffer)
        yield Case(f"{name} is {what}", put(name, buffer.getvalue()))
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), buffer)
    yield Case(f"{name} is a module", put(name, buffer.getvalue()))
    yield from _programs(name, path)


def _programs(name: str, path: Path) -> Iterator[Case]:
    """Programs in place of data.pkl."""
    members = _members(path)
    program = next(member for member in members if member.endswith("data.pkl"))
    prefix = program.removesuffix("data.pkl")
    storage = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\n"

    def tensor(count: int, size: bytes, stride: bytes, key: bytes = b"0", offset: bytes = b"K\x00") -> bytes:
        claimed = b"\x8a\x08" + struct.pack("<q", count)
        named = b"X" + struct.pack("<I", len(key)) + key + b"X\x03\x00\x00\x00cpu"
        parts = (b"(" + storage + named + claimed + b"tQ", offset, size, stride)
        begin = b"\x80\x02}X\x05\x00\x00\x00W_encctorch._utils\n_rebuild_tensor_v2\n("
        return begin + b"".join(parts) + b"\x89ccollections\nOrderedDict\n)RtRs."

    def number(n: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", n)

    one = number(1) + b"\x85"
    programs = {
        **{f"calls {module}.{function}": f"\x80\x02c{module}\n{function}\n(X\x05\x00\x00\x00ownedtR.".encode("latin1")
           for module, function in (
               ("os", "mkdir"), ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"),
               ("builtins", "open"), ("builtins", "getattr"), ("subprocess", "Popen"), ("torch", "load"),
               ("torch.hub", "load"), ("pickle", "loads"), ("runpy", "run_path"), ("shutil", "rmtree"),
               ("torch.serialization", "load"), ("numpy.core.multiarray", "_reconstruct"), ("_codecs", "encode"),
               ("importlib", "import_module"), ("torch._utils", "_rebuild_sparse_tensor"), ("torch.nn", "Linear"),
               ("__builtin__", "bytearray"), ("torch", "Tensor"), ("torch", "FloatTensor"),
           )},
        "takes 10 GB": b"\x80\x02cbuiltins\nbytearray\n" + number(10**10) + b"\x85R.",
        "takes 10 GB of storage": b"\x80\x02ctorch\nFloatStorage\n" + number(10**10) + b"\x85R.",
        "memo of 4 billion": b"\x80\x02}r\xff\xff\xff\xff.", "memo in text": b"\x80\x02}p99999999999\n.",
        "unknown memo": b"\x80\x02h\x05.", "stack empty": b"\x80\x02.", "pop nothing": b"\x80\x020.",
        "no mark": b"\x80\x02t.", "no end": b"\x80\x02}", "empty": b"", "protocol 9": b"\x80\x09}.",
        "deep": b"\x80\x02" + b"]" * 14_000 + b"a" * 13_999 + b".",
        "many": b"\x80\x02" + b"N0" * 300_000 + b"}.",
        "large": b"\x80\x02X" + struct.pack("<I", 2 << 20) + b"x" * (2 << 20) + b".",
        "long number": b"\x80\x02\x8b" + struct.pack("<I", 1 << 19) + b"\x7f" * (1 << 19) + b".",
        "long text claimed": b"\x80\x02X\xff\xff\xff\xffx.", "frame": b"\x80\x04\x95" + b"\xff" * 8 + b"}.",
        "bytes8": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00.", "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02Pid\n.",
        "instance": b"(ios\nmkdir\n.", "object": b"(cos\nmkdir\no.", "new object": b"\x80\x02cos\nmkdir\n)\x81.",
        "global on the stack": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93.",
        "builds": b"\x80\x02}(X\x01\x00\x00\x00adub.",
        "itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
        "list of itself": b"\x80\x02}X\x01\x00\x00\x00a]q\x00h\x00as.",
        "doubling": b"\x80\x02}X\x01\x00\x00\x00a](NNeq\x00" + b"".join(
            b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)
        ) + b"s.",
        "1 TB": tensor(1 << 38, number(1 << 38) + b"\x85", one), "negative": tensor(-8, number(-8) + b"\x85", one),
        "1 TB of one": tensor(1, number(1 << 38) + b"\x85", number(0) + b"\x85"),
        "over its storage": tensor(8, number(64) + b"\x85", one),
        "offset": tensor(8, number(8) + b"\x85", one, offset=number(1 << 40)),
        "negative offset": tensor(8, number(8) + b"\x85", one, offset=number(-8)),
        "no such storage": tensor(8, number(8) + b"\x85", one, key=b"999"),
        "storage above": tensor(8, number(8) + b"\x85", one, key=b"../../x"),
        "shape of texts": tensor(8, b"X\x01\x00\x00\x008\x85", one), "shape is a number": tensor(8, number(8), one),
        "strides too few": tensor(8, number(8) + b"\x85", b")"),
        "40 dimensions": tensor(8, b"(" + number(1) * 40 + b"t", b"(" + number(1) * 40 + b"t"),
    }
    for what, raw in programs.items():
        yield Case(f"{name} pickle {what}", put(name, _zipped(members | {program: raw})))
    yield Case(f"{name} two programs", put(name, _zipped(members | {"other/data.pkl": b"\x80\x02}."})))
    yield Case(f"{name} big-endian", put(name, _zipped(members | {prefix + "byteorder": b"big"})))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    yield Case(f"{name} deflated", put(name, packed.getvalue()))
    for member, content in members.items():
        if "/data/" in member and len(content) > 4:
            short = _zipped(members | {member: content[:-4]})
            yield Case(f"{name} short {member}", put(name, short), must=len(content) > 64)


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


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")

SECONDS, BYTES = 1.0, 50 << 20
LEAST = 1_000
_counted: dict[str, int] = {}


def test_every_format_has_a_sample_that_is_good(tmp_path: Path) -> None:
    assert set(SAMPLES) == {format.name for format in formats()}
    for name, make in SAMPLES.items():
        (tmp_path / name).mkdir()
        path = make(tmp_path / name)
        assert validate(path) == []
        assert describe(path).format == name


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    path = SAMPLES[name](sample)
    load_sae(path)
    monkeypatch.chdir(_made(tmp_path / "here"))  # a file that a hostile program makes would be here
    folder = Path(shutil.copytree(sample, tmp_path / "damaged"))
    problems = []
    for case in cases(name, sample):
        case.apply(folder)
        problem = _problem(case, folder, folder / path.relative_to(sample))
        if problem is not None:
            problems.append(f"{case.name}: {problem}")
        _counted[name] = _counted.get(name, 0) + case.must
        _repair(folder, sample)
    assert problems == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["damaged", "here", "sample"]
    assert list((tmp_path / "here").iterdir()) == []


def test_files_that_vanish_while_listed_end_in_an_error() -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("a folder of Linux, where files are gone once they were read")
    with pytest.raises(SAEWidgetsError):
        load_sae("/proc/self/mem")


def test_there_were_enough() -> None:
    if set(_counted) != set(SAMPLES):
        pytest.skip("not all formats ran")
    assert sum(_counted.values()) >= LEAST


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _repair(folder: Path, sample: Path) -> None:
    """Put the files of `sample` back. (Making a new copy for each case takes most of the time.)"""
    for good in sample.rglob("*"):
        path = folder / good.relative_to(sample)
        if good.is_dir():
            continue
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        shutil.copyfile(good, path)


def _problem(case: Case, folder: Path, path: Path) -> str | None:
    """What is wrong with how `case` was dealt with."""
    before = _listing(folder)
    for look in (describe, load_sae):
        problem = _look(look, path, must=case.must and look is load_sae)
        if problem is not None and problem.startswith("took"):  # this machine may do other things too
            problem = _look(look, path, must=case.must and look is load_sae)
        if problem is not None:
            return f"{look.__name__}: {problem}"
    return None if _listing(folder) == before else "the folder was changed"


def _look(look: Callable[[Path], object], path: Path, must: bool) -> str | None:
    resident = _reset_peak()
    start = time.perf_counter()
    try:
        look(path)
    except SAEWidgetsError as error:
        problem = None if str(path.parent.parent) in str(error) or error.where else f"no place is named: {error}"
    except (Exception, torch.OutOfMemoryError) as error:  # noqa: BLE001  # that nothing else comes is what is tested
        problem = f"{type(error).__name__}: {error}"
    else:
        problem = "was loaded" if must else None
    seconds = time.perf_counter() - start
    grown = _peak() - resident
    if seconds > SECONDS:
        return f"took {seconds:.2f} s"
    return f"took {grown >> 20} MB" if grown > BYTES else problem


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    entries = [(str(path), path.lstat()) for path in sorted(folder.rglob("*"))]
    return [(name, found.st_size, found.st_mtime_ns) for name, found in entries]


def _reset_peak() -> int:
    """Bytes in memory now; from here on `_peak` counts anew. Linux only; elsewhere memory is not checked."""
    if sys.platform != "linux":
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10
