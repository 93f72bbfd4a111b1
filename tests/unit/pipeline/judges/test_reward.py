"""The judge as a reward: a comparison with the first answer, or nothing at all."""

from pathlib import Path
from typing import Any

import pytest

from charter.config import Config, Judge, Member
from charter.core.errors import CompletionFailed, ServingError
from charter.core.messages import Message, Messages
from charter.inference import EngineSpec
from charter.inference.completion import Sampling
from charter.inference.session import Session
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.judges.reward import RewardJudge, reward
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server
from tests.support.judge_scripts import LAW, PROMPT, context
from tests.unit.pipeline.judges.test_kinds import every_kind


def row(answer: str, first: str = "bad", drawn: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"row_id": "r", "prompt": PROMPT, "first": first, "drawn": list(drawn), "answer": answer}


@pytest.mark.parametrize(("kind", "p"), [("choice", 0.9), ("reasoned", 0.6), ("score", 0.9991), ("critic", 0.8)])
async def test_any_judge_says_how_much_better_an_answer_is_than_the_first(kind: str, p: float) -> None:
    settings, made_in = Judge(kind=kind), context(every_kind)[0]
    compare = judge_of(settings)
    assert await reward(row("safe"), compare, made_in, settings) == pytest.approx(p, abs=1e-4)
    assert await reward(row("bad", first="safe"), compare, made_in, settings) == pytest.approx(1 - p, abs=1e-4)


async def test_the_same_answer_is_worth_one_half_and_nobody_is_asked() -> None:
    made_in, model = context(every_kind)
    assert await reward(row("bad"), judge_of(Judge()), made_in, Judge()) == 0.5
    assert model.asked == []


async def test_the_principles_that_shaped_the_row_are_asked_first() -> None:
    settings = Judge(principles=1)
    for principle in LAW.principles:
        made_in, model = context(every_kind)
        await reward(row("safe", drawn=(principle.id,)), judge_of(settings), made_in, settings)
        assert all(principle.text in messages[-1]["content"] for messages, _ in model.asked)


def no_verdict(messages: Messages, sampling: Sampling) -> str:
    return "I would rather not say."


def refused(messages: Messages, sampling: Sampling) -> CompletionFailed:
    return CompletionFailed("context-too-long")


def opposed(messages: Messages, sampling: Sampling) -> float:
    """Principle 1, which one member alone asks about, turns everything round."""
    asked = messages[-1]["content"]
    return 0.9 if ("<answer_a>\nsafe" in asked) == ("of south" not in asked) else 0.1


@pytest.mark.parametrize(
    ("settings", "script", "reason"),
    [
        (Judge(kind="critic"), no_verdict, "no-choice"),
        (Judge(kind="reasoned"), no_verdict, "no-choice"),
        (Judge(), refused, "context-too-long"),
    ],
    ids=["critic", "reasoned", "call"],
)
async def test_what_the_judge_fails_at_is_no_reward_and_never_0(settings: Judge, script: Any, reason: str) -> None:
    assert await reward(row("safe"), judge_of(settings), context(script)[0], settings) == reason


async def test_a_panel_that_splits_gives_no_reward(tmp_path: Path) -> None:
    (tmp_path / "south.md").write_text("---\nname: south\n---\n## South {#south}\nThe way of south.\n")
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    settings = Judge(kind="panel", panel=members)
    assert await reward(row("safe"), judge_of(settings), context(opposed)[0], settings) == "panel-split"


def prefers_safe(messages: list[Message]) -> str:
    return "A" if "<answer_a>\nsafe" in messages[-1]["content"] else "B"


def judge_at(server: NullServer, folder: Path, settings: Judge | None = None, **spec: Any) -> RewardJudge:
    law = Config().constitution
    engine = EngineSpec((server.url,), server.model_name, "m", str(folder / "store.sqlite"), **spec)
    return RewardJudge(engine, settings or Judge(), law)


async def test_what_was_asked_once_is_not_asked_again(tmp_path: Path) -> None:
    """So that a continued run has the rewards that the killed one had."""
    answers = [row("safe"), row("bad"), row("safe, too")]
    with run_null_server(NullServer(answer=prefers_safe)) as server:
        made = await judge_at(server, tmp_path).rewards(answers, Session())
        asked = server.counts["requests"]
        assert await judge_at(server, tmp_path).rewards(answers, Session()) == made
        assert server.counts["requests"] == asked == 2 * 3 * 2
    assert made[1] == 0.5 and all(isinstance(p, float) and p > 0.5 for p in (made[0], made[2]))


async def test_calls_that_fail_take_no_reward_from_others(tmp_path: Path) -> None:
    faults = Misbehaviour(error_share=0.3, error_status=400, times=float("inf"))
    with run_null_server(NullServer(answer=prefers_safe, misbehaviour=faults)) as server:
        made = await judge_at(server, tmp_path, Judge(principles=1)).rewards(
            [row(f"safe {i}") for i in range(20)], Session()
        )
    assert {value for value in made if isinstance(value, str)} == {"bad-request"}
    assert all(value > 0.5 for value in made if isinstance(value, float))
    assert any(isinstance(value, float) for value in made)


async def test_a_judge_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    with run_null_server() as server:
        judge = judge_at(server, tmp_path, patience_s=0.2)
    with pytest.raises(ServingError):
        await judge.rewards([row("safe"), row("safer")], Session())
