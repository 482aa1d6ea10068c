"""Read the packed demo corpus without importing the package."""

import json
import lzma
from pathlib import Path


def load_rows(path: Path) -> list[dict[str, str]]:
    """All rows (`title`, `source`, `split`, `text`) in their stored order."""
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]
