import csv
import gzip
import hashlib
import json
import pickle
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import assistant, user
from charter.data.candidates import PROMPT_SOURCES
from charter.data.conversations import content_id
from charter.data.schema import FAILURES, PROMPTS
from charter.data.shards import write_rows
from charter.data.sources import LoadedPrompts, Prompt, load_prompts, open_source

DIALOGUE = "\n\nHuman: List: a\n\nAssistant: One: two\n\nHuman: More: please\n\nAssistant: No."


def jsonl(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path, **changes: Any) -> LoadedPrompts:
    seed = changes.pop("seed", 0)
    loaded = load_prompts(Prompts(source=str(path), **changes), seed)
    assert loaded.read == len(loaded.prompts) + len(loaded.rejects) + loaded.not_drawn
    return loaded


def texts(loaded: LoadedPrompts) -> list[str]:
    return [prompt.messages[-1]["content"] for prompt in loaded.prompts]


def reasons(loaded: LoadedPrompts) -> list[str]:
    return [reject.reason for reject in loaded.rejects]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet", ".csv", "folder of parquet", "datasets"])
def test_every_format_gives_the_same_prompts(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": 'Say "a, b",\nplease', "kind": "theft"}, {"prompt": "Zwei: größer?", "kind": None}]
    path = tmp_path / f"prompts{suffix}"
    match suffix:
        case ".jsonl":
            jsonl(path, rows)
        case ".jsonl.gz":
            path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case "folder of parquet":
            path.mkdir()
            pq.write_table(pa.Table.from_pylist(rows), path / "0.parquet")
        case ".csv":
            with path.open("w", newline="", encoding="utf-8-sig") as file:
                writer = csv.DictWriter(file, ["prompt", "kind"])
                writer.writeheader()
                writer.writerows(rows)
        case "datasets":
            datasets.Dataset.from_list(rows).save_to_disk(str(path))
    loaded = load(path)
    assert [p.messages for p in loaded.prompts] == [(user(row["prompt"]),) for row in rows]
    assert [p.kind for p in loaded.prompts] == ["theft", None]
    assert [p.row_id for p in loaded.prompts] == [content_id([user(row["prompt"])]) for row in rows]


def test_prompt_rows_and_rejects_fit_their_schemas(tmp_path: Path) -> None:
    loaded = load(jsonl(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "a"}]))
    assert write_rows(tmp_path / "prompts.parquet", PROMPTS, [p.row() for p in loaded.prompts]) == 1
    assert write_rows(tmp_path / "failures.parquet", FAILURES, [r.row() for r in loaded.rejects]) == 1
    assert load(tmp_path / "prompts.parquet").prompts[0].row_id == loaded.prompts[0].row_id


def test_a_transcript_is_never_cut_at_a_colon(tmp_path: Path) -> None:
    loaded = load(jsonl(tmp_path / "hh.jsonl", [{"chosen": DIALOGUE, "rejected": DIALOGUE}]))
    assert loaded.prompts[0].messages == (user("List: a"), assistant("One: two"), user("More: please"))


@pytest.mark.parametrize("column", ["transcript", "prompt", "rejected", "dialogue"])
def test_transcripts_are_found_in_their_column(tmp_path: Path, column: str) -> None:
    path = jsonl(tmp_path / "hh.jsonl", [{column: ""}, {column: DIALOGUE}])
    loaded = load(path, column=column if column == "dialogue" else "prompt")
    assert (len(loaded.prompts[0].messages), reasons(loaded)) == (3, ["empty-prompt"])


def test_a_transcript_in_a_prompt_column_stays_text_if_asked_to(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "hh.jsonl", [{"prompt": DIALOGUE}])
    assert load(path, format="column").prompts[0].messages == (user(DIALOGUE.strip()),)


def test_a_prompt_beside_transcripts_wins(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "pairs.jsonl", [{"prompt": "Hello", "chosen": DIALOGUE}])
    assert texts(load(path)) == ["Hello"]
    assert texts(load(path, format="hh-rlhf")) == ["More: please"]


def test_two_turns_of_one_side_are_one_turn(tmp_path: Path) -> None:
    text = "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c\n\nHuman: \n\nHuman: d"
    loaded = load(jsonl(tmp_path / "hh.jsonl", [{"chosen": text}]))
    assert loaded.prompts[0].messages == (user("a"), assistant("b\n\nc"), user("d"))


