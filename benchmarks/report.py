"""The tables of what `bench_train_step` and `bench_end_to_end` measured, their files, and the plot.

    python benchmarks/report.py       # rewrite the tables of README.md and docs/images/speed.svg from the newest files

A file is `results/<date>-<set>.json`: commit, machine, versions, and per case the tokens per second of every turn.
"""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, README, PLOT = ROOT / "benchmarks/results", ROOT / "benchmarks/README.md", ROOT / "docs/images/speed.svg"
SETS = ("train-step", "scaling", "end-to-end")
PACKAGES = ("sae-lens", "dictionary-learning", "eai-sparsify")
LOOKS = {  # colour and outline, in a box of 10 by 10
    "ours": ("#d55e00", "M0 5A5 5 0 1 0 10 5A5 5 0 1 0 0 5Z"), "sparsify": ("#cc79a7", "M5 0L10 5L5 10L0 5Z"),
    "sae-lens": ("#0072b2", "M1 1H9V9H1Z"), "dictionary_learning": ("#009e73", "M5 0L10 9H0Z"),
    "encoder's product": ("#1f2328", "M4 0H6V10H4Z"),
}  # fmt: skip
Found = dict[str, Any]


def finish(name: str, cases: list[Found], *, save: bool) -> None:
    """Print the table of a set; its file takes the place of the one before."""
    sys.path.insert(0, str(ROOT))
    import torch

    info, git = Path("/proc/cpuinfo"), ["git", "describe", "--always", "--tags", "--dirty"]
    cpu = re.search(r"^model name\s*: (.*)$", info.read_text() if info.exists() else "", re.MULTILINE)
    stamps = " ".join(each.read_text() for each in (ROOT / ".venvs").glob("*/requirements.txt")).split()
    found: Found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip(),
        "cpu": cpu[1] if cpu else platform.processor(), "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "versions": [f"torch=={torch.__version__}", *(each for each in stamps if each.split("==")[0] in PACKAGES)],
        "cases": cases,
    }  # fmt: skip
    print(f"\n{text(found)}")
    if save:
        RESULTS.mkdir(exist_ok=True)
        for old in RESULTS.glob(f"*-{name}.json"):
            old.unlink()
        path = RESULTS / f"{found['date']}-{name}.json"
        path.write_text(_compact(json.dumps(found, indent=1, ensure_ascii=False)) + "\n", encoding="utf-8")
        print(f"\nWritten: {path.relative_to(ROOT)}. `python benchmarks/report.py` puts it into the README.")


def _compact(lines: str) -> str:
    """JSON with lists of numbers, and what maps to numbers, on one line."""
    return re.sub(r"([\[{])\s+([^\[\]{}]*?)\s+([\]}])", lambda m: m[1] + re.sub(r"\s+", " ", m[2]) + m[3], lines)


def newest(name: str) -> Found | None:
    """The file of a set."""
    files = sorted(RESULTS.glob(f"*-{name}.json"))
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else None


def text(found: Found) -> str:
    """When and where, and the table."""
    cases, products = found["cases"], []
    for kind in ("float32", "bfloat16"):
        rates = [2e-9 * c["d_in"] * c["d_sae"] * median(c["product"]) for c in cases if c["precision"] == kind]
        products += [f"{median(rates):,.0f} GFLOP/s in {kind}"] if rates else []
    loads, copies = [case["load"] for case in cases], [median(case["gb_per_second"]) for case in cases]
    head = (
        f"{found['date']}, commit {found['commit']}; {found['cores']} cores ({found['cpu']}), {found['memory_gb']} GB, "
        f"load {min(loads):g} to {max(loads):g}; {' '.join(found['versions'])}. Measured beside them: product "
        f"{', '.join(products)}; copy {median(copies):.0f} GB/s."
    )
    return f"{head}\n\n{table(cases)}"


def rates_of(case: Found) -> dict[str, float]:
    """Tokens per second of every side, ours first."""
    mine = [rate for each in case["turns"].values() for rate in each["ours"]]
    return {"ours": median(mine), **{peer: median(each[peer]) for peer, each in case["turns"].items() if peer}}


def table(cases: list[Found]) -> str:
    """One row per case; the fastest peer is in bold."""
    sides = list(dict.fromkeys(side for case in cases for side in case["turns"] if side))
    columns = ["case, tokens/s", *sides, "ours", "to the fastest peer (range)", "L0", "of the product", "of five",
               "memory, MB", "least of peers"]  # fmt: skip
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for case in cases:
        peers, memory, ratio = rates_of(case), dict(case["peak_mb"]), ""
        mine, mb = peers.pop("ours"), memory.pop("ours")
        cells = {side: f"{rate:,.0f}" for side, rate in peers.items()}
        if peers:
            best = max(peers, key=peers.__getitem__)
            cells[best] = f"**{cells[best]}**"
            pairs = zip(case["turns"][best]["ours"], case["turns"][best][best], strict=True)
            ratios = [ours / theirs for ours, theirs in pairs]
            ratio = f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        low, high = min(case["l0"].values()), max(case["l0"].values())
        l0 = f"{low:,.0f}" if round(low) == round(high) else f"{low:,.0f} to {high:,.0f}"
        share = mine / median(case["product"])
        row = [
            label(case), *(cells.get(side, "") for side in sides), f"{mine:,.0f}", ratio, l0, f"{share:.0%}",
            f"{5 * share:.0%}", f"{mb:,}", f"{min(memory.values()):,}" if memory else "",
        ]  # fmt: skip
        rows.append(f"| {' | '.join(row)} |")
    return "\n".join(rows)


def label(case: Found) -> str:
    return case["case"] + (", bfloat16" if case["precision"] == "bfloat16" else "")


def plot(found: Found) -> str:
    """Tokens per second of every side and case, on a logarithmic axis."""
    from saewidgets.render.figure import PAPER, Axis, Key, Points, figure, log_ticks

    cases = found["cases"]
    points: dict[str, list[tuple[float, float]]] = {side: [] for side in reversed(LOOKS)}
    for row, case in enumerate(reversed(cases)):
        points["encoder's product"].append((median(case["product"]), row))
        for side, rate in rates_of(case).items():
            points[side].append((rate, row))
    rates = [rate for each in points.values() for rate, _ in each]
    low, high = min(rates) / 1.2, max(rates) * 1.2
    frame = replace(PAPER, width=760, height=22 * len(cases), left=240, below=34, title={**PAPER.title, "x": 16})
    drawing = figure(
        "Training, tokens per second",
        Axis("", low, high, [(tick, f"{tick:,.0f}") for tick in log_ticks(low, high)], log=True),
        Axis("", -0.7, len(cases) - 0.3, [(row, label(case)) for row, case in enumerate(reversed(cases))]),
        [Points([x for x, _ in each], [y for _, y in each], *LOOKS[side]) for side, each in points.items() if each],
        [Key(side, LOOKS[side][0], shape=LOOKS[side][1]) for side in LOOKS if points[side]],
        frame=frame, says="Tokens per second of training steps, ours beside its peers and the encoder's product alone",
    )  # fmt: skip
    return f"{drawing.svg}\n"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    readme = README.read_text(encoding="utf-8")
    for name in SETS:
        found, first, last = newest(name), f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if found is None:
            print(f"No file of {name}: its table stays as it is.")
            continue
        before, rest = readme.split(first)
        readme = f"{before}{first}{text(found)}\n{last}{rest.split(last)[1]}"
        if name == "train-step":
            PLOT.write_text(plot(found), encoding="utf-8")
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
