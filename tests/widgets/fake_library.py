"""A library of SAEs in memory with the shape of the real one.

Only for the browser's own tests and for looking at states that are hard to reach.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.records import Records, SAERecord
from tests.widgets.fake_workspace import FakeTrainings, FakeWorkspace

FACETS = ("source", "model", "layer", "architecture", "format")
HISTOGRAM = {
    "edges": [0.9, 0.95, 1.0, 1.05, 1.1], "counts": [10, 900, 1000, 30], "min": 0.94, "max": 1.06, "mean": 1.0,
}  # fmt: skip
DENSITY = {"edges": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2], "counts": [5, 700, 900, 40], "mean": 3e-4, "zeros": 412}
NUMBERS = {"b_dec_norm": 3.25, "dead": 412, "l0": 82.1, "measured": {"fvu": 0.118}}


def make_sae(sae_id: str, name: str, **changes: Any) -> SAERecord:
    values: dict[str, Any] = {
        "id": sae_id,
        "name": name,
        "source": "local",
        "model": "gpt2",
        "hook_name": "blocks.6.hook_resid_post",
        "layer": 6,
        "architecture": "topk",
        "d_in": 768,
        "d_sae": 16_384,
        "format": "saelens",
        "path": f"/workspace/saes/{sae_id}",
        "training_id": None,
        "size_bytes": 101_000_000,
        "host": "test",
        "created_at": time.time(),
        "dtype": "float32",
        "d_out": 768,
    }
    return SAERecord(**{**values, **changes})


class FakeLibrary:
    def __init__(self) -> None:
        self.records: dict[str, SAERecord] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.configs: dict[str, Mapping[str, Any]] = {}
        self.used: set[str] = set()
        self.uploaded: dict[str, bytes] = {}
        self._ids = itertools.count(1)
        self._subscribers: list[Callable[..., None]] = []

    def tell(self) -> None:
        for callback in list(self._subscribers):
            callback()

    def add(self, record: SAERecord) -> SAERecord:
        self.records[record.id] = record
        self.tell()
        return record

    # ------------------------------------------------------------------------------------------- reading

    def _found(self, search: str | None = None, **filters: Any) -> list[SAERecord]:
        words = (search or "").lower().split()
        return [
            r
            for r in self.records.values()
            if all(getattr(r, name) == value for name, value in filters.items())
            and all(word in f"{r.name} {r.model} {r.hook_name}".lower() for word in words)
        ]

    def list(
        self, *, sort: str = "newest", limit: int | None = None, offset: int = 0, **filters: Any
    ) -> Records[SAERecord]:
        self.calls.append(("list", filters, sort, limit, offset))
        keys: dict[str, Callable[[SAERecord], Any]] = {
            "newest": lambda r: -r.created_at,
            "oldest": lambda r: r.created_at,
            "name": lambda r: r.name,
            "model": lambda r: r.model or "~",
            "layer": lambda r: 999 if r.layer is None else r.layer,
            "d_sae": lambda r: -r.d_sae,
            "size": lambda r: -r.size_bytes,
        }
        found = sorted(self._found(**filters), key=keys[sort])
        return Records(found[offset:][:limit], SAERecord)

    def count(self, **filters: Any) -> tuple[int, int]:
        found = self._found(**filters)
        return len(found), sum(record.size_bytes for record in found)

    def facets(self, **filters: Any) -> dict[str, dict[Any, int]]:
        """As the real one: the counts of a facet ignore its own filter, unknown values are left out."""
        counts: dict[str, dict[Any, int]] = {}
        for facet in FACETS:
            others = {name: value for name, value in filters.items() if name != facet}
            values = [getattr(r, facet) for r in self._found(**others)]
            counts[facet] = {value: values.count(value) for value in dict.fromkeys(values) if value is not None}
        return counts

    def get(self, sae_id: str) -> SAERecord:
        if sae_id not in self.records:
            raise NotFoundError(f"There is no SAE {sae_id!r} in this library.", where=sae_id)
        return self.records[sae_id]

    def find(self, wanted: str) -> SAERecord:
        return next((record for record in self.records.values() if record.name == wanted), None) or self.get(wanted)

    def folder_of(self, record: SAERecord) -> Path:
        if record.state == "missing":
            raise NotFoundError("The files of the SAE are not here.", where=record.path)
        return Path(record.path)

    def config(self, sae_id: str) -> Mapping[str, Any]:
        if self.get(sae_id).state == "missing":
            raise NotFoundError("The files of the SAE are not here.", where=sae_id)
        return self.configs.get(sae_id, {"architecture": "topk", "k": 32, "metadata": {"model_name": "gpt2"}})

    def statistics(self, sae_id: str) -> Mapping[str, Any]:
        self.calls.append(("statistics", sae_id))
        if self.get(sae_id).state == "missing":
            raise NotFoundError("The files of the SAE are not here.", where=sae_id)
        density = {**DENSITY, "dense": 61}
        return {"decoder_norms": HISTOGRAM, "encoder_norms": HISTOGRAM, "density": density, **NUMBERS}

    def load_code(self, sae_id: str) -> dict[str, str]:
        code = f'import saewidgets as sw\n\nsae = sw.default_workspace().saes.load("{sae_id}")'
        return {"saewidgets": code, "sae_lens": "from sae_lens import SAE"}

    def compare(self, a: str, b: str, top: int) -> dict[str, Any]:
        self.calls.append(("compare", a, b, top))
        if self.get(a).d_out != self.get(b).d_out:
            raise ConfigError("They write to different numbers of dimensions.", where="b")
        return {
            "matches": [{"a": 7451, "b": 12, "cosine": 0.991}, {"a": 3, "b": 9, "cosine": 0.8}],
            "histogram": HISTOGRAM,
            "mean_max_cosine": 0.612,
            "mean_max_cosine_back": 0.5,
            "above": {0.9: 100, 0.7: 2000},
        }

    # ------------------------------------------------------------------------------------------- changing

    def update(self, sae_id: str, **changes: Any) -> SAERecord:
        self.calls.append(("update", sae_id, changes))
        return self.add(dataclasses.replace(self.get(sae_id), **changes))

    def add_local(self, path: str, **about: Any) -> SAERecord:
        self.calls.append(("add_local", path, about))
        if "broken" in path:
            raise FormatError("No SAE was found there.", where=path, hint="Choose the folder that holds cfg.json.")
        return self.add(make_sae(f"sae_new{next(self._ids)}", about.get("name") or Path(path).name))

    def add_upload(self, files: Mapping[str, Path], **about: Any) -> SAERecord:
        self.calls.append(("add_upload", sorted(files), about))
        self.uploaded = {name: Path(path).read_bytes() for name, path in files.items()}
        return self.add(make_sae(f"sae_up{next(self._ids)}", about.get("name") or "uploaded"))

    def export(self, sae_id: str, dest: Path, format: str) -> Path:
        self.calls.append(("export", sae_id, str(dest), format))
        if self.get(sae_id).state == "missing":
            raise NotFoundError("The files of the SAE are not here.", where=sae_id)
        return Path(dest)

    def locate(self, sae_id: str, path: str) -> SAERecord:
        self.calls.append(("locate", sae_id, path))
        return self.add(dataclasses.replace(self.get(sae_id), path=path, state="ok", state_note=""))

    def delete(self, sae_id: str) -> int:
        self.calls.append(("delete", sae_id))
        record = self.get(sae_id)
        if sae_id in self.used:
            raise StateError(f"{record.name} is in use.", hint="Cancel the extraction first.")
        del self.records[sae_id]
        self.tell()
        return record.size_bytes

    def subscribe(self, callback: Callable[..., None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)


class FakeSaeWorkspace:
    """A workspace whose library is in memory; uploads go to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.label = "default workspace"
        self.notice: str | None = None
        self.folder = folder
        self.saes = FakeLibrary()
        self.trainings = FakeTrainings(FakeWorkspace())
        self.extractions: Any = SimpleNamespace(subscribe=lambda callback: lambda: None)
        self.subscribe_saes = self.saes.subscribe


