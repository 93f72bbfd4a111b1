"""Start a training step as a process of its own, follow it, and bring back a finished model.

The same call again is a resume: a finished step with the same inputs is reused, a killed one continues from its last
whole checkpoint, one whose inputs changed starts afresh. Torch is imported in the child only.
"""

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.config import Training
from charter.core.errors import TrainingError
from charter.pipeline.judges.reward import RewardJudge
from charter.training.devices import count_visible, see_idle
from charter.training.identity import hash_inputs
from charter.training.job import (
    CONFIG,
    DONE,
    FAILURE,
    LOG,
    METRICS,
    REFERENCE,
    WARNINGS,
    Job,
    Step,
    last_checkpoint,
    read_done,
    read_job,
    reward_identity,
    rewind_metrics,
)
from charter.training.process import OnLine, follow

OnMetrics = Callable[[dict[str, Any]], None]

PRESETS = {name: Path(__file__).with_name("accelerate") / f"{name}.yaml" for name in ("fsdp2", "zero3")}
"""The accelerate configurations that ship with Charter."""

_LAST_LINES = 15


@dataclass(frozen=True)
class TrainingResult:
    """A finished training step.

    Attributes:
        model: the folder that holds the trained model; vLLM serves it.
        steps: optimiser steps.
        seconds: how long training took, process start included; of the first run where the step was reused.
        rows_used: rows trained on.
        rows_dropped: rows left out, as counted by reason in `dropped` and kept in ``dropped.parquet``.
        reused: the step had been finished before with the same inputs, and nothing was run.
        warnings: what a person should look at, in plain words.
        command: runs the step again by hand.
    """

    model: Path
    steps: int
    seconds: float
    rows_used: int
    rows_dropped: int
    reused: bool
    dropped: dict[str, int]
    warnings: tuple[str, ...]
    command: str


