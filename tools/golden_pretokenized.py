"""Writes `tests/golden/pretokenized`: what SAELens' PretokenizeRunner saves, for the test that reads it.

    .venvs/saelens/bin/python tools/golden_pretokenized.py
"""

import json
import shutil
import tempfile
from pathlib import Path

from sae_lens import PretokenizeRunner, PretokenizeRunnerConfig
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "pretokenized"
WORDS = "the king went down to the river and people followed him a great white whale rose out of sea beside".split()


def main() -> None:
    texts = [f"Story {n}: " + " ".join(WORDS[(n * 5 + i * i) % len(WORDS)] for i in range(30)) for n in range(12)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tiny-tokenizer"
        bpe = ByteLevelBPETokenizer()
        bpe.train_from_iterator(texts, vocab_size=300, special_tokens=["<|bos|>", "<|eos|>"], show_progress=False)
        PreTrainedTokenizerFast(
            tokenizer_object=bpe._tokenizer, bos_token="<|bos|>", eos_token="<|eos|>"
        ).save_pretrained(folder)
        data = Path(name) / "texts.jsonl"
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        config = PretokenizeRunnerConfig(
            tokenizer_name=str(folder), dataset_path="json", data_files=[str(data)], split="train", context_size=24,
            shuffle=False, num_proc=1, save_path=str(Path(name) / "saved"),
            begin_batch_token="bos", begin_sequence_token=None, sequence_separator_token="eos",
        )  # fmt: skip
        rows = PretokenizeRunner(config).run()["input_ids"]
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(Path(name) / "saved", TARGET)
        for file in TARGET.glob("cache-*"):
            file.unlink()
        expected = [[int(i) for i in row] for row in rows]
        metadata = json.loads((TARGET / "sae_lens.json").read_text())
        # Of the machine that made it nothing is kept.
        metadata |= {"tokenizer_name": "lab/tiny-tokenizer", "original_data_files": ["texts.jsonl"]}
        (TARGET / "sae_lens.json").write_text(json.dumps(metadata, indent=1))
        (TARGET / "expected.json").write_text(json.dumps(expected))
        info = json.loads((TARGET / "dataset_info.json").read_text())
        info.pop("download_checksums", None)
        (TARGET / "dataset_info.json").write_text(json.dumps(info, indent=1))


if __name__ == "__main__":
    main()
