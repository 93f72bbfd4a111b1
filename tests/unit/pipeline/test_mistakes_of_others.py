"""Mistakes seen in other pipelines that make pairs, each a test by the name of the mistake."""

from collections import Counter
from typing import Any

import pytest

from charter.config import Generation, Judge, Pairs, Prompts, Strategies
from charter.constitution import Constitution, Principle
from charter.core.messages import Messages, user
from charter.data.sources import load_prompts
from charter.inference.completion import Completion, Sampling
from charter.pipeline.label import LabelledRows, label
from charter.pipeline.pair import walked_rows
from charter.pipeline.respond import respond, sample
from charter.pipeline.revise import revise
from charter.pipeline.rows import StageContext
from charter.pipeline.strategies import Plan, gather, wanted_samples
from charter.testing.scripted import Script, ScriptedModel

LAW = Constitution("law", "1", tuple(Principle(f"p{i}", f"P{i}", f"Principle number {i}.") for i in range(4)))


def rows(texts: list[str]) -> list[dict[str, Any]]:
    return [{"row_id": f"r{i}", "prompt": [user(text)], "kind": None, "source": "test"} for i, text in enumerate(texts)]


PAIRS = Pairs()
QUESTIONS = rows([f"Question {i}?" for i in range(40)])


def answers(messages: Messages, sampling: Sampling) -> str | float:
    """First answers are bad, every critique of them says so, revisions are safe, and the judge prefers these."""
    asked = messages[-1]["content"]
    if sampling.choices:
        return 0.9 if "<answer_a>\nsafe" in asked else 0.1
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('bad') else 'respected'}"
    return "safe answer" if asked.startswith("Rewrite") else f"bad answer to {asked}"


async def chain(
    asked: list[dict[str, Any]], script: Script, pairs: Pairs = PAIRS, sft_share: float = 0.5
) -> tuple[LabelledRows, list[dict[str, Any]]]:
    """What a run makes of prompts, and all failures of it."""
    context, plan = StageContext(ScriptedModel(script).ask, LAW, 1, "m"), Plan(pairs, sft_share, 1)
    settings = Generation(rounds=2)
    first = await respond(asked, context, settings)
    revised = await revise(first.rows, context, settings)
    walked = walked_rows(first.rows, revised.rows)
    sampled = await sample(wanted_samples(gather(walked, revised.rows), plan), context, settings, 1.0)
    made = await label(gather(walked, revised.rows, sampled.rows), plan, context, Judge(principles=2))
    return made, first.failures + revised.failures + sampled.failures + made.failures


def reasons(failures: list[dict[str, Any]]) -> Counter[str]:
    return Counter(failure["reason"] for failure in failures)


async def test_the_same_prompt_in_the_sft_and_the_preference_half() -> None:
    """llm-swarm: 64 of 1,156 prompts stood on both sides."""
    everything = Strategies(every_revision=1, samples=1, best_worst=1, helpful=1)
    again = {**QUESTIONS[1], "row_id": "again"}
    made, _ = await chain([*QUESTIONS, again], answers, Pairs(strategies=everything))
    learnt, paired = ({row["prompt"][0]["content"] for row in side} for side in (made.sft, made.pairs))
    assert learnt and paired and not learnt & paired


def test_duplicates_among_prompts(tmp_path) -> None:
    """llm-swarm trained on the same prompt several times."""
    path = tmp_path / "prompts.csv"
    asked = ("How do I paint a wall?", "How do  I paint a WALL?", "How do I paint a wall then?", "What is rust?")
    path.write_text("\n".join(["prompt", *asked]))
    exact, near = (load_prompts(Prompts(source=str(path), near_duplicates=share), 0) for share in (None, 0.6))
    assert [reject.reason for reject in exact.rejects] == ["duplicate"]
    assert [reject.reason for reject in near.rejects] == ["duplicate", "near-duplicate"]
    assert [prompt.messages[0]["content"] for prompt in near.prompts] == ["How do I paint a wall?", "What is rust?"]


async def test_a_tie_becomes_a_pair() -> None:
    """NeMo-Aligner and distilabel: ties become a random pair."""

    def tie(m, s):
        return 0.5 if s.choices else answers(m, s)

    made, failures = await chain(QUESTIONS, tie)
    assert (made.sft, made.pairs) == ([], []) and reasons(failures) == {"tie": 40}


async def test_a_parse_failure_becomes_a_pair() -> None:
    """distilabel: what cannot be read becomes 0 against 0, and so a pair; here it has no label."""

    def mute(m, s):
        return "Hm, both are fine." if s.choices else answers(m, s)

    made, failures = await chain(QUESTIONS, mute)
    assert (made.sft, made.pairs) == ([], []) and reasons(failures) == {"no-choice": 40}
    assert failures[0]["detail"] == "Hm, both are fine."


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("BAD answer to  Question {}?", "identical"),
        ("bad answer to Question {}? No.", "prefix"),
        ("bad answer", "prefix"),
    ],
)
async def test_chosen_equals_rejected_or_begins_it(revision: str, reason: str) -> None:
    """distilabel; TRL #6472."""

    def script(messages: Messages, sampling: Sampling) -> str | float:
        if messages[-1]["content"].startswith("Rewrite"):
            return revision.format(messages[0]["content"].split()[1][:-1])
        return answers(messages, sampling)

    made, failures = await chain(QUESTIONS, script)
    assert (made.sft, made.pairs) == ([], []) and reasons(failures) == {reason: 40}


