"""Why rows are lost, what to change, and when a run that loses too many must stop."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from charter.core.errors import NoDataError
from charter.core.statistics.intervals import wilson

ADVICE: Mapping[str, str] = {
    "cut-off": "Raise generation.max_tokens (for a judge, judge.max_tokens), or ask for shorter answers.",
    "only-thoughts": "Raise serving.thinking_tokens, or switch thinking off: "
    "serving.chat_template_kwargs={enable_thinking: false}.",
    "empty": "Check that the model is an instruct model with a chat template: `charter trace PROMPT --config CONFIG`.",
    "loop": "Raise generation.critique_temperature, or use a larger model.",
    "preamble-only": "Raise generation.max_tokens, or use a larger model as the reviser.",
    "no-answer": "Rows without an answer are left out: correct prompts.answers, or leave it empty to have a model "
    "answer them.",
    "no-verdict": "The model does not end its critiques with a verdict. Use a larger model, or a simpler template "
    "(generation.templates).",
    "no-choice": "The judge does not answer with one of the letters. Check its server and judge.kind, or name a "
    "larger judge.model.",
    "judge-refused": "The judge refuses to judge. Name another judge.model, or judge.kind=choice.",
    "bad-request": "The server refuses the requests: read its text in the example and correct the serving section.",
    "context-too-long": "Raise serving.max_model_len as far as the model allows, lower generation.max_tokens, or use "
    "shorter prompts.",
    "content-filter": "The server filters these requests. Use a server without the filter, or other prompts.",
    "refused": "The server refuses these requests. Use a model that answers them, or other prompts.",
    "endpoint-error": "The server fails: read its log, then run the same command again.",
    "malformed-answer": "The server's answers cannot be read: check that serving.base_urls is the address of an "
    "OpenAI-compatible server.",
    "tie": "The judge prefers neither answer. Lower judge.tie_margin, name a larger judge.model, or run `charter judge "
    "audit` to see whether it can judge.",
    "panel-split": "The panel disagrees. Change judge.panel, or let people decide: review.labels=true.",
    "orders-contradict": "The judge prefers whichever answer it sees first. Name a larger judge.model.",
    "near-identical": "Revisions hardly differ from the answers. Use a larger model, or raise "
    "pairs.filters.near_identical.",
    "identical": "Revisions do not differ from the answers. Use a larger model.",
    "breaks-check": "The better answer still breaks a rule of the constitution. Use a larger model as the reviser, or "
    "simpler rules.",
    "unchanged": "No critique found a violation. Use prompts that the constitution is about.",
    "no-pair": "No strategy found two answers to pair. Set pairs.strategies.samples, or use prompts that the "
    "constitution is about.",
    "one-answer": "All answers to a prompt are alike. Raise pairs.temperature or pairs.answers_per_prompt.",
    "repetition": "Answers repeat themselves. Lower generation.temperature, use a larger model, or raise "
    "pairs.filters.repetition.",
    "length-ratio": "Raise pairs.filters.length_ratio.",
    "language": "Answers are in another language than the constitution. Set pairs.filters.language=false, or use "
    "other prompts.",
    "duplicate": "Use prompts that differ.",
    "near-duplicate": "Raise prompts.near_duplicates, or use prompts that differ.",
}
"""What to change, by the reason that a row was lost."""

OTHER_ADVICE = "Look at the example and at the folder failures/ of the run."

BY_DESIGN = frozenset(
    {
        "tie",
        "breaks-check",
        "panel-split",
        "orders-contradict",
        "near-identical",
        "identical",
        "prefix",
        "length-ratio",
        "language",
        "repetition",
        "unchanged",
        "no-pair",
        "one-answer",
        "duplicate",
        "near-duplicate",
        "dropped",
        "under-margin",
        "length-balance",
        "helpful-share",
        "held-out",
    }
)
"""Reasons for which rows are left out on purpose: they say something about the data, and nothing failed."""

FIRST_ROWS = 100
"""Rows of a stage after which its losses are judged at the latest; a tenth of the stage's rows if that is less."""
_FEWEST = 5


@dataclass
class Losses:
    """Lost rows by reason, and the first example of each."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, stage: str, row_id: str, detail: str) -> None:
        """Count a lost row."""
        self.reasons[reason] += 1
        self.examples.setdefault(reason, f"row '{row_id}' in {stage}: {' '.join(detail.split())[:200] or 'no detail'}")

    @property
    def technical(self) -> int:
        """The number of rows that failed; those left out by design do not count."""
        return sum(n for reason, n in self.reasons.items() if reason not in BY_DESIGN)

    def add_failures(self, failures: Iterable[Mapping[str, Any]]) -> None:
        """Count rows of ``failures``."""
        for row in failures:
            self.add(row["reason"], row["stage"], row["row_id"], row["detail"])

    def text(self) -> str:
        """The reasons with counts, the most common one with an example, and what to change."""
        if not self.reasons:
            return "No row failed."
        counts = ", ".join(f"{n:,} {reason}" for reason, n in self.reasons.most_common())
        reason, _ = self.reasons.most_common(1)[0]
        return f"Lost: {counts}. {reason}: {self.examples[reason]}. {ADVICE.get(reason, OTHER_ADVICE)}"


class StageLosses:
    """The losses among the first rows of a stage, over all shards.

    The first rows are those that were begun first, not those that ended first: rows that fail often end early.

    Args:
        stage: its name.
        total: rows that the stage may be given.
        limit: the largest share of rows that may fail, see `generation.max_lost_share`.
    """

    def __init__(self, stage: str, total: int, limit: float) -> None:
        self._stage, self._limit = stage, limit
        self._size = min(FIRST_ROWS, max(_FEWEST, math.ceil(total / 10)), max(total, 1))
        self._begun = 0
        self._lost = Losses()

    def begin(self) -> bool:
        """Count a row that begins. Returns whether it is one of the first."""
        self._begun += 1
        return self._begun <= self._size

    def add(self, reason: str, stage: str, row_id: str, detail: str) -> None:
        """Count the loss of one of the first rows.

        Raises:
            NoDataError: more than the limit fail, even at the lower end of the share's 95 % interval.
        """
        self._lost.add(reason, stage, row_id, detail)
        failed = self._lost.technical
        if reason not in BY_DESIGN and wilson(failed, self._size).low > self._limit:
            raise NoDataError(
                f"stage '{self._stage}': {failed:,} of its first {self._size:,} rows failed, more than "
                f"generation.max_lost_share {self._limit:g}. {self._lost.text()} The run was stopped here; answers are "
                "kept. Raise generation.max_lost_share to go on regardless."
            )


class LossCounts:
    """The losses of every stage of a session."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, str], StageLosses] = {}
        self._totals: dict[str, int] = {}

    def total(self, run: str, count: Callable[[], int]) -> int:
        """The number of prompts of a run, counted once."""
        if run not in self._totals:
            self._totals[run] = count()
        return self._totals[run]

    def of_stage(self, run: str, stage: str, total: int, limit: float) -> StageLosses:
        """The losses of a stage of a run."""
        return self._stages.setdefault((run, stage), StageLosses(stage, total, limit))
