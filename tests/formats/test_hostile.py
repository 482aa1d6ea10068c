"""A thousand damaged and hostile files over all formats: each a typed error, at once, in little memory, no trace."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saewidgets.errors import SAEWidgetsError
from saewidgets.formats import describe, formats, load_sae, validate
from tests.formats.hostile import cases
from tests.formats.hostile_case import Case
from tests.formats.samples import SAMPLES

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


def test_what_vanishes_while_it_is_listed_is_no_sae() -> None:
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
