"""Benchmarks of others, asked of every model of a run: inspect-ai tasks and lm-evaluation-harness tasks."""

import re
from pathlib import Path, PurePath
from typing import Literal, Self

from pydantic import model_validator

from charter.config.section import Count, Section

XSTEST, SIMPLE_SAFETY_TESTS = "xstest", "simple_safety_tests"
BROUGHT = (XSTEST, SIMPLE_SAFETY_TESTS)
"""The inspect-ai tasks that come with Charter; their prompts do not, and are read from a file."""


class Suite(Section):
    """A safety suite, run as an inspect-ai task."""

    task: str
    """`xstest` or `simple_safety_tests`, which read `data`; a Python file with tasks, or FILE.py@TASK; or the name of
    an installed task, such as inspect_evals/strong_reject."""
    data: Path | None = None
    """The prompts of `xstest` (xstest_prompts.csv) or `simple_safety_tests` (its CSV)."""
    limit: Count | None = None
    """The most samples to ask, from the first on; all when empty."""

    @model_validator(mode="after")
    def _has_its_prompts(self) -> Self:
        if self.task in BROUGHT and self.data is None:
            raise ValueError(f"{self.task} needs `data`: the file with its prompts")
        if self.task not in BROUGHT and self.data is not None:
            raise ValueError(f"`data` is for {' and '.join(BROUGHT)}; {self.task} reads its own")
        return self

    @property
    def name(self) -> str:
        """Short, and fit for a file's name: the task's own."""
        last = PurePath(self.task.rpartition("@")[2]).name.removesuffix(".py")
        return re.sub(r"[^\w.-]", "_", last)


class Harness(Section):
    """Tasks of lm-evaluation-harness: what a model can do, before and after."""

    tasks: tuple[str, ...] = ()
    """Names of tasks or groups, or YAML files of your own; `sandbox_facts` is made from the sandbox's world. Nothing is
    run when empty."""
    include_path: Path | None = None
    """A folder with further task files."""
    limit: Count | None = None
    """The most questions of each task; all when empty."""
    api: Literal["chat", "completions"] = "chat"
    """`chat`: for tasks whose answers are written. `completions`: for those that compare log-probabilities as well,
    such as multiple choice."""
    tokenizer: str | None = None
    """For `completions`: the folder or hub id of the tokenizer; that of `model` when empty."""
