"""Rows of a run through the real stages, told one by one."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from charter.cli.app import app, main
from charter.config import Judge, Member, Pairs, Strategies
from charter.core.errors import CharterError, CompletionFailed, ConfigError, DataError
from charter.core.messages import Messages
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.inference.completion import Sampling
from charter.pipeline.pair import in_sft_half
from charter.runs.attribution import AttributedLabel, log_odds
from charter.views.explain.rows import find_row, pick_rows
from charter.views.explain.story import Story, read_story
from charter.views.explain.text import print_story
from tests.support.scripted_run import make_run

CONSTITUTION = """---
name: Manners
version: "2"
---

## Be kind {#kind}

Answers are kind.

## Be true {#true}

Answers are true.

## Be short {#short}

Answers are short.
"""
RUDE = {*range(4), *range(10, 18)}
PROMPTS = [{"id": f"r{i}", "prompt": f"Question {i}?", "kind": "talk" if i % 2 else None} for i in range(18)]
PROMPTS += [{"id": "again", "prompt": "question  0?", "kind": None}]


def answer(messages: Messages, sampling: Sampling) -> str | float | CompletionFailed:
    """Rude answers are made kind; the others are fine, but brevity is silent on 5 and fails on 6."""
    asked = messages[-1]["content"]
    if sampling.choices:
        return opinion(asked)
    if asked.startswith("Critique"):
        return critique(asked, messages[-2]["content"])
    if asked.startswith("Rewrite"):
        return messages[-4]["content"].replace("rude", "kind")
    number = int(asked.split()[1][:-1])
    return f"A {'rude' if number in RUDE else 'fine'} word about {number}."


def critique(asked: str, before: str) -> str | CompletionFailed:
    if "short" in asked and before.endswith(" 5."):
        return ""
    if "short" in asked and before.endswith(" 6."):
        return CompletionFailed("context-too-long", "513 tokens")
    return f"I looked. Verdict: {'violated' if 'kind' in asked and 'rude' in before else 'respected'}"


def opinion(asked: str) -> float:
    """The probability of A: kindness says 0.9, truth 0.4, brevity one half; 2 is a tie, for 3 the rude one wins."""
    kind_is_better = 0.9 if "are kind" in asked else 0.4 if "are true" in asked else 0.5
    if "about 2." in asked:
        kind_is_better = 0.5
    if "about 3." in asked:
        kind_is_better = 1 - kind_is_better
    if "about 1." in asked and "are kind" in asked:
        return 0.95 if "<answer_a>\nA kind" in asked else 0.2  # first 0.95, second 0.8
    return kind_is_better if "<answer_a>\nA kind" in asked else 1 - kind_is_better


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to read only."""
    return make_run(
        tmp_path_factory.mktemp("outputs"),
        CONSTITUTION,
        PROMPTS,
        answer,
        rounds=3,
        judge=Judge(principles=3),
        shard_size=5,
    )


def ids_of(run: Path, table: str, **wanted: Any) -> list[str]:
    return [row["row_id"] for row in read_rows(run / table) if all(row[k] == v for k, v in wanted.items())]


def plain_pair(run: Path) -> str:
    """The first pair about which the judge gives no special verdict."""
    return next(row for row in ids_of(run, "pairs") if row not in ("r1", "r3"))


def copied(run: Path, to: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(run, to / "run"))


def text_of(story: Story, width: int = 80) -> str:
    console = Console(width=width, markup=False, emoji=False, highlight=False, color_system=None)
    with console.capture() as captured:
        print_story(story, console)
    return captured.get()


def invoke(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["explain", *map(str, arguments)])


def test_every_row_of_the_run_can_be_told_and_ends_where_the_files_say(run: Path) -> None:
    tables = {"pair": "pairs", "sft": "sft_data", "failed": "failures"}
    where = {end: set(ids_of(run, table)) for end, table in tables.items()}
    rows = {row["id"] for row in PROMPTS}
    assert set().union(*where.values()) == rows
    for row_id in rows:
        assert read_story(run, row_id).ended == [end for end in tables if row_id in where[end]]


