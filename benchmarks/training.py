"""DPO beside TRL's stock trainer at the same settings: time and peak memory, each run in a process of its own.

    python benchmarks/training.py
    python benchmarks/training.py --model outputs/demo/sft --pairs outputs/demo/pairs --rounds 3

Four ways take the same pairs through the same number of steps of full fine-tuning: TRL's DPOTrainer and Charter's,
each with the reference computed at every step and once before. Timed is everything from the pairs' text to the trained
weights: tokenising, the reference, the steps. The ways take turns, as many times as there are rounds; a ratio is the
median over the rounds of that within each. Charter puts pairs of like length into a batch, and TRL does not.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from charter.config import Dpo, Training
from charter.data.schema import SCHEMAS
from charter.data.shards import write_rows
from charter.sandbox import MODEL
from charter.sandbox.scenes import Dice, draw_answers
from charter.sandbox.wording import NEEDLESS, NOTHING
from charter.training.job import Job
from charter.training.rows import encode_rows, read_table

WAYS = ("stock", "stock-precomputed", "charter", "charter-precomputed")
COLUMNS = ("row_id", "prompt", "chosen", "rejected", "p_chosen")


def main() -> None:
    options = _options()
    if options.way:
        print(json.dumps(trained(options.way, options.model, options.pairs, _settings(options))))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.pairs = options.pairs or write_pairs(Path(folder) / "pairs.parquet", options.n)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(options.rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                runs[way].append(in_a_process(way, options))
    print(table(runs))


def write_pairs(path: Path, n: int) -> Path:
    """Pairs of the sandbox's world, whose better answer its own rules tell."""
    dice, rows = Dice("benchmark: training"), list[dict[str, Any]]()
    while len(rows) < n:
        worse, better = draw_answers(dice)
        if worse.fault == NEEDLESS or better.fault == NEEDLESS:
            worse, better = better, worse
        if better.fault == NOTHING and worse.answer != better.answer:
            row = (f"{len(rows)}", list(worse.messages), better.answer, worse.answer, 0.9)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    write_rows(path, pa.schema(map(SCHEMAS["pairs"].field, COLUMNS)), rows)
    return path


def in_a_process(way: str, options: argparse.Namespace) -> dict[str, float]:
    """What `trained` measures, in a process that has trained nothing before."""
    given = [f"--{name}={getattr(options, name)}" for name in ("model", "pairs", "batch", "epochs")]
    child = subprocess.run(
        [sys.executable, __file__, "--way", way, *given], check=True, stdout=subprocess.PIPE, text=True
    )
    measured: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    print(f"{way}: {measured['seconds']:.1f} s, {measured['peak_mib']:.0f} MiB", file=sys.stderr)
    return measured


def trained(way: str, model: str, pairs: Path, settings: Training) -> dict[str, float]:
    """Seconds, steps, peak memory in MiB (of the GPU where there is one) and the last steps' mean loss."""
    import torch

    from charter.training import models, trainers

    with tempfile.TemporaryDirectory() as folder:
        job = Job("dpo", model, pairs, Path(folder), settings, 0, "")
        tokenizer, started = models.load_tokenizer(model), time.monotonic()
        if way.startswith("stock"):
            trainer = _stock(job, tokenizer)
        else:
            ends = models.end_tokens(model, tokenizer)
            rows = encode_rows(read_table(pairs, "dpo", False), tokenizer, ends, settings.dpo.max_length, model)
            trainer, _ = trainers.build(job, tokenizer, rows, ends)
        trainer.train()
        seconds = time.monotonic() - started
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    losses = [step["loss"] for step in trainer.state.log_history if "loss" in step][-20:]
    return {
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "peak_mib": peak / (1 << 20),
        "loss": statistics.fmean(losses),
    }


def _stock(job: Job, tokenizer: Any) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from charter.training import models, trainers

    model, dpo = models.load(job), job.settings.dpo
    arguments = DPOConfig(
        **trainers.arguments(job, model),
        max_length=None,
        beta=dpo.beta,
        precompute_ref_log_probs=dpo.precompute_reference,
        precompute_ref_batch_size=2 * dpo.batch_size,
    )
    turns = [
        {**row, "chosen": _turn(row["chosen"]), "rejected": _turn(row["rejected"])}
        for row in read_table(job.data, "dpo", False).select(COLUMNS[1:4]).to_pylist()
    ]
    trainer = DPOTrainer(model, args=arguments, processing_class=tokenizer, train_dataset=Dataset.from_list(turns))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: medians over the rounds; faster than stock is more than 1, and lighter is less."""
    lines = ["| way | steps | seconds | speed to stock's | peak memory | to stock's | loss |", "|---|" + "---:|" * 6]
    for way, measured in runs.items():
        one = {name: statistics.median(run[name] for run in measured) for name in measured[0]}
        speed = statistics.median(s["seconds"] / run["seconds"] for s, run in zip(runs["stock"], measured, strict=True))
        memory = statistics.median(
            run["peak_mib"] / s["peak_mib"] for s, run in zip(runs["stock"], measured, strict=True)
        )
        lines.append(
            f"| {way} | {one['steps']:.0f} | {one['seconds']:.1f} | {speed:.2f} | {one['peak_mib']:,.0f} MiB "
            f"| {memory:.2f} | {one['loss']:.4f} |"
        )
    return "\n".join(lines)


def _settings(options: argparse.Namespace) -> Training:
    precompute = options.way.endswith("precomputed")
    return Training(
        watch="off",
        dpo=Dpo(
            epochs=options.epochs,
            batch_size=options.batch,
            learning_rate=1e-4,
            sft_weight=0,
            soft_labels=False,
            precompute_reference=precompute,
            save_steps=1_000_000,
        ),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="DPO beside TRL's stock trainer: time and peak memory.")
    parser.add_argument("--model", default=str(MODEL), help="a model folder or hub id; the sandbox when left out")
    parser.add_argument("--pairs", type=Path, help="Parquet, such as outputs/RUN/pairs; drawn when left out")
    parser.add_argument("--n", type=int, default=1_000, help="pairs to draw")
    parser.add_argument("--batch", type=int, default=16, help="pairs per step")
    parser.add_argument("--epochs", type=float, default=3, help="passes over the pairs")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way has its turn")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
