"""Everything the report says, as plain data: the page, the cards and ``report.json`` are views of this."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from charter.core.text import plain
from charter.runs.blame import Deeds
from charter.training.token_rewards import TokenReport

MetricRow = dict[str, float | None]


@dataclass(frozen=True)
class Principle:
    """One principle, and what it did in the run."""

    id: str
    title: str
    text: str
    deeds: Deeds = field(default_factory=Deeds)


@dataclass(frozen=True)
class Constitution:
    """The law as used; `total` is what its principles did together."""

    name: str = ""
    version: str = ""
    hash: str = ""
    path: str = ""
    principles: list[Principle] = field(default_factory=list)
    total: Deeds = field(default_factory=Deeds)


@dataclass(frozen=True)
class Stage:
    """One stage's rows and cost; None where it was not counted."""

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
class Failure:
    """Rows of one stage that failed alike, with one of their details."""

    stage: str
    reason: str
    count: int
    detail: str = ""


@dataclass(frozen=True)
class Example:
    """One prompt before and after.

    Attributes:
        how: how it was chosen, in words, so that nobody is misled by it.
        unpleasant: folded behind a click.
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
class Labels:
    """What the judge said about the pairs that were kept.

    Attributes:
        counts: pairs per bin of p(chosen), `edges` being the bins' borders.
        orders_agree: pairs on which the judge prefers the same answer in both orders.
        first_slot_shift: mean of p(an answer | it is shown first) minus p(the same | shown second);
            0 is a judge without position bias.
        ties: pairs set aside because the judge saw no difference.
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
    """A run, as the report tells it.

    Attributes:
        models: identities of the models of the run, by name.
        wrote: first answers by the identity of the model that wrote them.
        judged: labels by the identity of their judge.
        audit: of the judge, as ``audit.json`` holds it but for its examples; empty where the run names none.
        preambles: revisions from which words such as "Here is the revised answer:" were taken off.
        dissent: how often each member of a panel stood against the others, by kind of pair; empty without a panel.
        review: of the labels by people, as ``review.json`` holds it; empty where nobody was asked.
        trained: what each finished training step says of itself: rows, steps, seconds, warnings.
        heat: what training changed, token by token.
        rounds: pairs of each round by the name of its model, where there are several rounds; `labels`, `kinds` and
            what principles did are of the first alone.
        checkout: the commit of Charter that made the run, and whether it was changed; empty where it is installed.
        machine: what the run was made on, in words.
    """

    name: str
    made: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    constitution: Constitution = field(default_factory=Constitution)
    verdict: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    labels: Labels = field(default_factory=Labels)
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
        """As ``report.json`` holds it; numbers that are not finite become null."""
        return json.dumps(plain(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ReportData":
        """The data of a ``report.json``."""
        return _ADAPTER.validate_python(values)

    @classmethod
    def load(cls, path: Path) -> "ReportData":
        """Read a ``report.json``."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))


_ADAPTER = TypeAdapter(ReportData)
