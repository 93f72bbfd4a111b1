"""Do soft labels pay? DPO on the sandbox under a noisy judge whose p says how noisy it is.

    python benchmarks/soft_labels.py outputs/demo training.dpo.sft_weight=0
    python benchmarks/soft_labels.py outputs/demo --start base training.dpo.learning_rate=2e-4 training.dpo.epochs=4

Takes the pairs and the SFT or base model of a finished run; after SFT there is little left to learn on the sandbox.
For each pair a p is drawn, evenly between 1/2 and 1, and the pair is turned around with probability 1 - p: the labels
of a judge that is wrong as often as it says. Then DPO is trained with the run's settings, but for those given, from
the same model and on the same labels:

    soft             every pair with its p
    hard             every pair as if it were certain
    filtered         the pairs with p above 0.8, as if they were certain
    filtered-longer  those again, for as many steps as the others have

Each model answers the run's held-out requests greedily, and the sandbox's oracle grades the answers. Seeds differ in
the labels and in the order of training. What is done is kept: after a kill the same command goes on.
"""

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from held_out import NAMES, Mean, answered, load_fewer, mean, measured, plain
from transformers.utils.logging import disable_progress_bar

from charter.config import Config, Training, load_config
from charter.config.load import read_override
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.errors import CharterError
from charter.evaluation.requests import HeldOut
from charter.makers import model_folder
from charter.training import train

LABELS = ("soft", "hard", "filtered", "filtered-longer")
SURE = 0.8
SCHEMA = pa.schema(map(SCHEMAS["pairs"].field, ("row_id", "pair_id", "prompt", "chosen", "rejected", "p_chosen")))


class Experiment(NamedTuple):
    """What all trainings share."""

    config: Config
    start: Path
    out: Path
    pairs: Sequence[Mapping[str, Any]]
    requests: Sequence[HeldOut]

    def trained(self, labels: str, seed: int) -> dict[str, Any]:
        """Train on one kind of label, answer and grade; or what was found before."""
        noisy = [flipped(pair, seed) for pair in self.pairs]
        used = [pair for pair in noisy if not labels.startswith("filtered") or pair["p_chosen"] > SURE]
        data, model = self.out / "data" / f"{labels}-{seed}.parquet", self.out / "models" / f"{labels}-{seed}"
        write_rows(data, SCHEMA, used)
        done = train("dpo", self.start, data, model, self.settings(labels, len(used)), seed)
        about = {"labels": labels, "seed": seed, "rows": done.rows_used, "steps": done.steps}
        return {**about, **measured(done.model, self.requests, self.config.evaluation.max_tokens)}

    def settings(self, labels: str, used: int) -> Training:
        """The run's, for this kind of label on so many pairs."""
        dpo = self.config.training.dpo
        longer = len(self.pairs) / used if labels == "filtered-longer" else 1.0
        changed = dpo.model_copy(update={"soft_labels": labels == "soft", "epochs": dpo.epochs * longer})
        return self.config.training.model_copy(update={"dpo": changed})


def flipped(pair: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A pair with a p drawn for it, turned around with probability 1 - p; the same for the same seed."""
    luck = random.Random(f"{seed}\0{pair['pair_id']}")
    p = 1 - luck.random() / 2
    wrong = luck.random() < 1 - p
    chosen, rejected = ("rejected", "chosen") if wrong else ("chosen", "rejected")
    kept = {name: pair[name] for name in ("row_id", "pair_id", "prompt")}
    return {**kept, "chosen": pair[chosen], "rejected": pair[rejected], "p_chosen": p}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Mean]]]:
    """Means of each kind of label, and of what soft labels add to each other kind, seed by seed."""
    found = {labels: [row for row in rows if row["labels"] == labels] for labels in LABELS}
    found = {labels: of for labels, of in found.items() if of}
    means = {labels: {name: mean([row[name] for row in of]) for name in NAMES} for labels, of in found.items()}
    gained = {
        f"soft - {labels}": {
            name: mean([ours[name] - theirs[name] for ours, theirs in zip(found["soft"], of, strict=True)])
            for name in NAMES
        }
        for labels, of in found.items()
        if labels != "soft" and "soft" in found
    }
    return {"means": means, "differences": gained}


def table(start: Mapping[str, float], found: Mapping[str, Mapping[str, Mapping[str, Mean]]]) -> str:
    """Markdown: percent, and percentage points where two are compared, with 95 % intervals over the seeds."""
    lines = [
        f"| labels, in % | {' | '.join(name.replace('_', ' ') for name in NAMES)} |",
        "|---" * (len(NAMES) + 1) + "|",
    ]
    lines.append(f"| none (before DPO) | {' | '.join(f'{100 * start[name]:.1f}' for name in NAMES)} |")
    for part in found.values():
        lines += [f"| {title} | {' | '.join(str(of[name]) for name in NAMES)} |" for title, of in part.items()]
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Soft labels against hard and filtered ones, on the sandbox.")
    parser.add_argument("run", type=Path, help="the folder of a finished run of the sandbox, such as outputs/demo")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings instead of the run's")
    parser.add_argument("--start", choices=("sft", "base"), default="sft", help="the run's model that DPO starts from")
    parser.add_argument("--out", type=Path, default=Path("outputs/soft-labels"), help="the folder for all it makes")
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11), metavar="1-10", help="from 0 on (5)")
    parser.add_argument("--labels", nargs="+", default=LABELS, choices=LABELS, help="only these kinds")
    parser.add_argument("--rows", type=int, help="only the first so many pairs, for a trial")
    parser.add_argument("--requests", type=int, help="at most so many held-out requests of a category, for a trial")
    given = parser.parse_intermixed_args()
    if not (given.run / "sft" / "DONE").is_file() or not any((given.run / "pairs").glob("*.parquet")):
        parser.error(f"run '{given.run}': has no trained sft model or no pairs. Name the folder of a finished run.")
    return given


def experiment(given: argparse.Namespace) -> Experiment:
    config = load_config(given.run / "config.yaml", dict(map(read_override, given.settings)))
    start = given.run / "sft" if given.start == "sft" else Path(model_folder(config.model))
    requests = load_fewer(config.evaluation, config.seed, given.requests)
    pairs = list(read_rows(given.run / "pairs"))[: given.rows]
    given.out.mkdir(parents=True, exist_ok=True)
    return Experiment(config, start, given.out, pairs, requests)


def main() -> None:
    given = options()
    disable_progress_bar()
    trial = experiment(given)
    start = answered(trial.start, trial.requests, trial.config.evaluation.max_tokens)
    rows = []
    for seed in range(given.seeds):
        for labels in given.labels:
            rows.append(trial.trained(labels, seed))
            shares = ", ".join(f"{name} {rows[-1][name]:.3f}" for name in NAMES)
            print(f"{labels}, seed {seed}, {rows[-1]['rows']} rows, {rows[-1]['steps']} steps: {shares}", flush=True)
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
