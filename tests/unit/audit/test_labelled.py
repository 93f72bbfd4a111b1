"""Readers of labelled pairs: every row of a file is a pair, or is kept with its reason."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from charter.audit.labelled import LabelledData, read_labelled
from charter.audit.layouts import parse_columns
from charter.core.errors import ConfigError, DataError
from charter.core.messages import assistant, user
from tests.support.judged_pairs import LAW

HEAD = "\n\nHuman: How do I open a door?\n\nAssistant: Whose door: yours?\n\nHuman: Mine."
GOOD, BAD = f"{HEAD}\n\nAssistant: Call a locksmith.", f"{HEAD}\n\nAssistant: Kick it in."
EVALUATION = {
    "prompt": "\n\nConsider the following conversation ... Options:\n (A) [[[...]]]\n (B) [[[...]]]\n\nThe answer is:",
    "corrects": [" (B)"],
    "incorrects": [" (A)"],
    "text_correct": GOOD,
    "text_incorrect": BAD,
}
COLUMNS = {"prompt": "Mine?", "better": "Yes.", "worse": "No."}


def jsonl(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, format: Any = "auto", **changes: Any) -> LabelledData:
    labelled = read_labelled(str(path), format, LAW, **changes)
    assert labelled.read == len(labelled.pairs) + len(labelled.rejects) + labelled.not_drawn
    return labelled


def reasons(labelled: LabelledData) -> list[str]:
    return [row["reason"] for row in labelled.rejects]


@pytest.mark.parametrize(
    ("row", "format"),
    [({"chosen": GOOD, "rejected": BAD}, "hh-rlhf"), (EVALUATION, "cai")],
    ids=["hh-rlhf", "cai"],
)
def test_transcripts_are_split_into_a_conversation_and_two_answers(tmp_path: Path, row: Any, format: str) -> None:
    path = jsonl(tmp_path / "pairs.jsonl", [row])
    labelled = read(path)
    assert labelled == read(path, format)
    assert labelled.format == format
    (pair,) = labelled.pairs
    assert pair.prompt == (user("How do I open a door?"), assistant("Whose door: yours?"), user("Mine."))
    assert (pair.better, pair.worse) == ("Call a locksmith.", "Kick it in.")
    assert (pair.source, pair.human, pair.kind, pair.bearing) == ("pairs.jsonl", "better", None, None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{broken", "malformed-row"),
        ([1], "malformed-row"),
        ({"chosen": GOOD}, "empty-transcript"),
        ({"chosen": GOOD, "rejected": ""}, "empty-transcript"),
        ({"chosen": GOOD, "rejected": "Kick it in."}, "malformed-transcript"),
        ({"chosen": GOOD, "rejected": 3}, "malformed-transcript"),
        ({"chosen": GOOD, "rejected": HEAD}, "no-answer"),
        ({"chosen": GOOD, "rejected": "\n\nAssistant: Hello."}, "no-answer"),
        ({"chosen": GOOD, "rejected": f"{HEAD} Now.\n\nAssistant: No."}, "different-prompts"),
        ({"chosen": GOOD, "rejected": GOOD}, "identical"),
        ({"chosen": GOOD, "rejected": BAD}, "duplicate"),
        ({"chosen": GOOD, "rejected": f"{BAD}\ud800"}, "malformed-text"),
    ],
)
def test_an_unusable_transcript_is_kept_with_its_reason(tmp_path: Path, row: object, reason: str) -> None:
    labelled = read(jsonl(tmp_path / "hh.jsonl", [{"chosen": GOOD, "rejected": BAD}, row]), "hh-rlhf")
    assert (len(labelled.pairs), reasons(labelled)) == (1, [reason])
    assert labelled.rejects[0]["detail"].startswith("line 2: ")
    assert labelled.rejects[0]["stage"] == "labelled"


def test_questions_of_the_paper_that_hold_no_pair_are_told_apart(tmp_path: Path) -> None:
    question = {name: EVALUATION[name] for name in ("prompt", "corrects", "incorrects")}
    labelled = read(jsonl(tmp_path / "cai.jsonl", [question, EVALUATION]))
    assert (labelled.format, len(labelled.pairs), reasons(labelled)) == ("cai", 1, ["no-pair"])
    with pytest.raises(DataError, match=r"none of its 1 rows is a labelled pair \(no-pair: 1\); line 1: a question"):
        read(jsonl(tmp_path / "only.jsonl", [question]))


def test_columns_that_somebody_names(tmp_path: Path) -> None:
    rows = [
        {
            "question": [user("a"), assistant("b"), user("c")],
            "good": " Yes. ",
            "bad": "No.",
            "topic": "doors",
            "vote": "Better",
            "site": "forum",
            "by": "mine",
        },
        {"question": "c?", "good": "Yes.", "bad": "No.", "topic": None, "vote": "", "site": None, "by": None},
    ]
    names = {"prompt": "question", "better": "good", "worse": "bad", "kind": "topic", "human": "vote"}
    names |= {"source": "site", "better_model": "by"}
    labelled = read(jsonl(tmp_path / "p.jsonl", rows), columns=names)
    first, second = labelled.pairs
    assert first.prompt == (user("a"), assistant("b"), user("c"))
    assert (first.better, first.worse, first.kind, first.human, first.source) == (
        "Yes.",
        "No.",
        "doors",
        "better",
        "forum",
    )
    assert (first.models, second.models) == (("mine", None), (None, None))
    assert (second.prompt, second.kind, second.human, second.source) == ((user("c?"),), None, None, "p.jsonl")


def test_columns_of_the_usual_names_need_no_naming(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "kind", "worse_model"])
        writer.writeheader()
        writer.writerow({**COLUMNS, "kind": "doors", "worse_model": "other"})
    (pair,) = read(path).pairs
    assert (pair.kind, pair.models) == ("doors", (None, "other"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "", "better": "a", "worse": "b"}, "empty-prompt"),
        ({"prompt": 3, "better": "a", "worse": "b"}, "malformed-prompt"),
        ({"prompt": "x", "better": " ", "worse": "b"}, "empty-answer"),
        ({"prompt": "x", "better": "a"}, "empty-answer"),
        ({"prompt": "x", "better": "a", "worse": ["b"]}, "malformed-answer"),
        ({"prompt": "x", "better": "a", "worse": "a"}, "identical"),
        ({"prompt": "x", "better": "a", "worse": "b", "human": "maybe"}, "unknown-label"),
    ],
)
def test_an_unusable_row_of_columns_is_kept_with_its_reason(tmp_path: Path, row: object, reason: str) -> None:
    labelled = read(jsonl(tmp_path / "p.jsonl", [COLUMNS, row]))
    assert (labelled.format, len(labelled.pairs), reasons(labelled)) == ("columns", 1, [reason])


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        (None, {}, "no such file or folder. Correct --data"),
        ("", {}, "the file is empty"),
        ("\n", {}, "holds no rows"),
        (json.dumps({"text": "a", "label": 1}), {}, "no column 'prompt' in line 1. Name the columns"),
        (json.dumps({"text": "a", "label": 1}), {}, "they are: text, label"),
        (json.dumps({"prompt": "a", "good": 1}), {}, "as in --column better=NAME"),
        (json.dumps({"better": "a", "worse": "b"}), {}, "as in --column prompt=NAME"),
        (json.dumps(COLUMNS), {"human": "vote"}, "no column 'vote'"),
        (json.dumps({**COLUMNS, "better": ""}), {}, "(empty-answer: 1); line 1: nothing in column 'better'"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, content: str | None, columns: Any, says: str) -> None:
    path = tmp_path / "p.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as raised:
        read(path, columns=columns)
    assert says in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["better", "best=chosen", "better=", "=x"])
def test_a_column_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--column '{text}'"):
        parse_columns([text])
    assert parse_columns(["better=chosen", "kind=a=b"]) == {"better": "chosen", "kind": "a=b"}


def test_drawing_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [{**COLUMNS, "prompt": f"{i:02}?"} for i in range(50)])
    ten = read(path, n=10)
    assert (len(ten.pairs), ten.not_drawn, ten.read) == (10, 40, 50)
    assert ten == read(path, n=10)
    prompts = [pair.prompt[0]["content"] for pair in ten.pairs]
    assert prompts == sorted(prompts) != [pair.prompt[0]["content"] for pair in read(path, n=10, seed=1).pairs]
    assert {pair.row_id for pair in ten.pairs} < {pair.row_id for pair in read(path, n=20).pairs}


def test_all_of_hh_rlhf_is_accounted_for(shared_data: Path) -> None:
    labelled = read(shared_data / "hh_rlhf_harmless_test.jsonl.gz")
    assert (labelled.format, labelled.read) == ("hh-rlhf", 2312)
    assert reasons(labelled) == ["no-answer"] * 4  # four dialogues end with an empty turn
    assert len(labelled.pairs) == 2308
    for pair in labelled.pairs:
        assert pair.prompt[-1]["role"] == "user" and pair.better != pair.worse and pair.human == "better"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "good", "rejected": "bad"},
        {"prompt": [user("Q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        {"prompt": "Q", "chosen": [user("Q"), assistant("good")], "rejected": [user("Q"), assistant("bad")]},
        {"chosen": [user("Q"), assistant("good")], "rejected": [user("Q"), assistant("bad")]},
    ],
    ids=["text", "explicit", "binarized", "implicit"],
)
def test_preference_data_of_trl_is_read(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([row]))
    (pair,) = read(path).pairs
    assert (pair.prompt, pair.better, pair.worse) == ((user("Q"),), "good", "bad")
