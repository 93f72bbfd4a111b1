"""Rounds under several principles, principles by tag, and the preface: what is asked, and what the rows say of it."""

from dataclasses import replace

import pytest

from charter.config import Generation, Judge, Selection
from charter.constitution import Constitution, Example, Principle, Turn, ids_in, join_principles
from charter.core.errors import ConfigError
from charter.core.messages import Messages, assistant, system, user
from charter.inference.completion import Sampling
from charter.pipeline.judge import judge_candidates
from charter.pipeline.pair import walked_rows
from charter.pipeline.revise import critique_messages, revise
from charter.pipeline.rows import StageContext
from charter.testing.scripted import ScriptedModel
from tests.support.candidate_pairs import candidate_pairs

TAGS = (("honest",), ("kind",), ("honest",), ("kind",))
LAW = Constitution(
    "law", "1", tuple(Principle(f"p{i}", f"P{i}", f"Principle number {i}.", tags) for i, tags in enumerate(TAGS))
)
PAIRED = {"strategy": "revision", "pair_id": "r/revision/0"}
ROWS = [{"row_id": f"r{i}", "prompt": [user(f"Question {i}?")], "response": f"bad {i}"} for i in range(40)]


def critic(messages: Messages, sampling: Sampling) -> str | float:
    if sampling.choices:
        return 0.1 if "<answer_a>\nbad" in messages[-1]["content"] else 0.9
    return "Verdict: violated" if messages[-1]["content"].startswith("Critique") else f"good {len(messages)}"


def context(law: Constitution = LAW, preface: bool = False) -> tuple[StageContext, ScriptedModel]:
    model = ScriptedModel(critic)
    return StageContext(model.ask, law, 1, "m", preface=preface), model


async def test_all_principles_are_asked_about_in_one_round() -> None:
    made, model = context()
    outcome = await revise(ROWS[:2], made, Generation(rounds="all", selection=Selection(how="all")))
    assert [row["principle_id"] for row in outcome.rows] == ["p0+p1+p2+p3"] * 2
    assert {row["principle_hash"] for row in outcome.rows} == {join_principles(LAW.principles).hash}
    critiques = [m[-1]["content"] for m, _ in model.asked if m[-1]["content"].startswith("Critique")]
    assert len(critiques) == 2
    assert all(f"{i + 1}. Principle number {i}." in text for text in critiques for i in range(4))


@pytest.mark.parametrize(
    ("selection", "ids_per_round"),
    [
        (Selection(principles=2), (2, 2)),
        (Selection(principles=3), (3, 3)),
        (Selection(how="one-per-tag"), (2, 2)),
        (Selection(tags=("kind",)), (1, 1)),
    ],
    ids=["two at once", "three at once", "one per tag", "by tag"],
)
async def test_rounds_go_on_until_every_principle_was_met(selection: Selection, ids_per_round: tuple[int, ...]) -> None:
    made, _ = context()
    outcome = await revise(ROWS, made, Generation(rounds="all", selection=selection))
    wanted = {p.id for p in LAW.principles if not selection.tags or set(p.tags) & set(selection.tags)}
    for row in ROWS:
        drawn = [ids_in(found["principle_id"]) for found in outcome.rows if found["row_id"] == row["row_id"]]
        assert tuple(map(len, drawn)) == ids_per_round
        assert {id for ids in drawn for id in ids} == wanted
        assert all(ids == sorted(set(ids)) for ids in drawn)
        if selection.how == "one-per-tag":
            assert all({LAW.principle(id).tags for id in ids} == {("honest",), ("kind",)} for ids in drawn)


async def test_a_row_lost_under_several_principles_names_each() -> None:
    made = StageContext(ScriptedModel(lambda m, s: " ").ask, LAW, 1, "m")
    outcome = await revise(ROWS[:1], made, Generation(selection=Selection(how="all")))
    assert [(f["reason"], f["principle_ids"]) for f in outcome.failures] == [("empty", ["p0", "p1", "p2", "p3"])]


async def test_every_principle_of_a_round_that_changed_the_answer_shaped_it() -> None:
    made, _ = context()
    outcome = await revise(ROWS, made, Generation(rounds=1, selection=Selection(principles=2)))
    walked = walked_rows([{**row, "kind": None, "seed": 1, "model_identity": "m"} for row in ROWS], outcome.rows)
    assert [row["drawn"] for row in walked] == [ids_in(row["principle_id"]) for row in outcome.rows]
    judged = await judge_candidates(candidate_pairs(walked).rows, made, Judge(principles=3))
    for before, after in zip(walked, judged.rows, strict=True):
        assert set(after["principle_ids"][:2]) == set(before["drawn"]) and len(set(after["principle_ids"])) == 3