def test_a_pair_is_told_from_its_prompt_to_its_label(run: Path) -> None:
    row_id = plain_pair(run)
    number = row_id[1:]
    story = read_story(run, row_id)
    assert (story.question, story.response) == (f"Question {number}?", f"A rude word about {number}.")
    assert story.final == f"A kind word about {number}."
    assert story.kind == ("talk" if int(number) % 2 else None)
    assert [one.number for one in story.rounds] == [1, 2, 3]
    assert {one.principle_title for one in story.rounds} == {"Be kind", "Be true", "Be short"}
    for one in story.rounds:
        assert (one.verdict, one.changed) == (
            ("violated", True) if one.principle_id == "kind" else ("respected", False)
        )
        assert one.critique == f"I looked. Verdict: {one.verdict}"
    (kept,) = story.kept
    assert (kept.chosen, kept.chosen_is) == (f"A kind word about {number}.", "revision")
    assert (kept.rejected, kept.rejected_is) == (f"A rude word about {number}.", "response")
    assert story.lost == ()


def test_the_shares_are_those_of_the_principles_and_add_up_to_the_label(run: Path) -> None:
    row_id = plain_pair(run)
    label = read_story(run, row_id).kept[0].label
    assert label is not None
    assert [(share.id, share.title) for share in label.shares] == [
        ("kind", "Be kind"),
        ("true", "Be true"),
        ("short", "Be short"),
    ]  # the strongest first
    assert [share.p for share in label.shares] == pytest.approx([0.9, 0.4, 0.5])
    assert [share.log_odds for share in label.shares] == pytest.approx([math.log(9) / 3, math.log(2 / 3) / 3, 0])
    assert sum(share.log_odds for share in label.shares) == pytest.approx(label.log_odds)
    assert label.log_odds == pytest.approx(math.log(label.p / (1 - label.p))) and label.rest == 0
    assert label.judge_identity == "model-1"


def test_every_label_of_the_run_is_the_sum_of_its_shares(run: Path) -> None:
    labels = labels_of(run)
    assert len(labels) == 11  # twelve rude answers, one of them a tie
    for label in labels:
        assert sum(share.log_odds for share in label.shares) == pytest.approx(math.log(label.p / (1 - label.p)))


def test_the_orders_of_the_answers_are_told_apart(run: Path) -> None:
    label = read_story(run, "r1").kept[0].label
    assert label is not None
    first, second = label.orders
    assert (first.chosen_shown, second.chosen_shown) == ("first", "second")
    assert first.p == pytest.approx((0.95 + 0.4 + 0.5) / 3) and second.p == pytest.approx((0.8 + 0.4 + 0.5) / 3)
    assert first.log_odds == pytest.approx(math.log(first.p / (1 - first.p)))


def test_where_the_first_answer_wins_it_is_chosen_and_the_shares_are_its_own(run: Path) -> None:
    (kept,) = read_story(run, "r3").kept
    assert (kept.chosen_is, kept.rejected_is) == ("response", "revision")
    assert kept.label is not None and kept.label.shares[0].p == pytest.approx(0.9)
    assert kept.label.p > 0.5


def test_the_shares_of_a_calibrated_label_are_scaled_to_it(run: Path, tmp_path: Path) -> None:
    row = next(row for row in read_rows(run / "pairs") if row["row_id"] not in ("r1", "r3"))
    copy = copied(run, tmp_path)
    write_rows(copy / "pairs" / "00000.parquet", SCHEMAS["pairs"], [{**row, "row_id": "r0", "p_chosen": 0.8}])
    label = next(kept.label for kept in read_story(copy, "r0").kept if kept.table == "pairs")
    assert label is not None and label.rest == 0
    by_id = {share.id: share.log_odds for share in label.shares}
    scale = math.log(4) / (math.log(9) + math.log(2 / 3))
    assert by_id == pytest.approx({"kind": scale * math.log(9), "true": scale * math.log(2 / 3), "short": 0})


