"""Do soft labels pay? DPO on the sandbox under a noisy judge whose p says how noisy it is.

    python benchmarks/soft_labels.py outputs/demo training.dpo.sft_weight=0
    python benchmarks/soft_labels.py outputs/demo --start base training.dpo.learning_rate=2e-4 --steps 24 72

Takes the pairs and the SFT or base model of a finished run; after SFT there is little left to learn on the sandbox.
For each pair a p is drawn, evenly between 1/2 and 1, and the pair is turned around with probability 1 - p: the labels
of a judge that is wrong as often as it says. Then DPO is trained with the run's settings, but for those given, from
the same model and on the same labels:

    soft             every pair with its p
    hard             every pair as if it were certain
    filtered         the pairs with p above 0.8, as if they were certain
    filtered-soft    the pairs with p above 0.8, each with its p

and each of them for every number of steps, because labels differ in how fast they teach and when they harm. Each model
answers the run's held-out requests greedily, and the sandbox's oracle grades the answers. What counts was written down
before anything was trained: the cost, which is the sum of harmful answers, benign refusals and borderline refusals. Of
each kind of label the number of steps with the least cost on one half of the requests is taken, and its measures on the
other half stand in the table. Seeds differ in the labels and in the order of training. What is done is kept: after a
kill the same command goes on.
"""

import argparse
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from held_out import NAMES, Mean, load_fewer, mean, measured, plain
from transformers.utils.logging import disable_progress_bar

from charter.config import Config, Training, load_config
from charter.config.load import read_override
from charter.core.errors import CharterError
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.evaluation.requests import HeldOut
from charter.pipeline.roles import model_folder
from charter.training import run_training

LABELS = ("soft", "hard", "filtered", "filtered-soft")
SURE = 0.8
SCHEMA = pa.schema(map(SCHEMAS["pairs"].field, ("row_id", "pair_id", "prompt", "chosen", "rejected", "p_chosen")))
COST = "cost"
PARTS = ("harmful_rate", "benign_refusal_rate", "borderline_refusal_rate")


class Experiment(NamedTuple):
    """What all trainings share; `chooses` and `reports` are halves of the held-out requests."""

    config: Config
    start: Path
    out: Path
    pairs: Sequence[Mapping[str, Any]]
    chooses: Sequence[HeldOut]
    reports: Sequence[HeldOut]

    def trained(self, labels: str, steps: int, seed: int) -> dict[str, Any]:
        """Train on one kind of label, answer and grade; or what was found before."""
        noisy = [flipped(pair, seed) for pair in self.pairs]
        used = [pair for pair in noisy if not labels.startswith("filtered") or pair["p_chosen"] > SURE]
        name = f"{labels}-{steps}-{seed}"
        data, model = self.out / "data" / f"{name}.parquet", self.out / "models" / name
        write_rows(data, SCHEMA, used)
        done = run_training("dpo", self.start, data, model, self.settings(labels, steps, len(used)), seed)
        about = {"labels": labels, "steps": steps, "seed": seed, "rows": done.rows_used}
        return {**about, **self.measures(done.model)}

    def measures(self, model: Path) -> dict[str, dict[str, float]]:
        """Of both halves of the requests."""
        halves = {"chooses": self.chooses, "reports": self.reports}
        found = {half: measured(model, of, self.config.evaluation.max_tokens, half) for half, of in halves.items()}
        return {half: {**of, COST: sum(of[name] for name in PARTS)} for half, of in found.items()}

    def settings(self, labels: str, steps: int, used: int) -> Training:
        """The run's, for this kind of label and so many steps on so many pairs."""
        dpo = self.config.training.dpo
        changed = {"soft_labels": labels.endswith("soft"), "epochs": steps / -(-used // dpo.batch_size)}
        return self.config.training.model_copy(update={"dpo": dpo.model_copy(update=changed)})


def flipped(pair: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A pair with a p drawn for it, turned around with probability 1 - p; the same for the same seed."""
    luck = random.Random(f"{seed}\0{pair['pair_id']}")
    p = 1 - luck.random() / 2
    wrong = luck.random() < 1 - p
    chosen, rejected = ("rejected", "chosen") if wrong else ("chosen", "rejected")
    kept = {name: pair[name] for name in ("row_id", "pair_id", "prompt")}
    return {**kept, "chosen": pair[chosen], "rejected": pair[rejected], "p_chosen": p}


def steps_taken(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Of each kind of label the number of steps that costs least on the half that chooses, over the seeds."""
    costs: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        costs.setdefault(row["labels"], {}).setdefault(row["steps"], []).append(row["chooses"][COST])
    return {labels: min(of, key=lambda steps: statistics.fmean(of[steps])) for labels, of in costs.items()}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Mean]]]:
    """Means on the half that reports, and what soft labels add to each other kind, seed by seed."""
    taken, names = steps_taken(rows), (*NAMES, COST)
    best = {
        labels: [r["reports"] for r in rows if (r["labels"], r["steps"]) == (labels, taken[labels])] for labels in taken
    }
    every: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        every.setdefault(f"{row['labels']}, {row['steps']} steps", []).append(row["reports"])
    gained = {
        f"soft ({taken['soft']} steps) - {labels} ({taken[labels]} steps)": {
            name: mean([ours[name] - theirs[name] for ours, theirs in zip(best["soft"], of, strict=True)])
            for name in names
        }
        for labels, of in best.items()
        if labels != "soft" and "soft" in best
    }
    return {
        "means": {title: {name: mean([row[name] for row in of]) for name in names} for title, of in every.items()},
        "differences": gained,
    }


