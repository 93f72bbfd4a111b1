"""Ways to fine-tune on the same data, over several seeds: SFT alone, and DPO after it with each loss.

    python benchmarks/methods.py outputs/demo
    python benchmarks/methods.py outputs/demo --start base training.dpo.epochs=4

Takes the rows and pairs of a finished run of the sandbox. For each seed SFT is trained from the base model, and every
kind of DPO from that, or from the base model, with the run's settings but for those given. Each model answers the run's
held-out requests greedily, graded by the sandbox's oracle; log p(chosen) is the mean over the last twenty steps, in
nats for a whole answer. What is done is kept: after a kill the same command goes on.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from held_out import NAMES, Mean, load_fewer, mean, measured, plain
from transformers.utils.logging import disable_progress_bar

from charter.config import Config, load_config
from charter.config.load import read_override
from charter.errors import CharterError
from charter.evaluation.requests import HeldOut
from charter.makers import model_folder
from charter.training import train
from charter.training.job import METRICS

METHODS: dict[str, dict[str, Any]] = {
    "DPO, soft labels": {},
    "DPO, hard labels": {"soft_labels": False},
    "DPO, soft, no SFT term": {"sft_weight": 0.0},
    "IPO": {"loss": "ipo"},
    "APO-zero": {"loss": "apo-zero"},
}
LOGP = "log p(chosen)"


def main() -> None:
    given = options()
    disable_progress_bar()
    config = load_config(given.run / "config.yaml", dict(map(read_override, given.settings)))
    requests = load_fewer(config.evaluation, config.seed, given.requests)
    rows = list[dict[str, Any]]()
    for seed in range(given.seeds):
        for row in trained(given, config, requests, seed):
            rows.append(row)
            print(json.dumps(row), flush=True)
    record = {"run": str(given.run), "from": given.start, "dpo": config.training.dpo.model_dump(mode="json")}
    found = means(rows)
    (given.out / "methods.json").write_text(
        json.dumps(plain({**record, "trained": rows, "means": found}), indent=1), encoding="utf-8"
    )
    print(f"\n{table(found)}\n\nWrote {given.out / 'methods.json'}.")


def trained(given: argparse.Namespace, config: Config, requests: Sequence[HeldOut], seed: int) -> list[dict[str, Any]]:
    """One row for each method, with its measures."""
    base, limit = model_folder(config.model), config.evaluation.max_tokens
    sft = train("sft", base, given.run / "sft_data", given.out / f"sft-{seed}", config.training, seed).model
    rows = [{"method": "SFT alone", "seed": seed, **measured(sft, requests, limit)}]
    start = str(sft) if given.start == "sft" else base
    for number, (method, changes) in enumerate(METHODS.items()):
        settings = config.training.model_copy(update={"dpo": config.training.dpo.model_copy(update=changes)})
        done = train("dpo", start, given.run / "pairs", given.out / f"dpo-{number}-{seed}", settings, seed)
        row = {"method": method, "seed": seed, **measured(done.model, requests, limit)}
        rows.append(row | {LOGP: last_logp(done.model)})
    return rows


def last_logp(model: Path) -> float:
    """The log-probability of the chosen answers under the trained model."""
    lines = (model / METRICS).read_text(encoding="utf-8").splitlines()[-20:]
    return statistics.fmean(json.loads(line)["logps/chosen"] for line in lines)


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mean]]:
    """Over the seeds, by method."""
    methods = dict.fromkeys(row["method"] for row in rows)
    found = {method: [row for row in rows if row["method"] == method] for method in methods}
    return {
        method: {name: mean([row[name] for row in of]) for name in (*NAMES, LOGP) if name in of[0]}
        for method, of in found.items()
    }


def table(found: Mapping[str, Mapping[str, Mean]]) -> str:
    """Markdown: percent with 95 % intervals over the seeds, and nats."""
    heads = [*(f"{name.replace('_', ' ')}, %" for name in NAMES), f"{LOGP}, nats"]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method, of in found.items():
        logp = f"{of[LOGP].value:.1f}" if LOGP in of else "-"
        lines.append(f"| {method} | {' | '.join(str(of[name]) for name in NAMES)} | {logp} |")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="SFT alone and DPO with each loss, on the sandbox.")
    parser.add_argument("run", type=Path, help="the folder of a finished run of the sandbox, such as outputs/demo")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings instead of the run's")
    parser.add_argument("--start", choices=("sft", "base"), default="sft", help="the model that DPO starts from")
    parser.add_argument("--out", type=Path, default=Path("outputs/methods"), help="the folder for all it makes")
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11), metavar="1-10", help="from 0 on (5)")
    parser.add_argument("--requests", type=int, help="at most so many held-out requests of a category, for a trial")
    given = parser.parse_intermixed_args()
    if not any((given.run / "pairs").glob("*.parquet")):
        parser.error(f"run '{given.run}': has no pairs. Name the folder of a finished run.")
    given.out.mkdir(parents=True, exist_ok=True)
    return given


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None
