"""A run through the real stages under a scripted model, small enough to count its rows by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from charter.cli.app import main
from charter.cli.constitution import app
from charter.config import Judge, Member
from charter.constitution import load_kept_constitution
from charter.core.errors import CompletionFailed, DataError
from charter.core.messages import Messages
from charter.data.schema import LABEL, SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.inference.completion import Sampling
from charter.report.collect import collect
from charter.report.page import render_report
from charter.runs.blame import Blame, PrincipleStats, blame_run, blame_text, count_principle_stats
from tests.support import scripted_run

LAW = """---
name: Manners
version: "2"
---

## Kind {#kind}

Answers are kind.

## True {#true}

Answers are true.

## Short {#short}

Answers are short.

## Rare {#rare weight=0.000000001}

Answers are rare.
"""
ROWS = 9


def answer(messages: Messages, sampling: Sampling) -> str | float | CompletionFailed:
    """Row by row: 0, 1, 2, 3 and 7 are rude and made kind; the critiques of 4, 5 and 6 go as `critique` says."""
    asked = messages[-1]["content"]
    if sampling.choices:
        return opinion(asked)
    if asked.startswith("Critique"):
        return critique(asked, messages[-2]["content"])
    if asked.startswith("Rewrite"):
        before = messages[-4]["content"]
        return before.replace("rude", "kind")
    number = asked.split()[1][:-1]
    return f"{'rude' if number in '01237' else 'fine'} {number}"


def critique(asked: str, before: str) -> str | CompletionFailed:
    """Kindness is violated by what is rude, truth by row 4; brevity fails on 5 and 6."""
    if "short" in asked and before == "fine 5":
        return CompletionFailed("bad-request", "refused")
    if "short" in asked and before == "fine 6":
        return CompletionFailed("context-too-long", "513 tokens")
    violated = ("kind" in asked and before.startswith("rude")) or ("true" in asked and before == "fine 4")
    return f"Verdict: {'violated' if violated else 'respected'}"


def opinion(asked: str) -> float:
    """The probability of A: rows 0, 1 and 2 are judged 0.9, 0.4 and 0.5; 3 is a tie; for 7 rudeness wins."""
    kind_is_better = 0.9 if "are kind" in asked else 0.4 if "are true" in asked else 0.5
    if " 3\n" in asked:
        kind_is_better = 0.5
    if " 7\n" in asked:
        kind_is_better = 0.2
    return kind_is_better if "<answer_a>\nkind" in asked else 1 - kind_is_better


def make_run(outputs: Path, judged: bool = True, sft_share: float = 0.67) -> Path:
    """Three shards; three of the four principles in three rounds, so that the rare one is never drawn."""
    prompts = [{"id": f"r{i}", "prompt": f"Question {i}?"} for i in range(ROWS)]
    return scripted_run.make_run(
        outputs,
        LAW,
        prompts,
        answer,
        rounds=3,
        judge=Judge(principles=3),
        shard_size=4,
        judged=judged,
        sft_share=sft_share,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run."""
    return make_run(tmp_path)


KIND = (3 * math.log(9) + math.log(4)) / 12  # rows 0, 1, 2 at 0.9 and row 7, where the rude answer won, at 0.8
TRUE = (3 * math.log(2 / 3) + math.log(4)) / 12
SHORT = math.log(4) / 12


def test_counts_are_those_that_can_be_counted_by_hand(run: Path) -> None:
    blame = blame_run(run)
    assert blame.stats == {
        "kind": PrincipleStats(7, 5, 5, 4, 0, round(KIND, 6), ties=1),
        "true": PrincipleStats(7, 1, 0, 4, 3, round(TRUE, 6), ties=1),
        "short": PrincipleStats(
            7, 0, 0, 4, 0, round(SHORT, 6), 1, 2, {"revise: bad-request": 1, "revise: context-too-long": 1}
        ),
        "rare": PrincipleStats(),
    }


def test_the_total_counts_each_row_once_and_agrees_with_the_manifest(run: Path) -> None:
    blame = blame_run(run)
    manifest = json.loads((run / "manifest.json").read_text())["rows"]
    assert blame.finished and blame.rows == {name: manifest[name] for name in blame.rows}
    assert blame.total.drawn == manifest["revisions"] == 21
    labelled = [row for row in read_rows(run / "sft_data") if row["p_chosen"] is not None]
    assert blame.total.judged == manifest["pairs"] + len(labelled) == 4
    assert (manifest["pairs"], manifest["sft_data"]) == (3, 2)  # of the latter one has a label
    assert (blame.total.flagged, blame.total.revised, blame.total.against) == (6, 5, 3)
    assert (blame.total.ties, blame.total.failed) == (1, 2)
    under_none = [row["reason"] for row in read_rows(run / "failures") if row["principle_ids"] is None]
    assert under_none == ["unchanged"]
    assert blame.total.ties + blame.total.failed + 1 == manifest["failures"]


