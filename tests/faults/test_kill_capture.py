"""`kill -9` during a capture, at random moments: resumed, every file is what it is without a kill, bit for bit. Twenty
kills with ``make faults``."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKER = """
import sys
from pathlib import Path
import torch
from saewidgets.activations import PackedTokens, store, store_write
from saewidgets.lm import load_model
torch.set_num_threads(1)
store_write.CHECKPOINT_SECONDS = 0  # a checkpoint after every forward
store.SHARD_BYTES = 1 << 16
lm, packed = load_model(sys.argv[1]), PackedTokens(Path(sys.argv[2]))
hooks = ("blocks.0.hook_resid_post", "blocks.1.hook_mlp_out")
settings = store_write.CaptureSettings(hooks, 10**9, dtype="bfloat16", model_batch_size=4)
print("ready", flush=True)
store_write.capture_store(lm, packed, settings, sys.argv[3], resume=True)
"""


def _start(model: Path, tokens: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(model), str(tokens), str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_captures_resume_to_identical_files(tmp_path: Path, tiny_model_folder: Path, kills: int) -> None:
    from saewidgets.lm import load_model
    from tests.features.extraction_setup import tiny_text

    packed = tiny_text(load_model(str(tiny_model_folder)), tmp_path / "tokens", documents=30 * (kills + 1))
    process = _start(tiny_model_folder, packed.folder, tmp_path / "straight")
    started = time.monotonic()
    assert process.wait(600) == 0
    seconds = time.monotonic() - started

    chance = random.Random(4)
    folder = tmp_path / "killed"
    for done in range(kills):
        process = _start(tiny_model_folder, packed.folder, folder)
        with pytest.raises(subprocess.TimeoutExpired):  # a share of the work, so that some is left for the next kills
            process.wait(chance.random() * 2 * seconds / (kills + 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (folder / "store.json").exists(), f"it was done before kill {done + 1}"
    assert (folder / "capture.json").exists(), "no kill came after a checkpoint"
    assert _start(tiny_model_folder, packed.folder, folder).wait(600) == 0
    assert _files(folder) == _files(tmp_path / "straight")