def test_the_prompt_of_a_list_of_messages_ends_with_the_user(tmp_path: Path) -> None:
    turns = [user("a"), assistant("b"), user("c"), assistant("d")]
    assert load(jsonl(tmp_path / "m.jsonl", [{"prompt": turns}])).prompts[0].messages == tuple(turns[:3])


def test_all_of_hh_rlhf_is_accounted_for(shared_data: Path) -> None:
    loaded = load(shared_data / "hh_rlhf_harmless_test.jsonl.gz")
    assert loaded.read == 2312
    assert reasons(loaded) == ["duplicate"] * 2  # whole dialogues; 135 share their first turn
    assert all(p.messages[0]["role"] == p.messages[-1]["role"] == "user" for p in loaded.prompts)
    assert sum(len(p.messages) > 1 for p in loaded.prompts) > 1500


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": " \n"}, "empty-prompt"),
        ({"prompt": None}, "empty-prompt"),
        ({"other": "x"}, "empty-prompt"),
        ({"prompt": 3}, "malformed-prompt"),
        ({"prompt": ["a"]}, "malformed-prompt"),
        ({"prompt": [{"role": "robot", "content": "a"}]}, "malformed-prompt"),
        ({"prompt": [user("")]}, "empty-prompt"),
        ({"prompt": [assistant("a")]}, "malformed-prompt"),
        ({"prompt": "\ud800"}, "malformed-prompt"),
        ({"prompt": "Good  MORNING"}, "duplicate"),
        (["not a row"], "malformed-row"),
        (4, "malformed-row"),
    ],
)
def test_an_unusable_row_is_kept_with_its_reason(tmp_path: Path, row: object, reason: str) -> None:
    loaded = load(jsonl(tmp_path / "p.jsonl", [{"prompt": "Good morning"}, row]))
    assert (texts(loaded), reasons(loaded)) == (["Good morning"], [reason])
    assert loaded.rejects[0].detail.startswith("line 2: ")


@pytest.mark.parametrize(("rest", "reason"), [("{broken", "malformed-row"), ("[" * 100_000, "malformed-row")])
def test_a_line_that_is_not_json_is_a_reject(tmp_path: Path, rest: str, reason: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n\n' + rest)
    assert reasons(load(path)) == [reason]


def test_a_csv_row_of_another_width_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt,kind\na,b\nc\nd,e,f\n")
    loaded = load(path)
    assert (texts(loaded), reasons(loaded)) == (["a"], ["malformed-row", "malformed-row"])


def test_a_long_csv_field_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"prompt\n{'word ' * 100_000}\n")
    assert len(texts(load(path))[0]) == 499_999


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n\n", "holds no rows"),
        ("only-bad.jsonl", b'{"prompt": ""}\n', "none of its 1 rows can be used (empty-prompt: 1)"),
        ("column.jsonl", b'{"text": "a", "label": 1}\n', "no column 'prompt' in line 1. Set prompts.column to one of"),
        ("column.csv", b"text,label\na,b\n", "the columns there are: text, label."),
        ("header.csv", b"prompt\n", "holds no rows"),
        ("latin.csv", "prompt\nfür\n".encode("latin-1"), "Save the file as UTF-8"),
        ("cut.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 999)[:-9], "broken"),
        ("not.jsonl.gz", b"plain text", "not JSON"),
        ("not.parquet", b"plain text", "not Parquet"),
        ("notes.docx", b"plain text", "unknown format '.docx'. Use .jsonl"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)
def test_a_source_that_cannot_be_used_is_an_error(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        load(path)
    assert says in str(raised.value)
    assert name in str(raised.value)


def test_the_splits_of_a_saved_dataset_are_named(tmp_path: Path) -> None:
    split = datasets.Dataset.from_list([{"prompt": "a"}])
    datasets.DatasetDict(train=split, test=split).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match=r"several splits.*:test.*:train"):
        load(tmp_path / "d")
    assert texts(load(tmp_path / "d" / "train")) == ["a"]


def test_a_column_of_unique_ids_is_used(tmp_path: Path) -> None:
    unique = jsonl(tmp_path / "u.jsonl", [{"id": 7, "prompt": "a"}, {"id": 8, "prompt": "b"}])
    assert [p.row_id for p in load(unique).prompts] == ["7", "8"]
    repeated = jsonl(tmp_path / "r.jsonl", [{"id": 7, "prompt": "a"}, {"id": 7, "prompt": "b"}])
    assert [p.row_id for p in load(repeated).prompts] == [content_id([user("a")]), content_id([user("b")])]


@settings(deadline=None, max_examples=30)
@given(
    words=st.lists(st.sampled_from("abcdefgh "), min_size=2, max_size=12).filter(lambda w: set(w) != {" "}),
    shuffled=st.randoms(use_true_random=False),
)
def test_ids_and_reasons_do_not_depend_on_the_order(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], shuffled: Any
) -> None:
    folder = tmp_path_factory.mktemp("order")
    first = load(jsonl(folder / "a.jsonl", [{"prompt": w} for w in words]))
    shuffled.shuffle(words)
    second = load(jsonl(folder / "b.jsonl", [{"prompt": w} for w in words]))
    assert {p.row_id: p.messages for p in first.prompts} == {p.row_id: p.messages for p in second.prompts}
    assert sorted(r.row_id for r in first.rejects) == sorted(r.row_id for r in second.rejects)
    assert sorted(reasons(first)) == sorted(reasons(second))