def labels_of(run: Path) -> list[AttributedLabel]:
    """Every label there is in the pairs and the supervised rows."""
    rows = dict.fromkeys(ids_of(run, "pairs") + ids_of(run, "sft_data"))
    return [kept.label for row in rows for kept in read_story(run, row).kept if kept.label is not None]


def test_a_principle_that_weighs_more_has_a_larger_share(tmp_path: Path) -> None:
    constitution = CONSTITUTION.replace("{#kind}", "{#kind weight=3}")
    run = make_run(
        tmp_path, constitution, PROMPTS[10:18], answer, rounds=3, judge=Judge(principles=3, combine="weighted")
    )
    for label in labels_of(run):
        kind, true, _ = label.shares
        assert (kind.log_odds, true.log_odds) == pytest.approx((math.log(9) * 3 / 5, math.log(2 / 3) / 5))
        assert sum(share.log_odds for share in label.shares) == pytest.approx(label.log_odds) and label.rest == 0


def test_the_only_vote_is_the_label(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONSTITUTION, PROMPTS[10:18], answer, rounds=3, judge=Judge(principles=1, combine="vote"))
    labels = labels_of(run)
    assert len(labels) == 8
    for label in labels:
        assert label.p == pytest.approx(2 / 3)  # one vote for and none against, and one more for each
        assert (label.shares[0].log_odds, label.rest) == pytest.approx((math.log(2), 0))


def test_answers_of_other_strategies_are_named_and_shown(tmp_path: Path) -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float:
        """Each round takes one of two rude words away; a second sample is another text."""
        asked = messages[-1]["content"]
        if sampling.choices:
            a, b = asked.split("<answer_a>\n")[1].split("<answer_b>\n")
            return 0.9 if a.count("rude") < b.count("rude") else 0.1
        if asked.startswith("Critique"):
            return f"Verdict: {'violated' if 'rude' in messages[-2]['content'] else 'respected'}"
        if asked.startswith("Rewrite"):
            return messages[-4]["content"].replace("rude", "soft", 1)
        return f"An answer rude, rude and rude, number {sampling.seed}."

    strategies = Strategies(revision=1, every_revision=1, samples=1)
    run = make_run(
        tmp_path, CONSTITUTION, PROMPTS[:12], script, pairs=Pairs(strategies=strategies, answers_per_prompt=2)
    )
    story = read_story(run, ids_of(run, "pairs")[0])
    named = {kept.pair_id.split("/", 1)[1]: (kept.chosen_is, kept.rejected_is) for kept in story.kept if kept.pair_id}
    assert named["revision/0"] == ("revision", "response")
    assert named["every-revision/0"] == ("revision 1", "response")
    assert named["every-revision/1"] == ("revision", "revision 1")
    lost = {one.pair_id.split("/", 1)[1]: one.reason for one in story.lost if one.pair_id}
    assert lost["samples/0"] == "tie"
    text = " ".join(text_of(story).split())
    assert "Chosen: revision 1 An answer soft, rude and rude" in text
    assert f"{story.row_id}/every-revision/1): the last revision over revision 1; p(chosen) = 0.900" in text


