"""DPO beside TRL's stock trainer at the same settings: time and peak memory, each run in a process of its own.

    python benchmarks/training.py
    python benchmarks/training.py --model outputs/demo/sft --pairs outputs/demo/pairs --rounds 3
    python benchmarks/training.py --parameters 1B --tokens 512 --n 256 --batch 8 --epochs 1 --rounds 3    # on a GPU

Five ways take the same pairs through the same number of steps of full fine-tuning: TRL's DPOTrainer and Charter's,
each with the reference computed at every step and once before, and TRL's with Charter's order of rows: Charter puts
pairs of like length into a batch, and TRL does not, so that beside this one the trainers alone are compared. Timed is
everything from the pairs' text to the trained weights (tokenising, the reference, the steps), and the steps alone.
Charter's watchdogs look, as they do by default. The ways take turns, as many times as there are rounds; a ratio is the
median over the rounds of that within each.

On a GPU, the share of its peak is 6 FLOPs per parameter and token, 2 more where the steps compute the reference, over
the steps' time and what the same card reaches in one large multiplication of bf16 matrices just before.
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
from charter.sandbox.wording import NEEDLESS, NOTHING
from charter.training.job import Job
from charter.training.rows import Rows, encode_rows, read_training_table
from tools.sandbox.scenes import Dice, draw_answers

WAYS = ("stock", "stock-ordered", "stock-precomputed", "charter", "charter-precomputed")
SHAPES = {"500M": (1536, 4096, 18), "1B": (2048, 5632, 20), "1.5B": (2048, 8192, 22)}
"""Width, inner width and layers of a Llama with so many parameters."""
COLUMNS = ("row_id", "prompt", "chosen", "rejected", "p_chosen")


def main() -> None:
    options = _options()
    if options.way:
        print(json.dumps(trained(options.way, options.model, options.pairs, _settings(options))))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.parameters:
            options.model = write_model(Path(folder) / "model", *SHAPES[options.parameters], options.max_length)
        options.pairs = options.pairs or write_pairs(Path(folder) / "pairs.parquet", options.n, options.tokens)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(options.rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                runs[way].append(in_a_process(way, options))
    print(table(runs))


def write_model(folder: Path, width: int, inner: int, layers: int, positions: int) -> str:
    """The sandbox's model with other measures and random weights; what it reads and writes as tokens is the same."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from charter.training import models

    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "head_dim": 128}
    heads = {"num_attention_heads": width // 128, "num_key_value_heads": width // 128}
    config = AutoConfig.from_pretrained(MODEL, **sizes, **heads, max_position_embeddings=positions)
    torch.manual_seed(0)
    models.write_model(AutoModelForCausalLM.from_config(config), str(MODEL), folder, own=("config.json",))
    return str(folder)


def write_pairs(path: Path, n: int, tokens: int) -> Path:
    """Pairs of the sandbox's world, whose better answer its own rules tell; each said again up to so many tokens."""
    from charter.training import models

    tokenizer = models.load_tokenizer(str(MODEL))
    dice, rows = Dice("benchmark: training"), list[dict[str, Any]]()
    while len(rows) < n:
        worse, better = draw_answers(dice)
        if worse.fault == NEEDLESS or better.fault == NEEDLESS:
            worse, better = better, worse
        if better.fault == NOTHING and worse.answer != better.answer:
            sides = [_lengthen(one.answer, tokens, tokenizer) for one in (better, worse)]
            rows.append(dict(zip(COLUMNS, (f"{len(rows)}", list(worse.messages), *sides, 0.9), strict=True)))
    write_rows(path, pa.schema(map(SCHEMAS["pairs"].field, COLUMNS)), rows)
    return path


def _lengthen(text: str, tokens: int, tokenizer: Any) -> str:
    return " ".join([text] * max(1, tokens // len(tokenizer.encode(text))))


def in_a_process(way: str, options: argparse.Namespace) -> dict[str, float]:
    """What `trained` measures, in a process that has trained nothing before."""
    given = [f"--{name}={getattr(options, name)}" for name in ("model", "pairs", "batch", "epochs", "tokens")]
    child = subprocess.run(
        [sys.executable, __file__, "--way", way, *given], check=True, stdout=subprocess.PIPE, text=True
    )
    measured: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    told = f"{way}: {measured['seconds']:.1f} s, of which steps {measured['in_steps']:.1f} s"
    print(f"{told}, {measured['peak_mib']:.0f} MiB", file=sys.stderr)
    return measured


def trained(way: str, model: str, pairs: Path, settings: Training) -> dict[str, float]:
    """Seconds in all and in the steps, steps, peak memory in MiB, share of the peak in %, the last steps' mean loss.

    Memory is that of the GPU where there is one; without one, nothing is known of a peak.
    """
    import torch

    from charter.training import models

    cuda = torch.cuda.is_available()
    reachable = matmul_flops() if cuda else 0.0
    with tempfile.TemporaryDirectory() as folder:
        job = Job("dpo", model, pairs, Path(folder), settings, 0, "")
        tokenizer = models.load_tokenizer(model)
        ends = models.end_tokens(model, tokenizer)

        def encode() -> Rows:
            table = read_training_table(pairs, "dpo", False)
            return encode_rows(table, tokenizer, ends, settings.dpo.max_length, model)

        known = encode() if way == "stock-ordered" else None
        started = time.monotonic()
        trainer = _stock(job, tokenizer, known) if way.startswith("stock") else _charter(job, tokenizer, encode(), ends)
        trainer.train()
        seconds = time.monotonic() - started
    log = trainer.state.log_history
    (in_steps,) = (line["train_runtime"] for line in log if "train_runtime" in line)
    per_token = (6 if settings.dpo.precompute_reference else 8) * trainer.model.num_parameters()
    flops = per_token * max(line.get("num_tokens", 0) for line in log) / in_steps
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": seconds,
        "in_steps": in_steps,
        "steps": trainer.state.global_step,
        "peak_mib": peak / (1 << 20),
        "percent": 100 * flops / reachable if reachable else 0.0,
        "loss": statistics.fmean([line["loss"] for line in log if "loss" in line][-20:]),
    }


def matmul_flops(n: int = 8192, times: int = 50) -> float:
    """Floating-point operations per second of multiplying large bf16 matrices on the GPU."""
    import torch

    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for timed in (False, True):  # warm first
        torch.cuda.synchronize()
        started = time.monotonic()
        for _ in range(times if timed else 10):
            a @ b
        torch.cuda.synchronize()
    seconds = time.monotonic() - started
    torch.cuda.reset_peak_memory_stats()
    return 2 * n**3 * times / seconds


def _charter(job: Job, tokenizer: Any, rows: Rows, ends: set[int]) -> Any:
    from charter.training import trainers

    return trainers.build(job, tokenizer, rows, ends)[0]


def _stock(job: Job, tokenizer: Any, known: Rows | None) -> Any:
    """TRL's trainer; in Charter's order where the tokens of the rows are known, by which it is formed."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from charter.training import models, trainers
    from charter.training.order import FollowEpoch, InOrder, SimilarLengths

    class OrderedDPOTrainer(InOrder, DPOTrainer):
        pass

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
        for row in read_training_table(job.data, "dpo", False).select(COLUMNS[1:4]).to_pylist()
    ]
    kind = OrderedDPOTrainer if known else DPOTrainer
    trainer = kind(model, args=arguments, processing_class=tokenizer, train_dataset=Dataset.from_list(turns))
    if known:
        lengths = [len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"])) for r in known.kept]
        trainer.order = SimilarLengths(lengths, dpo.batch_size, job.seed)
        trainer.add_callback(FollowEpoch(trainer.order))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: medians over the rounds; faster than stock is more than 1, and lighter is less."""
    titles = "way | steps | seconds | speed to stock's | in steps | speed to stock's | to stock-ordered's | peak memory"
    lines = [f"| {titles} | to stock's | of bf16 peak | loss |", "|---|" + "---:|" * 10]
    for way, measured in runs.items():
        one = {name: statistics.median(run[name] for run in measured) for name in measured[0]}

        def ratio(name: str, to: str, ours: list[dict[str, float]] = measured) -> float:
            return statistics.median(s[name] / run[name] for s, run in zip(runs[to], ours, strict=True))

        percent = f"{one['percent']:.1f} %" if one["percent"] else ""
        lines.append(
            f"| {way} | {one['steps']:.0f} | {one['seconds']:.1f} | {ratio('seconds', 'stock'):.2f} "
            f"| {one['in_steps']:.1f} | {ratio('in_steps', 'stock'):.2f} | {ratio('in_steps', 'stock-ordered'):.2f} "
            f"| {one['peak_mib']:,.0f} MiB | {1 / ratio('peak_mib', 'stock'):.2f} | {percent} | {one['loss']:.4f} |"
        )
    return "\n".join(lines)


def _settings(options: argparse.Namespace) -> Training:
    precompute = options.way.endswith("precomputed")
    return Training(
        dpo=Dpo(
            epochs=options.epochs,
            batch_size=options.batch,
            max_length=options.max_length,
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
    parser.add_argument("--parameters", choices=SHAPES, help="a Llama of so many random weights in place of --model")
    parser.add_argument("--tokens", type=int, default=1, help="of each drawn answer, about")
    parser.add_argument("--n", type=int, default=1_000, help="pairs to draw")
    parser.add_argument("--batch", type=int, default=16, help="pairs per step")
    parser.add_argument("--epochs", type=float, default=3, help="passes over the pairs")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way has its turn")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.max_length = max(1024, 2 * options.tokens + 256)  # so that no row is left out
    return options


if __name__ == "__main__":
    main()
