"""The wheel as a stranger gets it: complete, small enough, importable outside the tree; the sdist needs no Node."""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import saewidgets

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000

pytestmark = pytest.mark.timeout(500)  # npm has to install first where nobody has built yet


def _build(kind: str, source: Path, target: Path, path: str | None = None) -> Path:
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": path} if path is not None else None)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked by pip into a folder outside the tree; its dependencies are those of this environment."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def _python(installed: Path, script: str, cwd: Path) -> str:
    """Run `script` isolated (-I: no PYTHONPATH, no current folder) with the installed package in front."""
    script = f"import sys; sys.path.insert(0, {str(installed)!r})\n{script}"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    for bundle in ("saewidgets.js", "library.js", "features.js", "steering.js"):
        assert 1_000 < sizes[f"saewidgets/widgets/static/{bundle}"] < 150_000
    assert sizes["saewidgets/widgets/static/saewidgets.css"] > 1_000
    assert "saewidgets/py.typed" in sizes
    assert "saewidgets/notebooks/01-train.ipynb" in sizes
    assert "saewidgets/notebooks/02-library.ipynb" in sizes
    assert any(name.startswith("saewidgets/catalog/migrations/versions/") for name in sizes)
    weights = [
        n for name, n in sizes.items() if name.startswith("saewidgets/demo/data/") and name.endswith(".safetensors")
    ]
    assert 1 * MEGABYTE < sum(weights) <= 12 * MEGABYTE
    corpus = [n for name, n in sizes.items() if name.startswith("saewidgets/demo/data/corpus")]
    assert 1 * MEGABYTE < sum(corpus) <= 8 * MEGABYTE
    sae = [n for name, n in sizes.items() if name.startswith("saewidgets/demo/data/sae/")]
    assert 1 * MEGABYTE < sum(sae) <= 4 * MEGABYTE
    strangers = [name for name in sizes if not name.startswith(("saewidgets/", "saewidgets-"))]
    assert strangers == []
    assert not [name for name in sizes if "__pycache__" in name or name.endswith((".ts", ".tsx", ".map"))]


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folder = f"saewidgets-{saewidgets.__version__}.dist-info"
        text = archive.read(f"{folder}/METADATA").decode()
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert "License-Expression: MIT" in text
    assert "Requires-Python: >=3.11" in text
    server = re.findall(r"Requires-Dist: (?:jupyterlab|ipykernel)[^;\n]*(.*)", text)
    assert "; extra == 'lab'" in server
    assert all(server), "the package itself brings a server"
    assert "# saewidgets" in text  # the README
    assert "saewidgets = saewidgets.cli:main" in scripts


def test_it_works_outside_the_tree(installed: Path, tmp_path: Path) -> None:
    script = (
        "import saewidgets\n"
        "for name in saewidgets.__all__: getattr(saewidgets, name)\n"
        "from saewidgets.cli import main\n"
        "from saewidgets.cli.doctor import TUTORIAL, tutorials\n"
        "files = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'saewidgets' and m.__file__]\n"
        f"print([file for file in files if not file.startswith({str(installed)!r})])\n"
        "print(tutorials() / TUTORIAL)\n"
        "sys.argv = ['saewidgets', '--version']\n"
        "main()"
    )
    strangers, tutorial, version = _python(installed, script, tmp_path).splitlines()
    assert (strangers, version) == ("[]", f"saewidgets {saewidgets.__version__}")
    assert tutorial.startswith(str(installed))
    assert json.loads(Path(tutorial).read_text(encoding="utf-8"))["nbformat"] == 4


@pytest.mark.long
def test_a_source_distribution_builds_without_node(wheel: Path, tmp_path: Path) -> None:
    sdist = _build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    empty = tmp_path / "empty"
    empty.mkdir()
    rebuilt = _build("wheel", tmp_path / f"saewidgets-{saewidgets.__version__}", tmp_path / "wheel", path=str(empty))
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        assert set(first.namelist()) == set(second.namelist())
        bundle = "saewidgets/widgets/static/saewidgets.js"
        assert first.read(bundle) == second.read(bundle)