def test_the_parts_of_the_principles_add_up_to_the_log_odds_of_the_labels(run: Path) -> None:
    blame = blame_run(run)
    assert blame.total.log_odds == pytest.approx(KIND + TRUE + SHORT, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "weight"),
    [({"combine": "weighted"}, 3), ({"combine": "vote"}, 1), ({"combine": "log-odds"}, 3)],
    ids=lambda value: str(value),
)
def test_the_parts_add_up_to_the_labels_however_they_are_combined(
    tmp_path: Path, settings: dict[str, Any], weight: float
) -> None:
    law = LAW.replace("{#kind}", f"{{#kind weight={weight}}}")
    prompts = [{"id": f"r{i}", "prompt": f"Question {i}?"} for i in range(ROWS)]
    judge = Judge.model_validate({"principles": 3, **settings})
    run = scripted_run.make_run(tmp_path, law, prompts, answer, rounds=3, judge=judge, shard_size=4)
    assert_parts_add_up(run)


def test_the_parts_of_a_panel_add_up_to_its_labels(tmp_path: Path) -> None:
    (tmp_path / "south.md").write_text("---\nname: South\n---\n\n## Be warm {#warm}\n\nAnswers are kind.\n")
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    prompts = [{"id": f"r{i}", "prompt": f"Question {i}?"} for i in range(ROWS)]
    judge = Judge(kind="panel", principles=2, panel=members)
    run = scripted_run.make_run(tmp_path, LAW, prompts, answer, rounds=3, judge=judge, shard_size=4)
    assert "south/warm" in blame_run(run).stats
    assert_parts_add_up(run)


def test_the_parts_of_calibrated_labels_add_up_to_them(run: Path) -> None:
    for shard in (run / "pairs").glob("*.parquet"):
        rows = [{**row, "p_chosen": (row["p_chosen"] + 1) / 2} for row in read_rows(shard)]
        write_rows(shard, SCHEMAS["pairs"], rows)
    assert_parts_add_up(run)


def assert_parts_add_up(run: Path) -> None:
    blame = blame_run(run)
    labels = [row["p_chosen"] for name in ("pairs", "sft_data") for row in read_rows(run / name) if row["p_chosen"]]
    assert blame.total.judged == len(labels) >= 1
    # A principle's figure is its mean over the labels that it judged, so it counts as often as that
    total = sum(stats.judged * (stats.log_odds or 0.0) for stats in blame.stats.values())
    assert total == pytest.approx(sum(math.log(p / (1 - p)) for p in labels), abs=1e-4)
    assert blame.total.log_odds == pytest.approx(total / len(labels), abs=1e-4)