def train(
    step: Step,
    model: Path | str,
    data: Path,
    out: Path,
    settings: Training,
    seed: int = 0,
    on_metrics: OnMetrics | None = None,
    reward: RewardJudge | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train `model` on `data` and leave the result in `out`.

    Blocks until the child process ends, and ends its whole group on any exception, Ctrl-C included.

    Args:
        step: ``sft`` (columns prompt, completion), ``dpo`` and ``reward`` (prompt, chosen, rejected, p_chosen), or
            ``grpo`` (prompt, first, drawn).
        model: a model folder or hub id; for ``dpo`` and ``grpo`` it is the reference as well.
        data: a Parquet file, or a folder of them.
        out: the step's folder, see `charter.training.job`.
        settings: the configuration's training section.
        seed: of the row order and of new adapters.
        on_metrics: called in this process with each line of ``metrics.jsonl`` as it is written.
        reward: what rewards the answers of ``grpo``: a judge that is served, or the folder of a reward model.
        say: called in this process with a sentence for people: the command that trains this by hand, before it starts,
            and each warning of a watchdog when it comes.

    Raises:
        TrainingError: the process failed, with the reason or its last log lines.
        DataError: the data cannot be used.
        ModelError: the model folder cannot be used.
    """
    started = time.monotonic()
    model, out = str(Path(model).resolve()) if Path(model).is_dir() else str(model), out.resolve()
    if step == "grpo" and reward is None:
        raise TrainingError("training step 'grpo': no reward. Give a judge, or the folder of a reward model.")
    reward = reward.resolve() if isinstance(reward, Path) else reward
    inputs = hash_inputs(step, model, data, settings, seed, reward_identity(reward))
    job = Job(step, model, data.resolve(), out, settings, seed, inputs, reward)
    done = read_done(out)
    if done is not None and done["inputs"] == inputs:
        return _result(job, done, done["seconds"], reused=True)
    _make_ready(job)
    say = say or (lambda text: None)
    say(f"by hand: {shlex.join(command_for(job))}")
    if not job.asks_judge and (idle := see_idle(settings.processes, count_visible(os.environ))):
        say(idle)
    code = _run(job, on_metrics or (lambda line: None), say)
    done = read_done(out)
    if done is None:
        raise TrainingError(_explain(job, code))
    return _result(job, done, time.monotonic() - started, reused=False)


def _result(job: Job, done: dict[str, Any], seconds: float, reused: bool) -> TrainingResult:
    return TrainingResult(
        model=job.out,
        steps=done["steps"],
        seconds=seconds,
        rows_used=done["rows_used"],
        rows_dropped=sum(done["dropped"].values()),
        reused=reused,
        dropped=done["dropped"],
        warnings=tuple(done["warnings"]),
        command=shlex.join(command_for(job)),
    )


def _make_ready(job: Job) -> None:
    """Keep the folder of a killed run with the same inputs; clear one of other inputs; refuse one that is not ours."""
    out = job.out
    if (out / CONFIG).is_file() and _inputs(out / CONFIG) != job.inputs:
        _clear(out)
    elif out.is_dir() and any(out.iterdir()) and not (out / CONFIG).is_file():
        raise TrainingError(
            f"training folder '{out}': holds files that no training step wrote. Move them, or name another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in (DONE, FAILURE, WARNINGS):
        (out / name).unlink(missing_ok=True)
    job.write()


def _inputs(config: Path) -> str | None:
    """Of what result a folder is; what cannot be read, as another version may have written it, is of another."""
    try:
        return read_job(config).inputs
    except TrainingError:
        return None


def _clear(out: Path) -> None:
    """Remove what other inputs left, but not what says whose folder it is, nor the reference, which has its own key.

    DONE goes first: a kill in between leaves a folder that is cleared again.
    """
    (out / DONE).unlink(missing_ok=True)
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (CONFIG, REFERENCE):
            path.unlink()


def command_for(job: Job) -> list[str]:
    """The command that trains `job` by hand, from its folder's ``training.yaml``.

    One process needs no launcher (two imports of torch saved); whole copies are started by torchrun, split ones as an
    accelerate configuration says: one that ships with Charter, or the user's own.
    """
    settings, worker = job.settings, ["-m", "charter.training.worker", str(job.out / CONFIG)]
    launcher = settings.accelerate_config or PRESETS.get(settings.distributed)
    if launcher is not None:
        flags = ["--config_file", str(launcher.resolve()), "--num_processes", str(settings.processes)]
        return [sys.executable, "-P", "-m", "accelerate.commands.launch", *flags, *worker]
    if settings.distributed == "ddp":
        flags = ["--standalone", "--nproc-per-node", str(settings.processes)]
        return [sys.executable, "-P", "-m", "torch.distributed.run", *flags, *worker]
    return [sys.executable, "-P", *worker]


def _run(job: Job, on_metrics: OnMetrics, say: Callable[[str], None]) -> int:
    """Run the child until it ends; returns its exit status."""
    checkpoint = last_checkpoint(job.out)
    rewind_metrics(job.out, checkpoint[1] if checkpoint else 0)
    by_hand = command_for(job)
    log = job.out / LOG
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(by_hand)}\n")
    tied = [*by_hand[:3], "charter.training.child", *by_hand[3:]]
    environment = child_environment(Path(job.model).is_dir(), job.settings.processes)
    files: dict[Path, OnLine] = {
        job.out / METRICS: lambda line: on_metrics(json.loads(line)),
        job.out / WARNINGS: lambda line: say(json.loads(line)["text"]),
    }
    return follow(tied, environment, log, files)


def child_environment(local: bool, processes: int = 1) -> dict[str, str]:
    """The child's environment: no telemetry, no hub where models are `local` folders, threads that share the cores.

    Threads wait without spinning: where something else is busy on the cores, a spinning thread holds up all the
    others at every barrier, and steps of a small model become several times slower.
    """
    source = str(Path(__file__).resolve().parents[2])
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TQDM_DISABLE": "1",
    }
    if local:
        environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return environment


def _explain(job: Job, code: int) -> str:
    """Why the child failed, in its own words where it left some, with what to do."""
    failure = job.out / FAILURE
    if failure.is_file():
        return str(json.loads(failure.read_text(encoding="utf-8"))["message"])
    lines = (job.out / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    text = "\n".join(f"  {line}" for line in lines)
    if code == -9 or "out of memory" in text.lower():
        advice = f"Memory probably ran out: lower training.{job.step}.batch_size or training.{job.step}.max_length"
        beside = ", or serving.memory_share, what the judge's server has of the GPU." if job.asks_judge else "."
        advice += beside
    else:
        advice = f"The whole log is {job.out / LOG}; its first line is the command to run it again by hand."
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    return f"training step '{job.step}': the process ended with {how} and left no finished model. {advice}\n{text}"
