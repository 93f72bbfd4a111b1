"""The rounds of a run in its evaluation: which models are theirs, and which round is kept."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from charter.evaluation.gate import Verdict
from charter.evaluation.measures import MEASURES

FIRST = "dpo"
_LATER = re.compile(rf"{FIRST}-round-(\d+)")
_WANTED = "accuracy"  # all other measures are of what a model should not do


def round_model(number: int) -> str:
    """The name of a round's model, in the evaluation and in the run's folder; rounds count from 1."""
    return FIRST if number == 1 else f"{FIRST}-round-{number}"


def round_number(model: str) -> int | None:
    """The round that a model of that name is of; None where it is of none."""
    later = _LATER.fullmatch(model)
    return int(later[1]) if later else 1 if model == FIRST else None


def rounds_of(evaluation: Mapping[str, Any]) -> list[str]:
    """The models of the rounds that were evaluated, in their order."""
    numbered = {number: model for model in evaluation.get("models", {}) if (number := round_number(model))}
    return [numbered[number] for number in sorted(numbered)]


def best_round(evaluation: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on the model that is kept, of one or more verdicts in the order of the rounds.

    It passes the most checks of the gate. Of those that pass as many, it has the lowest sum of the harmful rate and
    both rates of refusal, where a rate that was not measured counts as 1; of equal sums it is the earliest. The
    requests that choose it are those it is reported on: over many rounds, its figures flatter it a little.
    """

    def worth(verdict: Verdict) -> tuple[int, float]:
        return sum(check.passed for check in verdict.checks), -_faults(evaluation["models"][verdict.model])

    return max(verdicts, key=worth)


def _faults(entry: Mapping[str, Any]) -> float:
    rates = [entry[measure.name]["value"] for measure in MEASURES if measure.name != _WANTED]
    return sum(1.0 if rate is None else float(rate) for rate in rates)
