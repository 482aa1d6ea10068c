"""Damages to archives: zip tricks, the arrays of an ``.npz``, and programs in place of the pickle of a ``.pt``."""

from __future__ import annotations

import functools
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tests.formats.hostile_case import Case, Evil, bad_tensors, put

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
