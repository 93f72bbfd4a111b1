"""The figures on pairs whose probabilities are given by hand, and asking a judge about pairs."""

from dataclasses import replace

import pytest

from charter.audit.judged import JudgedPair, judge_pairs, verdict
from charter.audit.metrics import agreement_rates, audit_metrics, calibration_scores, worst_mistakes
from charter.config import Judge
from charter.core.errors import CompletionFailed, ConfigError
from charter.core.messages import user
from charter.pipeline.judges.dissent import stands_alone
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.judges.protocol import Judgement
from charter.testing.scripted import ScriptedModel
from tests.support.judged_pairs import always_a, context_of, good, judged, pair, pairs, shown


def said(i: int, p: float, as_a: float | None = None, as_b: float | None = None, **changes: object) -> JudgedPair:
    a, b = (p if as_a is None else as_a), (p if as_b is None else as_b)
    return JudgedPair(pair(i, **changes), p, ("p0", "p1"), (p, 0.5), a, b, True)


def test_ties_are_set_aside_and_counted() -> None:
    found = agreement_rates([0.9, 0.56, 0.545, 0.455, 0.44, 0.1, 0.7, 0.8], 0.05)
    assert (found["agreement"]["value"], found["agreement"]["n"]) == (pytest.approx(4 / 6), 6)
    assert (found["ties"]["value"], found["ties"]["n"]) == (0.25, 8)
    assert [verdict(p, 0.05) for p in (0.5, 0.51, 0.6, 0.2)] == ["tie", "tie", "better", "worse"]


def test_verdicts_that_flip_name_a_letter_twice() -> None:
    found = audit_metrics([said(0, 0.6, 0.9, 0.3), said(1, 0.5, 0.2, 0.8), said(2, 0.55, 0.8, 0.3), said(3, 0.8)])
    place = found["position"]
    assert (place["flips"]["value"], place["a_twice"]["value"], place["a_twice"]["n"]) == (
        0.75,
        pytest.approx(2 / 3),
        3,
    )
    assert place["p"] == 1.0
    assert place["pull"]["value"] == pytest.approx((0.6 - 0.6 + 0.5 + 0) / 4)


def test_agreement_is_told_by_kind_by_source_and_by_principle() -> None:
    asked = [
        said(0, 0.9, kind="theft", source="x"),
        said(1, 0.2, kind="theft", source="y"),
        said(2, 0.9, kind="fraud", source="y", bearing=frozenset({"p0"})),
        said(3, 0.5, kind=None, source=None),
    ]
    found = audit_metrics(asked)
    kinds = {name: (e["agreement"]["value"], e["agreement"]["n"]) for name, e in found["by_kind"].items()}
    assert kinds == {"fraud": (1.0, 1), "theft": (0.5, 2)}
    assert {name: e["agreement"]["n"] for name, e in found["by_source"].items()} == {"x": 1, "y": 2}
    principles = {name: (e["agreement"]["n"], e["ties"]["n"]) for name, e in found["by_principle"].items()}
    assert principles == {"p0": (3, 4), "p1": (0, 3)}  # p1 does not bear on the third pair


def test_kappa_is_about_people_and_needs_their_labels() -> None:
    assert audit_metrics([said(0, 0.9)])["kappa"] is None
    people = ("better", "better", "worse", "tie", None)
    asked = [
        said(i, p, human=human) for i, (p, human) in enumerate(zip((0.9, 0.2, 0.1, 0.5, 0.9), people, strict=True))
    ]
    found = audit_metrics(asked)["kappa"]  # agreed in 3 of 4, a quarter ties on both sides
    by_habit = 0.25**2 + 0.75**2 / 2
    assert (found["value"], found["n"]) == (pytest.approx((0.75 - by_habit) / (1 - by_habit)), 4)


def test_calibration_is_fitted_to_one_half_of_the_prompts_and_tried_on_the_other() -> None:
    asked = [said(i, 0.9 if i % 4 else 0.1) for i in range(1600, 2000)]  # 90 % sure, right in three of four
    found = calibration_scores(asked)
    assert found["whole"]["n"] == 400 == found["fitted_to"] + found["before"]["n"]
    assert 150 < found["fitted_to"] < 250
    assert found["whole"]["ece"] == pytest.approx(0.15)
    assert found["temperature"]["parameters"]["temperature"] == pytest.approx(2.0, abs=0.6)
    for how in ("temperature", "isotonic"):
        assert found[how]["n"] == found["before"]["n"]
        assert found[how]["ece"] < 0.08 < 0.18 < found["before"]["ece"]
    alike = [said(i, 0.9, prompt=pair(0).prompt) for i in range(100)]
    assert calibration_scores(alike)["before"] is None  # one prompt is never on both sides
    again = [said(i, 0.9, prompt=(user(f"{'Question' if i % 2 else 'QUESTION  '} 0?"),)) for i in range(100)]
    assert (
        len({x.pair.prompt_id for x in again}) == 2 and calibration_scores(again)["before"] is None
    )  # nor in other case


