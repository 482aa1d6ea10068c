"""Makes `saewidgets/hub/data/releases.json` from the table of releases that sae-lens ships.

    python tools/build_releases.py path/to/site-packages/sae_lens/pretrained_saes.yaml

Facts only: release → repository, model, loader; id → folder, as patterns where ids follow one; Gemma Scope 2's mean
active latents by folder, size word and layer. `--check` compares the file with the table and writes nothing.
"""

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).resolve().parents[1] / "saewidgets/hub/data/releases.json"
NUMBER = re.compile(r"\d+")
GEMMA_2 = re.compile(r"(.+)/layer_(\d+)_width_[^_]+_l0_(small|medium|big)(?:_.*)?")


def template(sae_id: str, path: str) -> str:
    """`path` with the numbers that stand in `sae_id` too named by their place in it."""
    numbers = NUMBER.findall(sae_id)
    if path.endswith(sae_id) and path != sae_id:  # a folder before the id: its numbers are fixed
        before = path.removesuffix(sae_id)
        return escaped(before) + placed(sae_id, numbers)
    return path_by_numbers(path, numbers)


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def placed(sae_id: str, numbers: list[str]) -> str:
    count = iter(range(len(numbers)))
    return NUMBER.sub(lambda _: f"{{{next(count)}}}", escaped(sae_id))


def path_by_numbers(path: str, numbers: list[str]) -> str:
    """Numbers of the path that stand in the id refer to it, from the left; the others are fixed."""
    left = list(enumerate(numbers))

    def name(found: re.Match[str]) -> str:
        for place, (index, value) in enumerate(left):
            if value == found[0]:
                del left[place]
                return f"{{{index}}}"
        return found[0]

    return NUMBER.sub(name, escaped(path))


def resolve(row: dict[str, Any], sae_id: str) -> str:
    if sae_id in row["ids"]:
        return str(row["ids"][sae_id])
    return str(row["patterns"][NUMBER.sub("#", sae_id)].format(*NUMBER.findall(sae_id)))


def facts(name: str, release: dict[str, Any]) -> dict[str, Any]:
    by_shape: dict[str, Counter[str]] = defaultdict(Counter)
    saes = [(str(sae["id"]), str(sae["path"])) for sae in release["saes"] if "path" in sae]
    for sae_id, path in saes:
        if not sae_id.endswith("/canonical"):
            for choice in dict.fromkeys((template(sae_id, path), escaped(path))):
                by_shape[NUMBER.sub("#", sae_id)][choice] += 1
    row: dict[str, Any] = {
        "repo": release["repo_id"],
        "model": release["model"],
        "loader": release.get("conversion_func") or "",
        "patterns": {shape: choices.most_common(1)[0][0] for shape, choices in by_shape.items()},
        "ids": {},
    }
    for sae_id, path in saes:
        if sae_id.endswith("/canonical") or resolve(row, sae_id) != path:
            row["ids"][sae_id] = path
    for sae_id, path in saes:
        assert resolve(row, sae_id) == path, (name, sae_id, path)
    return {key: value for key, value in row.items() if value}


def published_l0(table: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for release in table.values():
        if release.get("conversion_func") != "gemma_3":
            continue
        for sae in release["saes"]:
            if (match := GEMMA_2.fullmatch(sae["path"])) and sae.get("l0") is not None:
                place = found.setdefault(release["repo_id"], {}).setdefault(match[1], {}).setdefault(match[3], {})
                assert place.setdefault(match[2], sae["l0"]) == sae["l0"], sae
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="pretrained_saes.yaml of sae-lens")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(options.table.read_text(encoding="utf-8"), Loader=loader)
    releases = {}
    for name, release in table.items():
        releases[name] = facts(name, release)
    text = json.dumps({"releases": releases, "l0": published_l0(table)}, ensure_ascii=False, separators=(",", ":"))
    text = text.replace('},"', '},\n"') + "\n"
    if options.check:
        same = TARGET.read_text(encoding="utf-8") == text
        print("same" if same else f"{TARGET} differs")
        return 0 if same else 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"{len(releases)} releases, {sum(len(r['saes']) for r in table.values())} SAEs, {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
