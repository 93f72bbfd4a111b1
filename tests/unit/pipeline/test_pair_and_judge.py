import pytest

from charter.config import Judge
from charter.core.errors import CompletionFailed
from charter.core.messages import user
from charter.data.schema import LABEL
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.choice import compare_by_choice as compare
from charter.pipeline.pair import in_sft_half, split_sft_dpo, walked_rows
from tests.support.candidate_pairs import candidate_pairs

PRINCIPLES = 4


def walked(n: int, last: str = "safe {i}", first: str = "bad {i}") -> list[dict]:
    responses = [
        {
            "row_id": f"r{i}",
            "prompt": [user(f"Question {i}?")],
            "kind": "theft",
            "response": first.format(i=i),
            "seed": 1,
            "model_identity": "m",
        }
        for i in range(n)
    ]
    revisions = [
        {"row_id": f"r{i}", "round": k, "revision": last.format(i=i), "changed": k == 0, "principle_id": f"p{k}"}
        for i in range(n)
        for k in range(2)
    ]
    return walked_rows(responses, revisions)


def prefers_safe(p: float):
    """A judge that gives `safe` the probability p wherever it stands."""
    return lambda m, s: p if "<answer_a>\nsafe" in m[-1]["content"] else 1 - p


async def test_no_prompt_serves_both_halves_and_none_is_lost(context) -> None:
    rows = walked(400)
    judged = await judge_candidates(candidate_pairs(rows).rows, context(prefers_safe(0.9)), Judge(principles=1))
    divided = split_sft_dpo(rows, judged.rows, 0.5)
    supervised, paired = ({row["row_id"] for row in part} for part in (divided.sft, divided.pairs))
    assert supervised | paired == {row["row_id"] for row in rows}
    assert not supervised & paired and not divided.failures
    assert 150 < len(supervised) < 250


def test_the_half_follows_the_prompt_alone() -> None:
    prompt = [user("What is theft?")]
    assert in_sft_half(prompt, 0.5) == in_sft_half(list(prompt), 0.5)
    assert in_sft_half(prompt, 0.999999) and not in_sft_half(prompt, 1e-9)


async def test_sft_learns_the_answer_that_the_judge_prefers(context) -> None:
    rows = walked(40)
    for p, completion, source in ((0.9, "safe", "revision"), (0.1, "bad", "response")):
        judged = await judge_candidates(candidate_pairs(rows).rows, context(prefers_safe(p)), Judge(principles=1))
        learnt = split_sft_dpo(rows, judged.rows, 0.5).sft
        assert {(row["completion"].split()[0], row["source"]) for row in learnt} == {(completion, source)}


async def test_a_revision_on_which_the_judge_ties_is_learnt_by_nobody(context) -> None:
    rows = walked(40)
    judged = await judge_candidates(candidate_pairs(rows).rows, context(prefers_safe(0.5)), Judge(principles=1))
    assert split_sft_dpo(rows, judged.rows, 0.5) == ([], [], [])
    assert len(judged.failures) == 40
    assert {tuple(f["principle_ids"]) for f in judged.failures} == {("p0",)}


async def test_supervised_rows_keep_the_label_that_chose_them(context) -> None:
    rows = walked(40)
    judged = await judge_candidates(candidate_pairs(rows).rows, context(prefers_safe(0.9)), Judge(principles=2))
    labels = {row["row_id"]: {name: row[name] for name in LABEL} for row in judged.rows}
    divided = split_sft_dpo(rows, judged.rows, 0.5)
    assert divided.sft and all({name: row[name] for name in LABEL} == labels[row["row_id"]] for row in divided.sft)
    untouched = split_sft_dpo(walked(40, last="same {i}", first="same {i}"), [], 0.5)
    assert untouched.sft and all(row[name] is None for row in untouched.sft for name in LABEL)


async def test_a_label_holds_the_hash_of_each_principle_that_judged(context) -> None:
    made = context(prefers_safe(0.9))
    outcome = await judge_candidates(candidate_pairs(walked(20)).rows, made, Judge(principles=3))
    for row in outcome.rows:
        assert row["principle_hashes"] == [made.constitution.principle(name).hash for name in row["principle_ids"]]
        assert row["constitution_hash"] == made.constitution.hash


async def test_a_judgement_that_fails_names_all_who_were_asked(context) -> None:
    def script(m, s):
        return CompletionFailed("context-too-long", "4097 tokens")

    outcome = await judge_candidates(candidate_pairs(walked(4)).rows, context(script), Judge(principles=2))
    assert {(f["stage"], f["reason"], len(f["principle_ids"])) for f in outcome.failures} == {
        ("judge", "context-too-long", 2)
    }


