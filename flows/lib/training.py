"""Training in a flow: SFT, then DPO or GRPO, then later rounds; what people see while it trains."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from prefect import task
from prefect.artifacts import create_image_artifact
from prefect.cache_policies import NO_CACHE

from charter.core.threads import run_in_thread
from charter.data.shards import count_rows
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.rows import Progress
from charter.report.curves import read_metrics
from charter.report.plots import training_plot
from charter.report.svg import to_picture
from charter.runs import token_report
from charter.runs.manifest import write_manifest
from charter.runs.reinforcement import reward_judge, write_rl_prompts
from charter.runs.rounds import Round, later_rounds, start_round
from charter.training.job import Step
from charter.training.launch import TrainingResult, run_training
from flows.lib.artifacts import CURVES
from flows.lib.flow_run import FlowRun
from flows.lib.progress import RunProgress, never_raising
from flows.lib.serving import serve_generation_models, serve_reward_judge, serve_trained
from flows.lib.tasks import ask_models, make_data

DATA: dict[Step, str] = {"sft": "sft_data", "dpo": "pairs", "reward": "pairs", "grpo": "rl_prompts"}
"""The table that each training step learns from."""

# Curves are drawn again after this many seconds, or after this share of the time since training started if that is
# more: each drawing stays in Prefect's database, which a step that takes days must not fill.
FIRST_S, SHARE = 15.0, 0.05


@task(task_run_name="train-{step}", cache_policy=NO_CACHE)
async def train_step(
    run: FlowRun, step: Step, model: str, later: Round | None = None, *, reward: RewardJudge | Path | None = None
) -> TrainingResult:
    """One training step in its own process; reused if it was finished with the same inputs.

    In a `later` round it learns from that round's data, and the model has that round's name.
    """
    config, folder = run.config, run.config.run_folder
    name, data_folder = (later.model, later.folder) if later else (step, folder)
    data, out, messages = data_folder / DATA[step], folder / name, list[str]()

    def say(message: str) -> None:
        messages.append(message)
        run.progress.say(f"train {name}: {message}")

    say("starting")
    on_metrics = never_raising(metrics_reporter(run, step, name, out), say)
    result = await run_in_thread(
        lambda stop: run_training(step, model, data, out, config.training, config.seed, on_metrics, reward, say, stop)
    )
    how = "reused" if result.reused else f"{result.steps:,} steps in {result.seconds:.0f} s"
    say(f"{how}, {result.rows_used:,} rows used, {result.rows_dropped:,} left out")
    for warning in result.warnings:
        if warning not in messages:  # a step that is reused has not reported its warnings in this run
            say(warning)
    return result


def metrics_reporter(run: FlowRun, step: Step, name: str, out: Path) -> Callable[[dict[str, Any]], None]:
    """A callback that shows each line of a step's metrics as progress, and all of them as curves."""
    curves = LiveCurves(step, name, out)
    shown = "reward" if step == "grpo" else "loss"  # the loss of GRPO does not show how well it does

    def report(row: dict[str, Any]) -> None:
        note = f"{shown} {row[shown]:.4f}" if isinstance(row.get(shown), float) else ""
        done, total, tokens = row["step"], row["total_steps"], row["tokens"]
        run.progress.report(Progress(f"train {name}", done, total, tokens=tokens, unit="steps", note=note))
        curves.add(row)

    return report


class LiveCurves:
    """The curves of a training step as an image in the Prefect UI, drawn again while it trains.

    Args:
        step: whose curves they are.
        name: of the model.
        folder: of the step; lines that it had written before a kill are drawn as well.
        first_s: see `FIRST_S`.

    Attributes:
        rows: the lines of metrics that are drawn.
    """

    def __init__(self, step: Step, name: str, folder: Path, first_s: float = FIRST_S) -> None:
        self._step, self._name, self._folder, self._first_s = step, name, folder, first_s
        self.rows = list[dict[str, Any]]()
        self._began = self._drawn = time.monotonic()

    def add(self, row: dict[str, Any]) -> None:
        """Take one line; draw all of them if the last drawing is old enough."""
        if not self.rows:
            self.rows += [before for before in read_metrics(self._folder) if before["step"] < row["step"]]
        self.rows.append(row)
        now = time.monotonic()
        if now - self._drawn < max(self._first_s, SHARE * (now - self._began)):
            return
        self._drawn = now
        if curves := training_plot({self._step: self.rows}):
            sync: dict[str, Any] = {"_sync": True}  # not in the function's type
            description = f"{self._name}, step {row['step']:,} of {row['total_steps']:,}"
            create_image_artifact(to_picture(curves), key=CURVES, description=description, **sync)


async def train_preference(run: FlowRun, sft: Path) -> TrainingResult:
    """Train the model of `training.preference` from SFT's: DPO on the pairs, or GRPO with a reward.

    GRPO's judge is served while GRPO runs; a reward model is trained first, also from SFT's model.
    """
    config = run.config
    if config.training.preference == "dpo":
        return await train_step(run, "dpo", str(sft))
    write_rl_prompts(config.run_folder)
    if config.training.asks_judge:
        async with serve_reward_judge(run) as engine:
            return await train_step(run, "grpo", str(sft), reward=reward_judge(config, engine))
    reward = await train_step(run, "reward", str(sft))
    return await train_step(run, "grpo", str(sft), reward=reward.model)


class LaterRounds(NamedTuple):
    """The counts of the later rounds, and the model of each by its name."""

    counts: list[StageCount]
    models: dict[str, EngineSpec]


async def align_again(run: FlowRun, model: Path) -> LaterRounds:
    """Run the rounds after the first: the aligned model answers again, and DPO continues from it.

    A round that yields no pairs is the last: there is nothing left to learn. `training.rounds: 1` has no later rounds.
    """
    config, result = run.config, LaterRounds([], {})
    for later in later_rounds(config):
        # Make the data, with a progress of its stages alone: they have the names of the first round's.
        round_run = replace(run, progress=RunProgress())
        async with serve_generation_models(round_run, model) as models:
            counts = await make_data(round_run, models, start_round(config.run_folder, later))
        round_run.progress.close()
        identities = {name: spec.identity for name, spec in models.items()}
        write_manifest(later.folder, counts, identities, run.session.server_notes())
        result.counts.extend(later.named(counts))
        if not count_rows(later.folder / "pairs"):
            run.progress.say(f"round {later.number}: no pairs, so nothing is left to learn, and it is the last")
            break
        # Train on it, and have the new model answer the held-out requests.
        model = (await train_step(run, "dpo", str(model), later)).model
        async with serve_trained(run, {later.model: model}) as served:
            result.counts.extend(await ask_models(run, served))
        result.models.update(served)
    return result


@task(task_run_name="tokens", cache_policy=NO_CACHE)
async def report_tokens(run: FlowRun, model: Path) -> None:
    """What training changed token by token, for the report; in its own process, when no server is running."""
    run.progress.say("tokens: what training changed, token by token")
    report = await run_in_thread(lambda stop: token_report.report_token_rewards(run.config, model))
    if report is None:
        run.progress.say("tokens: left out, as tokens.pairs is 0")
    elif report.problem:
        run.progress.say(f"tokens: left out of the report: {report.problem}")
    else:
        run.progress.say(f"tokens: {report.scored:,} pairs scored, {report.ranked_right:,} of them ranked as labelled")
