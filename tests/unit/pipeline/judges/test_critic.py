import pytest

from charter.config import Judge
from charter.core.messages import Messages
from charter.inference.completion import Completion, Sampling
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.critic import compare_by_critic as compare
from charter.pipeline.revise import critique_messages
from tests.support.judge_scripts import LAW, PROMPT, candidate, context


def finds(**violations: str):
    """A critic that finds in each answer violations of the principles with these numbers."""

    def script(messages: Messages, sampling: Sampling) -> str:
        answer, asked = messages[-2]["content"], messages[-1]["content"]
        violated = any(f"number {number}" in asked for number in violations[answer])
        return f"It is about something. Verdict: {'violated' if violated else 'respected'}"

    return script


@pytest.mark.parametrize(
    ("bad", "safe", "p", "by_principle"),
    [
        ("01", "", 3 / 4, (2 / 3, 2 / 3, 1 / 2)),
        ("012", "0", 4 / 6, (1 / 2, 2 / 3, 2 / 3)),
        ("1", "1", 1 / 2, (1 / 2, 1 / 2, 1 / 2)),
        ("", "2", 1 / 3, (1 / 2, 1 / 2, 1 / 3)),
    ],
    ids=["two to none", "three to one", "one each", "none to one"],
)
async def test_p_is_the_share_of_violations_with_one_added_to_each(
    bad: str, safe: str, p: float, by_principle: tuple[float, ...]
) -> None:
    made = await compare(
        PROMPT, "bad", "safe", LAW.principles, context(finds(bad=bad, safe=safe))[0], settings=Judge(kind="critic")
    )
    assert made.p == pytest.approx(p) and made.by_principle == pytest.approx(by_principle)
    assert made.by_order == (made.p, made.p)


async def test_it_asks_as_a_run_s_own_critique_does_but_for_the_seed() -> None:
    made_in, model = context(finds(bad="0", safe=""))
    await compare(PROMPT, "bad", "safe", LAW.principles[:1], made_in, settings=Judge(kind="critic", max_tokens=77))
    assert [messages for messages, _ in model.asked] == [
        critique_messages(PROMPT, answer, LAW.principles[0], made_in) for answer in ("bad", "safe")
    ]
    assert {(s.max_tokens, s.temperature, s.choices) for _, s in model.asked} == {(77, 0.0, ())}


@pytest.mark.parametrize(
    "critique",
    ["I would rather not say.", Completion("It is. Verdict: vio", "length", 9, 9)],
    ids=["no verdict", "cut off"],
)
async def test_a_critique_without_a_verdict_counts_with_its_probability(critique: str | Completion) -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float | Completion:
        return (0.8 if messages[1]["content"] == "bad" else 0.3) if sampling.choices else critique

    made = await compare(PROMPT, "bad", "safe", LAW.principles[:1], context(script)[0], settings=Judge(kind="critic"))
    assert made.p == pytest.approx(1.8 / 3.1)


async def test_an_empty_critique_is_the_row_s_failure() -> None:
    outcome = await judge_candidates([candidate()], context(lambda m, s: " ")[0], Judge(kind="critic"))
    assert [(f["stage"], f["reason"]) for f in outcome.failures] == [("judge", "empty")] and outcome.rows == []


async def test_as_many_violations_in_both_are_a_tie() -> None:
    outcome = await judge_candidates([candidate()], context(finds(bad="0", safe="1"))[0], Judge(kind="critic"))
    assert [f["reason"] for f in outcome.failures] == ["tie"]