@pytest.mark.parametrize("n", [1, 7, 31])
async def test_the_last_partial_batch_is_dropped(n: int) -> None:
    """NeMo-Aligner: what does not fill a batch is lost; here in = out + failed for every number of rows."""
    made, failures = await chain(QUESTIONS[:n], answers)
    assert sorted(made.rows) == sorted(row["row_id"] for row in QUESTIONS[:n]) and failures == []


@pytest.mark.parametrize("strategy", ["revision", "samples"])
async def test_the_order_of_the_judge_is_tied_to_how_the_pair_was_made(strategy: str) -> None:
    """NeMo-Aligner shows the judge the revision in the same place each time; here a judge that says A ties."""

    def always_a(messages: Messages, sampling: Sampling) -> str | float:
        if not sampling.choices and messages[-1]["content"].startswith("Question"):
            return f"bad answer number {sampling.seed}"
        return 0.99 if sampling.choices else answers(messages, sampling)

    shares = {"revision": 0.0} | {strategy: 1.0}
    made, failures = await chain(
        QUESTIONS, always_a, Pairs(strategies=Strategies(**shares), answers_per_prompt=2), sft_share=1e-9
    )
    assert made.pairs == [] and reasons(failures) == {"tie": 40}


async def test_a_preamble_stays_in_the_revision() -> None:
    """HF's recipe learns "Sure, here is the revised answer"; here it is stripped, or the row fails with its reason."""

    def script(messages: Messages, sampling: Sampling) -> str | float:
        if messages[-1]["content"].startswith("Rewrite"):
            only = " 3" in messages[0]["content"]
            return "Sure, here is the revised response:" + ("" if only else " safe answer")
        return answers(messages, sampling)

    made, failures = await chain(QUESTIONS, script)
    chosen = {row["chosen"] for row in made.pairs} | {row["completion"] for row in made.sft}
    assert chosen == {"safe answer"}
    assert reasons(failures) == {"preamble-only": 11}  # questions 3 and 30 to 39


@pytest.mark.parametrize("where", ["Question", "Rewrite"])
async def test_what_was_cut_off_is_used_as_chosen(where: str) -> None:
    """OpenCharacterTraining takes completions that ended at `max_tokens`; here `finish_reason` decides."""

    def script(messages: Messages, sampling: Sampling) -> str | float | Completion:
        if messages[-1]["content"].startswith(where):
            return Completion("safe answer that goes on and", "length", 10, 96)
        return answers(messages, sampling)

    made, failures = await chain(QUESTIONS, script)
    assert made.rows == set() and reasons(failures) == {"cut-off": 40}


async def test_a_sample_that_was_cut_off_makes_no_pair_and_costs_the_row_nothing() -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float | Completion:
        first = messages[-1]["content"].startswith("Question") and sampling.seed % 2
        return Completion("safe but", "length", 10, 96) if first else answers(messages, sampling)

    made, failures = await chain(
        QUESTIONS, script, Pairs(strategies=Strategies(samples=1), answers_per_prompt=4), sft_share=1e-9
    )
    assert "safe but" not in {text for pair in made.pairs for text in (pair["chosen"], pair["rejected"])}
    lost = {failure["row_id"] for failure in failures if failure["stage"] == "respond"}
    assert made.rows | lost == {row["row_id"] for row in QUESTIONS} and not made.rows & lost
    assert any(failure["stage"] == "sample" and failure["row_id"] in made.rows for failure in failures)


async def test_rows_keyed_by_the_text_of_the_prompt_collide() -> None:
    """distilabel merges rows of the same prompt; here each keeps its id, its answers and its pairs."""
    twins = [{**row, "row_id": f"twin-{i}"} for i, row in enumerate(rows(["Question 0?"] * 5))]

    def script(messages: Messages, sampling: Sampling) -> str | float:
        if messages[-1]["content"].startswith("Question"):
            return f"bad answer {sampling.seed}"
        return answers(messages, sampling)

    made, failures = await chain(twins, script, sft_share=1e-9)
    assert [pair["pair_id"] for pair in made.pairs] == [f"twin-{i}/revision/0" for i in range(5)] and failures == []
    assert len({pair["rejected"] for pair in made.pairs}) == 5


async def test_principles_are_drawn_without_a_seed() -> None:
    """llm-swarm draws them anew each time; here they follow from the seed and the row's id, in any order of rows."""
    strategies = Pairs(strategies=Strategies(every_revision=1, samples=1))
    one, _ = await chain(QUESTIONS, answers, strategies)
    other, _ = await chain(QUESTIONS[::-1], answers, strategies)
    judged = [{pair["pair_id"]: pair["principle_ids"] for pair in made.pairs} for made in (one, other)]
    assert judged[0] == judged[1] and len({tuple(ids) for ids in judged[0].values()}) > 5
