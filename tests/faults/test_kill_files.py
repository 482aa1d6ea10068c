"""`kill -9` during a capture or an extraction, at random moments: resumed, every file is what it is without a kill, bit
for bit. Twenty kills with ``make faults``."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saewidgets.lm import load_model
from tests.features.extraction_setup import tiny_text

CAPTURE = """
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
EXTRACTION = """
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


def _files(folder: Path) -> dict[str, bytes]:
    """All but ``extraction.json``, which says when it was made."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name != "extraction.json"}


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("worker", "documents", "checkpoint", "finished"),
    [(CAPTURE, 30, "capture.json", "store.json"), (EXTRACTION, 150, "checkpoint/contexts_*", "extraction.json")],
    ids=["capture", "extraction"],
)
def test_killed_work_resumes_to_identical_files(
    tmp_path: Path, tiny_model_folder: Path, kills: int, worker: str, documents: int, checkpoint: str, finished: str
) -> None:
    packed = tiny_text(load_model(str(tiny_model_folder)), tmp_path / "tokens", documents=documents * (kills + 1))

    def start(folder: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", worker, str(tiny_model_folder), str(packed.folder), str(folder)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process

    process = start(tmp_path / "straight")
    started = time.monotonic()
    assert process.wait(600) == 0
    seconds = time.monotonic() - started

    chance = random.Random(4)
    folder = tmp_path / "killed"
    for done in range(kills):
        process = start(folder)
        with pytest.raises(subprocess.TimeoutExpired):  # a share of the work, so that some is left for the next kills
            process.wait(chance.random() * 2 * seconds / (kills + 2))
        while done == kills - 1 and not list(folder.glob(checkpoint)):
            assert process.poll() is None, "it ended without a checkpoint"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (folder / finished).exists():  # the machine is less busy than when it was timed: begin again
            assert done < kills - 1, "it was done before the last kill"
            shutil.rmtree(folder)
    assert start(folder).wait(600) == 0
    found, expected = _files(folder), _files(tmp_path / "straight")
    assert found.keys() == expected.keys()
    for name, data in expected.items():
        assert found[name] == data, f"{name} differs after {kills} kills"
