"""Defines `StoreParts`, the shards of a capture that several jobs write: each is the same bytes whoever does it, and
together they are the store of a single job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from saewidgets.activations.packed import PackedTokens
from saewidgets.activations.store import PROGRESS, SPECIAL, TOKENS, read_json, shard_name
from saewidgets.activations.store_write import (
    CAPTURE_HINT,
    FORMAT,
    CapturedRows,
    CaptureSettings,
    StorePlan,
    StoreWriter,
)
from saewidgets.durable import sealed, size_of, storage_errors, write_json
from saewidgets.events import Control
from saewidgets.lm import LoadedModel


class StoreParts(CapturedRows):
    """The parts of what `capture_store` writes with the same arguments, a shard each."""

    def __init__(self, lm: LoadedModel, packed: PackedTokens, settings: CaptureSettings) -> None:
        super().__init__(lm, packed, settings)
        whole, per_shard = self.plan.facts.n_rows, self.plan.facts.rows_per_shard
        self.sizes = [min(per_shard, whole - first) for first in range(0, whole, per_shard)]  # rows of every part

    def write(self, control: Control, number: int, folder: Path, on_progress: Callable[[int], None]) -> None:
        """Write part `number` into a folder of its own, or go on with it. Paused it has a checkpoint."""
        plan, length = self._plan_of(number), self.packed.context_size
        first = number * plan.facts.rows_per_shard // length
        contexts = self.contexts[first : first + self.sizes[number] // length]
        with closing(StoreWriter(folder, plan, resume=True)) as writer:
            writer.fill(partial(self.pieces, contexts), control, CAPTURE_HINT, on_progress)
            writer.close_shards()
            writer.checkpoint()

    def join(self, folder: Path, parts: Iterable[Path]) -> None:
        """Put the first parts, which lie in these folders, into `folder`, where `capture_store` then ends the store, or
        goes on: up to the first that is not there, not whole, or of another configuration. Killed it can be repeated.
        """
        if (folder / PROGRESS).exists():
            return  # it was put together before, and went on
        facts, rows, special = self.plan.facts, 0, 0
        sums = {name: [0.0, 0.0] for name in facts.hooks}
        files: dict[str, Any] = {}
        with storage_errors("The parts cannot be put together", folder, "Free some disk space, then resume."):
            for name in facts.hooks:
                (folder / name).mkdir(exist_ok=True)
            with (folder / TOKENS).open("wb") as tokens, (folder / SPECIAL).open("wb") as marks:
                for number, part in enumerate(parts):
                    state = read_json(part / PROGRESS)
                    if state is None or not self._move(number, part, folder, state, files):
                        break
                    tokens.write((part / TOKENS).read_bytes())
                    marks.write((part / SPECIAL).read_bytes())
                    rows, special = rows + state["rows"], special + state["special"]
                    for name, (full, rest) in state["sums"].items():
                        sums[name][0] += full + rest
            write_json(folder / PROGRESS, sealed({
                "format": FORMAT, "identity": self.plan.identity, "rows": rows, "special": special, "sums": sums,
                "files": files,
            }))  # fmt: skip

    def _plan_of(self, number: int) -> StorePlan:
        facts = replace(self.plan.facts, n_rows=self.sizes[number])
        return StorePlan(facts, {**self.plan.identity, "part": number})

    def _move(self, number: int, part: Path, folder: Path, state: dict[str, Any], files: dict[str, Any]) -> bool:
        """Move the shards of a part; False where it is not the whole of that part."""
        plan = self._plan_of(number)
        if sealed(dict(state["identity"])) != sealed(dict(plan.identity)) or state["rows"] != plan.facts.n_rows:
            return False
        for name in plan.facts.hooks:
            known = state["files"][shard_name(name, 0)]
            here, there = part / shard_name(name, 0), folder / shard_name(name, number)
            if here.exists():
                here.replace(there)
            if size_of(there) != known["size"]:
                return False
            files[shard_name(name, number)] = known
        return True
