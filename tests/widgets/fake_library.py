"""A library of SAEs in memory with the shape of the real one, for `fake_workspace.py`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from saewidgets.errors import NotFoundError
from saewidgets.records import Records, SAERecord

FACETS = ("source", "model", "layer", "architecture", "format")


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

    def load_code(self, sae_id: str) -> dict[str, str]:
        code = f'import saewidgets as sw\n\nsae = sw.default_workspace().saes.load("{sae_id}")'
        return {"saewidgets": code, "sae_lens": "from sae_lens import SAE"}

    # ------------------------------------------------------------------------------------------- changing

    def update(self, sae_id: str, **changes: Any) -> SAERecord:
        self.calls.append(("update", sae_id, changes))
        return self.add(dataclasses.replace(self.get(sae_id), **changes))

    def delete(self, sae_id: str) -> int:
        record = self.get(sae_id)
        del self.records[sae_id]
        self.tell()
        return record.size_bytes

    def subscribe(self, callback: Callable[..., None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)
