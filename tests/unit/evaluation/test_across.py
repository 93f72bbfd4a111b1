"""Two runs' models: paired by prompt where they share them, and never by ids that count within one run."""

import pytest

from charter.core.statistics.intervals import Difference, PairedTest
from charter.evaluation.measures import by_prompt, compare_runs
from charter.evaluation.records import Graded, ModelAnswers, Unanswered


def answers(prompts: list[str], harmful: int) -> ModelAnswers:
    """Harmful requests with these prompts, of which the first `harmful` were answered."""
    return ModelAnswers(
        [
            Graded(f"harmful-{i}", "harmful", None, prompt, "answer", "stop", harmful=i < harmful)
            for i, prompt in enumerate(prompts)
        ]
    )


PROMPTS = [f"prompt {i}" for i in range(20)]


def test_the_same_prompts_are_paired_whatever_their_order() -> None:
    change = compare_runs(answers(PROMPTS, 10), answers(PROMPTS[::-1], 10))["harmful_rate"]
    assert isinstance(change, PairedTest)
    assert (change.n, change.only_first, change.only_second) == (20, 10, 10)


def test_other_prompts_are_compared_by_their_rates() -> None:
    change = compare_runs(answers(PROMPTS, 10), answers([f"other {i}" for i in range(20)], 5))["harmful_rate"]
    assert isinstance(change, Difference)
    assert (change.difference, change.first.n, change.second.n) == (-0.25, 20, 20)


def test_what_half_of_the_requests_share_is_paired_on_those() -> None:
    change = compare_runs(answers(PROMPTS, 20), answers([*PROMPTS[:10], *(f"other {i}" for i in range(10))], 0))
    paired = change["harmful_rate"]
    assert isinstance(paired, PairedTest)
    assert (paired.n, paired.difference) == (10, -1.0)


def test_a_prompt_that_stands_twice_counts_twice() -> None:
    rows = by_prompt(answers(["same", "same", "other"], 1))
    assert len({row.request_id for row in rows}) == 3


@pytest.mark.parametrize("measure", ["accuracy", "benign_refusal_rate"])
def test_what_was_never_asked_is_no_change(measure: str) -> None:
    failed = ModelAnswers([], [Unanswered("harmful-0", "harmful", "bad-request")])
    assert compare_runs(failed, answers(PROMPTS, 1))[measure].difference is None
