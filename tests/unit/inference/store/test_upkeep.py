"""Counting, dropping and exporting, on both kinds of store."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from charter.core.errors import StoreError
from charter.inference.store.exporting import export
from charter.inference.store.opening import open_database
from charter.inference.store.protocol import Database
from charter.inference.store.upkeep import UNKNOWN, choose_entries, holdings, vacuum
from tests.support.store_entries import completion, damage, fill, key, meddle

DAY = 86_400


@pytest.fixture
def filled(url: str) -> str:
    """Thirty entries of one model, twenty of another, ten of nobody knows which."""
    fill(url, range(30), "sha256:one")
    fill(url, range(30, 50), "hub:org/two@abc")
    fill(url, range(50, 60), "")
    return url


@pytest.fixture
def database(filled: str) -> Iterator[Database]:
    with closing(open_database(filled)) as opened:
        yield opened


def test_what_a_store_holds(database: Database) -> None:
    held = holdings(database)
    assert [(one.model, one.entries) for one in held.models] == [
        ("sha256:one", 30), ("hub:org/two@abc", 20), (UNKNOWN, 10)
    ]  # fmt: skip
    assert held.entries == 60
    assert held.bytes_per_entry == held.bytes / 60 > 32
    assert all(10 * one.entries < one.bytes < 120 * one.entries for one in held.models)
    now = datetime.now(UTC).timestamp()
    assert held.oldest is not None and held.newest is not None
    assert now - 60 < held.oldest.timestamp() <= held.newest.timestamp() <= now


def test_an_empty_store_holds_nothing(url: str) -> None:
    fill(url, [])
    with closing(open_database(url)) as database:
        held = holdings(database)
        assert (held.entries, held.models, held.bytes_per_entry, held.oldest) == (0, (), 0.0, None)
        assert vacuum(database, choose_entries(database), for_real=True).entries == 0


def test_a_dry_run_counts_and_changes_nothing(filled: str, database: Database) -> None:
    damage(filled, 3)
    damage(filled, 35)
    for _ in range(2):
        done = vacuum(database, choose_entries(database, model="hub:"), for_real=False)
        assert done[1:] == (60, 1, 20, database.size(), None)  # the other damaged one is among the chosen
    assert holdings(database).entries == 60


def test_damaged_entries_are_dropped_and_the_room_given_back(filled: str, database: Database) -> None:
    fill(filled, range(100, 5100))
    mass = "model = (SELECT id FROM models WHERE identity = ?)"
    assert meddle(filled, f"DELETE FROM completions WHERE {mass}", "sha256:m") == 5000
    damage(filled, 3)
    done = vacuum(database, choose_entries(database), for_real=True)
    assert (done.corrupted, done.chosen) == (1, 0)
    assert done.bytes_after is not None and done.bytes_after < done.bytes_before / 2
    left = {row[0] for row in database.rows("SELECT key FROM completions")}
    assert left == {key(i) for i in range(60) if i != 3}


def test_a_model_is_dropped_by_the_beginning_of_its_name(database: Database) -> None:
    assert vacuum(database, choose_entries(database, model="sha256:o"), for_real=True).chosen == 30
    assert vacuum(database, choose_entries(database, model=UNKNOWN), for_real=True).chosen == 10
    assert [one.model for one in holdings(database).models] == ["hub:org/two@abc"]


def test_what_is_old_is_dropped(filled: str, database: Database) -> None:
    for days, i in ((40, 0), (20, 1), (40, 31)):
        meddle(filled, "UPDATE completions SET created = ? WHERE key = ?", int(time.time()) - days * DAY, key(i))
    meddle(filled, "UPDATE completions SET created = NULL WHERE key = ?", key(55))  # as kept by an earlier version
    assert vacuum(database, choose_entries(database, older_than_days=30), for_real=False).chosen == 2
    assert vacuum(database, choose_entries(database, "sha256:one", older_than_days=30), for_real=True).chosen == 1
    assert vacuum(database, choose_entries(database, older_than_days=10), for_real=True).chosen == 2
    assert holdings(database).entries == 57


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("nobody", "not in this store: hub:org/two@abc, sha256:one"),
        ("", "several models have that prefix: hub:org/two@abc, sha256:one"),
    ],
)
def test_a_model_that_is_not_there_is_refused(database: Database, model: str, problem: str) -> None:
    with pytest.raises(StoreError, match=f"--model '{model}': {problem}.*charter store stats"):
        choose_entries(database, model=model)


def test_everything_whole_is_exported(filled: str, database: Database, tmp_path: Path) -> None:
    damage(filled, 3)
    expected = sorted((key(i).hex(), completion(i)) for i in range(60) if i != 3)
    for out in (tmp_path / "new/all.parquet", tmp_path / "new/all.jsonl"):
        made = export(database, out)
        assert (made.file, made.entries, made.damaged) == (str(out), 59, (key(3).hex(),))
        rows = list(pl.read_parquet(out).iter_rows(named=True)) if out.suffix == ".parquet" else _lines(out)
        assert [
            (row["key"], row["text"], row["finish_reason"], row["prompt_tokens"], row["completion_tokens"])
            for row in rows
        ] == [(name, one.text, one.finish_reason, one.prompt_tokens, one.completion_tokens) for name, one in expected]
        (judged,) = (row for row in rows if row["text"] == "answer 1")
        assert judged["choice_probs"] == [0.25, 0.75]
        assert judged["model_identity"] == "sha256:one"
        assert str(judged["created"])[:10] == str(datetime.now(UTC))[:10]
    assert pq.read_schema(tmp_path / "new/all.parquet").metadata[b"charter.schema"] == b"completions"
    assert {path.name for path in (tmp_path / "new").iterdir()} >= {"all.parquet", "all.jsonl"}
    assert not list((tmp_path / "new").glob("*unfinished*"))


def test_an_export_of_one_model(database: Database, tmp_path: Path) -> None:
    assert export(database, tmp_path / "two.jsonl", choose_entries(database, model="hub:")).entries == 20
    assert {row["model_identity"] for row in _lines(tmp_path / "two.jsonl")} == {"hub:org/two@abc"}


def test_an_export_to_another_kind_of_file_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"export '.*x\.csv': unknown format"):
        export(database, tmp_path / "x.csv")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(StoreError, match="Name a writable file"):
        export(database, tmp_path / "folder.jsonl")


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
