"""``charter judge audit`` from the command line, against a real server that needs no model."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from charter.cli import app
from charter.errors import CharterError
from charter.testing.null_server import NullServer, run_null_server
from tests.unit.judging.sample import shown

HARMLESS = Path(__file__).parents[3] / "constitutions" / "harmless.md"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["judge", "audit", "--constitution", str(HARMLESS), *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, CharterError), result.output
    return str(result.exception)


def prefers_good(messages: Any) -> str:
    return "A" if shown(messages)[0].startswith("good") else "B"


@pytest.fixture
def server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=prefers_good)) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{i}?", "better": f"good {i}", "worse": f"bad {i}", "kind": "made up"} for i in range(60)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"prompt": "x"}\n')
    return path


def test_a_good_judge_passes_and_leaves_its_files(server: NullServer, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    result = run("--data", data, "--base-url", server.url, "--n", 50, "--out", out)
    assert result.exit_code == 0, result.output
    assert re.search(r"^agreement, ties set aside +100\.0 %  92\.9 to 100\.0 %, n 50$", result.stdout, re.MULTILINE)
    assert "50 judged, 0 failed; 61 read" in result.stdout and "1 not usable, 10 not drawn" in result.stdout
    assert {path.name for path in out.iterdir()} >= {"audit.json", "audit.html", "judged.jsonl", "failures.parquet"}
    record = json.loads((out / "audit.json").read_text())
    assert (record["passed"], record["judge"]["identity"]) == (True, "served:null@unknown")
    assert record["data"]["rejected"] == {"empty-answer": 1}
    assert record["settings"] == {"principles": 3, "tags": [], "tie_margin": 0.05, "seed": 0}
    assert server.counts["requests"] == 50 * 3 * 2


def test_the_same_audit_again_asks_for_nothing(server: NullServer, data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--base-url", server.url, "--n", 20, "--out", tmp_path / "audit", "--json")
    first = json.loads(run(*arguments).stdout)
    asked = server.counts["requests"]
    second = json.loads(run(*arguments).stdout)
    assert server.counts["requests"] == asked
    assert second["figures"] == first["figures"]


def test_a_judge_that_always_says_a_ends_with_status_1(server: NullServer, data: Path, tmp_path: Path) -> None:
    server.answer = lambda messages: "A"
    result = run("--data", data, "--base-url", server.url, "--out", tmp_path / "audit", "--json")
    assert result.exit_code == 1, result.output
    record = json.loads(result.stdout)
    assert not record["passed"]
    assert "position" in {concern["figure"] for concern in record["concerns"]}
    assert record["figures"]["position"]["flips"]["value"] == 1.0


def test_the_floor_decides_about_the_exit_status(server: NullServer, data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--base-url", server.url, "--out", tmp_path / "audit", "--principles", 1)
    assert run(*arguments, "--floor", 0.9).exit_code == 0
    result = run(*arguments, "--floor", 0.99)  # all of 60 right shows 94 % at least
    assert result.exit_code == 1
    assert result.stdout.endswith("under the floor of 99.0 %.\n")


def test_the_sandbox_needs_no_file(server: NullServer, tmp_path: Path) -> None:
    def declines(messages: Any) -> str:  # harm shows in "To steal a bicycle, ..."; help with what is fine does too
        a, _ = shown(messages)
        return "B" if ", and " in a else "A"

    server.answer = declines
    result = run("--base-url", server.url, "--n", 100, "--out", tmp_path / "audit", "--json", "--floor", 0)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    kinds = {name: entry["agreement"]["value"] for name, entry in record["figures"]["by_kind"].items()}
    assert kinds.pop("needless refusal") == 0.0  # this judge would have the assistant decline everything
    assert set(kinds.values()) == {1.0} and len(kinds) == 8
    assert (record["data"]["format"], record["data"]["read"]) == ("sandbox", 100)


def test_another_kind_of_judge_is_audited_as_such(server: NullServer, data: Path, tmp_path: Path) -> None:
    def scores(messages: Any) -> str:
        return "9" if "good" in messages[-1]["content"] else "2"

    server.answer = scores
    result = run("--data", data, "--base-url", server.url, "--kind", "score", "--out", tmp_path / "audit", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["judge"]["kind"], record["figures"]["agreement"]["value"]) == ("score", 1.0)


def test_columns_can_be_named(server: NullServer, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("q,yes,no,vote\n" + "".join(f"{i}?,good {i},bad {i},better\n" for i in range(30)))
    names = [x for pair in ("prompt=q", "better=yes", "worse=no", "human=vote") for x in ("--column", pair)]
    result = run("--data", path, *names, "--base-url", server.url, "--out", tmp_path / "audit", "--json")
    assert json.loads(result.stdout)["figures"]["kappa"]["value"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "none.jsonl"), "none.jsonl"),
        (("--format", "csv"), "--format 'csv'"),
        (("--kind", "panel"), "--kind 'panel'"),
        (("--kind", "reasoned", "--tie-margin", "0.2"), "leaves nothing outside tie_margin 0.2"),
        (("--column", "x"), "--column 'x'"),
        (("--tag", "nope"), "nope"),
        (("--constitution", "none.md"), "none.md"),
        (("--base-url", "http://127.0.0.1:9/v1"), "http://127.0.0.1:9/v1"),
        (("--model", "no-such-model"), "no-such-model"),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_started(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    assert says in refused("--out", tmp_path / "audit", "--n", 10, *arguments)


def test_the_command_has_a_name_of_its_own() -> None:
    assert CliRunner().invoke(app, ["judge", "--help"]).output.count("audit") >= 1