def test_a_panel_that_split_waits_for_people_and_says_who_wants_what(tmp_path: Path) -> None:
    def script(messages: Messages, sampling: Sampling) -> str | float | CompletionFailed:
        asked = messages[-1]["content"]
        if sampling.choices and "are blunt" in asked:
            kind_is_better = 0.8 if "about 1" in asked else 0.2
            return kind_is_better if "<answer_a>\nA kind" in asked else 1 - kind_is_better
        return answer(messages, sampling)

    (tmp_path / "south.md").write_text("---\nname: South\n---\n\n## Be blunt {#blunt}\n\nAnswers are blunt.\n")
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    rows = [PROMPTS[i] for i in (0, *range(10, 18))]
    run = make_run(
        tmp_path, CONSTITUTION, rows, script, rounds=3, judge=Judge(kind="panel", principles=1, panel=members)
    )
    split = read_story(run, "r0")
    assert split.ended == ["review", "failed"] and split.lost[0].reason == "panel-split"
    (kept,) = split.kept
    assert kept.label is not None and kept.chosen_is == "revision"
    assert kept.label.p == pytest.approx(0.6)
    assert {one.id: one.p for one in kept.label.members} == pytest.approx({"north": 0.9, "south": 0.2})
    assert {one.id: one.title for one in kept.label.shares} == {"kind": "Be kind", "south/blunt": "Be blunt"}
    assert "people decide: the last revision or the first answer?" in " ".join(text_of(split).split())
    agreed = labels_of(run)
    assert len(agreed) == 8
    for label in agreed:
        assert sum(one.log_odds for one in label.members) == pytest.approx(label.log_odds)
        assert sum(share.log_odds for share in label.shares) == pytest.approx(label.log_odds)


@pytest.mark.parametrize(("combine", "of_kind"), [("log-odds", 1 / 2), ("weighted", 3 / 4)])
def test_members_count_alike_however_many_principles_each_was_asked_about(
    tmp_path: Path, combine: Any, of_kind: float
) -> None:
    """North asks about two principles, South has one, and West, by the run's constitution too, asks as North does."""
    (tmp_path / "south.md").write_text("---\nname: South\n---\n\n## Be warm {#warm}\n\nAnswers are kind and warm.\n")
    constitution = CONSTITUTION.replace("{#kind}", "{#kind weight=3}").partition("## Be short")[0]
    members = (
        Member(name="north"),
        Member(name="south", constitution=tmp_path / "south.md"),
        Member(name="west"),
    )
    judge = Judge(kind="panel", principles=2, panel=members, combine=combine)
    labels = labels_of(make_run(tmp_path, constitution, PROMPTS[10:18], answer, rounds=3, judge=judge))
    assert len(labels) == 8
    for label in labels:
        found = sorted((share.id, share.log_odds) for share in label.shares)
        kind, true = math.log(9) * of_kind / 3, math.log(2 / 3) * (1 - of_kind) / 3
        assert [id for id, _ in found] == ["kind", "kind", "south/warm", "true", "true"]
        assert [odds for _, odds in found] == pytest.approx([kind, kind, math.log(9) / 3, true, true])
        assert label.rest == 0 and sum(odds for _, odds in found) == pytest.approx(label.log_odds)


def test_a_supervised_row_says_who_chose_it_or_that_nobody_had_to(run: Path) -> None:
    judged = next(row for row in read_rows(run / "sft_data") if row["p_chosen"] is not None)
    (kept,) = read_story(run, judged["row_id"]).kept
    assert kept.table == "sft_data" and kept.label is not None
    assert {kept.chosen_is, kept.rejected_is} == {"revision", "response"} and kept.chosen == judged["completion"]
    untouched = [row for row in read_rows(run / "sft_data") if row["p_chosen"] is None]
    for row in untouched:
        (kept,) = read_story(run, row["row_id"]).kept
        assert (kept.chosen_is, kept.rejected, kept.label) == ("response", None, None)
        assert "no judge was called" in " ".join(text_of(read_story(run, row["row_id"])).split())


@pytest.mark.parametrize(
    ("row_id", "stage", "reason", "principles"),
    [
        ("again", "prompts", "duplicate", ()),
        ("r5", "critique", "empty", ("Be short",)),
        ("r6", "revise", "context-too-long", ("Be short",)),
    ],
)
def test_a_row_that_failed_says_where_why_and_under_what(
    run: Path, row_id: str, stage: str, reason: str, principles: tuple[str, ...]
) -> None:
    story = read_story(run, row_id)
    (lost,) = story.lost
    assert (lost.stage, lost.reason, lost.principles) == (stage, reason, principles)
    assert story.ended == ["failed"] and story.rounds == ()
    assert f"at {stage}: {reason}" in text_of(story)


