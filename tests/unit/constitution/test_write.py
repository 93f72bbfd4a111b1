import unicodedata

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charter.constitution import Constitution, Example, Principle, Turn, parse_constitution
from charter.constitution.write import to_markdown, write_constitution

SPECIAL = "#*_`[](){}<>!-+=|~\\&;:.1\n \t'\"äß隱\u00a0\u2028🎈"
CHARACTERS = st.one_of(
    st.sampled_from(SPECIAL), st.characters(codec="utf-8", exclude_categories=["Cc"]), st.sampled_from("abc \n")
)
FRAGMENTS = st.sampled_from(
    ["\n\n", "**Prompt:** ", "---", "## ", "### Examples", "```", "```text\n", "<!-- ", " -->", "- a", "1. b", "<b>"]
)
TEXT = st.lists(st.one_of(CHARACTERS, FRAGMENTS, st.just("word ")), min_size=1, max_size=12).map("".join)
TEXT = TEXT.filter(lambda text: text.strip() != "")
LINE = TEXT.map(lambda text: " ".join(text.split())).filter(bool)
WORD = st.from_regex(r"[a-zA-Z0-9äß]{1,4}(?:[-._][a-z0-9]{1,3}){0,2}", fullmatch=True)
WORD = WORD.map(lambda word: unicodedata.normalize("NFC", word))
EXAMPLES = st.builds(
    Example,
    prompt=st.builds(
        lambda system, turns, last: (*system, *(turn for pair in turns for turn in pair), Turn("user", last)),
        st.lists(TEXT.map(lambda text: Turn("system", text)), max_size=1),
        st.lists(st.tuples(TEXT.map(lambda t: Turn("user", t)), TEXT.map(lambda t: Turn("assistant", t))), max_size=2),
        TEXT,
    ),
    response=TEXT,
    critique=TEXT,
    revision=TEXT,
    critique_request=st.none() | TEXT,
    revision_request=st.none() | TEXT,
)
PRINCIPLES = st.builds(
    Principle,
    id=WORD,
    title=LINE,
    text=TEXT,
    tags=st.lists(WORD, max_size=3, unique=True).map(tuple),
    weight=st.floats(0.001, 1000) | st.just(1.0),
    critique_request=st.none() | TEXT,
    revision_request=st.none() | TEXT,
    preference_request=st.none() | TEXT,
    examples=st.lists(EXAMPLES, max_size=2).map(tuple),
)
CONSTITUTIONS = st.builds(
    Constitution,
    name=LINE,
    version=LINE,
    principles=st.lists(PRINCIPLES, min_size=1, max_size=4, unique_by=lambda p: p.id.casefold()).map(tuple),
    description=st.just("") | LINE,
    language=LINE,
    preface=st.just("") | TEXT,
    tags=st.lists(LINE, max_size=2).map(tuple),
    examples=st.lists(EXAMPLES, max_size=2).map(tuple),
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(CONSTITUTIONS)
def test_reading_what_was_written_gives_the_same(constitution: Constitution) -> None:
    written = parse_constitution(write_constitution(constitution))
    assert written == constitution
    assert written.hash == constitution.hash


@settings(deadline=None, max_examples=50)
@given(TEXT)
@example("a\nb")
@example("**Prompt:** x")
@example("```\ncode\n```")
@example("ends with \\")
def test_any_text_survives(text: str) -> None:
    written = f"## A\n\n{to_markdown(text)}\n"
    assert parse_constitution(written).principles[0].text == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Plain words, as they are.", "Plain words, as they are."),
        ("- a\n- b", "- a\n- b"),
        ("two\nlines", "```text\ntwo\nlines\n```"),
        ("a <b> c", "```text\na <b> c\n```"),
        ("  ```", "````text\n  ```\n````"),
    ],
)
def test_text_is_written_as_it_is_or_in_a_fence(text: str, written: str) -> None:
    assert to_markdown(text) == written
