"""``charter store`` as it is typed: what it prints, its JSON, its exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from charter.cli.app import app
from tests.support.store_entries import damage, fill, key


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = str(tmp_path / "s.sqlite")
    fill(path, range(1200), "sha256:one")
    fill(path, range(1200, 1210), "hub:org/two@abc")
    return path


def charter(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["store", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result


def test_stats(store: str) -> None:
    first, header, *models = charter("stats", store).stdout.splitlines()
    assert first.startswith(f"{store}: 1,210 entries, ") and first.endswith(" bytes per entry")
    assert header.split() == ["entries", "values", "oldest", "(UTC)", "newest", "(UTC)", "model"]
    assert [(line.split()[0], line.split()[-1]) for line in models] == [
        ("1,200", "sha256:one"), ("10", "hub:org/two@abc")
    ]  # fmt: skip
    told = json.loads(charter("stats", store, "--json").stdout)
    assert (told["entries"], told["models"][1]["entries"], told["store"]) == (1210, 10, store)
    assert told["bytes_per_entry"] == told["bytes"] / 1210
    assert told["oldest"] <= told["models"][1]["newest"]


def test_vacuum_does_nothing_until_it_is_told_to(store: str) -> None:
    damage(store, 3)
    out = charter("vacuum", store, "--model", "hub:").stdout
    assert "would drop 1 damaged, and 10 by --model and --older-than\nNothing was changed." in out
    told = json.loads(charter("vacuum", store, "--model", "hub:", "--json").stdout)
    assert (told["corrupted"], told["chosen"], told["bytes_after"]) == (1, 10, None)
    assert "\ndropped 1 damaged, and 10 by" in charter("vacuum", store, "--model", "hub:", "--yes").stdout
    assert json.loads(charter("stats", store, "--json").stdout)["entries"] == 1199


def test_export(store: str, tmp_path: Path) -> None:
    damage(store, 3)
    done = charter("export", str(tmp_path / "all.jsonl"), store)
    assert done.stdout == f"Wrote 1,209 completions of {store} to {tmp_path / 'all.jsonl'}.\n"
    assert done.stderr == f"left out: entry {key(3).hex()} is damaged\n"
    told = json.loads(charter("export", str(tmp_path / "two.parquet"), store, "--model", "hub:", "--json").stdout)
    assert told == {"store": store, "file": str(tmp_path / "two.parquet"), "entries": 10, "damaged": []}


def test_on_a_server(postgres: str) -> None:
    fill(postgres, range(5))
    told = charter("stats", postgres).stdout
    assert told.startswith(f"{postgres.replace('charter@', '')}: 5 entries, ")
    assert "dropped 0 damaged" in charter("vacuum", postgres, "--yes").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats", "none.sqlite"], "store 'none.sqlite': no such file. Name the store of your runs"),
        (["stats"], "store 'outputs/completions.sqlite': no such file"),
        (["vacuum", "postgresql://me@127.0.0.1:9/db"], "Connection refused"),
        (["stats", "postgresql://me:secret@127.0.0.1:9/db"], "export PGPASSWORD"),
    ],
    ids=["file", "default", "server", "password"],
)
def test_mistakes_are_one_line_and_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-c", "from charter.cli.app import main; main()", "store", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
    assert list(tmp_path.iterdir()) == []
