"""What `count_edit_cost` gives against what the stages really ask, for every way to select and every kind of edit."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from charter.config import Config, Judge, Member
from charter.constitution import Constitution, Example, Principle, Turn
from charter.constitution.write import write_constitution
from charter.core.messages import Messages, user
from charter.inference.completion import Completion, Sampling, request_key
from charter.pipeline.judge import judge_candidates
from charter.pipeline.pair import walked_rows
from charter.pipeline.revise import revise
from charter.pipeline.rows import StageContext
from charter.testing.scripted import Script, ScriptedModel
from charter.views.edit_cost import EditCost, count_edit_cost, edit_cost_of_run
from tests.support.candidate_pairs import candidate_pairs
from tests.support.scripted_run import make_run

ROWS = [
    {
        "row_id": f"r{i}",
        "prompt": [user(f"Question {i}?")],
        "kind": None,
        "response": f"first answer {i}",
        "seed": 1,
        "model_identity": "m",
    }
    for i in range(14)
]
TAGS = (("honest",), ("harmless",), ("honest", "harmless"), ("kind",), ("harmless",), ("honest",), ("kind",), ())
CONSTITUTION = Constitution(
    "constitution",
    "1",
    tuple(Principle(f"p{i}", f"P{i}", f"Rule number {i}.", tags) for i, tags in enumerate(TAGS)),
    preface="For a library.",
)


class Run:
    """The real stages over ROWS, with a store that keeps what was asked."""

    def __init__(self, config: Config, script: Script) -> None:
        self._config, self._model = config, ScriptedModel(script)
        self._kept: dict[bytes, Completion] = {}
        self._new = Counter[str]()

    async def under(self, constitution: Constitution) -> tuple[list[dict], Counter[str]]:
        """Rows of ``revisions``, and the calls by kind that the store did not answer."""
        config, self._new = self._config, Counter()
        context = StageContext(self._ask, constitution, config.seed, "m", preface=config.generation.preface)
        revised = await revise(ROWS, context, config.generation)
        judged = await judge_candidates(candidate_pairs(walked_rows(ROWS, revised.rows)).rows, context, config.judge)
        assert not revised.failures and {f["reason"] for f in judged.failures} <= {"tie"}
        return revised.rows, self._new

    async def _ask(self, messages: Messages, sampling: Sampling) -> Completion:
        key = request_key("m", messages, sampling)
        if key not in self._kept:
            self._new[kind_of(messages)] += 1
            self._kept[key] = await self._model.ask(messages, sampling)
        return self._kept[key]


def kind_of(messages: Messages) -> str:
    request = messages[-1]["content"]
    kinds = {"Read a conversation": "judgements", "Critique your": "critiques", "Rewrite your": "revisions"}
    return next(kind for words, kind in kinds.items() if request.startswith(words))


def digest(messages: Messages) -> str:
    return hashlib.sha256("\n".join(m["role"] + m["content"] for m in messages).encode()).hexdigest()


def always_faulted(messages: Messages, sampling: Sampling) -> str | float:
    """Every answer depends on everything that was asked, and every critique finds a fault."""
    if sampling.choices:
        return 0.8
    return f"answer {digest(messages)}" if kind_of(messages) == "revisions" else f"{digest(messages)} Verdict: violated"


def sometimes_faulted(messages: Messages, sampling: Sampling) -> str | float:
    """A third of the critiques find a fault; of what was fine, or revised as before, nothing changes."""
    if sampling.choices or kind_of(messages) == "revisions":
        return always_faulted(messages, sampling)
    return f"Verdict: {'violated' if int(digest(messages)[:6], 16) % 3 == 0 else 'respected'}"


def reworded(constitution: Constitution, **changes: object) -> Constitution:
    return replace(
        constitution,
        principles=(
            *constitution.principles[:2],
            replace(constitution.principles[2], **changes),
            *constitution.principles[3:],
        ),
    )


EDITS: dict[str, Callable[[Constitution], Constitution]] = {
    "nothing": lambda constitution: replace(constitution, version="2", principles=constitution.principles[::-1]),
    "words": lambda constitution: reworded(constitution, text="Rule number two, in other words."),
    "other requests": lambda constitution: reworded(
        constitution, critique_request="Critique your last answer by rule two."
    ),
    "weight": lambda constitution: reworded(constitution, weight=4.0),
    "tags": lambda constitution: reworded(constitution, tags=("kind",)),
    "id": lambda constitution: reworded(constitution, id="a2"),
    "removed": lambda constitution: replace(
        constitution, principles=constitution.principles[:2] + constitution.principles[3:]
    ),
    "added": lambda constitution: replace(
        constitution, principles=(*constitution.principles, Principle("p9", "P9", "Rule nine.", ("kind",)))
    ),
    "example": lambda constitution: replace(constitution, examples=(Example((Turn("user", "q"),), "a", "c", "r"),)),
    "preface": lambda constitution: replace(constitution, preface="For a school."),
}
SETTINGS = {
    "sample": {"rounds": 2},
    "sample to the end": {"rounds": "all"},
    "three together": {"rounds": 2, "selection": {"principles": 3}},
    "three together to the end": {"rounds": "all", "selection": {"principles": 3}},
    "tags": {"rounds": 2, "selection": {"tags": ["honest"]}},
    "tags to the end": {"rounds": "all", "selection": {"tags": ["honest", "kind"]}},
    "replacement": {"rounds": 3, "selection": {"replacement": True}},
    "all": {"rounds": "all", "selection": {"how": "all"}},
    "all with a preface": {"rounds": 2, "preface": True, "selection": {"how": "all"}},
    "one per tag": {"rounds": 2, "selection": {"how": "one-per-tag"}},
    "one per tag to the end": {"rounds": "all", "selection": {"how": "one-per-tag", "tags": ["honest", "kind"]}},
    "a preface": {"rounds": 2, "preface": True},
    "always": {"rounds": 2, "revise": "always"},
}
JUDGES = [{"principles": 3}, {"principles": 2, "tags": ["kind", "harmless"]}]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("judging", JUDGES, ids=["three judges", "judges by tag"])
async def test_the_count_is_what_the_stages_ask(settings: str, edit: str, judging: dict) -> None:
    config, edited = Config(generation=SETTINGS[settings], judge=judging), EDITS[edit](CONSTITUTION)
    run = Run(config, always_faulted)
    rows, _ = await run.under(CONSTITUTION)
    cost = await count_edit_cost(CONSTITUTION, edited, rows, config)
    _, asked = await run.under(edited)
    counted = {name: getattr(cost, name) for name in ("critiques", "revisions", "judgements")}
    assert counted == {name: asked[name] for name in counted}
    assert cost.rows == len(ROWS) and (cost.rows_changed > 0) == (cost.completions > 0)


def faulted_by_words(messages: Messages, sampling: Sampling) -> str | float:
    """Each principle finds a fault in the same questions whatever the answer, and in half of them."""
    if sampling.choices or kind_of(messages) == "revisions":
        return always_faulted(messages, sampling)
    principle = messages[-1]["content"].replace("two, in other words", "2").partition("Rule number ")[2][:2]
    found = hashlib.sha256(f"{principle} {messages[0]['content']}".encode()).digest()[0] % 2
    return f"Verdict: {'violated' if found else 'respected'}"


@pytest.mark.parametrize("edit", ["nothing", "words", "weight", "id", "removed"])
@pytest.mark.parametrize("settings", ["sample", "sample to the end", "replacement", "always"])
async def test_the_likely_count_is_right_where_critiques_find_what_they_found(settings: str, edit: str) -> None:
    config, edited = Config(generation=SETTINGS[settings], judge={"principles": 3}), EDITS[edit](CONSTITUTION)
    run = Run(config, faulted_by_words)
    rows, _ = await run.under(CONSTITUTION)
    likely, most = [await count_edit_cost(CONSTITUTION, edited, rows, config, likely) for likely in (True, False)]
    _, asked = await run.under(edited)
    assert asked["critiques"] <= most.critiques
    if settings == "sample to the end" and edit in (
        "nothing",
        "words",
        "removed",
    ):  # no principle is drawn that was not drawn before
        assert (asked["critiques"], asked["revisions"]) == (likely.critiques, likely.revisions)
        assert likely.critiques < most.critiques or edit != "words"


async def test_a_principle_that_goes_and_found_no_fault_costs_nothing() -> None:
    def content(messages: Messages, sampling: Sampling) -> str | float:
        return 0.5 if sampling.choices else "Verdict: respected"

    config, edited = Config(generation={"rounds": "all"}), EDITS["removed"](CONSTITUTION)
    run = Run(config, content)
    rows, _ = await run.under(CONSTITUTION)
    assert await count_edit_cost(CONSTITUTION, edited, rows, config) == EditCost(len(ROWS), 0, 0, 0, 0)
    _, asked = await run.under(edited)
    assert asked.total() == 0


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("settings", SETTINGS)
async def test_the_count_is_the_most_where_a_change_may_end_early(settings: str, edit: str) -> None:
    config, edited = Config(generation=SETTINGS[settings]), EDITS[edit](CONSTITUTION)
    run = Run(config, sometimes_faulted)
    rows, _ = await run.under(CONSTITUTION)
    cost = await count_edit_cost(CONSTITUTION, edited, rows, config)
    _, asked = await run.under(edited)
    assert asked["critiques"] <= cost.critiques and asked["judgements"] <= cost.judgements


def graded(messages: Messages, sampling: Sampling) -> str | float | Completion:
    """As `always_faulted`, and every answer gets its own score."""
    if len(sampling.choices) == 10:
        score = 1 + int(digest(messages)[:6], 16) % 10
        return Completion("1", "stop", 1, 1, choice_probs=tuple(float(n == score) for n in range(1, 11)))
    return always_faulted(messages, sampling)


OTHER_JUDGES = {
    "reasoned": {"kind": "reasoned", "samples": 2, "principles": 2},
    "score": {"kind": "score"},
    "critic": {"kind": "critic", "principles": 2},
    "panel": {"kind": "panel", "panel": [{"name": "a"}, {"name": "b", "kind": "critic"}]},
    "panel that agrees on everything": {"kind": "panel", "panel": [{"name": "a"}, {"name": "b"}]},
    "panel with another constitution": {
        "kind": "panel",
        "panel": [{"name": "a"}, {"name": "b", "constitution": "constitutions/honest.md", "kind": "score"}],
    },
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", OTHER_JUDGES)
async def test_the_count_is_what_a_judge_of_any_kind_asks(kind: str, edit: str) -> None:
    config, edited = Config(generation={"rounds": 2}, judge=OTHER_JUDGES[kind]), EDITS[edit](CONSTITUTION)
    run = Run(config, graded)
    rows, _ = await run.under(CONSTITUTION)
    prompts = {row["row_id"]: row["prompt"] for row in ROWS}
    cost = await count_edit_cost(CONSTITUTION, edited, rows, config, prompts=prompts)
    _, asked = await run.under(edited)
    assert cost.completions == asked.total()
    assert cost.completions > 0 or edit in ("nothing", "weight", "tags", "id", "preface", "other requests")


@pytest.mark.parametrize("settings", SETTINGS)
async def test_an_edit_that_no_request_shows_costs_nothing(settings: str) -> None:
    config = Config(generation=SETTINGS[settings])
    rows, _ = await Run(config, always_faulted).under(CONSTITUTION)
    edited = EDITS["nothing"](CONSTITUTION)
    if not config.generation.preface:
        edited = EDITS["preface"](edited)
    assert await count_edit_cost(CONSTITUTION, edited, rows, config) == EditCost(len(ROWS), 0, 0, 0, 0)


def test_a_run_with_a_panel_is_counted_by_the_constitutions_it_kept(tmp_path: Path) -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float:
        if sampling.choices:
            return 0.8
        asked = messages[-1]["content"]
        return "Verdict: violated" if asked.startswith("Critique") else f"answer {digest(messages)}"

    theirs = tmp_path / "south.md"
    theirs.write_text("## South {#p0}\nThe ways of the south.\n")
    members = (Member(name="north"), Member(name="south", constitution=theirs))
    judge = Judge(kind="panel", panel=members, principles=1)
    prompts = [{"prompt": f"Question {i}?"} for i in range(6)]
    run = make_run(tmp_path / "outputs", write_constitution(CONSTITUTION), prompts, script, rounds=1, judge=judge)
    theirs.unlink()
    same = edit_cost_of_run(run, CONSTITUTION)
    assert same == EditCost(6, 0, 0, 0, 0)
    other = replace(
        CONSTITUTION, principles=tuple(replace(p, text=f"{p.text} Indeed.") for p in CONSTITUTION.principles)
    )
    cost = edit_cost_of_run(run, other)
    assert (cost.rows_changed, cost.critiques, cost.revisions) == (6, 6, 6)
    assert cost.judgements == 6 * (2 + 2)  # in both orders, by the run's principle and by theirs, of a new answer


async def test_what_is_not_counted_is_named() -> None:
    config = Config(pairs={"strategies": {"samples": 0.5, "best-worst": 1.0}})
    rows, _ = await Run(config, always_faulted).under(CONSTITUTION)
    assert (await count_edit_cost(CONSTITUTION, CONSTITUTION, rows, config)).uncounted == ("samples", "best-worst")


async def test_the_preface_reaches_critique_revision_and_judge_once() -> None:
    asked: list[Messages] = []

    def script(messages: Messages, sampling: Sampling) -> str | float:
        asked.append(messages)
        return always_faulted(messages, sampling)

    await Run(Config(generation=SETTINGS["a preface"]), script).under(CONSTITUTION)
    assert {tuple(m["content"] for m in messages if m["role"] == "system") for messages in asked} == {
        ("For a library.",)
    }
    assert {kind_of(messages) for messages in asked} == {"critiques", "revisions", "judgements"}
