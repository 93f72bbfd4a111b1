"""Checks: the sentences that are understood, what they say of an answer, and where they decide instead of a model."""

from pathlib import Path
from typing import Any

import pytest

from charter.config import Generation, Judge
from charter.constitution import parse_constitution
from charter.constitution.checks import KNOWN, count_sentences, parse_check, problems_of
from charter.constitution.diff import diff
from charter.constitution.kept import keep_constitution, load_kept_constitution
from charter.constitution.problems import BrokenConstitution
from charter.constitution.write import write_constitution
from charter.core.messages import user
from charter.core.sampling import seed_of
from charter.pipeline.judges.choice import compare_by_choice
from charter.pipeline.judges.critic import compare_by_critic
from charter.pipeline.judges.score import compare_by_score
from charter.pipeline.revise import critique_and_revise
from charter.pipeline.rows import StageContext
from charter.testing.scripted import ScriptedModel

TEXT = """---
name: style
version: 1.0.0
---

## Be brief {#brief}

Answer in at most two sentences, without lists.

### Check

- At most two sentences.
- No lists.

## Be kind {#kind}

Never insult anybody.
"""
CONSTITUTION = parse_constitution(TEXT)
BRIEF = CONSTITUTION.principle("brief")
LONG = "One. Two. Three."
PROMPT = [user("Tell me about rivers.")]


@pytest.mark.parametrize(
    ("check", "kept", "broken"),
    [
        ("At most 2 sentences.", "It costs 3.50 dollars. Buy it!", "One. Two. Three."),
        ("At most two sentences", "Yes (of course.) No.", "A line\nanother line\nand a third"),
        ("At least 2 sentences.", "One. Two.", "One."),
        ("At most 3 words.", "one two three", "one two three four"),
        ("At most 1 paragraph.", "One.\nStill one.", "One.\n\nTwo."),
        ("At most 1 line.", "One.", "One.\nTwo."),
        ("No lists.", "First, wash. 2.5 litres - no more.", "Do this:\n- wash\n- dry"),
        ("No lists.", "In 1999 it began.", "Steps:\n1. wash\n2) dry"),
        ("Ends with a question.", 'Shall we say "why?"', "Why? Because."),
        ("Does not end with a question.", "Why? Because.", "Because. Why?"),
        ("Starts with `Ahoy`.", "ahoy there", "Well, ahoy"),
        ("Ends with `over and out`.", "Roger. Over and out", "Over and out of here."),
        ("Must match `\\bplease\\b`.", "Please wait.", "It is pleased."),
        ("Must not match `sorry|apolog`.", "I cannot.", "My apologies."),
    ],
)
def test_each_sentence_says_what_is_wrong(check: str, kept: str, broken: str) -> None:
    assert problems_of([check], kept) == []
    (problem,) = problems_of([check], broken)
    assert problem
    assert not problem.endswith(".")


def test_every_sentence_that_is_listed_is_understood() -> None:
    for sentence in KNOWN:
        parse_check(sentence.replace("N words, sentences, paragraphs or lines", "7 words"))


@pytest.mark.parametrize(("text", "n"), [("", 0), ("...", 0), ("Hi", 1), ("What?! No.", 2), ("A e.g. b. C", 3)])
def test_sentences_are_counted_by_their_ends(text: str, n: int) -> None:
    assert count_sentences(text) == n


def test_a_check_is_part_of_the_principle_and_survives_every_form(tmp_path: Path) -> None:
    assert BRIEF.checks == ("At most two sentences.", "No lists.")
    assert parse_constitution(write_constitution(CONSTITUTION)) == CONSTITUTION
    keep_constitution(CONSTITUTION, tmp_path)
    assert load_kept_constitution(tmp_path) == CONSTITUTION
    without = parse_constitution(TEXT.replace("- No lists.\n", ""))
    assert without.principle("brief").hash != BRIEF.hash
    (change,) = diff(CONSTITUTION, without).principles
    assert (change.id, change.recomputes, change.fields[0].field) == ("brief", True, "checks")


def test_lint_names_every_check_that_it_does_not_understand_with_its_line() -> None:
    broken = TEXT.replace("- At most two sentences.", "- Be short.\n- Must match `(`.")
    with pytest.raises(BrokenConstitution) as caught:
        parse_constitution(broken)
    assert [(problem.line, problem.code) for problem in caught.value.problems] == [(12, "check"), (13, "check")]
    assert "At most N words" in caught.value.problems[0].fix
    assert "regular expression" in caught.value.problems[1].what
    with pytest.raises(BrokenConstitution, match="empty"):
        parse_constitution("## T\n\nText.\n\n### Check\n")


async def test_a_check_flags_without_a_model_and_a_revision_must_pass_it() -> None:
    revisions = iter(["One. Two. Still three.", "One. Two."])
    model = ScriptedModel(lambda messages, sampling: next(revisions))
    context = StageContext(ask=model.ask, constitution=CONSTITUTION, seed=0, model_identity="m")
    row = await critique_and_revise(PROMPT, LONG, BRIEF, seed_of(0, "x"), context, Generation())
    assert (row["flagged"], row["p_violated"], row["revision"]) == (True, 1.0, "One. Two.")
    assert "has 3 sentences" in row["critique"]
    assert [message["role"] for message in model.asked[0][0]] == ["user", "assistant", "user"]
    assert "Your answer has 3 sentences" in model.asked[0][0][-1]["content"]
    assert [sampling.temperature for _, sampling in model.asked] == [0.0, 0.7]

    silent = ScriptedModel(lambda messages, sampling: pytest.fail("nothing is to be asked"))
    context = StageContext(ask=silent.ask, constitution=CONSTITUTION, seed=0, model_identity="m")
    row = await critique_and_revise(PROMPT, "One.", BRIEF, seed_of(0, "x"), context, Generation())
    assert (row["flagged"], row["p_violated"], row["changed"]) == (False, 0.0, False)


@pytest.mark.parametrize("compare", [compare_by_choice, compare_by_score, compare_by_critic])
async def test_every_judge_counts_checks_instead_of_asking(compare: Any) -> None:
    silent = ScriptedModel(lambda messages, sampling: pytest.fail("nothing is to be asked"))
    context = StageContext(ask=silent.ask, constitution=CONSTITUTION, seed=0, model_identity="m")
    better = await compare(PROMPT, LONG, "One.", [BRIEF], context, settings=Judge())
    worse = await compare(PROMPT, "One.", LONG, [BRIEF], context, settings=Judge())
    same = await compare(PROMPT, "One.", "Two.", [BRIEF], context, settings=Judge())
    assert better.p > 0.6
    assert worse.p == pytest.approx(1 - better.p)
    assert same.p == 0.5
