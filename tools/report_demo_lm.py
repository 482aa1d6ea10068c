"""Measure the shipped demo model and draw its training curve.

    python tools/report_demo_lm.py --log build/demo_lm/log.jsonl

Writes docs/images/demo-lm-loss.svg and docs/demo-lm.json (curve, held-out loss of every source, sizes) and prints
samples. Held-out loss is the mean over all tokens of the held-out documents, packed into contexts of 256 with BOS
between documents, as in training.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from build_corpus import DATA
from demo_rows import load_rows
from tokenizers import Tokenizer
from torch import Tensor
from train_demo_lm import contexts, evaluate, token_stream
from transformers import AutoModelForCausalLM, AutoTokenizer

DOCS = DATA.parent.parent.parent / "docs"
PROMPTS = (
    "The President of the United States",
    "And the LORD said unto",
    "Elizabeth was",
    "The database file",
    "The economy of the country",
    "The whale",
)


def curve_svg(log: list[dict[str, float]]) -> str:
    """Training and held-out loss against tokens seen, as one self-contained SVG."""
    width, height, left, bottom, top = 640, 320, 52, 40, 16
    rows = [row for row in log if row["train_loss"] > 0]
    most = max(row["tokens"] for row in rows)
    low = math.floor(min(row["validation_loss"] for row in rows) * 2) / 2
    high = math.ceil(max(row["validation_loss"] for row in rows) * 2) / 2

    def x(tokens: float) -> float:
        return left + (width - left - 16) * tokens / most

    def y(loss: float) -> float:
        return top + (height - top - bottom) * (high - min(loss, high)) / (high - low)

    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    label = 'role="img" aria-label="Loss of the demo model during training"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label} font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for i in range(int((high - low) * 2) + 1):
        loss = low + i / 2
        parts.append(f'<line x1="{left}" x2="{width - 16}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#e0e0e0"/>')
        parts.append(f'<text x="{left - 8}" y="{y(loss) + 4:.1f}" text-anchor="end" fill="#444">{loss:.1f}</text>')
    step = max(1, round(most / 1e6 / 6))
    for million in range(0, int(most / 1e6) + 1, step):
        parts.append(
            f'<text x="{x(million * 1e6):.1f}" y="{height - 22}" text-anchor="middle" fill="#444">{million}</text>'
        )
    middle = (left + width) / 2
    parts.append(f'<text x="{middle}" y="{height - 5}" text-anchor="middle" fill="#444">million tokens seen</text>')
    parts.append(
        f'<text transform="translate(13 {height / 2}) rotate(-90)" text-anchor="middle" fill="#444">nats/token</text>'
    )
    for key, colour, name, dash in (
        ("train_loss", "#e69f00", "training (running mean)", "4 3"),
        ("validation_loss", "#0072b2", "held-out", ""),
    ):
        points = " ".join(f"{x(row['tokens']):.1f},{y(row[key]):.1f}" for row in rows)
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{points}" {style}/>')
        line = 28 if key == "train_loss" else 46
        parts.append(f'<line x1="440" x2="468" y1="{line}" y2="{line}" {style}/>')
        parts.append(f'<text x="476" y="{line + 4}" fill="#222">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def bytes_per_token(rows: list[dict[str, str]], documents: list[Tensor]) -> float:
    """UTF-8 bytes of the documents per predicted token; BOS is predicted too, as the end of the one before."""
    return sum(len(row["text"].encode()) for row in rows) / sum(len(d) for d in documents)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=DATA / "model")
    parser.add_argument("--docs", type=Path, default=DOCS)
    args = parser.parse_args()

    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    rows = [row for row in load_rows(DATA / "corpus.jsonl.xz") if row["split"] == "validation"]
    model = AutoModelForCausalLM.from_pretrained(args.model)
    documents = token_stream(tokenizer, [row["text"] for row in rows])
    losses = {"all": evaluate(model, contexts(documents))}
    bits = {"all": losses["all"] / math.log(2) / bytes_per_token(rows, documents)}
    for source in sorted({row["source"] for row in rows}):
        own = [(row, d) for row, d in zip(rows, documents, strict=True) if row["source"] == source]
        of_source = [d for _, d in own]
        losses[source] = evaluate(model, contexts(of_source))
        bits[source] = losses[source] / math.log(2) / bytes_per_token([row for row, _ in own], of_source)

    log = [json.loads(line) for line in args.log.read_text().splitlines()]
    summary = {
        "parameters": model.num_parameters(),
        "weights_bytes": (args.model / "model.safetensors").stat().st_size,
        "corpus_bytes": (DATA / "corpus.jsonl.xz").stat().st_size,
        "steps": log[-1]["step"],
        "tokens_seen": log[-1]["tokens"],
        "nats_per_token": {k: round(v, 4) for k, v in losses.items()},
        "bits_per_byte": {k: round(v, 4) for k, v in bits.items()},
        "curve": log,
    }
    (args.docs / "images").mkdir(parents=True, exist_ok=True)
    (args.docs / "images" / "demo-lm-loss.svg").write_text(curve_svg(log))
    (args.docs / "demo-lm.json").write_text(json.dumps(summary, indent=1) + "\n")
    print({k: v for k, v in summary.items() if k != "curve"})

    hf_tokenizer = AutoTokenizer.from_pretrained(args.model)
    for prompt in PROMPTS:
        torch.manual_seed(0)
        ids = hf_tokenizer(prompt, return_tensors="pt").input_ids
        out = model.generate(ids, max_new_tokens=90, do_sample=True, temperature=0.7, top_p=0.95)
        print(f"--- {hf_tokenizer.decode(out[0], skip_special_tokens=True)}")


if __name__ == "__main__":
    main()
