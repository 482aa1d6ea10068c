"""Interpretations: what every latent fires on most and the words around, one JSON file per SAE.

The file is an object with a key per latent. Used by `sw.analyze_sae` and `ws.features.interpretations`.
"""

import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError, FormatError
from saewidgets.features.labels.evidence import Example, Examples, FeatureEvidence, marked, shortened, visible
from saewidgets.features.labels.heuristic import top_tokens
from saewidgets.features.labels.label import Label, shown
from saewidgets.features.labels.label_files import opened

COMMON = 20
TOP = 5
WINDOW = 5
MAX_TEXT = 2_000
MAX_FILE = 1 << 31

Interpretation = dict[str, Any]
"""Plain JSON data of one latent, see `interpret_feature`."""


def common_tokens(examples: Iterable[Example], window: int = WINDOW) -> list[tuple[str, int, float]]:
    """Tokens within `window` tokens of the peaks: (token, in how many places, sum of their examples' weights).

    Every position counts once for each example it is near to. An example weighs its activation at the peak over the
    largest of all examples, so the strongest weighs 1. The most frequent come first, then the heavier, then by text.
    """
    examples = list(examples)
    largest = max((e.value for e in examples), default=0.0)
    weights: defaultdict[str, list[float]] = defaultdict(list)
    for example in examples:
        weight = max(0.0, example.value) / largest if largest > 0 else 0.0
        for token in example.around(window, window).tokens:
            weights[token].append(weight)
    rows = [(token, len(found), math.fsum(found)) for token, found in weights.items()]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def interpret_feature(evidence: FeatureEvidence, labels: Iterable[Label] = ()) -> Interpretation:
    """What is known of one latent, as plain JSON data.

    Returns:
        ``feature_id``, ``active`` (False: dead), ``dead``, ``label``, ``label_source``, ``label_by``,
        ``top_activation``, ``density``, ``num_activations`` (how often it fired; None where that is not known); of an
        active one also ``mean_activation`` (where it fires; over the examples if nothing better is known),
        ``num_examples``, ``common_tokens`` as [token, count], ``common_tokens_weighted`` as [token, weight] (its own
        order), ``active_tokens``, ``top_examples`` as {text, marked, position (of the peak in the window),
        activation, document}, and ``raises`` and ``lowers`` as [token, effect].
    """
    label = shown(labels)
    found: Interpretation = {
        "feature_id": evidence.index, "active": not evidence.is_dead, "dead": evidence.is_dead,
        "label": label.text if label else "", "label_source": label.source if label else "",
        "label_by": label.by if label else "", "top_activation": evidence.max_activation, "density": evidence.density,
        "num_activations": 0 if evidence.is_dead else evidence.firing_count,
    }
    if evidence.is_dead:
        return found
    windows = evidence.activating()
    tokens = common_tokens(evidence.top or windows)
    heavy = sorted(tokens, key=lambda row: (-row[2], -row[1], row[0]))
    mean = evidence.mean_activation
    return found | {
        "mean_activation": math.fsum(e.value for e in windows) / len(windows) if mean is None and windows else mean,
        "num_examples": len(windows),
        "common_tokens": [[token, count] for token, count, _ in tokens[:COMMON]],
        "common_tokens_weighted": [[token, round(weight, 6)] for token, _, weight in heavy[:COMMON]],
        "active_tokens": top_tokens(evidence),
        "top_examples": [_example(e) for e in windows[:TOP]],
        "raises": [[token, effect] for token, effect in evidence.raises],
        "lowers": [[token, effect] for token, effect in evidence.lowers],
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "text": shortened(example.text, MAX_TEXT), "position": example.peak, "activation": example.value,
        "marked": shortened(marked(example.tokens, [i == example.peak for i in range(len(example.tokens))]), MAX_TEXT),
        "document": example.document,
    }


def interpret_features(
    examples: Examples, features: Iterable[int], labels: Mapping[int, Iterable[Label]] | None = None
) -> Iterator[Interpretation]:
    """`interpret_feature` of many latents, one after the other as they are asked for."""
    return (interpret_feature(examples.of(index), (labels or {}).get(index, ())) for index in features)


def write_interpretations(
    interpretations: Iterable[Interpretation], path: str | os.PathLike[str]
) -> dict[str, int]:
    """Write the file, whole or not at all, with a line per latent; returns how many are ``active`` and ``dead``."""
    counts = {"active": 0, "dead": 0}
    with whole_file(Path(path)) as file:
        separator = "{\n"
        for item in interpretations:
            counts["active" if item["active"] else "dead"] += 1
            file.write(f'{separator}"{item["feature_id"]}": {json.dumps(item, allow_nan=False)}')
            separator = ",\n"
        file.write("\n}\n" if separator == ",\n" else "{}\n")
    return counts


def read_interpretations(path: str | os.PathLike[str]) -> dict[int, Interpretation]:
    """What `write_interpretations` wrote, by the number of the latent.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is not such a file.
    """
    place = Path(path)
    with opened(place) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise FormatError("The file is too large.", where=place.name)
        try:
            data = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise FormatError(f"This is not JSON ({error}).", where=place.name, hint="Write it again.") from error
    found: dict[int, Interpretation] = {}
    for key, item in data.items() if isinstance(data, dict) else [("", data)]:
        if not (key.isascii() and key.isdigit() and isinstance(item, dict) and isinstance(item.get("active"), bool)):
            raise FormatError("This is not the interpretation of a latent.", where=f"{place.name}, {key[:40]!r}")
        found[int(key)] = item
    return found


_NUMBERS = (
    ("Top activation", "top_activation", ".4f"), ("Mean activation", "mean_activation", ".4f"),
    ("Density", "density", ".4%"), ("Num activations", "num_activations", ",d"), ("Examples", "num_examples", ",d"),
)


def print_feature_summary(interpretation: Interpretation, file: TextIO | None = None) -> None:
    """Print a few readable lines about one feature of `analyze_sae`; nothing in a token can change the terminal.

    Args:
        interpretation: one of those that `analyze_sae` returns.
        file: where to print; None: to the output of the cell.

    Raises:
        ConfigError: it is not an interpretation.
    """
    if not isinstance(interpretation, Mapping) or not {"feature_id", "active"} <= interpretation.keys():
        raise ConfigError(
            "This is not the interpretation of a feature.", where="interpretation",
            hint="Give one of those that analyze_sae returns: interpretations[12].",
        )
    label = visible(str(interpretation.get("label") or ""))
    lines = ["", f"Feature {interpretation['feature_id']}" + (f": {label}" if label else ""), "=" * 60]
    if interpretation["active"]:
        lines.append("  Status: ACTIVE")
        lines += [f"  {name}: {interpretation[key]:{style}}" for name, key, style in _NUMBERS
                  if interpretation.get(key) is not None]
        if label and interpretation.get("label_by"):
            lines.append(f"  Label by: {visible(str(interpretation['label_by']))}")
        lines += ["", "  Common tokens:"]
        lines += [f"    '{visible(shortened(str(token), 40))}': {count}"
                  for token, count in interpretation.get("common_tokens", ())[:10]]
        for example in interpretation.get("top_examples", ())[:1]:
            lines += ["", "  Top example:", f"    Text: {visible(shortened(str(example['text']), 200))}",
                      f"    Position: {example['position']}", f"    Activation: {example['activation']:.4f}"]
    else:
        lines.append("  Status: DEAD (never fired on the text that was read)")
    (file or sys.stdout).write("\n".join([*lines, ""]))
