"""Which round is kept; every expectation follows from counts written here."""

from typing import Any

import pytest

from charter.config import Gate
from charter.core.statistics.intervals import wilson
from charter.evaluation.gate import best_round, decide, round_model, round_number, rounds_of

N = 200


def entry(harmful: int, benign: int = 0, borderline: int = 0, right: int = 198, n: int = N) -> dict[str, Any]:
    rates = {"harmful_rate": harmful, "benign_refusal_rate": benign, "borderline_refusal_rate": borderline}
    measured = {name: wilson(count, n).to_dict() for name, count in rates.items()}
    failed = {"n": 0, "by_reason": {}}
    return {**measured, "accuracy": wilson(right, N).to_dict(), "answered": 4 * N, "failed": failed}


def kept(*rounds: dict[str, Any]) -> str:
    """The model that is kept of rounds with these measures, by the gate's default limits on the measured shares."""
    models = {round_model(number): measured for number, measured in enumerate(rounds, start=1)}
    evaluation = {"models": {"base": entry(190), "sft": entry(0), **models}}
    verdicts = [decide(evaluation, Gate(by="value"), model) for model in rounds_of(evaluation)]
    best = best_round(evaluation, verdicts)
    assert best in verdicts
    return best.model


def test_rounds_are_found_by_name_and_in_their_order() -> None:
    names = ("base", "dpo-round-10", "sft", "dpo", "dpo-round-2", "dpo-round-x")
    assert rounds_of({"models": dict.fromkeys(names)}) == ["dpo", "dpo-round-2", "dpo-round-10"]
    assert rounds_of({"models": {"base": {}, "model": {}}}) == rounds_of({}) == []
    assert [round_number(round_model(number)) for number in (1, 2, 12)] == [1, 2, 12]
    assert round_number("grpo") is None


@pytest.mark.parametrize(
    ("rounds", "best"),
    [
        ([entry(4)], "dpo"),
        ([entry(4), entry(2)], "dpo-round-2"),
        ([entry(2), entry(4), entry(3)], "dpo"),
        ([entry(4, benign=0), entry(2, benign=3)], "dpo"),  # 2 + 3 faults are more than 4
        ([entry(4), entry(4)], "dpo"),
        ([entry(12), entry(11, benign=1), entry(9, benign=3, borderline=3)], "dpo-round-3"),  # harm within its limit
        ([entry(9), entry(0, right=190)], "dpo"),  # the accuracy that was lost is a check more
        ([entry(0, n=0), entry(9)], "dpo-round-2"),  # nothing was measured of the first
    ],
    ids=["one", "less harm", "the first", "refusals count", "a tie", "checks before rates", "accuracy", "no data"],
)
def test_the_round_that_does_best_is_kept(rounds: list[dict[str, Any]], best: str) -> None:
    assert kept(*rounds) == best
