"""Training steps of every architecture beside the packages that have it too, each through its own trainer.

    python benchmarks/bench_train_step.py [--dense] [--only topk 384→4,096] [--seconds 8 --rounds 3]
    python benchmarks/bench_train_step.py --scaling [--full]

A case is one architecture, size and number format. Ours and each of its peers take turns, a few steps each; ratios are
medians over turns. A product of the encoder's size and a copy of memory are measured in between. With a penalty, L0 is
held at 75, as it is when the start of a run is over; `--dense` adds cases that begin as peers do, with half of all
latents. The scaling table varies one of d_sae, batch, k and threads at a time, topk beside sparsify. What has all cases
is saved for `report`.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import report
from turns import Case, measure

BOTH, ALL = ("sae-lens", "dictionary_learning"), ("sae-lens", "dictionary_learning", "sparsify")
L0 = 75.0


def cases(dense: bool) -> list[Case]:
    """The table of training steps. In bfloat16 sae-lens alone has an option; sparsify stays, as the fastest of topk."""
    found = []
    for peers, half, case in (
        (ALL, ("sae-lens", "sparsify"), Case("topk", (), d_in=384, d_sae=4096)),
        (ALL, ("sae-lens", "sparsify"), Case("topk", ())),
        (BOTH, ("sae-lens",), Case("batchtopk", ())),
        (BOTH, ("sae-lens",), Case("matryoshka", ())),
        (BOTH, ("sae-lens",), Case("standard", (), l0=L0)),
        (BOTH, ("sae-lens",), Case("jumprelu", (), l0=L0)),
        (BOTH, ("sae-lens",), Case("gated", (), l0=L0)),
        ((), (), Case("skip", (), l0=L0)),
        (("sparsify",), ("sparsify",), Case("transcoder", (), l0=L0)),
    ):
        found += [replace(case, peers=peers), replace(case, peers=half, precision="bfloat16")]
    return found + [Case(arch, BOTH) for arch in ("standard", "jumprelu", "gated") if dense]


def scaling(full: bool) -> list[Case]:
    """Series around topk 768→16,384."""
    series = {"d_sae": [4096, 8192, 32_768, 65_536], "batch": [512, 1024, 2048, 8192, 16_384],
              "k": [16, 64, 128], "threads": [1]}  # fmt: skip
    base = Case("topk", ("sparsify",))
    varied = [
        replace(base, **{name: value}) for name, values in series.items()
        for value in (values if full else sorted({values[0], values[-1]}))
    ]  # fmt: skip
    return [base, *varied]


def words(case: Case) -> set[str]:
    """What `--only` knows a case by."""
    return {word.rstrip(",") for word in [*case.label.split(), case.precision]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scaling", action="store_true", help="the series in place of the table")
    parser.add_argument("--full", action="store_true", help="every value of the series, not its ends alone")
    parser.add_argument("--dense", action="store_true", help="also cases with half of all latents active")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases with all these words; not saved")
    parser.add_argument("--seconds", type=float, default=8, help="of turns per case and peer")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every side, at least")
    arguments = parser.parse_args()
    chosen = scaling(arguments.full) if arguments.scaling else cases(arguments.dense)
    chosen = [case for case in chosen if set(arguments.only) <= words(case)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen:
            begun = time.perf_counter()
            found.append(measure(case, arguments.seconds, arguments.rounds, Path(folder)))
            print(f"{case.label}, {case.precision}: {time.perf_counter() - begun:.0f} s", flush=True)
    report.finish("scaling" if arguments.scaling else "train-step", found, save=not arguments.only)


if __name__ == "__main__":
    main()
