import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.core.errors import DataError
from charter.data.schema import FAILURES, PAIRS, PROMPTS, SCHEMAS
from charter.data.shards import ROW_GROUP, Shards, count_rows, read_rows, write_rows

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PROMPT_ROWS = st.fixed_dictionaries(
    {
        "row_id": TEXT,
        "prompt": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}),
            max_size=4,
        ),
        "kind": st.none() | TEXT,
        "source": TEXT,
    }
)


def failure(number: int) -> dict[str, Any]:
    about = {"row_id": f"r{number}", "pair_id": f"r{number}/revision/0"}
    return {**about, "stage": "judge", "reason": "tie", "detail": "p = 0.5", "principle_ids": ["a"]}


@settings(deadline=None)
@given(rows=st.lists(PROMPT_ROWS, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("shards") / "prompts.parquet"
    assert write_rows(path, PROMPTS, rows) == len(rows)
    assert list(read_rows(path)) == rows
    assert count_rows(path) == len(rows)


def test_a_folder_is_read_in_order_of_name(tmp_path: Path) -> None:
    for shard in (1, 0, 2):
        write_rows(tmp_path / f"{shard:05}.parquet", FAILURES, [failure(shard)])
    assert [row["row_id"] for row in read_rows(tmp_path)] == ["r0", "r1", "r2"]
    assert count_rows(tmp_path) == 3


def test_rows_stream_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    write_rows(path, FAILURES, (failure(n) for n in range(2 * ROW_GROUP + 1)))
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(i).num_rows for i in range(3)] == [ROW_GROUP, ROW_GROUP, 1]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_rows(path, PAIRS, [])
    schema = pq.read_schema(path)
    assert schema.metadata[b"charter.schema"] == b"pairs"
    assert b"over 1/2" in schema.field("p_chosen").metadata[b"meaning"]


def test_every_column_of_every_schema_is_explained() -> None:
    for schema in SCHEMAS.values():
        assert all(field.metadata[b"meaning"] for field in schema)


@pytest.mark.parametrize("present", [False, True], ids=["new", "over-an-old-one"])
def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, present: bool) -> None:
    path = tmp_path / "failures.parquet"
    if present:
        write_rows(path, FAILURES, [failure(7)])

    def rows() -> Iterator[dict[str, Any]]:
        yield from (failure(n) for n in range(ROW_GROUP + 5))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, FAILURES, rows())
    assert [p.name for p in tmp_path.iterdir()] == (["failures.parquet"] if present else [])
    if present:
        assert list(read_rows(path)) == [failure(7)]


@pytest.mark.parametrize(("rows", "sizes"), [(0, [0]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_rows_that_come_one_by_one_make_shards_by_count(tmp_path: Path, rows: int, sizes: list[int]) -> None:
    with Shards(tmp_path, FAILURES, 4, "prompts-") as shards:
        for number in range(rows):
            shards.add(failure(number))
    files = [tmp_path / f"prompts-{number:05d}.parquet" for number in range(len(sizes))]
    assert sorted(tmp_path.iterdir()) == files and list(map(count_rows, files)) == sizes
    assert list(read_rows(tmp_path)) == [failure(number) for number in range(rows)]
    assert shards.count == rows


def test_shards_that_an_error_ends_are_those_that_were_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Shards(tmp_path, FAILURES, 4) as shards:
        for number in range(6):
            shards.add(failure(number))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["00000.parquet"]


def test_a_disk_that_is_full_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    path, noise = tmp_path / "failures.parquet", random.Random(0)
    write_rows(path, FAILURES, [failure(7)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, before[1]))
    try:
        with pytest.raises(DataError, match=r"failures\.parquet': cannot be written: .* Free some space on its disk"):
            write_rows(path, FAILURES, (failure(0) | {"detail": noise.randbytes(400).hex()} for _ in range(2000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["failures.parquet"]
    assert list(read_rows(path)) == [failure(7)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({name: value for name, value in failure(0).items() if name != "detail"}, "missing columns ['detail']"),
        (failure(0) | {"extra": 1}, "unknown columns ['extra']"),
        (failure(0) | {"stage": None}, "no value for ['stage']"),
        (failure(0) | {"stage": 3}, "wrong type"),
    ],
    ids=["missing", "unknown", "null", "type"],
)
def test_a_wrong_row_is_refused(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError) as raised:
        write_rows(tmp_path / "failures.parquet", FAILURES, [row])
    assert says in str(raised.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [None, b"", b"PAR1 but no more"], ids=["missing", "empty", "broken"])
def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet"):
        list(read_rows(path))


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder without \.parquet files"):
        list(read_rows(tmp_path))