def test_a_tie_names_all_who_judged(run: Path) -> None:
    (lost,) = read_story(run, "r2").lost
    assert (lost.stage, lost.reason, set(lost.principles)) == ("judge", "tie", {"Be kind", "Be true", "Be short"})
    assert "p = 0.500" in lost.detail


def test_what_training_left_out_is_told(run: Path, tmp_path: Path) -> None:
    copy, row_id = copied(run, tmp_path), ids_of(run, "pairs")[0]
    (copy / "dpo").mkdir()
    dropped = {"row_id": row_id, "stage": "dpo", "reason": "too-long", "detail": "1,025 tokens"}
    nothing = dict.fromkeys(SCHEMAS["failures"].names)
    write_rows(copy / "dpo" / "dropped.parquet", SCHEMAS["failures"], [nothing | dropped])
    story = read_story(copy, row_id)
    assert story.ended == ["pair", "failed"] and story.lost[0].detail == "1,025 tokens"


def test_a_run_halfway_tells_what_is_there(tmp_path: Path) -> None:
    halfway = make_run(tmp_path, CONSTITUTION, PROMPTS, answer, rounds=3, judged=False)
    story = read_story(halfway, "r0")
    assert story.ended == ["unfinished"] and len(story.rounds) == 3
    assert "has not got further" in text_of(story)
    with pytest.raises(DataError, match="has no such row yet"):
        pick_rows(halfway, "uncertain", 1, 0)


