"""Checks of the suites and tasks that a config names, before anything is started."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import NamedTuple

from charter.config import Evaluation, Harness, Suite
from charter.core.environment import child_environment
from charter.core.errors import ConfigError
from charter.core.plugins import Registry
from charter.evaluation.benchmarks.process import check_installed
from charter.evaluation.benchmarks.prompts import read_prompts

_LONGEST_S = 300.0


class HarnessTask(NamedTuple):
    """A task of lm-evaluation-harness that a plugin writes for each evaluation.

    Attributes:
        write: from a folder, the settings and the run's seed to the path of the task's YAML file.
        count: how many questions it asks.
    """

    write: Callable[[Path, Evaluation, int], Path]
    count: Callable[[Evaluation], int]


HARNESS_TASKS: Registry[HarnessTask] = Registry("task that a plugin writes", "evaluation.harness.tasks")


def check_suites(settings: Evaluation) -> None:
    """Check that the tools are installed, and that what the config names exists.

    The harness is asked whether it knows its tasks, once per process; that takes some seconds.

    Raises:
        ConfigError: a tool, a task or a folder is missing.
        DataError: a file of prompts cannot be used.
    """
    for suite in settings.suites:
        _check_suite(suite)
    if settings.harness.tasks:
        _check_harness(settings.harness)


def count_samples(settings: Evaluation) -> dict[str, int | None]:
    """How many samples each suite and task sends to a model; None if only its tool knows.

    Without a file to count, a limit is an upper bound; in a group it is one for each task.

    Raises:
        DataError: a file of prompts cannot be used.
    """
    found: dict[str, int | None] = {}
    for suite in settings.suites:
        there = len(read_prompts(suite.task, suite.data)) if suite.data else None
        found[suite.name] = _fewer(there, suite.limit)
    for task in settings.harness.tasks:
        there = HARNESS_TASKS[task].count(settings) if task in HARNESS_TASKS else None
        found[task] = _fewer(there, settings.harness.limit)
    return found


def _fewer(there: int | None, limit: int | None) -> int | None:
    return min((n for n in (there, limit) if n is not None), default=None)


def _check_suite(suite: Suite) -> None:
    check_installed("inspect_ai")
    if suite.data is not None:
        read_prompts(suite.task, suite.data)
        return
    place, at, name = suite.task.partition(".py@")
    if at or place.endswith(".py"):
        _check_file(suite.task, Path(place + ".py" if at else place), name)
        return
    package, slash, _ = suite.task.partition("/")
    installed = package.isidentifier() and importlib.util.find_spec(package) is not None
    if not slash or not (installed or package == "hf"):
        raise ConfigError(
            f"evaluation.suites '{suite.task}': neither a file with tasks nor the name of an installed one. Write "
            "FILE.py, FILE.py@TASK or PACKAGE/TASK, and install the package."
        )


def _check_file(task: str, path: Path, name: str) -> None:
    if not path.is_file():
        raise ConfigError(f"evaluation.suites '{task}': no such file. Correct the path.")
    if not re.search(rf"\b{re.escape(name)}\b", path.read_text(encoding="utf-8")):
        raise ConfigError(
            f"evaluation.suites '{task}': {path} names no '{name}'. Name one of its functions with @task."
        )


def _check_harness(harness: Harness) -> None:
    check_installed("lm_eval")
    where = harness.include_path
    if where is not None and not where.is_dir():
        raise ConfigError(f"evaluation.harness.include_path '{where}': no such folder. Correct it, or leave it out.")
    for task in harness.tasks:
        if task.endswith(".yaml") and not glob(task):
            raise ConfigError(f"evaluation.harness.tasks '{task}': no such file. Correct the path.")
    names = [
        task for task in harness.tasks if task not in HARNESS_TASKS and not task.endswith(".yaml") and "*" not in task
    ]
    if names:
        _check_names(",".join(names), where)


@lru_cache(maxsize=8)
def _check_names(names: str, where: Path | None) -> None:
    command = [sys.executable, "-P", "-m", "lm_eval", "validate", "--tasks", names]
    command += ["--include_path", str(where.resolve())] if where else []
    environment = child_environment(hub=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, env=environment)
    if done.returncode == 0:
        return
    if missing := re.search(r"Tasks not found: (.+)", done.stdout):
        raise ConfigError(
            f"evaluation.harness.tasks '{missing[1]}': lm-evaluation-harness knows no such task. List what it knows "
            "with `python -m lm_eval ls tasks`, or name your own YAML file."
        )
    raise ConfigError(
        f"evaluation.harness.tasks '{names}': lm-evaluation-harness could not look for them. Correct what it says:\n"
        f"{done.stderr.strip()[-1000:]}"
    )
