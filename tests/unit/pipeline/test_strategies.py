"""Which answers each strategy pairs, and which rows meet it; every expectation is written by hand."""

from typing import Any

import pytest

from charter.config import Filters, Pairs, Strategies
from charter.core.messages import user
from charter.pipeline.strategies import Material, Plan, candidates, gather, ranking_candidates, wanted_samples

ALL_DPO, ALL_SFT = 1e-9, 1 - 1e-9


def row(number: int, first: str = "bad", last: str = "good") -> dict[str, Any]:
    asked = {"row_id": f"r{number}", "prompt": [user(f"Question {number}?")], "kind": None, "source": "test"}
    return {**asked, "seed": 1, "model_identity": "m", "first": first, "last": last, "drawn": ["p0", "p1", "p2"]}


STEPS = (("bad ", "better", "p1+p2"), ("better", "better", "p3"), ("better", "good", "p0"))
ROUNDS = [
    {"row_id": "r0", "round": number, "response": before, "revision": after, "principle_id": id}
    | {"changed": before != after, "flagged": before != after}
    for number, (before, after, id) in enumerate(STEPS)
]
CALM = [{**ROUNDS[1], "response": "fine", "revision": "fine"}]


def plan(sft_share: float = ALL_DPO, n: int = 4, **shares: float) -> Plan:
    return Plan(Pairs(strategies=Strategies(**({"revision": 0.0} | shares)), answers_per_prompt=n), sft_share, seed=1)


@pytest.mark.parametrize(
    ("strategy", "answers", "pairs"),
    [
        ("revision", [], [("bad", "good", ["p0", "p1", "p2"])]),
        ("every_revision", [], [("bad", "better", ["p1", "p2"]), ("better", "good", ["p0"])]),
        ("samples", ["a", "b", "c", "d", "e"], [("a", "b", []), ("c", "d", [])]),
        ("samples", ["a"], []),
        ("helpful", ["a", "b", "c"], []),  # a critique found fault
        ("best_worst", ["a", "b", "c"], []),  # made of the judge's ranking
    ],
    ids=["revision", "ladder", "two by two", "no second answer", "not for harm", "ranked later"],
)
def test_a_strategy_pairs_what_it_says(
    strategy: str, answers: list[str], pairs: list[tuple[str, str, list[str]]]
) -> None:
    made = candidates([Material(row(0), ROUNDS, answers)], plan(**{strategy: 1.0}))
    assert [(one["first"], one["last"], one["drawn"]) for one in made] == pairs
    name = strategy.replace("_", "-")
    assert [one["pair_id"] for one in made] == [f"r0/{name}/{number}" for number in range(len(pairs))]
    assert {one["strategy"] for one in made} <= {name}


def test_helpful_pairs_two_answers_where_no_critique_found_fault() -> None:
    made = candidates([Material(row(0, "fine", "fine"), CALM, ["fine", "finer", "x"])], plan(helpful=1, revision=1))
    assert [(one["pair_id"], one["first"], one["last"]) for one in made] == [("r0/helpful/0", "fine", "finer")]


def test_on_policy_pairs_answers_of_another_model_than_the_one_that_critiques() -> None:
    answers = ["a", "b", "c", "d"]
    by_base = Material(row(0), [{**made, "model_identity": "m"} for made in ROUNDS], answers)
    by_aligned = by_base._replace(row={**row(0), "model_identity": "m, aligned"})
    settings = plan(revision=1, on_policy=1)
    assert (settings.strategies(by_base), settings.samples(by_base)) == (["revision"], 0)
    assert (settings.strategies(by_aligned), settings.samples(by_aligned)) == (["revision", "on-policy"], 3)
    made = candidates([by_aligned], plan(revision=0.001, on_policy=1))
    assert [(one["pair_id"], one["first"], one["last"]) for one in made] == [
        ("r0/on-policy/0", "a", "b"), ("r0/on-policy/1", "c", "d")
    ]  # fmt: skip


def test_strategies_are_combined() -> None:
    everything = plan(revision=1, every_revision=1, samples=1, best_worst=1, helpful=1)
    made = candidates([Material(row(0), ROUNDS, ["a", "b", "c", "d"])], everything)
    assert [one["pair_id"] for one in made] == [
        *("r0/revision/0", "r0/every-revision/0", "r0/every-revision/1", "r0/samples/0", "r0/samples/1")
    ]


@pytest.mark.parametrize("shares", [{"samples": 1.0}, {"best_worst": 1.0, "helpful": 1.0}])
def test_sft_prompts_meet_the_revision_alone(shares: dict[str, float]) -> None:
    material = Material(row(0), ROUNDS, ["a", "b"])
    made = candidates([material], plan(ALL_SFT, **shares))
    assert [one["pair_id"] for one in made] == ["r0/revision/0"]
    assert wanted_samples([material], plan(ALL_SFT, **shares)) == []


def test_a_share_is_drawn_at_random_and_a_larger_one_keeps_who_was_drawn() -> None:
    materials = [Material(row(number), (), ()) for number in range(1000)]
    drawn = {
        share: {one["row_id"] for one in candidates(materials, plan(revision=share))} for share in (0.25, 0.5, 1.0)
    }
    assert 210 < len(drawn[0.25]) < 290 and 455 < len(drawn[0.5]) < 545 and len(drawn[1.0]) == 1000
    assert drawn[0.25] < drawn[0.5]
    assert {one["row_id"] for one in candidates(materials[::-1], plan(revision=0.5))} == drawn[0.5]
    other = {one["row_id"] for one in candidates(materials, Plan(plan(revision=0.5).settings, ALL_DPO, seed=2))}
    assert 180 < len(other & drawn[0.5]) < 320


@pytest.mark.parametrize(
    ("shares", "numbers"),
    [
        ({"revision": 1}, []),
        ({"samples": 1}, [1, 2]),
        ({"best_worst": 1, "helpful": 1}, [1, 2]),
        ({"helpful": 1}, [1]),
    ],
)
def test_as_many_samples_are_wanted_as_the_strategies_need(shares: dict[str, float], numbers: list[int]) -> None:
    wanted = wanted_samples([Material(row(0, "fine", "fine"), CALM, ["fine"])], plan(n=3, **shares))
    assert [one["sample"] for one in wanted] == numbers
    assert all(one["row_id"] == "r0" and one["prompt"] == [user("Question 0?")] for one in wanted)


def test_what_there_is_of_a_row_is_in_order() -> None:
    samples = [{"row_id": "r0", "sample": number, "response": f" {number} "} for number in (3, 1)]
    first, second = gather([row(0), row(1)], ROUNDS[::-1], samples)
    assert [made["round"] for made in first.rounds] == [0, 1, 2]
    assert (first.answers, second.answers, second.rounds) == (["bad", "1", "3"], ["bad"], [])


def test_junk_and_repeats_do_not_enter_a_contest() -> None:
    loop = "and so on " * 20
    materials = [
        Material(row(0), (), ["one", "Two", "two", loop]),
        Material(row(1), (), ["one", "ONE"]),
    ]
    entered = ranking_candidates(materials, plan(best_worst=1), Filters(), "en")
    assert [(one["pair_id"], one["answers"]) for one in entered.rows] == [("r0/best-worst/0", ["one", "Two"])]
    assert [(lost["pair_id"], lost["reason"]) for lost in entered.failures] == [
        ("r0/best-worst/0/3", "repetition"),
        ("r1/best-worst/0", "one-answer"),
    ]
    assert ranking_candidates(materials, plan(revision=1), Filters(), "en").rows == []
