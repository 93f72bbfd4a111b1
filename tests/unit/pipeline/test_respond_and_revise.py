import pytest

from charter.config import Generation
from charter.constitution import select
from charter.core.errors import CompletionFailed, ServingError
from charter.inference.completion import Completion
from charter.pipeline.respond import respond
from charter.pipeline.revise import read_verdict, revise
from charter.pipeline.rows import Progress

SETTINGS = Generation(rounds=2)


def responses(n: int) -> list[dict[str, object]]:
    return [
        {"row_id": f"r{i}", "prompt": [{"role": "user", "content": f"Question {i}?"}], "response": f"bad {i}"}
        for i in range(n)
    ]


def critic(messages, sampling):
    """Flags what is bad; a revision is good."""
    if messages[-1]["content"].startswith("Critique"):
        return "It is bad. Verdict: violated" if messages[-2]["content"].startswith("bad") else "Verdict: respected"
    return f"good {messages[-4]['content'].split()[-1]}"


async def test_every_prompt_is_answered_with_its_own_seed(context, prompts) -> None:
    outcome = await respond(prompts(5), context(lambda m, s: f"answer to {m[-1]['content']}"), SETTINGS)
    assert [row["response"] for row in outcome.rows] == [f"answer to Question {i}?" for i in range(5)]
    assert len({row["seed"] for row in outcome.rows}) == 5
    again = await respond(prompts(5)[::-1], context(lambda m, s: "x"), SETTINGS)
    assert {r["row_id"]: r["seed"] for r in again.rows} == {r["row_id"]: r["seed"] for r in outcome.rows}


async def test_what_is_cut_off_empty_or_refused_by_the_server_is_kept_with_its_reason(context, prompts) -> None:
    answers = [
        Completion("half an ans", "length", 1, 1),
        Completion("  ", "stop", 1, 0),
        CompletionFailed("context-too-long", "4097 tokens"),
        "fine",
    ]

    def script(m, s):
        return answers[int(m[-1]["content"].split()[1][:-1])]

    outcome = await respond(prompts(4), context(script), SETTINGS)
    assert [row["row_id"] for row in outcome.rows] == ["r3"]
    assert [(f["row_id"], f["reason"]) for f in outcome.failures] == [
        ("r0", "cut-off"),
        ("r1", "empty"),
        ("r2", "context-too-long"),
    ]
    assert "half an ans" in outcome.failures[0]["detail"]
    assert {f["principle_ids"] for f in outcome.failures} == {None}  # no principle had a part in it


async def test_rounds_go_on_from_the_revision_and_draw_other_principles(context) -> None:
    outcome = await revise(responses(3), context(critic), SETTINGS)
    assert [(r["row_id"], r["round"], r["response"], r["flagged"], r["revision"]) for r in outcome.rows[:2]] == [
        ("r0", 0, "bad 0", True, "good 0"),
        ("r0", 1, "good 0", False, "good 0"),
    ]
    assert all(
        a["principle_id"] != b["principle_id"] for a, b in zip(outcome.rows[::2], outcome.rows[1::2], strict=True)
    )
    assert {row["constitution_name"] for row in outcome.rows} == {"law"}


async def test_a_critique_continues_the_conversation_it_is_about(context) -> None:
    asked = []

    def script(messages, sampling):
        asked.append(messages)
        return critic(messages, sampling)

    await revise(responses(1), context(script), Generation(rounds=1))
    critique, revision = asked
    assert [m["role"] for m in critique] == ["user", "assistant", "user"]
    assert list(revision[: len(critique)]) == list(critique)
    assert "Principle number" in critique[-1]["content"]


async def test_always_asks_for_a_revision_even_of_what_is_fine(context) -> None:
    def script(m, s):
        return "Verdict: respected" if m[-1]["content"].startswith("Critique") else "same"

    outcome = await revise(responses(1), context(script), Generation(rounds=1, revise="always"))
    assert (outcome.rows[0]["flagged"], outcome.rows[0]["revision"]) == (False, "same")


@pytest.mark.parametrize(
    "critique",
    ["I would rather not say.", Completion("It is bad. It is very ba", "length", 1, 1)],
    ids=["no verdict", "cut off"],
)
@pytest.mark.parametrize(("flag_above", "flagged"), [(0.5, True), (0.8, False)])
async def test_a_critique_without_a_verdict_is_asked_for_it(
    context, critique, flag_above: float, flagged: bool
) -> None:
    asked = []

    def script(messages, sampling):
        if sampling.choices:
            asked.append(messages)
            return 0.7
        return critique if messages[-1]["content"].startswith("Critique") else "good"

    outcome = await revise(responses(2), context(script), Generation(rounds=1, flag_above=flag_above))
    assert [(row["p_violated"], row["flagged"], row["changed"]) for row in outcome.rows] == [
        (0.7, flagged, flagged)
    ] * 2
    assert {messages[-2]["content"] for messages in asked} <= {"I would rather not say.", "It is bad."}


async def test_a_verdict_in_the_text_costs_no_call(context) -> None:
    def script(messages, sampling):
        assert not sampling.choices
        return critic(messages, sampling)

    outcome = await revise(responses(2), context(script), SETTINGS)
    assert {row["p_violated"] for row in outcome.rows} == {None}


LOOP = "It is bad because it is bad. " * 12


