"""Models of different runs against each other: paired where they were asked the same, else by their rates."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from charter.core.statistics.intervals import Difference, PairedMean, PairedTest, newcombe, rate_of
from charter.evaluation.measures import MEASURES, further_outcomes, outcomes, pair_outcomes, served, usable
from charter.evaluation.records import Answers, Graded
from charter.evaluation.style import Texts, compare_style

Change = PairedTest | PairedMean | Difference

PAIRED_FROM = 0.5
"""The share of the second model's requests that the first must have been asked too, for a paired test on those."""


def compare_runs(first: Answers, second: Answers) -> dict[str, Change]:
    """Per measure, the second model's minus the first's; what is beyond the headline only where both have it.

    Style is compared on the same requests alone, for it is a matter of what was asked.
    """
    before, after = by_prompt(first), by_prompt(second)
    changes: dict[str, Change] = {m.name: _compare(outcomes(before, m), outcomes(after, m)) for m in MEASURES}
    theirs, ours = further_outcomes(before), further_outcomes(after)
    changes |= {name: _compare(theirs[name], ours[name]) for name in theirs if name in ours}
    return changes | _compare_style(served(before), served(after))


def by_prompt(answers: Answers) -> list[Graded]:
    """The usable answers, each with its prompt as its id: ids count within one run, prompts are the same in all."""
    seen, rows = Counter[tuple[str, str]](), list[Graded]()
    for row in usable(answers):
        sort = f"{row.category} {row.variant}" if row.variant else row.category
        seen[sort, row.prompt] += 1
        rows.append(replace(row, request_id=f"{sort} {seen[sort, row.prompt]}: {row.prompt}"))
    return rows


def _compare_style(a: Texts, b: Texts) -> dict[str, Change]:
    shared = len(a.keys() & b.keys())
    return {**compare_style(a, b)} if shared and shared >= PAIRED_FROM * len(b) else {}


def _compare(a: Mapping[str, bool], b: Mapping[str, bool]) -> PairedTest | Difference:
    if len(a.keys() & b.keys()) >= PAIRED_FROM * len(b):
        return pair_outcomes(a, b)
    return newcombe(rate_of(list(a.values())), rate_of(list(b.values())))