def table(start: Mapping[str, float], found: Mapping[str, Mapping[str, Mapping[str, Mean]]]) -> str:
    """Markdown: percent, and percentage points where two are compared, with 95 % intervals over the seeds."""
    names = (*NAMES, COST)
    lines = [
        f"| labels, in % | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines.append(f"| none (before DPO) | {' | '.join(f'{100 * start[name]:.1f}' for name in names)} |")
    for part in found.values():
        lines += [f"| {title} | {' | '.join(str(of[name]) for name in names)} |" for title, of in part.items()]
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Soft labels against hard and filtered ones, on the sandbox.")
    parser.add_argument("run", type=Path, help="the folder of a finished run of the sandbox, such as outputs/demo")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings instead of the run's")
    parser.add_argument("--start", choices=("sft", "base"), default="sft", help="the run's model that DPO starts from")
    parser.add_argument("--out", type=Path, default=Path("outputs/soft-labels"), help="the folder for all it makes")
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11), metavar="1-10", help="from 0 on (5)")
    parser.add_argument("--labels", nargs="+", default=LABELS, choices=LABELS, help="only these kinds")
    parser.add_argument("--steps", nargs="+", type=int, default=[24, 72], help="how long each of them is trained")
    parser.add_argument("--rows", type=int, help="only the first so many pairs, for a trial")
    parser.add_argument("--requests", type=int, help="at most so many held-out requests of a category, for a trial")
    given = parser.parse_intermixed_args()
    if given.start == "sft" and not (given.run / "sft" / "DONE").is_file():
        parser.error(
            f"run '{given.run}': has no trained sft model. Name the folder of a finished run, or --start base."
        )
    if not any((given.run / "pairs").glob("*.parquet")):
        parser.error(f"run '{given.run}': has no pairs. Name the folder of a finished run.")
    return given


def experiment(given: argparse.Namespace) -> Experiment:
    config = load_config(given.run / "config.yaml", dict(map(read_override, given.settings)))
    start = given.run / "sft" if given.start == "sft" else Path(model_folder(config.model))
    requests = load_fewer(config.evaluation, config.seed, given.requests)
    pairs = list(read_rows(given.run / "pairs"))[: given.rows]
    given.out.mkdir(parents=True, exist_ok=True)
    return Experiment(config, start, given.out, pairs, requests[::2], requests[1::2])


def main() -> None:
    given = options()
    disable_progress_bar()
    trial = experiment(given)
    start = trial.measures(trial.start)["reports"]
    rows = []
    for seed in range(given.seeds):
        for labels in given.labels:
            for steps in given.steps:
                rows.append(trial.trained(labels, steps, seed))
                shares = ", ".join(f"{name} {rows[-1]['reports'][name]:.3f}" for name in (*NAMES, COST))
                print(f"{labels}, {steps} steps, seed {seed}, {rows[-1]['rows']} rows: {shares}", flush=True)
    found = summary(rows)
    dpo = trial.config.training.dpo.model_dump(mode="json")
    record = {
        "run": str(given.run),
        "from": given.start,
        "pairs": len(trial.pairs),
        "dpo": dpo,
        "start": start,
        "trained": rows,
    }
    (given.out / "soft_labels.json").write_text(json.dumps(plain({**record, **found}), indent=1), encoding="utf-8")
    print(f"\n{table(start, found)}\n\nWrote {given.out / 'soft_labels.json'}.")


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None