def test_the_surest_mistakes_come_first() -> None:
    found = worst_mistakes([said(0, 0.9), said(1, 0.3), said(2, 0.02), said(3, 0.48)], n=6)
    assert [(m["p"], m["better"]) for m in found] == [(0.02, pair(2).better), (0.3, pair(1).better)]
    assert (found[0]["principles"], found[0]["by_principle"]) == (["p0", "p1"], [0.02, 0.5])


def test_nothing_judged_is_not_zero() -> None:
    found = audit_metrics([])
    assert found["agreement"]["value"] is None and found["position"]["pull"]["value"] is None
    assert found["by_kind"] == {} and found["calibration"]["before"] is None


async def test_which_answer_is_named_first_is_drawn_and_does_not_change_what_is_said() -> None:
    asked = await judged(lambda a, b: 0.9 if a.startswith("good") else 0.3, pairs(60))
    assert 15 < sum(x.asked_as_a for x in asked) < 45
    for x in asked:  # shown as A the good answer gets 0.9, shown as B one minus 0.3
        assert (x.as_a, x.as_b, x.p) == (pytest.approx(0.9), pytest.approx(0.7), pytest.approx(0.8))
        assert x.by_principle == (pytest.approx(0.8), pytest.approx(0.8))
        assert x.one_order == (x.as_a if x.asked_as_a else x.as_b)


async def test_a_judge_that_always_prefers_the_last_answer_is_not_taken_for_a_good_one() -> None:
    async def last(prompt, first, other, principles, context, /) -> Judgement:
        return Judgement(0.9, (0.9,) * len(principles), (0.9, 0.9))

    asked = await judge_pairs(pairs(100), last, context_of(ScriptedModel(lambda m, s: 0.5)), Judge(principles=1))
    assert 0.35 < audit_metrics(asked.pairs)["agreement"]["value"] < 0.65


async def test_principles_that_bear_on_a_pair_are_asked_first() -> None:
    asked = await judged(good(), pairs(20, bearing=frozenset({"p3"})), principles=2)
    assert {x.principles[0] for x in asked} == {"p3"}
    assert {x.principles[1] for x in asked} == {"p0", "p1", "p2"}


async def test_a_pair_that_cannot_be_judged_is_kept_with_its_reason() -> None:
    def script(messages, sampling):
        a, b = shown(messages)
        return CompletionFailed("context-too-long", "4097 tokens") if "7" in a + b else good()(a, b)

    settings = Judge(principles=2)
    said_ = await judge_pairs(pairs(10), judge_of(settings), context_of(ScriptedModel(script)), settings)
    assert len(said_.pairs) == 9
    assert [(f["stage"], f["reason"], len(f["principle_ids"])) for f in said_.failures] == [
        ("audit", "context-too-long", 2)
    ]


async def test_an_unknown_tag_is_one_mistake_and_no_group_of_them() -> None:
    settings = Judge(tags=("kind",))
    with pytest.raises(ConfigError, match="kind"):
        await judge_pairs(pairs(3), judge_of(settings), context_of(ScriptedModel(lambda m, s: 0.5)), settings)


async def test_the_same_pairs_give_the_same_figures_in_any_order() -> None:
    asked = await judged(always_a, pairs(80))
    one, other = audit_metrics(asked), audit_metrics(asked[::-1])
    other["position"]["pull"] = one["position"]["pull"]  # resampled in the order of the pairs
    assert one == other


async def test_who_stands_against_the_others_is_told_by_kind() -> None:
    """South is alone about theft; north and west are right about everything."""
    asked = [
        replace(said(i, 0.8), by_member=(0.9, 0.1 if kind == "theft" else 0.9, 0.9), split=kind == "theft")
        for i, kind in enumerate(["theft", "fraud"] * 10)
    ]
    asked = [replace(one, pair=replace(one.pair, kind=["theft", "fraud"][i % 2])) for i, one in enumerate(asked)]
    found = audit_metrics(asked, members=("north", "south", "west"))
    against = {kind: {name: r["value"] for name, r in members.items()} for kind, members in found["dissent"].items()}
    assert against == {
        "theft": {"north": 0.0, "south": 1.0, "west": 0.0},
        "fraud": {"north": 0.0, "south": 0.0, "west": 0.0},
    }
    right = {name: entry["agreement"]["value"] for name, entry in found["by_member_on_kind"].items()}
    assert (right["south on theft"], right["south on fraud"], right["north on theft"]) == (0.0, 1.0, 1.0)
    assert found["splits_by_kind"]["theft"]["value"] == 1.0


@pytest.mark.parametrize(
    ("by_member", "alone"),
    [
        ((0.9, 0.1), [True, True]),  # of two each stands against the other
        ((0.9, 0.54), [False, False]),
        ((0.9, 0.9, 0.2), [False, False, True]),
        ((0.9, 0.6, 0.2, 0.8), [False, False, True, False]),
        ((0.9, 0.9, 0.1, 0.1), [True, True, True, True]),
    ],
)
def test_a_member_stands_alone_when_the_mean_of_the_others_is_on_the_other_side(
    by_member: tuple[float, ...], alone: list[bool]
) -> None:
    assert [stands_alone(number, by_member, 0.05) for number in range(len(by_member))] == alone