def test_what_an_earlier_version_did_not_write_is_empty(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    kept = {"failures": ["row_id", "stage", "reason", "detail"], "sft_data": ["row_id", "prompt", "completion", "kind"]}
    for name, columns in kept.items():
        for shard in (copy / name).glob("*.parquet"):
            pq.write_table(pq.read_table(shard, columns=columns), shard)
    assert read_story(copy, "r5").lost[0].principles == ()
    for row in read_rows(copy / "sft_data"):
        assert read_story(copy, row["row_id"]).kept[0].label is None


def test_a_row_is_found_by_its_id_or_enough_of_it(run: Path) -> None:
    assert find_row(run, "r1") == "r1"  # though r10 to r17 begin with it
    assert find_row(run, "ag") == "again"  # which has no prompt, only a failure
    assert find_row(run, "r9") == "r9"


def test_a_beginning_that_several_rows_have_names_them(run: Path) -> None:
    with pytest.raises(DataError) as raised:
        find_row(run, "r")
    named = ", ".join(["r0", "r1", "r10", "r11", "r12", "r13", "r14", "r15"])
    assert str(raised.value) == (
        f"row 'r': 18 rows of run '{run}' begin with it: {named} and 10 more. Write more of it."
    )


def test_a_row_that_is_not_there_names_some_that_are(run: Path) -> None:
    with pytest.raises(DataError, match=r"row 'x': no row of run .* begins with it; the first are named r0, r1, r2\."):
        find_row(run, "x")
    with pytest.raises(DataError, match=r"row 'R1\.': no row"):
        find_row(run, "R1.")  # no pattern, and no other case


def test_uncertain_picks_the_labels_nearest_to_one_half(run: Path) -> None:
    labels = [*read_rows(run / "pairs"), *read_rows(run / "sft_data")]
    ranked = sorted((row["p_chosen"], row["row_id"]) for row in labels if row["p_chosen"] is not None)
    assert pick_rows(run, "uncertain", 3, 0) == [row_id for _, row_id in ranked[:3]]


def test_the_lot_falls_on_the_same_rows_for_the_same_seed(run: Path) -> None:
    once = pick_rows(run, "random", 5, 0)
    assert len(set(once)) == 5 and once == pick_rows(run, "random", 5, 0) != pick_rows(run, "random", 5, 1)
    assert set(pick_rows(run, "failed", 100, 0)) == set(ids_of(run, "failures"))
    assert pick_rows(run, "tie", 2, 0) == ["r2"]


def test_a_way_to_pick_that_is_not_known_names_those_that_are(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"--pick 'lost': no row .* failed for it\. Use one of: uncertain, random, "):
        pick_rows(run, "lost", 1, 0)


@pytest.mark.parametrize("width", [80, 40])
def test_the_text_fits_the_terminal_and_says_all_of_it(run: Path, width: int) -> None:
    text = text_of(read_story(run, plain_pair(run)), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    words = " ".join(text.split())
    for said in (
        "Prompt",
        "First answer",
        "Last revision",
        "Round 1",
        "VIOLATED: Be kind #kind",
        "I looked.",
        "Revision",
    ):
        assert said in words
    assert re.search(r"Be kind #kind\s+0\.900\s+\+0\.73", text)
    if width == 80:
        assert re.search(r"Be true #true \(against\)\s+0\.400\s+-0\.14", text)
        assert re.search(r"together\s+0\.645\s+\+0\.60", text)
        assert re.search(r"all, the chosen answer shown second\s+0\.600\s+\+0\.41", text)
        assert "[-rude-]" in text and "{+kind+}" in text


def test_what_a_model_wrote_cannot_command_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;title\x07 [red]no markup[/red] \u202emirrored"
    run = make_run(tmp_path, CONSTITUTION, PROMPTS[:3], lambda m, s: 0.5 if s.choices else f"{evil} Verdict: respected")
    text = text_of(read_story(run, "r0"))
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "[red]no markup[/red]" in text


def test_the_command_prints_a_row_or_several(run: Path) -> None:
    one = invoke(run, "r1")
    assert one.exit_code == 0 and one.stdout == text_of(read_story(run, "r1"))
    several = invoke(run, "--pick", "failed", "--n", 3, "--seed", 4)
    assert several.exit_code == 0 and several.stdout.count("Failed") == 3


def test_json_is_an_object_for_a_row_and_a_list_for_a_pick(run: Path) -> None:
    told = json.loads(invoke(run, "r1", "--json").stdout)
    assert told["row_id"] == "r1" and told["constitution"]["name"] == "Manners"
    assert told["ended"] == [{True: "sft", False: "pair"}[in_sft_half(told["prompt"], 0.5)]]
    assert {share["id"] for share in told["kept"][0]["label"]["shares"]} == {"kind", "true", "short"}
    assert [order["chosen_shown"] for order in told["kept"][0]["label"]["orders"]] == ["first", "second"]
    assert [one["verdict"] for one in told["rounds"]].count("violated") == 1
    picked = json.loads(invoke(run, "--pick", "tie", "--json").stdout)
    assert [(one["row_id"], one["lost"][0]["reason"]) for one in picked] == [("r2", "tie")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "r1"), "run 'nowhere': no config.yaml. Name a run's folder, such as outputs/demo."),
        (("RUN", "zz"), "row 'zz': no row of run 'RUN' begins with it"),
        (("RUN", "r"), "row 'r': 18 rows of run 'RUN' begin with it: r0, r1"),
        (("RUN",), "explain 'RUN': wants either a ROW or --pick."),
        (("RUN", "r1", "--pick", "random"), "explain 'RUN': wants either a ROW or --pick."),
        (("RUN", "--pick", "best"), "--pick 'best': no row of run 'RUN' failed for it."),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(
    run: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [argument.replace("RUN", str(run)) for argument in arguments]
    monkeypatch.setattr("sys.argv", ["charter", "explain", *named])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message.replace("RUN", str(run)))


def test_an_unknown_run_names_those_beside_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)  # away from the runs in this project's outputs/
    result = invoke(run.parent / "demo", "r1")
    assert isinstance(result.exception, CharterError) and str(result.exception).endswith(f"Runs here: {run}.")


def test_a_broken_shard_is_one_message(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    (copy / "revisions" / "00001.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"a shard cannot be read: .* Delete it and run again"):
        read_story(copy, "r0")


def test_log_odds_of_what_is_certain_are_finite() -> None:
    assert log_odds(0.5) == 0
    assert log_odds(1.0) == pytest.approx(math.log((1 - 1e-4) / 1e-4)) == -log_odds(0.0)
