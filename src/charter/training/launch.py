"""Start a training step in its own process, follow it, and return a finished model.

The same call again resumes: a finished step with the same inputs is reused, a killed one continues from its last
complete checkpoint, one with changed inputs starts from the beginning. Only the child imports torch.
"""

import json
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.config import Training
from charter.core.environment import HUB_KEYS, child_environment, python_path
from charter.core.errors import TrainingError
from charter.core.hardware import gpus
from charter.core.processes import OnLine, follow, last_lines
from charter.pipeline.judges.reward import RewardJudge
from charter.training.identity import hash_inputs
from charter.training.job import (
    CONFIG,
    DONE,
    FAILURE,
    LOG,
    METRICS,
    REFERENCE,
    VISIBLE_GPUS,
    WARNINGS,
    Job,
    Step,
    last_checkpoint,
    read_done,
    read_job,
    reward_identity,
    rewind_metrics,
)

OnMetrics = Callable[[dict[str, Any]], None]

PRESETS = {name: Path(__file__).with_name("accelerate") / f"{name}.yaml" for name in ("fsdp2", "zero3")}
"""The accelerate configurations that ship with Charter."""

_LAST_LINES = 15
_TRACKER_VARIABLES = {
    "mlflow": ("MLFLOW_*", "DATABRICKS_*"),
    "tensorboard": ("TENSORBOARD_*",),
    "wandb": ("WANDB_*",),
    "trackio": ("TRACKIO_*", *HUB_KEYS),
    "comet_ml": ("COMET_*",),
    "clearml": ("CLEARML_*",),
    "dvclive": ("DVC_*", "DVCLIVE_*"),
    "swanlab": ("SWANLAB_*",),
    "codecarbon": ("CODECARBON_*",),
    "azure_ml": ("AZURE_*", "AZUREML_*", "MLFLOW_*"),
    "neptune": ("NEPTUNE_*",),
    "dagshub": ("DAGSHUB_*", "MLFLOW_*"),
    "flyte": ("FLYTE_*",),
    "kubeflow": ("KUBEFLOW_*",),
}
"""By tracker, the environment variables with its address and keys."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished training step.

    Attributes:
        model: the folder of the trained model, which vLLM can serve.
        steps: optimiser steps.
        seconds: how long training took, process start included; if the step was reused, how long it took then.
        rows_used: rows trained on.
        rows_dropped: rows left out; counted by reason in `dropped` and listed in ``dropped.parquet``.
        reused: the step was already finished with the same inputs, and nothing was run.
        warnings: sentences for people to read.
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


def run_training(
    step: Step,
    model: Path | str,
    data: Path,
    out: Path,
    settings: Training,
    seed: int = 0,
    on_metrics: OnMetrics | None = None,
    reward: RewardJudge | Path | None = None,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> TrainingResult:
    """Train `model` on `data` and leave the result in `out`.

    Blocks until the child process ends, and ends its whole group on any exception, Ctrl-C included. In an event loop
    use `charter.core.threads.run_in_thread`.

    Args:
        step: ``sft`` (columns prompt, completion), ``dpo`` and ``reward`` (prompt, chosen, rejected, p_chosen), or
            ``grpo`` (prompt, first, drawn).
        model: a model folder or hub id; for ``dpo`` and ``grpo`` it is also the reference.
        data: a Parquet file, or a folder of them.
        out: the step's folder, see `charter.training.job`.
        settings: the configuration's training section.
        seed: of the row order and of new adapters.
        on_metrics: called in this process with each line of ``metrics.jsonl`` as it is written.
        reward: what rewards the answers in ``grpo``: a judge that is served, or the folder of a reward model.
        say: called in this process with sentences for people: the command that trains this by hand, before it starts,
            and each warning of a watchdog when it comes.
        stop: another thread sets it to end training early; a later call continues from the last checkpoint.

    Raises:
        TrainingError: the process failed; gives the reason or its last log lines.
        DataError: the data cannot be used.
        ModelError: the model folder cannot be used.
        Interrupted: `stop` was set.
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

    prepare_folder(job)
    say = say or (lambda text: None)
    say(f"by hand: {shlex.join(command_for(job))}")
    # The server of a judge that answers during training may use the other GPUs.
    if not job.asks_judge:
        n_gpus = len(gpus())
        if VISIBLE_GPUS in os.environ:
            n_gpus = min(n_gpus, len(os.environ[VISIBLE_GPUS].split(",")))
        if warning := warn_idle_gpus(settings.processes, n_gpus):
            say(warning)
    checkpoint = last_checkpoint(out)
    rewind_metrics(out, checkpoint[1] if checkpoint else 0)
    command = command_for(job)
    with (out / LOG).open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(command)}\n")
    files: dict[Path, OnLine] = {
        out / METRICS: lambda line: on_metrics(json.loads(line)) if on_metrics else None,
        out / WARNINGS: lambda line: say(json.loads(line)["text"]),
    }
    status = follow(command, out / LOG, job_environment(job), files, stop)
    done = read_done(out)
    if done is None:
        raise TrainingError(explain_failure(job, status))
    return _result(job, done, time.monotonic() - started, reused=False)


