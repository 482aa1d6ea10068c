"""`kill -9` during an extraction, at random moments: resumed, every file is what it is without a kill, bit for bit.
Twenty kills with ``make faults``; one is in tests/workspace/features/test_extractions.py."""

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
from saewidgets.activations import PackedTokens
from saewidgets.config import ExtractionConfig
from saewidgets.features.extraction import encoding, extract, extractor
from tests.features.extraction_setup import RESID, tiny_model, tiny_sae
torch.set_num_threads(1)
encoding.CHUNK_TOKENS = {"cpu": 8 * 24}
extractor._SECONDS = extractor._SHARE = 0  # a checkpoint after every chunk
lm, packed = tiny_model(Path(sys.argv[1])), PackedTokens(Path(sys.argv[2]), 0.05)
config = ExtractionConfig(examples=6, per_interval=2, batch_size=4)
print("ready", flush=True)
extract(tiny_sae("standard"), lm, packed, packed.train, RESID, config, sys.argv[3], resume=True)
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
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "extraction.json"}


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_extractions_resume_to_identical_files(tmp_path: Path, tiny_model_folder: Path, kills: int) -> None:
    from saewidgets.lm import load_model
    from tests.features.extraction_setup import tiny_text

    packed = tiny_text(load_model(str(tiny_model_folder)), tmp_path / "tokens", documents=150 * (kills + 1))
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
        while done == kills - 1 and not list((folder / "checkpoint").glob("contexts_*")):
            assert process.poll() is None, "it ended without a checkpoint"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (folder / "extraction.json").exists(), f"it was done before kill {done + 1}"
    assert _start(tiny_model_folder, packed.folder, folder).wait(600) == 0
    found, expected = _files(folder), _files(tmp_path / "straight")
    assert found.keys() == expected.keys()
    for name, data in expected.items():
        assert found[name] == data, f"{name} differs after {kills} kills"