def test_drawing_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [{"prompt": f"prompt {i:02}"} for i in range(50)])
    ten = load(path, n=10)
    assert (len(ten.prompts), ten.not_drawn) == (10, 40)
    assert texts(ten) == sorted(texts(ten)) == texts(load(path, n=10))
    assert texts(ten) != texts(load(path, n=10, seed=1))
    assert set(texts(ten)) < set(texts(load(path, n=20)))
    assert len(load(path, n=99).prompts) == 50


@pytest.mark.parametrize("column", ["id", "other"])
def test_the_lot_is_the_hash_of_seed_and_id(tmp_path: Path, column: str) -> None:
    path = jsonl(tmp_path / "p.jsonl", [{column: f"p{i}", "prompt": f"prompt {i:02}"} for i in range(50)])
    ids = [prompt.row_id for prompt in load(path).prompts]
    first = sorted(ids, key=lambda id: hashlib.sha256(f"3\0{id}".encode()).hexdigest())[:10]
    assert [prompt.row_id for prompt in load(path, n=10, seed=3).prompts] == [id for id in ids if id in first]
    assert (ids[0] == "p0") == (column == "id")


def test_prompts_are_never_held_together(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [{"prompt": f"{i % 4900} {'x' * 8000}"} for i in range(5000)])
    tracemalloc.start()
    try:
        source = open_source(Prompts(source=str(path)), 0)
        assert sum(len(prompt.messages[0]["content"]) for prompt in source.prompts()) > 38e6
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert (source.read, source.used, source.not_drawn) == (5000, 4900, 0)


def test_a_source_that_changes_between_its_readings_is_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    for now in ([{"prompt": "a"}], [{"prompt": "a"}, {"prompt": "c"}], [{"prompt": p} for p in "abc"]):
        source = open_source(Prompts(source=str(path)), 0)
        jsonl(path, now)
        with pytest.raises(DataError, match=r"p\.jsonl': changed while it was read\. Run the same command again"):
            list(source.rows())
        jsonl(path, [{"prompt": "a"}, {"prompt": "b"}])


def test_the_sandbox_is_a_source() -> None:
    loaded = load_prompts(Prompts(source="sandbox", n=40), seed=3)
    assert (len(loaded.prompts), loaded.rejects) == (40, ())
    assert {"theft", "privacy"} <= {p.kind for p in load_prompts(Prompts(source="sandbox", n=400), 3).prompts}


@pytest.mark.parametrize("near_duplicates", [None, 0.5])
def test_a_source_is_surveyed_once_and_read_once_more_for_its_rows(near_duplicates: float | None) -> None:
    readings = list[int]()

    def counted(settings: Prompts, seed: int) -> Iterator[dict[str, str]]:
        readings.append(seed)
        yield from ({"prompt": f"the same eight words in every prompt but {i}"} for i in range(5))

    PROMPT_SOURCES.add("counted", counted)
    source = open_source(Prompts(source="counted", near_duplicates=near_duplicates), seed=1)
    assert len(readings) == 1
    passed_on = pickle.loads(pickle.dumps(source))
    rows = list(passed_on.rows())
    assert len(readings) == 2
    assert list(source.rows()) == rows  # as often as wanted
    assert source.used == len([row for row in rows if isinstance(row, Prompt)]) == (5 if near_duplicates is None else 1)