def warn_idle_gpus(processes: int, visible: int) -> str | None:
    """A warning if some of the `visible` GPUs are idle, with the settings that use them."""
    if visible <= processes:
        return None
    return (
        f"{visible - processes} of {visible} GPUs are idle. To use them, set training.processes={visible}, and"
        " training.distributed to ddp if the model fits on one of them, else to fsdp2."
    )


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


def prepare_folder(job: Job) -> None:
    """Keep the folder of a killed run with the same inputs; clear one with other inputs; refuse any other folder."""
    out = job.out
    if (out / CONFIG).is_file():
        try:
            inputs = read_job(out / CONFIG).inputs
        except TrainingError:  # another version may have written it
            inputs = None
        if inputs != job.inputs:
            # DONE is removed first: a kill in between then leaves a folder that is cleared again.
            (out / DONE).unlink(missing_ok=True)
            for path in out.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in (CONFIG, REFERENCE):  # one marks the folder as ours, the other has its own key
                    path.unlink()
    elif out.is_dir() and any(out.iterdir()):
        raise TrainingError(
            f"training folder '{out}': holds files that no training step wrote. Move them, or name another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in (DONE, FAILURE, WARNINGS):
        (out / name).unlink(missing_ok=True)
    job.write()


def command_for(job: Job) -> list[str]:
    """The command that trains `job` by hand, from its folder's ``training.yaml``.

    One process needs no launcher, which saves two imports of torch. Whole copies are started by torchrun, split
    weights by accelerate with a configuration that ships with Charter or the user's own.
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


def job_environment(job: Job) -> dict[str, str]:
    """The environment of a job's process, with the keys of its tracker and of the judge that it asks."""
    keys = [*_TRACKER_VARIABLES.get(job.settings.tracker, ())]
    if isinstance(job.reward, RewardJudge):
        engine, panel = job.reward.engine, job.reward.settings.panel
        keys += [engine.api_key_env, *(member.api_key_env for member in panel if member.api_key_env)]
        keys += ["PG*"] if engine.store.startswith("postgres") else []
    return training_environment(Path(job.model).is_dir(), job.settings.processes, keys)


def training_environment(local: bool, processes: int = 1, keys: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a process that trains, or reads models in torch.

    Args:
        local: all models are folders, so that the hub is not needed.
        processes: how many share this machine's cores.
        keys: further variables that the process needs, keys among them.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    environment = child_environment(hub=not local, extra=keys) | {
        "PYTHONPATH": python_path(),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        # Threads wait without spinning: if something else is busy on the cores, a spinning thread holds up all the
        # others at every barrier, and steps of a small model become several times slower.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TQDM_DISABLE": "1",
    }
    return environment | ({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"} if local else {})


def explain_failure(job: Job, status: int) -> str:
    """Why the child failed and what to do: its own message if it left one."""
    failure = job.out / FAILURE
    if failure.is_file():
        return str(json.loads(failure.read_text(encoding="utf-8"))["message"])
    lines = last_lines(job.out / LOG, _LAST_LINES)
    # -9: nothing but the kernel's out-of-memory killer sends SIGKILL to a child that is still wanted.
    if status == -9 or "out of memory" in lines.lower():
        advice = f"Memory probably ran out: lower training.{job.step}.batch_size or training.{job.step}.max_length"
        advice += ", or serving.memory_share, what the judge's server has of the GPU." if job.asks_judge else "."
    else:
        advice = f"The whole log is {job.out / LOG}; its first line is the command to run it again by hand."
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"training step '{job.step}': the process ended with {how} and left no finished model. {advice}\n{lines}"
