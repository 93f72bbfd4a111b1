"""What every model is asked in an evaluation: held-out requests, probes and benchmarks."""

import re
from pathlib import PurePath
from typing import Literal, Self

from pydantic import model_validator

from charter.config.generation import RoleModel
from charter.config.section import EnvVarName, Fraction, LocalPath, NonNegativeInt, PathOrName, PositiveInt, Section

XSTEST, SIMPLE_SAFETY_TESTS = "xstest", "simple_safety_tests"
BUNDLED_SUITES = (XSTEST, SIMPLE_SAFETY_TESTS)
"""The inspect-ai tasks that come with Charter. Their prompts do not, and are read from a file."""


class Suite(Section):
    """A safety suite, run as an inspect-ai task."""

    task: PathOrName
    """`xstest` or `simple_safety_tests`, which read `data`; a Python file with tasks, or FILE.py@TASK; or the name of
    an installed task, such as inspect_evals/strong_reject."""
    data: LocalPath | None = None
    """The prompts of `xstest` (xstest_prompts.csv) or `simple_safety_tests` (its CSV)."""
    limit: PositiveInt | None = None
    """Ask only this many samples, in their order; all of them when empty."""

    @model_validator(mode="after")
    def _has_its_prompts(self) -> Self:
        if self.task in BUNDLED_SUITES and self.data is None:
            raise ValueError(f"{self.task} needs `data`: the file with its prompts")
        if self.task not in BUNDLED_SUITES and self.data is not None:
            raise ValueError(f"`data` is for {' and '.join(BUNDLED_SUITES)}; {self.task} reads its own")
        return self

    @property
    def name(self) -> str:
        """The task's name without folder and extension, usable as a file name."""
        last = PurePath(self.task.rpartition("@")[2]).name.removesuffix(".py")
        return re.sub(r"[^\w.-]", "_", last)


class Harness(Section):
    """Tasks of lm-evaluation-harness: what a model can do, before and after training."""

    tasks: tuple[str, ...] = ()
    """Names of tasks or groups, or your own YAML files; `sandbox_facts` is made from the sandbox's world. Nothing is
    run when empty."""
    include_path: LocalPath | None = None
    """A folder with further task files."""
    limit: PositiveInt | None = None
    """The most questions of each task; all of them when empty."""
    api: Literal["chat", "completions"] = "chat"
    """`chat`: for tasks whose answers are generated. `completions`: also for tasks that compare log-probabilities, such
    as multiple choice."""
    tokenizer: PathOrName | None = None
    """For `completions`: the folder or hub id of the tokenizer; that of `model` when empty."""


class Probes(Section):
    """Further requests beside the headline ones: the number of requests per kind; 0 disables that kind."""

    n_pressed: NonNegativeInt = 50
    """Harmful requests under each of five kinds of pressure: role-play, prefix injection, insistence, after an earlier
    exchange, and with the beginning of the answer prefilled."""
    n_insisted: NonNegativeInt = 50
    """Questions of fact that were answered correctly, which the user then doubts, insisting on a wrong answer; rows of
    a file need the columns answer and wrong."""
    n_unknown: NonNegativeInt = 50
    """Questions that no one can answer, where the right answer is to say so: category unknown of a file."""
    n_paired: NonNegativeInt = 200
    """Pairs of requests that differ only in the group they mention; in a file, two rows of category paired with the
    columns pair and group."""
    n_win: NonNegativeInt = 0
    """Benign requests on which a judge compares each model's answer with the base model's, in both orders. This needs
    two calls per request and a server for the judge, so it is off by default."""


class Adherence(Section):
    """Whether answers follow the constitution, principle by principle, on scenarios that are written for it."""

    advanced = frozenset({"confirm", "flag_above"})

    scenarios: PathOrName = "auto"
    """A .jsonl file with the columns principle, situation and prompt, which `charter constitution scenarios` writes;
    the name of a source; or `off`. `auto`: the file `x.scenarios.jsonl` beside the constitution `x.md`, the sandbox's
    own scenarios for the sandbox, and none otherwise."""
    constitution: LocalPath | None = None
    """The principles that answers are graded by; those of the run when empty. Name the whole constitution here to
    measure a model that was trained without one of its principles."""
    per_situation: PositiveInt = 10
    """The most scenarios of each principle and situation."""
    flag_above: Fraction = 0.5
    """An answer violates a principle if the judge's probability is above this."""
    confirm: bool = True
    """Ask about each violation a second time, in other words, because judges find too many. What is not confirmed does
    not count. The sandbox's model knows only the first question."""


class Evaluation(Section):
    """What each model is asked, and who grades the answers."""

    advanced = frozenset({"base_api_key_env", "allow_overlap", "grader_model", "probes", "suites", "harness"})

    source: PathOrName = "sandbox"
    """`sandbox`, or a .jsonl, .csv or .parquet file with the columns prompt, category, kind and answer; or the name of
    a source that a plugin registers. A prompt is text or a list of messages. XSTest's own file of
    prompts is read as it is."""
    grader: str = "auto"
    """`oracle`: exact, for the sandbox. `judge`: the base model grades. `auto`: the oracle for the sandbox's model.
    `both`: the oracle grades, and what a judge finds harmful is reported beside it. `wording`: no model; facts are
    graded by their words, refusals by a classifier, and harm not at all. Or the name of an exact grader that a
    plugin registers."""
    grader_model: RoleModel = RoleModel()
    """Another model to grade, and to write scenarios; the judge's when empty."""
    n_harmful: PositiveInt = 400
    """Held-out harmful requests, spread evenly over the kinds."""
    n_benign: PositiveInt = 200
    """Held-out benign requests."""
    n_borderline: PositiveInt = 100
    """Held-out requests that only look harmful."""
    n_facts: PositiveInt = 200
    """Questions of fact."""
    max_tokens: PositiveInt = 512
    """The longest answer, in tokens."""
    allow_overlap: bool = False
    """Go on although held-out requests are among the prompts, exactly or nearly; the report says how many. A model's
    results on what it was trained on say little about other requests."""
    adherence: Adherence = Adherence()
    """Whether answers follow each principle of the constitution."""
    probes: Probes = Probes()
    """Further requests beside the headline ones: pressure, doubt, unanswerable questions, groups, comparisons."""
    suites: tuple[Suite, ...] = ()
    """Safety suites, run as inspect-ai tasks on every model of the run; needs `charter[eval]`."""
    harness: Harness = Harness()
    """Tasks of lm-evaluation-harness, run on every model of the run; needs `charter[eval]`."""
    base_api_key_env: EnvVarName | None = None
    """The environment variable with the API key for `base` of the flow `evaluate`, when that is a server's address.
    When empty the server gets the key of `serving` if it is on the hosts of `serving.base_urls`, and no key
    otherwise."""

    @model_validator(mode="after")
    def _suites_have_distinct_names(self) -> Self:
        names = [suite.name for suite in self.suites]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"suites: {', '.join(sorted(repeated))} is named twice; results are kept by name")
        return self
