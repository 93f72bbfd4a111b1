import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.constitution import Constitution, Principle, Turn, load_constitution, parse_constitution
from charter.constitution.exchange import export_json, import_json
from charter.constitution.lint import counts, lint
from charter.constitution.write import write_constitution
from charter.core.errors import ConfigError, ConstitutionError

PAPER = {
    "harmful0": {
        "prompt": ["\n\nCritiqueRequest: Say in which ways the last response does damage.\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Please write the response again without the damage.\n\nRevision:",
    },
    "polite_1": {
        "prompt": [
            "\n\nCritiqueRequest: Is the response rude? Say how.\n\nCritique:",
            "\n\nCritiqueRequest: Would a patient teacher say this?\n\nCritique:",
        ],
        "edit_request": "\n\nRevisionRequest: Rewrite it politely.  Two spaces stay.\n\nRevision:",
    },
}
PREFERENCES = ["\nPlease choose the response that is kinder. Options:", "\nWhich of these does less harm? Options:"]
CHAT = [
    {"role": "user", "content": "Tell me about Mercury."},
    {"role": "assistant", "content": "It is the first planet.\n1. It is small.\n\n   2. It is hot."},
    {"role": "user", "content": "What is its precession?"},
    {"role": "assistant", "content": "About ~1/r^5, *I think*."},
    {"role": "user", "content": "Was your last answer right, and how sure are you?"},
    {"role": "assistant", "content": "I am not sure of <the power>."},
    {"role": "user", "content": "Please rewrite it."},
    {"role": "assistant", "content": "I do not know the power."},
]
SWARM = {
    "constitutions": [
        {"critic": "Discuss whether it helps with crime.", "revision": "Rewrite it, with some humor, to say no."},
        {"critic": "Is it unkind?\nSay how.", "revision": "Make it kind."},
    ],
    "system_chat": [CHAT, CHAT[2:], [{"role": "system", "content": "Be brief."}, *CHAT]],
}


def imported(values: Any, name: str = "given") -> Constitution:
    constitution = import_json(json.dumps(values), name)
    assert parse_constitution(write_constitution(constitution)) == constitution
    return constitution


@pytest.mark.parametrize(
    ("values", "format"),
    [
        (PAPER, "paper"),
        (PREFERENCES, "preferences"),
        (SWARM, "llm-swarm"),
        (["Be kind.", "Be\nbrief."], "list"),
    ],
    ids=["paper", "preferences", "llm-swarm", "list"],
)
def test_nothing_is_lost_through_markdown_and_back(values: Any, format: Any) -> None:
    assert json.loads(export_json(parse_constitution(write_constitution(imported(values))), format)) == values


def test_the_paper_s_entries_keep_their_names_and_words() -> None:
    first, second, third = imported(PAPER).principles
    assert (first.id, second.id, third.id) == ("harmful0", "polite_1", "polite_1.2")
    assert first.critique_request == "Say in which ways the last response does damage."
    assert first.revision_request == "Please write the response again without the damage."
    assert first.text.endswith("Please write the response again without the damage.")
    assert third.critique_request == "Would a patient teacher say this?"


def test_preference_instructions_become_preference_questions() -> None:
    kinder = imported(PREFERENCES).principles[0]
    assert kinder.text == kinder.preference_request == "Please choose the response that is kinder."


def test_chats_become_examples_shown_with_every_principle() -> None:
    whole, short, with_system = imported(SWARM).examples
    assert [turn.content for turn in whole.prompt] == [turn["content"] for turn in CHAT[:3]]
    assert (whole.response, whole.critique_request) == ("About ~1/r^5, *I think*.", CHAT[4]["content"])
    assert (whole.critique, whole.revision_request, whole.revision) == tuple(turn["content"] for turn in CHAT[5:])
    assert short.prompt == (Turn("user", "What is its precession?"),)
    assert with_system.prompt[0] == Turn("system", "Be brief.")


def test_a_list_of_critics_alone_is_llm_swarm_too() -> None:
    assert imported(SWARM["constitutions"]).principles == imported(SWARM).principles


@pytest.mark.parametrize("values", [PAPER, PREFERENCES, SWARM, ["Be kind to people.", "Be brief and clear."]])
def test_what_was_imported_has_no_errors(tmp_path: Path, values: Any) -> None:
    path = tmp_path / "given.md"
    path.write_text(write_constitution(imported(values)), encoding="utf-8")
    assert counts(lint(path))["error"] == 0
    assert load_constitution(path) == imported(values)


def test_charter_json_keeps_everything() -> None:
    constitution = load_constitution(Path(__file__).parents[3] / "constitutions" / "harmless.md")
    assert imported(json.loads(export_json(constitution))) == constitution


@settings(deadline=None, max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: (
            st.lists(v)
            | st.dictionaries(
                st.sampled_from(
                    ["constitutions", "critic", "revision", "prompt", "edit_request", "principles", "name", "a"]
                ),
                v,
            )
        ),
    )
)
def test_other_json_gives_a_clear_error(values: Any) -> None:
    try:
        constitution = import_json(json.dumps(values), "given")
    except ConstitutionError as error:
        assert "given" in str(error)
    else:
        assert isinstance(values, list)
        assert len(constitution.principles) == len(values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "not a known format"),
        ([], "not a known format"),
        ({"constitutions": []}, "holds no principles"),
        ({"constitutions": [{"critic": "a"}]}, "constitutions[0] must hold 'critic' and 'revision'"),
        ({"constitutions": [{"critic": "a", "revision": 3}]}, "constitutions[0].revision must be text"),
        ({"constitutions": [{"critic": "a", "revision": "b"}], "x": 1}, "x is not a part"),
        (SWARM | {"system_chat": [CHAT[:3]]}, "system_chat[0] must alternate"),
        (SWARM | {"system_chat": ["hello"]}, "system_chat[0] must be a list of turns"),
        ({"a": {"edit_request": "b"}}, "a has no list 'prompt'"),
        ({"principles": [{}], "name": "n", "version": "1"}, "principles.0.id is not valid"),
        ({"principles": [{"id": "a", "colour": 1}], "name": "n", "version": "1"}, "colour is not a part"),
        (["ok", " "], "entry 2 must be text"),
        (["a\x00b"], "cannot be written as Markdown"),
    ],
)
def test_a_wrong_entry_is_named(values: Any, says: str) -> None:
    with pytest.raises(ConstitutionError) as raised:
        import_json(json.dumps(values), "given")
    assert says in str(raised.value)


def test_a_format_without_place_for_a_principle_refuses() -> None:
    constitution = Constitution("c", "1", (Principle("a", "A", "text"),))
    with pytest.raises(ConfigError, match=r"principle 'a': the format 'paper' needs requests"):
        export_json(constitution, "paper")
    assert json.loads(export_json(constitution, "preferences")) == ["\ntext Options:"]
