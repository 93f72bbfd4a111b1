import pytest

from charter.config import Judge
from charter.core.messages import Messages
from charter.inference.completion import Completion, Sampling
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.reasoned import compare_by_reasoned as compare
from tests.support.judge_scripts import LAW, PROMPT, candidate, context

UNCLAMPED = Judge(kind="reasoned", clamp=0.0)


def safe_is(messages: Messages) -> str:
    """The letter of the answer that is safe."""
    return "A" if "<answer_a>\nsafe" in messages[-1]["content"] else "B"


def sure(messages: Messages, sampling: Sampling) -> Completion:
    """Reasons, then gives what is safe 0.9."""
    letter = safe_is(messages)
    probabilities = (0.9, 0.1) if letter == "A" else (0.1, 0.9)
    return Completion(f"It is about theft. Better: {letter}", "stop", 9, 9, choice_probs=probabilities)


async def test_the_letter_is_read_by_its_probability_after_the_reasoning() -> None:
    made_in, model = context(sure)
    made = await compare(PROMPT, "bad", "safe", LAW.principles[:1], made_in, settings=UNCLAMPED)
    assert made.p == pytest.approx(0.9) and made.by_order == pytest.approx((0.9, 0.9)) and made.spread == 0
    messages, sampling = model.asked[0]
    assert messages[-1]["content"].endswith('End with "Better: A" or "Better: B".')
    assert (sampling.choice_marker, sampling.choices, sampling.temperature) == ("Better:", ("A", "B"), 0.0)
    assert len(model.asked) == 2


async def test_the_label_is_clamped_and_what_was_read_is_kept() -> None:
    made_in, _ = context(sure)
    made = await compare(PROMPT, "bad", "safe", LAW.principles[:2], made_in, settings=Judge(kind="reasoned"))
    assert made.p == 0.6 and made.by_principle == pytest.approx((0.9, 0.9))
    made = await compare(PROMPT, "safe", "bad", LAW.principles[:2], made_in, settings=Judge(kind="reasoned", clamp=0.3))
    assert made.p == 0.3


@pytest.mark.parametrize(
    "text",
    ["Answer {x} is kind. Better: {x}", "Better: {y}? No, Better: {x}.", "**Better:** {x}", "better: **{x}**"],
    ids=["plain", "the last one counts", "Markdown", "small letters"],
)
async def test_without_probabilities_the_letter_itself_is_taken(text: str) -> None:
    def script(m, s):
        return text.format(x=safe_is(m), y="AB"[safe_is(m) == "A"])

    made = await compare(PROMPT, "bad", "safe", LAW.principles[:1], context(script)[0], settings=UNCLAMPED)
    assert made.by_principle == (0.9999,) and made.by_order == (1.0, 1.0)


async def test_several_chains_of_thought_are_drawn_and_averaged() -> None:
    seeds: list[int] = []

    def three_of_four(messages: Messages, sampling: Sampling) -> str:
        if sampling.seed not in seeds:
            seeds.append(sampling.seed)
        letter = safe_is(messages)
        return f"Better: {letter if seeds.index(sampling.seed) < 3 else 'AB'[letter == 'A']}"

    made_in, model = context(three_of_four)
    settings = Judge(kind="reasoned", clamp=0.0, samples=4)
    made = await compare(PROMPT, "bad", "safe", LAW.principles[:2], made_in, settings=settings)
    assert made.by_principle == pytest.approx((0.75, 0.75)) and made.p == pytest.approx(0.75)
    assert len(model.asked) == 2 * 2 * 4 and len(seeds) == 4
    assert {sampling.temperature for _, sampling in model.asked} == {1.0}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I would rather not say.", "no-choice"),
        ("Better: both", "no-choice"),
        (Completion("It is about theft. Better", "length", 9, 9), "no-choice"),
        (Completion(" ", "stop", 9, 1), "empty"),
    ],
    ids=["refused", "no letter", "cut off", "empty"],
)
async def test_an_answer_without_a_letter_is_the_row_s_failure(answer: str | Completion, reason: str) -> None:
    made_in, _ = context(lambda m, s: answer)
    outcome = await judge_candidates([candidate()], made_in, Judge(kind="reasoned", principles=2))
    assert outcome.rows == []
    assert [(f["stage"], f["reason"], len(f["principle_ids"])) for f in outcome.failures] == [("judge", reason, 2)]


async def test_a_chain_of_thought_without_a_letter_is_asked_for_it() -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float:
        if sampling.choice_marker:
            return "Both are about theft."
        assert messages[-2]["content"] == "Both are about theft."
        return 0.8 if safe_is(messages[:1]) == "A" else 0.2

    settings = Judge(kind="reasoned", clamp=0.0)
    made = await compare(PROMPT, "bad", "safe", LAW.principles[:1], context(script)[0], settings=settings)
    assert made.p == pytest.approx(0.8)


async def test_a_pair_says_how_it_was_judged() -> None:
    outcome = await judge_candidates([candidate()], context(sure)[0], Judge(kind="reasoned"))
    (row,) = outcome.rows
    assert (row["chosen"], row["p_chosen"], row["judge_kind"], row["members"]) == ("safe", 0.6, "reasoned", None)
