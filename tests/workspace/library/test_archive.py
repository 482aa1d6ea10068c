"""Archives from strangers: what may be unpacked is, whatever else leaves nothing behind."""

import stat
import zipfile
from pathlib import Path

import pytest

from saewidgets.errors import FormatError, StorageError
from saewidgets.workspace.library import adding
from saewidgets.workspace.library.adding import unpack
from tests.workspace.library.saes import contents, zipped


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_an_honest_one(tmp_path: Path, target: Path) -> None:
    files = {"a/cfg.json": b"{}", "a/weights": bytes(range(256)) * 40, "b": b""}
    extra = {"__MACOSX/a/._cfg.json": b"x", "a/.DS_Store": b"y", "a/": b""}
    unpack(zipped(tmp_path / "x.zip", {**files, **extra}), target)
    assert contents(target) == files


HOSTILE = ["../out", "/etc/out", "a/../../out", "..", "a\\..\\out", "C:/out", "a//b", "./a", "a/.", "a" * 300]


@pytest.mark.parametrize("name", [*HOSTILE, "x\0y", "a\x1b[2J"])
def test_names_that_lead_out(tmp_path: Path, target: Path, name: str) -> None:
    path = zipped(tmp_path / "x.zip", {"cfg.json": b"{}", "placeholder": b"1"})
    data = path.read_bytes()
    path.unlink()
    with zipfile.ZipFile(path, "w") as opened:
        info = zipfile.ZipInfo("fine")
        info.filename = name  # the constructor would clean it
        opened.writestr(info, data)
        opened.writestr("cfg.json", "{}")
    if "\0" in name:  # cut there by the reader: what is left is an honest name
        unpack(path, target)
        return
    with pytest.raises(FormatError, match="cannot be the name of a file"):
        unpack(path, target)
    assert contents(target) == {}
    assert not (tmp_path / "out").exists()


PASSWORDS = {"cfg.json": b"{}", "weights": b"/etc/passwd"}


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        *((PASSWORDS, kind, "link or a device") for kind in (stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR)),
        ({f"f{i}": b"" for i in range(adding.MAX_FILES + 1)}, 0o100644, "1,001 files"),
        ({"weights": bytes(64 << 20)}, 0o100644, "bomb"),
        ({"cfg.json": b"1", "CFG.json": b"2"}, 0o100644, "same name"),
    ],
    ids=["link", "pipe", "device", "too many", "bomb", "two of one name"],
)
def test_rejects_unsafe_archives(tmp_path: Path, target: Path, files: dict[str, bytes], kind: int, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        unpack(zipped(tmp_path / "x.zip", files, weights=kind), target)
    assert contents(target) == {}


def test_no_room(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "MAX_BYTES", 100)
    with pytest.raises(StorageError, match="there is room for"):
        unpack(zipped(tmp_path / "x.zip", {"weights": bytes(range(256))}), target)


def test_every_flipped_byte_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    files = {"cfg.json": b"{}", "weights": bytes(range(64))}
    good = zipped(tmp_path / "good.zip", files).read_bytes()
    path = tmp_path / "x.zip"
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0x41]) + good[i + 1 :])
        folder = tmp_path / f"t{i}"
        folder.mkdir()
        try:
            unpack(path, folder)
        except (FormatError, StorageError):
            continue
        found = contents(folder)
        assert set(found.values()) <= set(files.values()), i  # a name may have changed, no content
    assert {p.name for p in tmp_path.iterdir()} == {"good.zip", "x.zip", *(f"t{i}" for i in range(len(good)))}