async def test_who_judges_does_not_depend_on_the_order_of_the_file() -> None:
    walked = [
        {**row, **PAIRED, "first": "bad", "last": "good", "drawn": ["p0", "p1", "p2", "p3"], "kind": None, "seed": 1}
        | {"model_identity": "m"}
        for row in ROWS
    ]
    turned = replace(LAW, principles=LAW.principles[::-1])
    judged = [(await judge_candidates(walked, context(law)[0], Judge(principles=1))).rows for law in (LAW, turned)]
    assert [row["principle_ids"] for row in judged[0]] == [row["principle_ids"] for row in judged[1]]
    assert {row["principle_ids"][0] for row in judged[0]} == {"p0", "p1", "p2", "p3"}  # none is left out for good


async def test_only_principles_with_the_tag_judge() -> None:
    rows = [{**row, **PAIRED, "first": "bad", "last": "good", "drawn": ["p0"], "kind": None, "seed": 1} for row in ROWS]
    made, _ = context()
    judged = await judge_candidates(
        [{**row, "model_identity": "m"} for row in rows], made, Judge(principles=3, tags=("kind",))
    )
    assert {tuple(sorted(row["principle_ids"])) for row in judged.rows} == {("p1", "p3")}


async def test_a_tag_that_no_principle_has_is_refused_before_anything_is_asked() -> None:
    made, model = context()
    with pytest.raises(ConfigError, match=r"\['sour'\]: no principle of 'law' has one. Its tags are: honest, kind"):
        await revise(ROWS, made, Generation(selection=Selection(tags=("honest", "sour"))))
    with pytest.raises(ConfigError, match="'one-per-tag': no principle of 'bare' has a tag"):
        await revise(
            ROWS,
            StageContext(made.ask, Constitution("bare", "1", (Principle("a", "A", "a"),)), 1, "m"),
            Generation(selection=Selection(how="one-per-tag")),
        )
    assert model.asked == []


EXAMPLE = Example((Turn("system", "Be brief."), Turn("user", "q")), "a", "c", "r")


def test_a_conversation_has_one_system_message_with_the_preface_first() -> None:
    law = replace(LAW, preface="For a library.", examples=(EXAMPLE,))
    prompt = [system("You are Ada."), user("Hi"), assistant("Hello"), user("Help")]
    asked = critique_messages(prompt, "Sure.", LAW.principles[0], context(law, preface=True)[0])
    assert asked[0] == system("For a library.\n\nYou are Ada.\n\nBe brief.")
    assert [m["role"] for m in asked] == ["system", *["user", "assistant"] * 5, "user"]
    assert [m["content"] for m in asked[7:11]] == ["Hi", "Hello", "Help", "Sure."]


@pytest.mark.parametrize("prompt", [[user("Hi")], [system("You are Ada."), user("Hi")]], ids=["plain", "system"])
def test_without_a_preface_a_critique_begins_as_the_prompt_does(prompt: Messages) -> None:
    made, _ = context(replace(LAW, preface="For a library."))
    assert critique_messages(prompt, "Sure.", LAW.principles[0], made)[:-1] == [*prompt, assistant("Sure.")]
    without, _ = context(LAW, preface=True)
    assert critique_messages(prompt, "Sure.", LAW.principles[0], without)[:-1] == [*prompt, assistant("Sure.")]


def test_examples_of_joined_principles_are_shown_for_their_own() -> None:
    case = Example((Turn("user", "q"),), "a", "c", "r")
    law = replace(LAW, examples=(case,), principles=(replace(LAW.principles[0], examples=(case,)), *LAW.principles[1:]))
    asked = critique_messages([user("Hi")], "Sure.", join_principles(law.principles), context(law)[0])
    requests = [m["content"] for m in asked if m["content"].startswith("Critique")]
    assert [text.startswith("Critique your last answer under each") for text in requests] == [True, False, True]
    assert "Principle number 0." in requests[1]


async def test_the_judge_s_question_comes_after_the_preface() -> None:
    made, model = context(replace(LAW, preface="For a library."), preface=True)
    given = {**PAIRED, "first": "bad", "last": "good", "drawn": ["p0"], "kind": None, "seed": 1}
    rows = [{**row, **given} for row in ROWS[:1]]
    await judge_candidates([{**row, "model_identity": "m"} for row in rows], made, Judge(principles=1))
    assert [[m["role"] for m in messages] for messages, _ in model.asked] == [["system", "user"]] * 2
    assert {messages[0]["content"] for messages, _ in model.asked} == {"For a library."}