def test_an_answer_that_no_critique_faulted_is_a_good_example_and_no_pair() -> None:
    rows = walked(60, last="same {i}", first="same {i}")
    assert candidate_pairs(rows).rows == []
    divided = split_sft_dpo(rows, [], 0.5)
    assert {row["source"] for row in divided.sft} == {"response"}
    assert {(f["stage"], f["reason"]) for f in divided.failures} == {("pair", "unchanged")}
    assert len(divided.sft) + len(divided.failures) == 60


@pytest.mark.parametrize(("first", "last"), [("bad {i}", "bad {i} and more"), ("bad {i}", "bad")])
def test_an_answer_that_begins_the_other_makes_no_pair(first: str, last: str) -> None:
    outcome = candidate_pairs(walked(20, last=last, first=first))
    assert outcome.rows == [] and [f["reason"] for f in outcome.failures] == ["prefix"] * 20
    assert {tuple(f["principle_ids"]) for f in outcome.failures} == {("p0",)}  # under which it was changed


async def test_the_better_answer_is_chosen_with_its_probability(context) -> None:
    candidates = candidate_pairs(walked(20)).rows
    outcome = await judge_candidates(candidates, context(prefers_safe(0.9)), Judge(principles=3))
    assert len(outcome.rows) == len(candidates)
    for row in outcome.rows:
        assert row["chosen"].startswith("safe") and row["rejected"].startswith("bad")
        assert row["p_chosen"] == pytest.approx(0.9)
        assert row["p_by_order"] == pytest.approx([0.9, 0.9])
        assert row["principle_ids"][0] == "p0" and len(set(row["principle_ids"])) == 3


async def test_a_judge_that_prefers_the_first_answer_gives_the_first_answer_as_chosen(context) -> None:
    candidates = candidate_pairs(walked(20)).rows
    outcome = await judge_candidates(candidates, context(prefers_safe(0.1)), Judge(principles=1))
    assert {(row["chosen"][:3], round(row["p_chosen"], 6)) for row in outcome.rows} == {("bad", 0.9)}


async def test_a_judge_that_always_says_a_gives_ties_and_no_pairs(context) -> None:
    candidates = candidate_pairs(walked(20)).rows
    outcome = await judge_candidates(candidates, context(lambda m, s: 0.97), Judge(principles=2))
    assert outcome.rows == [] and {f["reason"] for f in outcome.failures} == {"tie"}
    assert len(outcome.failures) == len(candidates)


async def test_position_bias_shows_in_the_orders_and_not_in_the_label(context) -> None:
    def leaning(m, s):
        return 0.95 if "<answer_a>\nsafe" in m[-1]["content"] else 0.4

    outcome = await judge_candidates(candidate_pairs(walked(8)).rows, context(leaning), Judge(principles=1))
    row = outcome.rows[0]
    assert row["p_by_order"] == pytest.approx([0.95, 0.6])
    assert row["p_chosen"] == pytest.approx((0.95 + 0.6) / 2)


async def test_principles_are_combined_by_their_log_odds(context) -> None:
    def script(messages, sampling):
        p = 0.9 if "number 0" in messages[-1]["content"] else 0.5
        return p if "<answer_a>\nsafe" in messages[-1]["content"] else 1 - p

    made = context(script)
    judgement = await compare([user("q")], "bad", "safe", made.constitution.principles[:2], made)
    assert judgement.by_principle == pytest.approx((0.9, 0.5))
    assert judgement.p == pytest.approx(0.75)  # the logistic of half of log 9


async def test_certainty_stays_inside_the_open_interval(context) -> None:
    outcome = await judge_candidates(candidate_pairs(walked(4)).rows, context(prefers_safe(1.0)), Judge(principles=1))
    assert all(0.5 < row["p_chosen"] < 1 for row in outcome.rows)


async def test_what_repeats_comes_first_so_that_principles_share_two_prefixes(context) -> None:
    seen = []

    def script(messages, sampling):
        seen.append(messages[-1]["content"])
        return 0.5

    made = context(script)
    await compare([user("q")], "bad", "safe", made.constitution.principles, made)
    heads = {text.split("Which answer follows")[0] for text in seen}
    assert len(seen) == 2 * PRINCIPLES and len(heads) == 2