@pytest.mark.parametrize(("loops", "ended"), [(1, "good 0"), (2, "good 0"), (3, "loop")])
async def test_a_revision_that_loops_is_sampled_again_twice(context, loops: int, ended: str) -> None:
    seeds = list[int]()

    def script(messages, sampling):
        said = critic(messages, sampling)
        if not messages[-1]["content"].startswith("Rewrite"):
            return said
        seeds.append(sampling.seed)
        assert sampling.temperature == (0.0, 0.7, 1.0)[len(seeds) - 1]
        return Completion(LOOP, "length", 1, 1) if len(seeds) <= loops else said

    outcome = await revise(responses(1), context(script), Generation(rounds=1))
    assert [row["revision"] for row in outcome.rows] + [f["reason"] for f in outcome.failures] == [ended]
    assert len(set(seeds)) == len(seeds) == min(loops + 1, 3)


async def test_a_critique_that_always_loops_ends_before_its_loop(context) -> None:
    def script(messages, sampling):
        if sampling.choices:
            return 0.9
        return LOOP if messages[-1]["content"].startswith("Critique") else "good"

    (row,) = (await revise(responses(1), context(script), Generation(rounds=1))).rows
    assert (row["critique"], row["flagged"]) == ("It is bad because it is bad.", True)


LONG = "First. Second. Thi"


@pytest.mark.parametrize(
    ("policy", "again", "text", "finish_reason"),
    [
        ("trim", None, "First. Second.", "trimmed"),
        ("shorten", "Short.", "Short.", "shortened"),
        ("shorten", Completion("Still. To", "length", 1, 1), "First. Second.", "trimmed"),
    ],
)
async def test_a_long_answer_is_kept_as_the_config_says(context, prompts, policy, again, text, finish_reason) -> None:
    def script(messages, sampling):
        return Completion(LONG, "length", 1, 1) if len(messages) == 1 else again

    reports = list[Progress]()
    (row,) = (await respond(prompts(1), context(script), Generation(long_answers=policy), reports.append)).rows
    assert reports[-1].too_long == {finish_reason: 1}
    assert (row["response"], row["finish_reason"]) == (text, finish_reason)


async def test_a_long_answer_is_dropped_if_the_config_says_so(context, prompts) -> None:
    cut = context(lambda m, s: Completion(LONG, "length", 1, 1))
    outcome = await respond(prompts(2), cut, Generation(long_answers="drop"))
    assert [f["reason"] for f in outcome.failures] == ["cut-off"] * 2


async def test_a_long_revision_is_trimmed_and_says_so(context) -> None:
    def script(messages, sampling):
        said = critic(messages, sampling)
        return Completion(LONG, "length", 1, 1) if messages[-1]["content"].startswith("Rewrite") else said

    (row,) = (await revise(responses(1), context(script), Generation(rounds=1))).rows
    assert (row["revision"], row["finish_reason"]) == ("First. Second.", "trimmed")


@pytest.mark.parametrize(
    ("broken", "answer", "failed"),
    [
        ("Critique", " ", ("critique", "empty")),
        ("Rewrite", Completion("I will", "length", 1, 1), ("revise", "cut-off")),
        ("Critique", CompletionFailed("context-too-long", "4097 tokens"), ("revise", "context-too-long")),
        ("Rewrite", Completion(" ", "stop", 1, 1), ("revise", "empty")),
        ("Rewrite", "Here is the rewritten answer:", ("revise", "preamble-only")),
    ],
    ids=["no critique", "cut-off", "refused", "empty", "preamble"],
)
async def test_a_failure_names_the_principle_of_its_round(context, broken, answer, failed) -> None:
    """The first round goes well for all; in the second, it is the second round's principle that is named."""

    def script(messages, sampling):
        second = messages[1]["content"].startswith("good")
        if second and messages[-1]["content"].startswith(broken):
            return answer
        return "Verdict: violated" if messages[-1]["content"].startswith("Critique") else "good"

    made = context(script)
    outcome = await revise(responses(3), made, SETTINGS)
    assert outcome.rows == []
    for found in outcome.failures:
        assert (found["stage"], found["reason"]) == failed
        (second,) = select(made.constitution, found["row_id"], 1, made.seed)
        assert found["principle_ids"] == [second.id]


@pytest.mark.parametrize(
    ("critique", "flagged"),
    [
        ("Verdict: violated", True),
        ("verdict: Respected.", False),
        ("**Verdict:** violated", True),
        ("Verdict: respected? No. Verdict: violated", True),
    ],
)
def test_the_last_verdict_decides(critique: str, flagged: bool) -> None:
    assert read_verdict(critique) is flagged


def test_no_verdict_is_not_a_verdict() -> None:
    assert read_verdict("It is violated, I think.") is None


@pytest.mark.parametrize("preamble", ["", "Sure, here is the revised answer:"])
async def test_what_is_taken_off_a_revision_is_kept_beside_it(context, preamble: str) -> None:
    def script(messages, sampling):
        said = critic(messages, sampling)
        return f"{preamble} {said}" if messages[-1]["content"].startswith("Rewrite") else said

    outcome = await revise(responses(3), context(script), SETTINGS)
    assert [row["preamble"] for row in outcome.rows] == [preamble or None, None] * 3  # the second round finds no fault
    assert {row["revision"] for row in outcome.rows} == {"good 0", "good 1", "good 2"}


async def test_servers_that_are_gone_are_one_error_and_not_one_for_every_row(context, prompts) -> None:
    def gone(messages, sampling):
        raise ServingError("server 'http://127.0.0.1:1': gone. Start it.")

    with pytest.raises(ServingError, match="Start it"):
        await respond(prompts(5), context(gone), SETTINGS)