def test_labels_count_alike_wherever_the_row_goes(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    few = blame_run(make_run(tmp_path / "few", sft_share=0.01))
    many = blame_run(make_run(tmp_path / "many", sft_share=0.99))
    assert (few.rows["pairs"], many.rows["pairs"]) == (4, 0)
    assert few.stats == many.stats and few.total == many.total


def test_every_critique_and_label_says_under_which_words_it_was_made(run: Path) -> None:
    law = load_kept_constitution(run)
    hashes = {principle.id: principle.hash for principle in law.principles}
    labels = [*read_rows(run / "pairs"), *(row for row in read_rows(run / "sft_data") if row["p_chosen"])]
    revisions = list(read_rows(run / "revisions"))
    for row in (*revisions, *labels):
        constitution = (row["constitution_name"], row["constitution_version"], row["constitution_hash"])
        assert constitution == ("Manners", "2", law.hash)
    assert all(row["principle_hash"] == hashes[row["principle_id"]] for row in revisions)
    assert all(row["principle_hashes"] == [hashes[name] for name in row["principle_ids"]] for row in labels)
    (unlabelled,) = (row for row in read_rows(run / "sft_data") if row["p_chosen"] is None)
    assert all(unlabelled[name] is None for name in LABEL)


def test_a_run_halfway_counts_what_is_there(tmp_path: Path) -> None:
    halfway = make_run(tmp_path, judged=False)
    blame = blame_run(halfway)
    assert not blame.finished
    assert blame.stats["kind"] == PrincipleStats(7, 5, 5)
    assert blame.rows == {"revisions": 21, "pairs": 0, "sft_data": 0, "failures": 2}
    assert blame_text(blame).endswith("The run has not finished: no manifest.json yet.")


def test_a_round_under_several_principles_counts_for_each_and_once_in_all(run: Path) -> None:
    first, *others = read_rows(run / "revisions" / "00000.parquet")
    joined = {**first, "principle_id": "rare+short", "flagged": True, "changed": True}
    write_rows(run / "revisions" / "00000.parquet", SCHEMAS["revisions"], [joined, *others])
    blame = blame_run(run)
    assert blame.stats["rare"] == PrincipleStats(1, 1, 1)
    assert sum(stats.drawn for stats in blame.stats.values()) == 22
    assert blame.total.drawn == 21


def test_what_an_earlier_version_did_not_write_counts_as_none(run: Path) -> None:
    for name, columns in (
        ("failures", ["row_id", "stage", "reason", "detail"]),
        ("sft_data", ["row_id", "completion"]),
    ):
        for shard in (run / name).glob("*.parquet"):
            pq.write_table(pq.read_table(shard, columns=columns), shard)
    blame = blame_run(run)
    assert (blame.total.judged, blame.total.ties, blame.total.failed) == (blame.rows["pairs"], 0, 0)


def test_the_text_is_sorted_by_draws_and_fits_a_terminal(run: Path) -> None:
    lines = blame_text(blame_run(run)).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [
        *("principle", "drawn", "flagged", "revised", "judged", "against", "log-odds", "ties", "failed")
    ]
    assert [line.split()[0] for line in lines[2:6]] == ["kind", "true", "short", "rare"]
    assert lines[2].split() == ["kind", "7", "5", "5", "4", "0", "+0.66", "1", "0"]
    assert lines[5].split() == ["rare", "0", "0", "0", "0", "0", "-", "0", "0"]
    assert lines[7].split() == ["total", "21", "6", "5", "4", "3", "+0.79", "1", "2"]
    assert lines[-1] == "manifest.json counts the same."
    told = " ".join(lines[9:])
    assert "2 lost under a principle (revise: bad-request 1, revise: context-too-long 1)" in told


def test_long_ids_and_large_counts_still_fit(run: Path) -> None:
    blame = blame_run(run)
    many = PrincipleStats(1_234_567, 1_234_567, 999_999, 1_234_567, 99_999, -0.5, 10_000, 1234)
    wide = Blame(run, blame.constitution, {"a-very-long-id-" * 4: many}, many, blame.rows, finished=True)
    lines = blame_text(wide).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("a-very-lon… 1,234,567 ")


def test_the_command_prints_the_table_or_json(run: Path) -> None:
    shown = CliRunner().invoke(app, ["blame", str(run)])
    assert shown.exit_code == 0 and shown.stdout == blame_text(blame_run(run)) + "\n"
    made = json.loads(CliRunner().invoke(app, ["blame", str(run), "--json"]).stdout)
    assert made["constitution"]["name"] == "Manners" and made["finished"] is True
    assert [one["id"] for one in made["principles"]] == ["kind", "true", "short", "rare"]
    short = made["principles"][2]
    assert (short["title"], short["drawn"], short["reasons"]["revise: bad-request"]) == ("Short", 7, 1)
    assert made["total"]["drawn"] == made["rows"]["revisions"] == 21


@pytest.mark.parametrize(
    ("file", "name"),
    [("config.yaml", "config.yaml"), ("constitution.json", "constitution")],
    ids=["config", "constitution"],
)
def test_a_folder_that_is_no_run_is_refused(
    run: Path, file: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / file).unlink()
    monkeypatch.setattr("sys.argv", ["charter", "constitution", "blame", str(run)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"run '{run}': no {name}. Name a run's folder, such as outputs/demo.\n"


def test_shards_that_are_not_the_manifest_s_are_refused(run: Path) -> None:
    (run / "revisions" / "00001.parquet").unlink()
    with pytest.raises(DataError, match=r"counts 21 rows of revisions, its shards hold 15\. Files came or went"):
        blame_run(run)


def test_a_broken_shard_is_one_message(run: Path) -> None:
    (run / "pairs" / "00001.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"a shard cannot be read: .* Delete it and run again"):
        count_principle_stats(run, load_kept_constitution(run))


def test_the_report_says_the_same(run: Path) -> None:
    blame, data = blame_run(run), collect(run)
    assert {principle.id: principle.stats for principle in data.constitution.principles} == blame.stats
    assert data.constitution.total == blame.total
    page = render_report(data)
    row = page[page.index(">Short<") : page.index(">Rare<")]
    assert "bad-request" in row and f"{blame.stats['short'].log_odds:+.2f}" in row
