"""Other versions of ipykernel, each in a folder of its own beside the environment's packages.

`pip install --target` without dependencies takes seconds; a kernelspec with that folder first on PYTHONPATH makes
JupyterLab start it. Widgets, server and everything else stay those of the environment.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What an old ipykernel needs and the environment's newer one no longer brings.
EXTRA = {"6.31.0": ("nest-asyncio>=1.4",), "7.3.0": ("nest-asyncio>=1.4",)}


def cache_folder() -> Path:
    """Where the folders are kept between runs ($SAEWIDGETS_TEST_KERNELS overrides it)."""
    return Path(os.environ.get("SAEWIDGETS_TEST_KERNELS", REPOSITORY / ".venvs" / "kernels"))


def kernel_packages(wanted: str) -> Path | None:
    """The folder that holds ipykernel `wanted`, built when it is missing; None when the environment has it anyway."""
    if version("ipykernel") == wanted:
        return None
    folder = cache_folder() / f"ipykernel-{wanted}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            build = Path(scratch) / "packages"
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            packages = [f"ipykernel=={wanted}", *EXTRA.get(wanted, ())]
            done = subprocess.run(
                [*command, "--target", str(build), *packages], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(
                    f"ipykernel {wanted} could not be installed into {folder}:\n{done.stdout}{done.stderr}"
                )
            try:
                build.rename(folder)  # whole or not at all
            except OSError:  # another process has just put its own there
                if not folder.is_dir():
                    raise
    return folder


def write_kernelspec(data_folder: Path, name: str, ipykernel: str) -> None:
    """Add the kernel `name` to a Jupyter data folder."""
    packages = kernel_packages(ipykernel)
    paths = [str(path) for path in (packages, REPOSITORY) if path is not None]
    folder = data_folder / "kernels" / name
    folder.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python (ipykernel {ipykernel})",
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(paths)},
    }
    (folder / "kernel.json").write_text(json.dumps(spec), "utf-8")
