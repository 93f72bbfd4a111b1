"""Ways to fine-tune on the same data, over several seeds: SFT alone, and after it DPO with each loss, or GRPO.

    python benchmarks/methods.py outputs/demo
    python benchmarks/methods.py outputs/demo training.sft.epochs=0.25 training.sft.learning_rate=2e-4 --grpo 2
    python benchmarks/methods.py outputs/demo --start base training.dpo.epochs=4

Takes the rows, pairs and prompts of a finished run of the sandbox. For each seed SFT is trained from the base model,
and every kind of DPO from that, or from the base model, with the run's settings but for those given; so is GRPO with
the run's judge as the reward, for the first seeds, as many as --grpo says. Each model answers the run's held-out
requests greedily, graded by the sandbox's oracle; log p(chosen) is the mean over all pairs, in nats for a whole
answer. Minutes are those of the training alone. What is done is kept: after a kill the same command goes on.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from held_out import NAMES, Mean, load_fewer, mean, measured, plain
from transformers.utils.logging import disable_progress_bar
from vllm_run import vllm

from charter.config import Config, load_config
from charter.config.load import read_override
from charter.core.errors import CharterError
from charter.evaluation.requests import HeldOut
from charter.inference import EngineSpec
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.roles import model_folder
from charter.runs.reinforcement import reward_judge, write_rl_prompts
from charter.training import run_training
from charter.training.models import end_tokens, load_tokenizer
from charter.training.rows import encode_rows, read_training_table
from charter.training.token_worker import load_for_inference, log_probabilities

DPO: dict[str, dict[str, Any]] = {
    "DPO, soft labels": {},
    "DPO, hard labels": {"soft_labels": False},
    "DPO, soft, no SFT term": {"sft_weight": 0.0},
    "IPO": {"loss": "ipo"},
    "APO-zero": {"loss": "apo-zero"},
}
LOGP, MINUTES = "log p(chosen)", "minutes"


def main() -> None:
    given = options()
    disable_progress_bar()
    config = load_config(given.run / "config.yaml", dict(map(read_override, given.settings)))
    requests = load_fewer(config.evaluation, config.seed, given.requests)
    rows = list[dict[str, Any]]()
    with judge_of(config) if given.grpo else nullcontext() as judge:
        for seed in range(given.seeds):
            for row in trained(given, config, requests, seed, judge if seed < given.grpo else None):
                rows.append(row)
                print(json.dumps(row), flush=True)
    record = {"run": str(given.run), "from": given.start, "training": config.training.model_dump(mode="json")}
    found = means(rows)
    (given.out / "methods.json").write_text(
        json.dumps(plain({**record, "trained": rows, "means": found}), indent=1), encoding="utf-8"
    )
    print(f"\n{table(found)}\n\nWrote {given.out / 'methods.json'}.")


@contextmanager
def judge_of(config: Config) -> Iterator[RewardJudge]:
    """The run's judge, served as long as the block."""
    with vllm(config.model) as served:
        yield reward_judge(config, EngineSpec.of(served, config.store_url, config.generation.concurrency))


def trained(
    given: argparse.Namespace, config: Config, requests: Sequence[HeldOut], seed: int, judge: RewardJudge | None
) -> Iterator[dict[str, Any]]:
    """One row for each method, with its measures."""
    base, training, out = model_folder(config.model), config.training, given.out

    def row(method: str, model: Path, seconds: float) -> dict[str, Any]:
        asked = measured(model, requests, config.evaluation.max_tokens)
        logp = {LOGP: logp_chosen(model, given.run / "pairs"), MINUTES: seconds / 60}
        return {"method": method, "seed": seed, **asked, **logp}

    sft, seconds = timed("sft", base, given.run / "sft_data", out / f"sft-{seed}", training, seed)
    yield row("SFT alone", sft, seconds)
    start = str(sft) if given.start == "sft" else base
    for number, (method, changes) in enumerate(DPO.items()):
        settings = training.model_copy(update={"dpo": training.dpo.model_copy(update=changes)})
        model, seconds = timed("dpo", start, given.run / "pairs", out / f"dpo-{number}-{seed}", settings, seed)
        yield row(method, model, seconds)
    if judge:
        prompts = write_rl_prompts(given.run)
        model, seconds = timed("grpo", start, prompts, out / f"grpo-{seed}", training, seed, None, judge)
        yield row("GRPO, the judge as reward", model, seconds)


def timed(step: Any, start: str, data: Path, out: Path, *how: Any) -> tuple[Path, float]:
    """A trained model, and the seconds of its training, which are kept beside it."""
    began, kept = time.monotonic(), out / "seconds.json"
    done = run_training(step, start, data, out, *how)
    if not done.reused:
        kept.write_text(json.dumps(time.monotonic() - began), encoding="utf-8")
    return done.model, float(json.loads(kept.read_text(encoding="utf-8")))


@torch.inference_mode()
def logp_chosen(folder: Path, pairs: Path) -> float:
    """The log-probability of a chosen answer under a model, in nats: the mean over the pairs."""
    name, tokenizer, model = str(folder), load_tokenizer(str(folder)), load_for_inference(str(folder))
    rows = encode_rows(read_training_table(pairs, "dpo", False), tokenizer, end_tokens(name, tokenizer), 1024, name)
    found = 0.0
    for row in rows.kept:
        places = torch.tensor(row["chosen_ids"])[:, None]
        found += float(log_probabilities(model, row["prompt_ids"], row["chosen_ids"]).gather(1, places).sum())
    return found / len(rows.kept)


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mean]]:
    """Over the seeds, by method."""
    methods = dict.fromkeys(row["method"] for row in rows)
    found = {method: [row for row in rows if row["method"] == method] for method in methods}
    return {
        method: {name: mean([row[name] for row in of]) for name in (*NAMES, LOGP, MINUTES)}
        for method, of in found.items()
    }


def table(found: Mapping[str, Mapping[str, Mean]]) -> str:
    """Markdown: percent with 95 % intervals over the seeds, nats, and minutes."""
    heads = [*(f"{name.replace('_', ' ')}, %" for name in NAMES), f"{LOGP}, nats", MINUTES]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method, of in found.items():
        rest = f"{of[LOGP].value:.1f} | {of[MINUTES].value:.1f}"
        lines.append(f"| {method} | {' | '.join(str(of[name]) for name in NAMES)} | {rest} |")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="SFT alone, DPO with each loss, and GRPO, on the sandbox.")
    parser.add_argument("run", type=Path, help="the folder of a finished run of the sandbox, such as outputs/demo")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings instead of the run's")
    parser.add_argument("--start", choices=("sft", "base"), default="sft", help="what DPO and GRPO start from")
    parser.add_argument("--out", type=Path, default=Path("outputs/methods"), help="the folder for all it makes")
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11), metavar="1-10", help="from 0 on (5)")
    parser.add_argument("--grpo", type=int, default=0, metavar="SEEDS", help="GRPO for so many seeds (0), on vLLM")
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
