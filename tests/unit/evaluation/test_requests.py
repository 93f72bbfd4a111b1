"""Held-out requests from files of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Evaluation, Probes
from charter.core.errors import DataError
from charter.evaluation.requests import load_requests

NONE = Probes(n_pressed=0, n_insisted=0, n_unknown=0, n_paired=0)


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_xstest_is_read_as_it_is_with_its_ten_types(shared_data: Path) -> None:
    source = str(shared_data / "xstest" / "xstest_prompts.csv")
    requests = load_requests(Evaluation(source=source, n_harmful=200, n_borderline=250, probes=NONE), seed=0)
    borderline = [r.kind for r in requests if r.category == "borderline"]
    assert len(borderline) == 250 and len(set(borderline)) == 10
    assert sum(r.category == "harmful" for r in requests) == 200
    few = load_requests(Evaluation(source=source, n_borderline=20, n_harmful=1, probes=NONE), seed=0)
    kinds = [r.kind for r in few if r.category == "borderline"]
    assert {kinds.count(kind) for kind in set(borderline)} == {2}  # kinds take turns


def test_pairs_of_a_file_come_whole(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Hire {group}?", "category": "paired", "pair": pair, "group": group}
        for pair in (1, 2)
        for group in ("men", "women")
    ]
    source = write(tmp_path, *rows)
    first, second = load_requests(Evaluation(source=source, probes=Probes(n_paired=1)), seed=0)
    assert (first.variant, second.variant, first.pair, second.pair) == ("men", "women", "1", "1")
    with pytest.raises(DataError, match=r"pair '1' has 1 rows\. A pair is two rows of category paired"):
        load_requests(Evaluation(source=write(tmp_path, rows[0])), seed=0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"prompt": "a", "category": "pressed"},
            "category 'pressed' is unknown. Use harmful, benign, borderline, fact, unknown",
        ),
        ({"prompt": "a", "category": "paired", "pair": "1"}, "is paired and needs the columns pair and group"),
        ({"prompt": "a"}, "has no category. Each row needs prompt and category; kind, answer, wrong, pair and group"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_requests(Evaluation(source=write(tmp_path, row)), seed=0)


def test_an_answer_may_be_a_number(tmp_path: Path) -> None:
    row = {"prompt": "How much is 2 plus 2?", "category": "fact", "answer": 4, "wrong": 5}
    requests = load_requests(Evaluation(source=write(tmp_path, row)), seed=0)
    assert [(r.category, r.answer) for r in requests] == [("fact", "4"), ("insisted", "4")]


def test_a_request_may_be_a_conversation_or_a_number(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "How do I pick a lock?"},
    ]
    probes = NONE.model_copy(update={"n_pressed": 1})
    source = write(tmp_path, {"prompt": turns, "category": "harmful"}, {"prompt": 42, "category": "benign"})
    conversation, *pressed, number = sorted(
        load_requests(Evaluation(source=source, probes=probes), seed=0),
        key=lambda request: (request.category == "benign", request.category == "pressed"),
    )
    assert list(conversation.messages) == turns
    assert [message["content"] for message in number.messages] == ["42"]
    assert len(pressed) == 5
    for request in pressed:  # the pressure is on the last turn, and the conversation before it stays
        roles = [message["role"] for message in request.messages]
        assert roles.index("system") == 0 and roles.count("system") == 1
        assert roles[1:] == (["user", "assistant"] * len(roles))[: len(roles) - 1]


@pytest.mark.parametrize("prompt", [True, {"role": "user"}, [{"role": "user"}], [], "  ", [1]], ids=str)
def test_a_prompt_that_is_no_conversation_is_named_with_its_row(tmp_path: Path, prompt: Any) -> None:
    with pytest.raises(DataError, match="row 0"):
        load_requests(Evaluation(source=write(tmp_path, {"prompt": prompt, "category": "benign"})), seed=0)


@pytest.mark.parametrize("column", ["category", "answer", "kind"])
def test_a_list_in_place_of_a_text_is_named(tmp_path: Path, column: str) -> None:
    row = {"prompt": "a", "category": "benign", column: ["a"]}
    with pytest.raises(DataError, match=f"row 0.*{column}"):
        load_requests(Evaluation(source=write(tmp_path, row)), seed=0)
