import math
import statistics
from dataclasses import replace

import pytest

from charter.config import Judge
from charter.core.errors import CompletionFailed
from charter.core.messages import user
from charter.core.sampling import seed_of
from charter.pipeline.judge import judge_candidates, split_principles
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rank import rank, scores_of
from charter.pipeline.rows import StageContext
from charter.testing.scripted import ScriptedModel
from tests.unit.pipeline.conftest import LAW

QUALITY = {"poor": 0, "fair": 1, "good": 2, "best": 3}


def prefers_quality(messages, sampling) -> float:
    """The better word wins, the more surely the further apart the two are."""
    text = messages[-1]["content"]
    a, b = (QUALITY[text.split(f"<answer_{letter}>\n")[1].split()[0]] for letter in "ab")
    return 0.5 + 0.15 * (a - b)


def contest(number: int, answers: list[str]) -> dict:
    name = {"row_id": f"r{number}", "pair_id": f"r{number}/best-worst/0", "strategy": "best-worst"}
    return {**name, "prompt": [user("q")], "kind": None, "drawn": [], "first": "", "last": "", "answers": answers}


@pytest.mark.parametrize(
    "answers", [["fair", "best", "poor", "good"], ["good", "fair", "poor", "best"], ["poor", "best"]]
)
async def test_the_best_and_the_worst_are_left(context, answers: list[str]) -> None:
    settings = Judge(principles=1)
    outcome = await rank([contest(0, answers)], context(prefers_quality), settings, judge_of(settings))
    (made,) = outcome.rows
    assert (made["first"], made["last"]) == ("poor", "best")
    assert "answers" not in made and made["pair_id"] == "r0/best-worst/0"


async def test_noise_alone_gives_the_best_answer_no_advantage_in_its_label() -> None:
    """Whoever wins a ranking by luck is not lucky again: the label comes from principles that did not rank."""

    def noise(messages, sampling) -> float:
        return 0.05 + 0.9 * (seed_of(messages[-1]["content"]) / 2**31)

    settings = Judge(principles=2, tie_margin=0.0)
    made_in = StageContext(ScriptedModel(noise).ask, LAW, 1, "m")
    rows = [contest(number, [f"answer {number} {i}" for i in range(4)]) for number in range(400)]
    ranked = await rank(rows, made_in, settings, judge_of(settings))
    candidates = [{**row, "seed": 1, "model_identity": "m"} for row in ranked.rows]
    pairs = (await judge_candidates(candidates, made_in, settings)).rows
    best = {row["row_id"]: row["last"] for row in candidates}
    p_best = [pair["p_chosen"] if pair["chosen"] == best[pair["row_id"]] else 1 - pair["p_chosen"] for pair in pairs]
    assert len(pairs) == 400
    assert statistics.fmean(p_best) == pytest.approx(0.5, abs=4 * statistics.stdev(p_best) / 20)


@pytest.mark.parametrize(
    ("principles", "k", "ranking", "labelling"), [(4, 1, 1, 1), (4, 3, 2, 2), (3, 3, 1, 2), (1, 3, 1, 1)]
)
def test_principles_that_rank_do_not_label_unless_there_is_but_one(
    principles: int, k: int, ranking: int, labelling: int
) -> None:
    law = replace(LAW, principles=LAW.principles[:principles])
    split = split_principles(
        contest(0, []), StageContext(ScriptedModel(noise_free).ask, law, 1, "m"), Judge(principles=k)
    )
    assert (len(split.rank), len(split.label)) == (ranking, labelling)
    assert principles == 1 or not set(split.rank) & set(split.label)


def noise_free(messages, sampling) -> float:
    return 0.5


async def test_every_two_are_compared_in_both_orders_under_each_principle(context) -> None:
    asked = []

    def script(messages, sampling):
        asked.append(messages[-1]["content"])
        return prefers_quality(messages, sampling)

    settings = Judge(principles=2)  # of four: two rank, two label
    await rank([contest(0, list(QUALITY))], context(script), settings, judge_of(settings))
    assert len(asked) == len(set(asked)) == 6 * 2 * 2


async def test_a_comparison_that_fails_loses_the_row_with_its_principles(context) -> None:
    settings = Judge(principles=2)

    def script(m, s):
        return CompletionFailed("context-too-long", "4097 tokens")

    outcome = await rank([contest(0, ["poor", "best"])], context(script), settings, judge_of(settings))
    assert [(f["pair_id"], f["stage"], f["reason"], len(f["principle_ids"])) for f in outcome.failures] == [
        ("r0/best-worst/0", "rank", "context-too-long", 2)
    ]


def test_a_score_is_the_mean_of_the_log_odds_against_the_others() -> None:
    scores = scores_of(3, {(0, 1): 0.9, (0, 2): 0.5, (1, 2): 0.2})
    nine, four = math.log(9), math.log(4)
    assert scores == pytest.approx([-nine / 2, (nine + four) / 2, -four / 2])
    assert sum(scores) == pytest.approx(0)
    assert scores_of(2, {(0, 1): 1.0})[1] == pytest.approx(math.log(0.9999 / 0.0001))  # certainty has an edge
