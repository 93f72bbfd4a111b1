"""Rows of every kind through strategies, filters and judge: in = out + failed, whatever is configured."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.config import Filters, Generation, Judge, Pairs, Strategies
from charter.constitution import Constitution, Principle
from charter.core.messages import Messages, user
from charter.core.sampling import seed_of
from charter.data.schema import SCHEMAS
from charter.inference.completion import Completion, Sampling
from charter.pipeline.label import LabelledRows, label
from charter.pipeline.pair import in_sft_half, walked_rows
from charter.pipeline.respond import respond, sample
from charter.pipeline.revise import revise
from charter.pipeline.rows import StageContext
from charter.pipeline.strategies import Plan, gather, wanted_samples
from charter.testing.scripted import Script, ScriptedModel

TAGS = (("harmless",), ("harmless",), ("helpful",), ("harmless", "helpful"))
LAW = Constitution(
    "law", "1", tuple(Principle(f"p{i}", f"P{i}", f"Principle number {i}.", tags) for i, tags in enumerate(TAGS))
)
ALL_DPO = 1e-9
JUDGE = Judge(principles=2)


def prompts(n: int) -> list[dict[str, Any]]:
    """Even ones are answered badly, odd ones well."""
    asked = [f"{'Fine' if i % 2 else 'Rude'} question {i}?" for i in range(n)]
    return [{"row_id": f"r{i}", "prompt": [user(text)], "kind": None, "source": "t"} for i, text in enumerate(asked)]


def write(messages: Messages, sampling: Sampling) -> str | float:
    """Answers end with a number drawn by the seed; of two the judge prefers what is kind, then the higher number."""
    asked = messages[-1]["content"]
    if sampling.choices:
        a, b = (value(asked.split(f"<answer_{letter}>\n")[1].split("\n</")[0]) for letter in "ab")
        return min(max(0.5 + (a - b) / 400, 0.02), 0.98)
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('rude') else 'respected'}"
    if asked.startswith("Rewrite"):
        return messages[-4]["content"].replace("rude", "kind")
    return f"{'rude' if asked.startswith('Rude') else 'kind'} words with number {sampling.seed % 100:02d}"


def value(answer: str) -> int:
    return int(answer.split()[-1]) + 200 * answer.startswith("kind")


async def run(
    asked: list[dict[str, Any]], pairs: Pairs, script: Script = write, sft_share: float = 0.5, judge: Judge = JUDGE
) -> tuple[LabelledRows, list[dict[str, Any]], ScriptedModel]:
    """What a run makes of prompts, with the failures before `label` and the model that was asked."""
    model = ScriptedModel(script)
    context, plan = StageContext(model.ask, LAW, 1, "m"), Plan(pairs, sft_share, 1)
    first = await respond(asked, context, Generation(rounds=2))
    revised = await revise(first.rows, context, Generation(rounds=2))
    walked = walked_rows(first.rows, revised.rows)
    sampled = await sample(wanted_samples(gather(walked, revised.rows), plan), context, Generation(), pairs.temperature)
    model.asked.clear()
    labelled = await label(gather(walked, revised.rows, sampled.rows), plan, context, judge)
    return labelled, first.failures + revised.failures + sampled.failures, model


EVERYTHING = Strategies(every_revision=1, samples=1, best_worst=1, helpful=1)


async def test_one_prompt_can_make_pairs_of_every_strategy() -> None:
    made, before, _ = await run(prompts(40), Pairs(strategies=EVERYTHING, answers_per_prompt=4), sft_share=ALL_DPO)
    assert before == [] and made.sft == []
    count = Counter(pair["strategy"] for pair in made.pairs)
    lost = Counter((failure["pair_id"].split("/")[1], failure["reason"]) for failure in made.failures)
    # a ladder of one step is the revision again, and the first two samples of a calm prompt are its helpful pair
    assert (count["revision"], lost["every-revision", "duplicate"]) == (20, 20)
    assert lost["samples", "duplicate"] == count["helpful"] + lost["helpful", "tie"] == 20
    for strategy, n in (("samples", 80), ("best-worst", 40), ("helpful", 20)):
        assert count[strategy] + sum(lost[strategy, why] for why in ("tie", "duplicate", "identical")) == n, strategy
    assert count["best-worst"] > 15 and count["samples"] > 30
    assert len({pair["pair_id"] for pair in made.pairs}) == len(made.pairs)
    assert all(pair.keys() == set(SCHEMAS["pairs"].names) for pair in made.pairs)
    assert [pair["row_id"] for pair in made.pairs] == sorted(
        (pair["row_id"] for pair in made.pairs), key=lambda id: int(id[1:])
    )


async def test_best_worst_spans_the_answers_and_other_principles_label_it() -> None:
    asked = prompts(20)[1::2]
    made, _, model = await run(
        asked, Pairs(strategies=Strategies(revision=0, best_worst=1), answers_per_prompt=5), sft_share=ALL_DPO
    )
    for pair in made.pairs:
        id = pair["row_id"]
        seeds = [seed_of(1, id, "respond"), *(seed_of(1, id, "respond", number) for number in range(1, 5))]
        numbers = [seed % 100 for seed in seeds]
        assert (value(pair["chosen"]) % 200, value(pair["rejected"]) % 200) == (max(numbers), min(numbers))
        assert pair["p_chosen"] == pytest.approx(0.5 + (max(numbers) - min(numbers)) / 400)
    again = Counter((tuple(m["content"] for m in messages), sampling) for messages, sampling in model.asked)
    assert made.pairs and set(again.values()) == {1}  # the principles that label did not rank


@pytest.mark.parametrize("tags", [(), ("harmless",)])
async def test_helpful_pairs_are_judged_by_the_principles_of_helpfulness(tags: tuple[str, ...]) -> None:
    pairs = Pairs(strategies=Strategies(helpful=1))
    made, _, _ = await run(prompts(40), pairs, sft_share=ALL_DPO, judge=Judge(principles=2, tags=tags))
    helpful = [pair for pair in made.pairs if pair["strategy"] == "helpful"]
    assert len(helpful) > 10 and {int(pair["row_id"][1:]) % 2 for pair in helpful} == {1}
    assert {tuple(sorted(pair["principle_ids"])) for pair in helpful} == {("p2", "p3")}
    others = [pair for pair in made.pairs if pair["strategy"] == "revision"]
    if tags:
        assert {id for pair in others for id in pair["principle_ids"]} == {"p0", "p1", "p3"}


async def test_a_row_comes_out_by_one_strategy_and_keeps_what_another_lost() -> None:
    """The judge ties on revisions of even rows; their two samples differ."""

    def script(messages: Messages, sampling: Sampling) -> str | float:
        text = messages[-1]["content"]
        return 0.5 if sampling.choices and "rude" in text and "kind" in text else write(messages, sampling)

    made, _, _ = await run(
        prompts(20)[::2], Pairs(strategies=Strategies(samples=1), answers_per_prompt=2), script, ALL_DPO
    )
    ties = [failure for failure in made.failures if failure["pair_id"].endswith("/revision/0")]
    assert {failure["reason"] for failure in ties} == {"tie"} and len(ties) == 10
    assert made.rows and made.rows < {failure["row_id"] for failure in ties}
    assert {pair["strategy"] for pair in made.pairs} == {"samples"}


async def test_a_row_that_no_strategy_pairs_is_a_failure() -> None:
    asked, pairs = prompts(6), Pairs(strategies=Strategies(revision=0, helpful=1))
    made, _, _ = await run(asked, pairs, sft_share=ALL_DPO)
    without = {failure["row_id"]: failure["reason"] for failure in made.failures if failure["pair_id"] is None}
    assert without == {"r0": "no-pair", "r2": "no-pair", "r4": "no-pair"}


SHARES = st.sampled_from([0.0, 0.5, 1.0])


@settings(deadline=None, max_examples=25)
@given(
    shares=st.fixed_dictionaries(dict.fromkeys(Strategies().shares, SHARES)).filter(
        lambda d: any(share for name, share in d.items() if name != "on-policy")
    ),
    n=st.integers(2, 5),
    salt=st.integers(0, 9),
    contradictions=st.booleans(),
)
async def test_every_row_comes_out_or_fails(shares: dict[str, float], n: int, salt: int, contradictions: bool) -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float | Completion:
        lot = seed_of(salt, sampling.seed, *(m["content"] for m in messages)) % 10
        if sampling.choices:
            return (0.5, 0.9, 0.2, 0.97)[lot % 4]
        if not messages[-1]["content"].startswith(("Critique", "Rewrite")):
            cut_off, preamble = Completion("kind words wi", "length", 1, 1), "Sure, here is the new answer:"
            odd = {0: cut_off, 1: "", 2: "round and " * 20, 3: preamble}
            if lot in odd:
                return odd[lot]
        return write(messages, sampling)

    filters = Filters(drop_contradictions=contradictions)
    asked = prompts(30)
    made, before, _ = await run(
        asked, Pairs(strategies=Strategies(**shares), answers_per_prompt=n, filters=filters), script
    )
    failures = made.failures + before
    assert made.rows | {failure["row_id"] for failure in failures} == {row["row_id"] for row in asked}
    ids = [pair["pair_id"] for pair in made.pairs]
    assert len(set(ids)) == len(ids) and not set(ids) & {failure["pair_id"] for failure in failures}
    assert all(not in_sft_half(pair["prompt"], 0.5) for pair in made.pairs)
    assert all(in_sft_half(row["prompt"], 0.5) for row in made.sft)
    assert len({row["row_id"] for row in made.sft}) == len(made.sft)
    for pair in made.pairs:
        assert pair["chosen"] != pair["rejected"] and 0.5 < pair["p_chosen"] < 1
    used = [text for pair in made.pairs for text in (pair["chosen"], pair["rejected"])]
    assert not any(text.startswith(("round and", "Sure")) for text in [*used, *(row["completion"] for row in made.sft)])


async def test_labels_do_not_depend_on_the_order_of_the_rows() -> None:
    pairs = Pairs(strategies=EVERYTHING)
    one, other = [await run(rows, pairs) for rows in (prompts(20), prompts(20)[::-1])]
    by_id = [{pair["pair_id"]: pair for pair in made.pairs} for made, _, _ in (one, other)]
    assert by_id[0] == by_id[1] and len(by_id[0]) > 20


async def test_the_constitution_s_language_is_looked_at_if_asked_for() -> None:
    german = "Die Antwort ist nicht weit von hier zu finden, und man kann auch mit der Bahn auf den Berg fahren."

    for on, reasons in ((False, set()), (True, {"language"})):
        pairs = Pairs(filters=Filters(language=on))
        model = ScriptedModel(lambda m, s: 0.1 if s.choices and "<answer_a>\nrude" in m[-1]["content"] else 0.9)
        context = StageContext(model.ask, replace(LAW, language="en-GB"), 1, "m")
        first = [{**row, "response": "rude words", "seed": 1, "model_identity": "m"} for row in prompts(4)]
        rounds = [
            {"row_id": row["row_id"], "round": 0, "response": "rude words", "revision": german}
            | {"changed": True, "flagged": True, "principle_id": "p0"}
            for row in first
        ]
        made = await label(gather(walked_rows(first, rounds), rounds), Plan(pairs, ALL_DPO, 1), context, JUDGE)
        assert {failure["reason"] for failure in made.failures} == reasons
        assert len(made.pairs) == (0 if on else 4)
