"""Writes `tests/wire/*.json`: one golden example of every message, which the Python and TypeScript tests both read.

    python tools/make_wire.py            # write them
    python tools/make_wire.py --check    # fail when a file differs from what would be written

File name = class name in snake case; content = the message as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from wire_features import EXAMPLES as FEATURES
from wire_hub import EXAMPLES as HUB
from wire_runs import ADVICE, COMPARE
from wire_runs import EXAMPLES as RUNS
from wire_saes import EXAMPLES as SAES
from wire_steering import EXAMPLES as STEERING

from saewidgets.widgets.messages import training as m
from saewidgets.widgets.messages import wire as w

FOLDER = Path(__file__).parent.parent / "tests" / "wire"

NOTE = w.Note(
    what="Loss became NaN at step 449 (1.84M tokens).", where="train_01J8", hint="Lower Learning rate.", kind="nan"
)
CARD = m.Card(
    id="train_01J8", name="gpt2-l6-topk-k32", status="running", model="gpt2", hook_name="blocks.6.hook_resid_post",
    architecture="TopK k 32", d_sae=16_384, device="cuda:0", tokens_total=10_000_000, tokens_done=6_201_344, step=1514,
    fraction=0.62, rate=48_210.0, eta_seconds=79.0, phase="training", queue_position=None,
    tiles=m.Tile(loss="NaN", l0=32.0, fvu=0.118, ce_loss_score=0.957, dead=0.021), note=NOTE, checkpoint_count=3,
    checkpoint_bytes=906_000_000, last_checkpoint_step=1500, last_checkpoint_tokens=6_144_000, sae_id="sae_1",
    created_at=1_790_000_000.0, started_at=1_790_000_001.0, finished_at=None, heartbeat_at=1_790_000_130.0,
    seconds_running=130.0, series=0, group_id="group_1", group_name="gpt2-l4-6-8-batchtopk",
    retry_of=None, continued_from="gpt2-l6-topk-k32-first", continued_step=1000,
    advice="Dead latents 52 % after 3M tokens.",
)
DEVICE = w.DeviceInfo(id="cuda:0", label="cuda:0 (8.0 GB)", total_bytes=8_000_000_000, free_bytes=6_100_000_000)
CHARTS = m.ChartState(
    training_ids=(CARD.id,), followed=("train_01J9",), smoothing=40, summaries=("Loss against tokens, log scale.",)
)
FIELD = m.FormField(
    name="sae.k", label="Active latents (k)", help="Latents that stay active.", type="integer", default=32,
    minimum=1, maximum=16_384, section="sae", architectures=("topk", "batchtopk"),
)
ESTIMATE = m.Estimate(
    device="cuda:0", memory=(m.Segment(label="Model", bytes=800_000_000),), memory_total_bytes=2_900_000_000,
    elsewhere=(
        m.Elsewhere(
            device="cpu", memory=(m.Segment(label="Activations", bytes=134_217_728),), total_bytes=134_217_728,
            free_bytes=12_000_000_000,
        ),
    ),
    device_total_bytes=8_000_000_000, device_free_bytes=6_100_000_000, seconds=208.0, tokens_per_second=48_000.0,
    basis="measured on this device", disk_bytes=1_000_000_000, disk_free_bytes=41_000_000_000, queue=1,
    queue_seconds=79.0, warnings=("Not enough memory on cuda:0.",),
)
CONFIG = {"model": "demo", "sae": {"architecture": "topk", "k": 32}}

EXAMPLES: tuple[w.Wire, ...] = (
    m.PanelState(
        revision=7, cards=(CARD,), total=1, jobs=1, charts=CHARTS, devices=(DEVICE,), notice=NOTE, compare=COMPARE,
        templates_revision=2, sae_shown="sae_1", updated_at=1_790_000_131.0,
    ),
    w.Nudge(id="c-0", waiting=["c-1"]),
    w.Refresh(id="c-1", revision=6),
    m.FormSchema(id="c-2", training_id=CARD.id, template_id=None),
    m.Check(id="c-3", config=CONFIG, over={"hook_name": ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]}),
    m.Create(
        id="c-4", config=CONFIG, over={"hook_name": ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]},
        retry_of="train_01J7",
    ),
    w.TrainDemo(id="c-5"),
    m.RunAction(id="c-6", action="pause", training_id=CARD.id),
    m.Rename(id="c-7", training_id=CARD.id, name="better"),
    m.Details(id="c-8", training_id=CARD.id),
    m.Chart(
        id="c-9", training_ids=(CARD.id,), followed=(), x_axis="steps", x_range="all", log_y=False, show_raw=True,
        smoothing=0, theme="dark",
    ),
    m.Pictures(id="c-10", figure="charts"),
    m.MetricTable(id="c-11", training_id=CARD.id, limit=5000),
    w.Ack(id="c-1"),
    w.Result(id="c-11", value={"rows": 2, "total": 2}, columns=("step", "loss")),
    w.Failure(
        id="c-4", what="The configuration is not valid.", where="sae.k", hint="Enter 1 to 16,384.",
        fields={"sae.k": "k is 20,000 but d_sae is 16,384."},
    ),
    m.FormData(
        fields=(FIELD,), defaults={"sae.k": 32}, of_model={"demo": {"sae.k": 16}}, devices=(DEVICE,),
        suggestions={"model": ("demo",)},
    ),
    m.CheckResult(
        fields={"sae.k": "k is 20,000 but d_sae is 16,384."}, hints={"model": "124M parameters"}, pending=("model",),
        model=m.ModelFacts(parameters=124_000_000, layers=12, d_model=768, context=1024, d_in=768, heads=12),
        name="gpt2-l6-topk-k32", estimate=ESTIMATE,
    ),
    m.DetailsData(
        checkpoints=(
            m.CheckpointRow(
                id="ckpt_1", label="latest", step=1500, tokens=6_144_000, fvu=0.119, val_fvu=0.121, best_by=0.957,
                size_bytes=302_000_000, saved_at=1_790_000_120.0,
            ),
        ),
        best_by="CE recovered",
        log=("step 1,500",), settings=(w.Setting(name="sae.k", value="32"),), advice=(ADVICE,),
        folder="trainings/train_01J8", traceback="Traceback (most recent call last): …",
    ),
    m.TableData(rows=2, total=2),
    m.PicturesData(pictures=(m.Picture(name="loss", width=640, height=400, svg="<svg></svg>"),)),
)  # fmt: skip


def golden() -> dict[str, str]:
    """File name → text of every golden file."""
    files = {}
    for example in (*EXAMPLES, *RUNS, *HUB, *SAES, *FEATURES, *STEERING):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(example).__name__).lower()
        files[f"{name}.json"] = json.dumps(example.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    files = golden()
    if not parser.parse_args().check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (FOLDER / name).write_text(text, "utf-8")
        print(f"{len(files)} files written to {FOLDER}")
        return 0
    there = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    wrong = sorted(name for name in files.keys() | there.keys() if files.get(name) != there.get(name))
    if wrong:
        print(f"Out of date: {', '.join(wrong)}. Run tools/make_wire.py.", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
