"""Check the suites and tasks that a config names, and read the suites' prompts, before anything is started."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import NamedTuple

from charter.config import Evaluation, Suite
from charter.config.evaluation import SIMPLE_SAFETY_TESTS, XSTEST
from charter.core.environment import child_environment
from charter.core.errors import ConfigError, DataError
from charter.core.plugins import Registry
from charter.data.readers import read_records
from charter.evaluation.benchmarks.process import check_installed

_VALIDATION_TIMEOUT_S = 300.0

_COLUMNS = {
    XSTEST: ("prompt", "label", "type"),
    SIMPLE_SAFETY_TESTS: ("prompts_final", "", "harm_area"),  # it has no safe prompts, and so no column for them
}
"""The columns of the prompt, whether it is safe, and its kind."""


class HarnessTask(NamedTuple):
    """A task of lm-evaluation-harness that a plugin writes for each evaluation.

    Attributes:
        write: from a folder, the settings and the run's seed to the path of the task's YAML file.
        count: how many questions it asks.
    """

    write: Callable[[Path, Evaluation, int], Path]
    count: Callable[[Evaluation], int]


HARNESS_TASKS: Registry[HarnessTask] = Registry("task that a plugin writes", "evaluation.harness.tasks")


class SafetyPrompt(NamedTuple):
    """A prompt of a safety suite.

    Attributes:
        label: `safe`, which a good model answers, or `unsafe`, which it declines.
    """

    id: str
    text: str
    label: str
    kind: str


def read_prompts(suite: str, path: Path) -> list[SafetyPrompt]:
    """The prompts of a suite that comes with Charter, in the file's order.

    Raises:
        DataError: the file is missing or broken, or is not that suite's.
    """
    text, label, kind = _COLUMNS[suite]
    prompts = []
    for number, record in enumerate(read_records(path, suite, "evaluation.suites.data"), 1):
        values = record.values
        # An empty cell is as bad as a missing column.
        missing = [column for column in (text, label, kind) if column and not values.get(column)]
        if record.problem or missing:
            why = record.problem or f"no {' and no '.join(missing)}"
            raise DataError(f"{suite} '{path}': {record.where}: {why}. Name the suite's own file in `data`.")
        safe = values[label] if label else "unsafe"
        prompts.append(SafetyPrompt(str(values.get("id") or number), values[text], safe, values[kind]))
    return prompts


def check_suites(settings: Evaluation) -> None:
    """Check that the tools are installed, and that what the config names exists.

    Raises:
        ConfigError: a tool, a task or a folder is missing.
        DataError: a file of prompts cannot be used.
    """
    for suite in settings.suites:
        check_installed("inspect_ai")
        if suite.data is not None:
            read_prompts(suite.task, suite.data)
        else:
            _check_task(suite)
    harness = settings.harness
    if not harness.tasks:
        return
    check_installed("lm_eval")
    if harness.include_path is not None and not harness.include_path.is_dir():
        raise ConfigError(
            f"evaluation.harness.include_path '{harness.include_path}': no such folder. Correct it, or leave it out."
        )
    for task in harness.tasks:
        if task.endswith(".yaml") and not glob(task):
            raise ConfigError(f"evaluation.harness.tasks '{task}': no such file. Correct the path.")
    # Patterns, files and plugins' tasks are unknown to the harness
    names = [t for t in harness.tasks if t not in HARNESS_TASKS and not t.endswith(".yaml") and "*" not in t]
    if names:
        _check_harness_knows(",".join(names), harness.include_path)


def count_samples(settings: Evaluation) -> dict[str, int | None]:
    """How many samples each suite and task sends to a model; None if only its tool knows.

    Without a file to count, a limit is an upper bound; in a group it is one for each task.

    Raises:
        DataError: a file of prompts cannot be used.
    """
    sizes: dict[str, tuple[int | None, int | None]] = {}
    for suite in settings.suites:
        sizes[suite.name] = len(read_prompts(suite.task, suite.data)) if suite.data else None, suite.limit
    for task in settings.harness.tasks:
        size = HARNESS_TASKS[task].count(settings) if task in HARNESS_TASKS else None
        sizes[task] = size, settings.harness.limit
    # The smaller of the size of the file and the limit.
    return {name: min((n for n in bounds if n is not None), default=None) for name, bounds in sizes.items()}


def _check_task(suite: Suite) -> None:
    """Check that a suite's task is a function in a file, or belongs to an installed package or the hub."""
    place, at, name = suite.task.partition(".py@")
    if at or place.endswith(".py"):
        path = Path(place + ".py" if at else place)
        if not path.is_file():
            raise ConfigError(f"evaluation.suites '{suite.task}': no such file. Correct the path.")
        # By its text, since importing it would run it
        if not re.search(rf"\b{re.escape(name)}\b", path.read_text(encoding="utf-8")):
            raise ConfigError(
                f"evaluation.suites '{suite.task}': {path} names no '{name}'. Name one of its functions with @task."
            )
        return
    package, slash, _ = suite.task.partition("/")
    installed = package.isidentifier() and importlib.util.find_spec(package) is not None
    if not slash or not (installed or package == "hf"):
        raise ConfigError(
            f"evaluation.suites '{suite.task}': neither a file with tasks nor the name of an installed one. Write "
            "FILE.py, FILE.py@TASK or PACKAGE/TASK, and install the package."
        )


@lru_cache(maxsize=8)  # it takes seconds, and a command and its flow both check
def _check_harness_knows(names: str, include_path: Path | None) -> None:
    command = [sys.executable, "-P", "-m", "lm_eval", "validate", "--tasks", names]
    command += ["--include_path", str(include_path.resolve())] if include_path else []
    environment = child_environment(hub=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=_VALIDATION_TIMEOUT_S, env=environment)
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