def full_library(folder: Path) -> FakeSaeWorkspace:
    """The SAEs that the pictures of the specification show."""
    ws = FakeSaeWorkspace(folder)
    now = time.time()
    for record in (
        make_sae(
            "sae_gemma", "gemma-scope-2b-res-l12-16k-l0-82", source="gemma_scope", model="google/gemma-2-2b", layer=12,
            hook_name="blocks.12.hook_resid_post", architecture="jumprelu", d_in=2304, d_out=2304,
            size_bytes=302_000_000, created_at=now - 2 * 86_400, metadata={"l0": 82, "canonical": True},
            features_extracted=16_384, repo_id="google/gemma-scope-2b-pt-res",
            revision="fd571b47c1c64851e9b1989792367b9babb4af63",
            repo_path="layer_12/width_16k/average_l0_82",
        ),
        make_sae(
            "sae_gpt2", "gpt2-l6-topk-k32", source="trained", created_at=now - 240, training_id="train_1",
            training_name="gpt2-l6-topk-k32",
            metadata={"latest": {"fvu": 0.118, "ce_loss_score": 0.957}, "config": {"sae": {"k": 32}}},
        ),
        make_sae(
            "sae_pythia", "pythia-70m-deduped-res-sm-l3", source="huggingface", model="EleutherAI/pythia-70m-deduped",
            layer=3, hook_name="blocks.3.hook_resid_post", architecture="standard", d_in=512, d_out=512, d_sae=32_768,
            size_bytes=134_000_000, created_at=now - 3600, format="sparsify", metadata={"l0": 54},
        ),
        make_sae(
            "sae_lab", "lab-run-0412", model="Qwen/Qwen3-0.6B", layer=14, hook_name="blocks.14.hook_mlp_out",
            d_in=1024, d_out=1024, d_sae=24_576, size_bytes=201_000_000, created_at=now - 9 * 86_400,
            metadata={"settings": {"k": 64}}, state="missing", notes="from the cluster", tags=("lab", "mlp"),
            state_note="sae.safetensors is no longer in its folder.",
        ),
    ):  # fmt: skip
        ws.saes.add(record)
    return ws
