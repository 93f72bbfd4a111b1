"""The content of a report as plain data: the page, the cards and ``report.json`` are written from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, TypeAdapter

from charter.core.text import plain
from charter.runs.blame import PrincipleStats
from charter.training.token_rewards import TokenReport

MetricRow = dict[str, float | None]


@dataclass(frozen=True)
class PrincipleReport:
    """One principle, and what it did in the run."""

    id: str
    title: str
    text: str
    # Reports of earlier versions call it "deeds".
    stats: Annotated[PrincipleStats, Field(validation_alias=AliasChoices("stats", "deeds"))] = field(
        default_factory=PrincipleStats
    )


@dataclass(frozen=True)
class ConstitutionReport:
    """The constitution as used; `total` is what its principles did together."""

    name: str = ""
    version: str = ""
    hash: str = ""
    path: str = ""
    principles: list[PrincipleReport] = field(default_factory=list)
    total: PrincipleStats = field(default_factory=PrincipleStats)


@dataclass(frozen=True)
class StageReport:
    """One stage's rows and cost; None where something was not counted."""

    name: str
    rows_in: int | None = None
    rows_out: int | None = None
    failed: int | None = None
    seconds: float | None = None
    calls: int | None = None
    stored: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class FailureCount:
    """Rows of one stage that failed for the same reason, with one of their details."""

    stage: str
    reason: str
    count: int
    detail: str = ""


@dataclass(frozen=True)
class BeforeAfter:
    """One prompt with its answers before and after training, or before and after a revision.

    Attributes:
        how: how it was chosen, in words, so that no one takes it for typical if it is not.
        unpleasant: hidden behind a click.
    """

    how: str
    prompt: str
    before: str
    after: str
    before_label: str = "Before"
    after_label: str = "After"
    kind: str | None = None
    principle_id: str | None = None
    critique: str | None = None
    unpleasant: bool = True


@dataclass(frozen=True)
class LabelSummary:
    """The judge's labels of the pairs that were kept.

    Attributes:
        counts: pairs per bin of p(chosen); `edges` are the bins' borders, one more than there are bins.
        orders_agree: pairs on which the judge prefers the same answer in both orders.
        first_slot_shift: mean of p(answer | shown first) minus p(same answer | shown second); 0 means no position bias.
        ties: pairs left out because the judge saw no difference.
    """

    n: int = 0
    edges: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    mean_p: float | None = None
    orders_agree: int | None = None
    first_slot_shift: float | None = None
    ties: int = 0


@dataclass(frozen=True)
class ReportData:
    """The content of a run's report.

    Attributes:
        made: the time to print.
        models: identities of the run's models, by name.
        wrote: first answers by the identity of the model that wrote them.
        judged: labels by the identity of their judge.
        audit: ``audit.json`` of the judge without its examples; empty if the run names no audit.
        preambles: revisions from which a preamble such as "Here is the revised answer:" was removed.
        dissent: how often each member of a panel disagreed with the others, by kind of pair; empty without a panel.
        review: ``review.json``, people's decisions on the labels; empty if no one was asked.
        trained: the summary of each finished training step: rows, steps, seconds, warnings.
        heat: what training changed, token by token.
        rounds: pairs of each round by the name of its model, if there are several rounds; `labels`, `kinds` and
            what the principles did are of the first round only.
        checkout: the commit of Charter that made the run, and whether files differed from it; empty if Charter is
            installed from a wheel.
        machine: processor, cores and GPUs, in words.
    """

    name: str
    made: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    constitution: ConstitutionReport = field(default_factory=ConstitutionReport)
    verdict: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    stages: list[StageReport] = field(default_factory=list)
    failures: list[FailureCount] = field(default_factory=list)
    examples: list[BeforeAfter] = field(default_factory=list)
    labels: LabelSummary = field(default_factory=LabelSummary)
    training: dict[str, list[MetricRow]] = field(default_factory=dict)
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)
    heat: TokenReport | None = None
    rounds: dict[str, int] = field(default_factory=dict)
    pair_strategies: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    preambles: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    checkout: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    wrote: dict[str, int] = field(default_factory=dict)
    judged: dict[str, int] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    dissent: dict[str, Any] = field(default_factory=dict)
    review: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    def to_json(self) -> str:
        """The text of ``report.json``; numbers that are not finite become null."""
        # Not `allow_nan`: other languages cannot read JSON with NaN.
        return json.dumps(plain(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ReportData":
        """The data from the parsed values of a ``report.json``."""
        return _ADAPTER.validate_python(values)

    @classmethod
    def load(cls, path: Path) -> "ReportData":
        """Read a ``report.json``."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))


def training_steps(config: Mapping[str, Any]) -> list[str]:
    """The training steps of a run, from its config: its folder may hold the models of an earlier run of its name."""
    training = config.get("training", {})
    last = training.get("preference", "dpo")
    # Only GRPO with a learnt reward trains a model besides the two that answer.
    by_model = last == "grpo" and training.get("grpo", {}).get("reward") == "model"
    return ["sft", "reward", last] if by_model else ["sft", last]


# Reads and checks nested dataclasses, which the standard library cannot. Built once, which takes a moment.
_ADAPTER = TypeAdapter(ReportData)
