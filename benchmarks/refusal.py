"""How well and how fast the refusal classifier tells what was refused.

    python benchmarks/refusal.py ../shared/data/xstest

Accuracy is that of "was anything refused?", macro F1 that of the three labels. Each of XSTest's models is judged by
weights that never saw its answers; the sets under tests/ by the shipped weights, which learnt from none of them.
Speed is the best of ten passes over XSTest's answers on one core, as they are and four times as long.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from charter.pipeline.refusal.classifier import classify_refusal, shipped_model
from tools.refusal.train import Labelled, Quality, assess, leave_one_out, read_labelled, read_sets

SETS = Path(__file__).parents[1] / "tests" / "unit" / "evaluation"
PASSES = 10
WANTED = 5000


def answers_per_second(rows: Sequence[Labelled], times: int) -> float:
    """The best of some passes, in seconds of this process alone, over answers repeated `times` times."""
    longer, best = [(row.prompt, row.response * times) for row in rows], float("inf")
    for _ in range(PASSES):
        began = time.process_time()
        for prompt, response in longer:
            classify_refusal(prompt, response)
        best = min(best, time.process_time() - began)
    return len(rows) / best


def main(folder: Path) -> None:
    data = {path.stem.removeprefix("completions_"): read_labelled(path) for path in folder.glob("completions_*.csv")}
    found: dict[str, Quality] = {f"XSTest, {name} left out": q for name, q in sorted(leave_one_out(data).items())}
    for name in ("refusals_not_given", "refusals_after_tuning"):
        found[name.replace("_", " ")] = assess(read_sets(SETS / f"{name}.yaml"), shipped_model())
    print("| answers | n | accuracy | macro F1 |\n|---|---:|---:|---:|")
    for name, quality in found.items():
        print(f"| {name} | {quality.n} | {quality.accuracy:.3f} | {quality.macro_f1:.3f} |")
    rows = [row for labelled in data.values() for row in labelled]
    mean = sum(len(row.response) for row in rows) / len(rows)
    for times in (1, 4):
        speed = answers_per_second(rows, times)
        print(f"\n{speed:,.0f} answers of {times * mean:,.0f} characters a second; at least {WANTED:,} are wanted.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
