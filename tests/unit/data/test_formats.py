"""Files as people have them: encodings, compression, layouts of conversations, and folders with splits."""

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import assistant, system, user
from charter.data.conversations import UnusableRow, read_conversation
from charter.data.readers import read_records
from charter.data.sources import LoadedPrompts, load_prompts

ROWS = [{"prompt": "Zwei: größer?"}, {"prompt": "日本 🙂"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS)


def load(path: Path | str) -> LoadedPrompts:
    return load_prompts(Prompts(source=str(path)), 0)


def texts(path: Path | str) -> list[str]:
    return [prompt.messages[-1]["content"] for prompt in load(path).prompts]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.JSONL", LINES),
        ("p.ndjson", LINES),
        ("p.json", LINES),
        ("p.json", json.dumps(ROWS, ensure_ascii=False)),
        ("p.Json", json.dumps(ROWS, ensure_ascii=False, indent=1)),
        ("p.jsonl", json.dumps(ROWS, ensure_ascii=False, indent=1)),
        ("p.json", json.dumps({"version": 1, "data": ROWS}, ensure_ascii=False, indent=1)),
        ("p.csv", "id,prompt\r\n1,Zwei: größer?\r\n2,日本 🙂\r\n"),
        ("p.CSV", "id;prompt\n1;Zwei: größer?\n2;日本 🙂\n"),
        ("p.tsv", "id\tprompt\n1\tZwei: größer?\n2\t日本 🙂\n"),
    ],
)
def test_text_is_read_in_every_encoding(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert texts(tmp_path / name) == [row["prompt"] for row in ROWS]


@pytest.mark.parametrize("suffix", [".gz", ".BZ2", ".xz", ".zst"])
def test_compressed_files_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p.jsonl{suffix}"
    content = LINES.encode()
    match suffix:
        case ".gz":
            path.write_bytes(gzip.compress(content))
        case ".BZ2":
            path.write_bytes(bz2.compress(content))
        case ".xz":
            path.write_bytes(lzma.compress(content))
        case ".zst":
            path.write_bytes(pa.Codec("zstd").compress(content, asbytes=True))
    assert texts(path) == [row["prompt"] for row in ROWS]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="broken"):
        load(path)


def test_a_long_array_is_read_across_chunks(tmp_path: Path) -> None:
    rows = [{"prompt": f"{number} " + "word " * (300_000 if number == 7 else 40)} for number in range(9000)]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(rows))
    assert [record.values for record in read_records(path)] == rows
    path.write_text(json.dumps(rows)[:-40])
    with pytest.raises(DataError, match=r"broken: element 9000 of the array"):
        list(read_records(path))


ASK = "How do I bake bread?"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"from": "human", "value": ASK}, {"from": "gpt", "value": "So."}], [user(ASK)]),
        ([{"from": "system", "value": "S"}, {"from": "user", "value": ASK}], [system("S"), user(ASK)]),
        ([{"role": "developer", "content": "S"}, user(ASK)], [system("S"), user(ASK)]),
        ([{"role": "system", "content": ""}, user(ASK)], [user(ASK)]),
        ([user("a"), assistant(""), user("b")], [user("a\n\nb")]),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], [user("a\nb")]),
        (json.dumps([user(ASK), assistant("Gladly.")]), [user(ASK)]),
        (str([user("It's"), assistant("Gladly.")]), [user("It's")]),
        ("[{'content': 'a', 'role': 'user'}\n {'content': 'b', 'role': 'assistant'}]", [user("a")]),
        ('[{"a": 1}] is what?', [user('[{"a": 1}] is what?')]),
    ],
)
def test_conversations_of_every_layout(value: Any, expected: Any) -> None:
    assert read_conversation(value) == expected


def test_tool_calls_stay_in_the_conversation() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Lyon"}'}}
    turns = [user(ASK), {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "21"}]
    assert read_conversation(turns) == [user(ASK)]
    assert read_conversation([*turns, user("And then?")]) == [
        user(ASK),
        assistant('<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>'),
        user("<tool_response>\n21\n</tool_response>"),
        user("And then?"),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('[{"role": "user", "content": "cut o', "malformed-prompt"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "not-text"),
        ([{"role": "user", "content": 3}], "malformed-prompt"),
        ([{"role": "robot", "content": "a"}], "malformed-prompt"),
    ],
)
def test_a_conversation_that_cannot_be_read_has_a_reason(value: Any, reason: str) -> None:
    with pytest.raises(UnusableRow) as raised:
        read_conversation(value)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"conversations": [{"from": "human", "value": ASK}]}, ASK),
        ({"messages": [user(ASK)]}, ASK),
        ({"goal": ASK, "target": "Sure"}, ASK),
        ({"Behavior": ASK, "ContextString": "C"}, f"C\n\n---\n\n{ASK}"),
        ({"forbidden_prompt": ASK, "category": "c"}, ASK),
        ({"Index": 1, "Goal": ASK, "Target": "Sure", "Behavior": "Bread"}, ASK),
        ({"question": ASK, "risk_area": "r"}, ASK),
        ({"prompts_final": ASK, "harm_area": "r"}, ASK),
        ({"instruction": ASK, "completions": []}, ASK),
        ({"context": [user(ASK)], "response1": "a", "response2": "b"}, ASK),
        ({"vanilla": ASK, "adversarial": "", "data_type": "vanilla_benign"}, ASK),
        ({"vanilla": "v", "adversarial": ASK, "data_type": "adversarial_benign"}, ASK),
        ({"input": {"messages": [user(ASK)]}, "preferred_output": []}, ASK),
        ({"chosen": [user(ASK), assistant("a")], "rejected": [user(ASK), assistant("b")]}, ASK),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_published_columns_are_found(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    assert texts(tmp_path / "p.jsonl") == [expected]


def test_splits_are_never_mixed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        table = pa.Table.from_pylist([{"prompt": split}])
        pq.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"several splits.*:test.*:train"):
        load(tmp_path)
    assert texts(f"{tmp_path}:train") == ["train"]
    with pytest.raises(DataError, match="no split 'dev'"):
        load(f"{tmp_path}:dev")


def test_repeated_ids_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": id, "prompt": f"p{n}"}) + "\n" for n, id in enumerate((1, 1, 2))))
    assert len(load(path).prompts) == 3
    assert "1 rows repeat the id of another row" in caplog.text
