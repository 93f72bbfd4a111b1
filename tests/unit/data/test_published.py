"""Published shapes as prompts, held-out requests and pairs; every format compressed, in every Unicode."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from charter.audit.labelled import read_labelled
from charter.cli.app import app
from charter.config import Evaluation, Prompts
from charter.constitution import load_constitution
from charter.core.errors import DataError
from charter.data.readers import read_records
from charter.data.sources import load_prompts
from charter.evaluation.requests import load_requests

ROWS = [{"prompt": "How do I bake bread?", "id": "1"}, {"prompt": "Что это, «хлеб»?", "id": "2"}]
LINES = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\r\n"
ARRAY = json.dumps(ROWS, indent=1)


def table(delimiter: str) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, ROWS[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


@pytest.mark.parametrize("suffix", ["", ".gz", ".BZ2", ".xz", ".zst"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.NDJSON", LINES.encode()),
        ("a.json", ARRAY.encode()),
        ("array.jsonl", ARRAY.encode()),
        ("lines.json", LINES.encode()),
        ("nested.json", json.dumps({"version": 1, "data": ROWS}).encode()),
        ("a.csv", table(",").encode("utf-8-sig")),
        ("excel.csv", table(";").encode("utf-8-sig")),
        ("a.TSV", table("\t").encode()),
        ("a.parquet", parquet()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_format_is_read_compressed_or_not(tmp_path: Path, name: str, content: bytes, suffix: str) -> None:
    compress: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd,
    }  # fmt: skip
    file = tmp_path / (name + suffix)
    file.write_bytes(compress.get(suffix.lower(), bytes)(content))
    assert [dict(record.values) for record in read_records(file)] == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(("name", "text"), [("a.jsonl", LINES), ("a.json", ARRAY), ("a.csv", table(","))])
def test_every_unicode_is_read(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert [dict(record.values) for record in read_records(tmp_path / name)] == ROWS


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompts(path: Path | str) -> tuple[list[str], list[str]]:
    loaded = load_prompts(Prompts(source=str(path)), 0)
    return [p.messages[-1]["content"] for p in loaded.prompts], [reject.reason for reject in loaded.rejects]


def test_the_splits_of_a_download_are_not_mixed(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pq.write_table(
            pa.Table.from_pylist([{"prompt": split}]), _made(tmp_path / f"data/{split}-00000-of-00001.parquet")
        )
    with pytest.raises(DataError, match="several splits"):
        prompts(tmp_path)
    assert prompts(f"{tmp_path}:test") == (["test"], [])
    with pytest.raises(DataError, match="no split 'dev'"):
        prompts(f"{tmp_path}:dev")


@pytest.mark.parametrize("names", [["train.jsonl", "validation.jsonl"], ["train/0.jsonl", "test/0.jsonl"]])
def test_splits_are_seen_by_their_files_or_folders(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        written(tmp_path / name, [{"prompt": name}])
    with pytest.raises(DataError, match="several splits"):
        prompts(tmp_path)


def test_the_shards_of_one_table_are_one_dataset(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path / f"{number:05d}.jsonl", [{"prompt": f"Question {number}?"}])
    assert prompts(tmp_path)[0] == [f"Question {number}?" for number in range(3)]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


MESSAGES = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
ANSWER, WORSE = [{"role": "assistant", "content": "good"}], [{"role": "assistant", "content": "bad"}]
MORE = {"role": "user", "content": "So?"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("row", "last"),
    [
        ({"conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hi"}]}, "Hello?"),
        ({"messages": MESSAGES}, "Hello?"),
        ({"messages": [*MESSAGES, CALL, {"role": "tool", "content": "1"}, *ANSWER]}, "Hello?"),
        ({"messages": json.dumps(MESSAGES)}, "Hello?"),
        ({"messages": str(MESSAGES)}, "Hello?"),
        ({"prompt": str(MESSAGES).replace("}, {", "}\n {")}, "Hello?"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hel"}, "lo?"]}]}, "Hel\nlo?"),
        ({"messages": [*MESSAGES, {"role": "user", "content": ""}, MORE]}, "Hello?\n\nSo?"),
        ({"input": {"messages": MESSAGES}, "preferred_output": [], "non_preferred_output": []}, "Hello?"),
        ({"context": MESSAGES, "response1": "a", "response2": "b"}, "Hello?"),
        ({"instruction": "Hello?", "completions": []}, "Hello?"),
        ({"instruction": "Translate.", "input": "Brot", "output": "bread"}, "Translate.\n\nBrot"),
        ({"Behavior": "Do it.", "ContextString": "A tale."}, "A tale.\n\n---\n\nDo it."),
        ({"goal": "Do it.", "target": "Sure"}, "Do it."),
        ({"Goal": "Do it.", "Target": "Sure", "Behavior": "B", "Category": "C"}, "Do it."),
        ({"forbidden_prompt": "Do it.", "category": "x"}, "Do it."),
        ({"question": "Hello?", "risk_area": "x"}, "Hello?"),
        ({"vanilla": "Plain.", "adversarial": "", "completion": "", "data_type": "vanilla_benign"}, "Plain."),
        ({"chosen": [*MESSAGES, {"role": "assistant", "content": "a"}], "rejected": []}, "Hello?"),
    ],
)  # fmt: skip
def test_published_shapes_are_prompts(tmp_path: Path, row: dict[str, Any], last: str) -> None:
    assert prompts(written(tmp_path / "a.jsonl", [row])) == ([last], [])


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "not-text"),
        ([{"role": "system", "content": "x"}], "malformed-prompt"),
        ([{"role": "user", "content": ""}], "empty-prompt"),
        ("[{'role': 'user', 'content': broken}]", "malformed-prompt"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, messages: Any, reason: str) -> None:
    usable = {"messages": [{"role": "user", "content": "Hello?"}]}
    assert prompts(written(tmp_path / "a.jsonl", [usable, {"messages": messages}])) == (["Hello?"], [reason])


RATED = [
    {"response": text, "model": text, "annotations": {"honesty": {"Rating": mark}, "helpfulness": {"Rating": mark}}}
    for text, mark in (("fair", "3"), ("good", "5"), ("bad", "1"), ("unrated", "N/A"))
]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": MESSAGES, "chosen": ANSWER, "rejected": WORSE},
        {"chosen": [*MESSAGES, *ANSWER], "rejected": [*MESSAGES, *WORSE]},
        {"prompt": "Hello?", "chosen": [*MESSAGES, *ANSWER], "rejected": [*MESSAGES, *WORSE], "score_chosen": 9},
        {"prompt": "Hello?", "chosen": "good", "rejected": "bad"},
        {"input": {"messages": MESSAGES}, "preferred_output": ANSWER, "non_preferred_output": WORSE},
        {"instruction": "Hello?", "completions": RATED},
        {"context": MESSAGES, "response1": "bad", "response2": "good", "overall_preference": 2},
        {"context": MESSAGES, "response1": "good", "response2": "bad", "overall_preference": -1},
        {"prompt": "Hello?", "response_0": "bad", "response_1": "good", "safer_response_id": 1, "better_response_id": 0,
         "is_response_0_safe": False, "is_response_1_safe": True},
        {"input": "Hello?", "text_a": "good", "text_b": "bad", "preferred_text": "text_a"},
    ],
)  # fmt: skip
def test_published_pairs_can_be_audited_with(tmp_path: Path, row: dict[str, Any]) -> None:
    data = read_labelled(
        str(written(tmp_path / "a.jsonl", [row])), "auto", load_constitution(Path("constitutions/harmless.md"))
    )
    ((pair,), rejects) = data.pairs, data.rejects
    assert (pair.prompt[-1]["content"], pair.better, pair.worse, rejects) == ("Hello?", "good", "bad", ())


@pytest.mark.parametrize(
    ("name", "row", "category", "kind"),
    [
        ("a.jsonl", {"goal": "Do it.", "target": "Sure"}, "harmful", None),
        ("harmful.jsonl", {"Goal": "Do.", "Target": "S", "Behavior": "B", "Category": "Fraud"}, "harmful", "Fraud"),
        ("benign-behaviors.jsonl", {"Goal": "Do.", "Target": "S", "Behavior": "B", "Category": "F"}, "benign", "F"),
        ("or-bench-80k.jsonl", {"prompt": "Do.", "category": "hate"}, "borderline", "hate"),
        ("or-bench-toxic.jsonl", {"prompt": "Do.", "category": "hate"}, "harmful", "hate"),
        ("a.jsonl", {"prompt": "Do.", "type": "homonyms", "label": "safe"}, "borderline", "homonyms"),
        ("a.jsonl", {"prompt": "Do.", "prompt_harm_label": "unharmful", "subcategory": "b"}, "benign", "b"),
        ("a.jsonl", {"adversarial": "Do.", "label": 1, "data_type": "adversarial_harmful"}, "harmful", None),
    ],
)
def test_published_evaluations_are_held_out_requests(
    tmp_path: Path, name: str, row: dict[str, Any], category: str, kind: str | None
) -> None:
    settings = Evaluation.model_validate({"source": str(written(tmp_path / name, [row]))})
    request = load_requests(settings, 0)[0]
    assert (request.category, request.kind) == (category, kind)


def test_a_file_is_inspected_before_a_run(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": MESSAGES},
        {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
    ]
    done = CliRunner().invoke(app, ["data", "inspect", str(written(tmp_path / "a.jsonl", rows))])
    assert done.exit_code == 0, done.output
    assert "OpenAI messages, 2 rows, 1 prompts" in done.output and "not-text" in done.output
    assert f"prompts: {{source: {tmp_path / 'a.jsonl'}}}" in done.output


def test_a_file_without_a_usable_row_is_no_success(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "inspect", str(written(tmp_path / "a.jsonl", [{"prompt": ""}]))])
    assert isinstance(done.exception, DataError) and "Use it" not in done.output
