"""Writes `tests/golden/saelens/packing.json`: contexts that SAELens makes of documents it does not join.

    .venvs/saelens/bin/python tools/golden_saelens_packing.py
"""

import json
import random
from pathlib import Path

import torch
from sae_lens.tokenization_and_batching import concat_and_batch_sequences

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "saelens" / "packing.json"
BOS, CONTEXT = 1, 8


def main() -> None:
    draw = random.Random(0)
    documents = [[draw.randrange(2, 50) for _ in range(draw.randrange(1, 20))] for _ in range(40)]
    documents += [[BOS, *documents[0]], [BOS] + [5] * 7, [6] * 7, [7] * 8, [8] * 6]
    rows = {
        name: [
            row.tolist()
            for row in concat_and_batch_sequences(
                iter([torch.tensor(ids) for ids in documents]), CONTEXT, begin_batch_token_id=begin,
                disable_concat_sequences=True,
            )
        ]
        for name, begin in (("with_bos", BOS), ("without_bos", None))
    }  # fmt: skip
    TARGET.write_text(json.dumps({"bos": BOS, "context_size": CONTEXT, "documents": documents, **rows}) + "\n")


if __name__ == "__main__":
    main()
