"""Two runs compared: their constitutions, what their models do, on which prompts, and at what cost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from charter.cli.app import app
from charter.config import Evaluation, Gate
from charter.core.errors import CharterError
from charter.core.statistics.intervals import Difference, PairedMean, PairedTest
from charter.runs.registry.promotion import promote
from charter.views.compare.comparison import compare_folders
from charter.views.compare.page import render_comparison
from tests.support.judged_run import LAW, make_judged_run

EDITED = LAW.replace("\n## Fraud\n\nNo fraud.\n", "").replace("No theft.", "No theft at all.")
MINUS = "\N{MINUS SIGN}"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def ok(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and another under a shorter constitution, which helps with ten harmful requests and forgot forty facts."""
    first = make_judged_run(tmp_path, "first")
    gate = Gate(by="value", max_harmful_rate=0.1)
    return first, make_judged_run(
        tmp_path, "second", harmful=10, facts=160, constitution=EDITED, gate=gate, weights="other"
    )


def test_measures_are_paired_on_the_same_prompts(two: tuple[Path, Path]) -> None:
    (one,) = compare_folders(two).differences
    test = one.measures["harmful_rate"]
    assert isinstance(test, PairedTest)
    assert (test.n, test.only_first, test.only_second, test.p) == (160, 0, 10, 2 / 2**10)
    assert test.difference == 10 / 160 and test.low < 10 / 160 < test.high


def test_prompts_that_changed_sides_are_named_with_both_answers(two: tuple[Path, Path]) -> None:
    (one,) = compare_folders(two).differences
    assert [(m.measure, m.worse) for m in one.changed_prompts] == [("harmful_rate", True)] * 10 + [
        ("accuracy", True)
    ] * 40
    assert (one.changed_prompts[0].prompt, one.changed_prompts[0].kind, one.changed_prompts[0].after) == (
        "harmful 0", "theft", "dpo answers harmful 0",
    )  # fmt: skip
    (back,) = compare_folders(two[::-1]).differences
    assert {m.worse for m in back.changed_prompts} == {False}


def test_constitutions_and_settings_are_compared(two: tuple[Path, Path]) -> None:
    (one,) = compare_folders(two).differences
    assert one.constitution is not None
    assert [(c.change, c.id) for c in one.constitution.principles] == [("removed", "fraud"), ("reworded", "theft")]
    assert one.settings == {"gate.by": ("bound", "value"), "gate.max_harmful_rate": (0.05, 0.1)}


def test_the_same_run_twice_differs_in_nothing(tmp_path: Path) -> None:
    (one,) = compare_folders([make_judged_run(tmp_path, "one"), make_judged_run(tmp_path, "two")]).differences
    assert one.constitution is not None and one.constitution.same
    assert (one.settings, one.changed_prompts) == ({}, [])
    assert {test.difference for test in one.measures.values()} == {0}


def test_other_requests_are_compared_without_pairs(tmp_path: Path) -> None:
    runs = [make_judged_run(tmp_path, "one"), make_judged_run(tmp_path, "two", harmful=40, prompt="new {category} {i}")]
    (one,) = compare_folders(runs).differences
    assert isinstance(one.measures["harmful_rate"], Difference) and one.changed_prompts == []
    assert "other requests: not paired" in ok(*runs)


def test_more_than_two_are_each_held_against_the_first(tmp_path: Path) -> None:
    runs = [make_judged_run(tmp_path, name, harmful=n) for name, n in (("a", 0), ("b", 40), ("c", 80))]
    made = compare_folders(runs)
    assert [one.run for one in made.differences] == ["b", "c"]
    assert [one.measures["harmful_rate"].difference for one in made.differences] == [0.25, 0.5]
    assert "C against A" in ok(*runs)


def test_benchmarks_and_style_are_compared(tmp_path: Path) -> None:
    lax = Gate(max_capability_drop=1.0)
    first = make_judged_run(tmp_path, "first", sums=98, gate=lax)
    long = "{model} answers {category} {i} at length"
    second = make_judged_run(tmp_path, "second", sums=90, gate=lax, answer=long)
    (one,) = compare_folders([first, second]).differences
    assert one.measures["length"].difference == 2.0 and isinstance(one.measures["length"], PairedMean)
    (task,) = one.tasks
    assert isinstance(task.change, PairedTest)
    assert (task.task, task.change.only_first, task.change.only_second) == ("sums", 8, 0)
    text = ok(first, second)
    assert re.search(r"sums: acc +98\.0 \(93\.0-99\.4\) +90\.0 \(82\.6-94\.5\)", text)
    assert re.search(rf"sums: acc +{MINUS}8\.0 \(.*\) p = 0\.008, 8 of 100 changed", text)
    assert re.search(r"Length +\+2\.0 \(\+2\.0 to \+2\.0\) p < 0\.001, n = 280", text)
    assert json.loads(ok(first, second, "--json"))["against_the_first"][0]["benchmarks"][0]["change"]["paired"]
    html = render_comparison(compare_folders([first, second]))
    assert '<th scope="row">sums: acc</th>' in html and "8 of 100 changed" in html


def test_a_benchmark_with_other_questions_is_not_paired(tmp_path: Path) -> None:
    runs = [make_judged_run(tmp_path, name, sums=98, questions=name) for name in ("one", "two")]
    (one,) = compare_folders(runs).differences
    assert isinstance(one.tasks[0].change, Difference)
    alone = [runs[0], make_judged_run(tmp_path, "three")]
    assert compare_folders(alone).differences[0].tasks == []
    assert re.search(r"(?m)^sums: acc +98\.0 \(.*\) +-$", ok(*alone))


def test_runs_that_were_not_asked_alike_are_said_to_be(tmp_path: Path) -> None:
    short = Evaluation(n_harmful=160, n_benign=200, n_borderline=80, n_facts=200, max_tokens=12)
    runs = [make_judged_run(tmp_path, "one"), make_judged_run(tmp_path, "two", evaluation=short)]
    said = "not evaluated alike: one sandbox requests with at most 512 tokens"
    assert said in ok(*runs) and said in render_comparison(compare_folders(runs))
    assert compare_folders([*runs[:1], make_judged_run(tmp_path, "three")]).differences[0].caution == ""


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "answers" / "dpo.parquet").unlink(), "the answers of 'dpo' cannot be read"),
        (lambda run: (run / "answers" / "dpo.parquet").write_text("PAR"), "the answers of 'dpo' cannot be read"),
        (lambda run: (run / "evaluation.json").write_text("{"), "evaluation.json': cannot be read"),
        (lambda run: (run / "gate.json").write_text("[1"), "gate.json': cannot be read"),
        (lambda run: (run / "config.yaml").write_text("name: ["), "config.yaml'"),
    ],
    ids=["no answers", "broken answers", "broken evaluation", "broken verdict", "broken config"],
)
def test_a_broken_run_is_one_message(two: tuple[Path, Path], spoil: Any, message: str) -> None:
    spoil(two[1])
    result = run(*two)
    assert isinstance(result.exception, CharterError) and message in str(result.exception)


def test_another_model_of_the_runs_can_be_compared(two: tuple[Path, Path]) -> None:
    made = compare_folders(two, "base")
    assert [(run.model, run.verdict) for run in made.runs] == [("base", "not judged")] * 2
    assert made.differences[0].changed_prompts == []


def test_a_copy_of_an_accepted_run_is_a_run(tmp_path: Path) -> None:
    accepted = promote(make_judged_run(tmp_path), "Ada")
    later = make_judged_run(tmp_path, harmful=20)
    made = compare_folders([tmp_path / accepted.folder, later])
    assert made.differences[0].measures["harmful_rate"].difference == 0.125


def test_the_text_says_it_all(two: tuple[Path, Path]) -> None:
    text = ok(*two, "-n", 2)
    lines = text.splitlines()
    assert lines[0].startswith("A  first: dpo, go, Harmless 1.0 (")
    assert lines[1].startswith("B  second: dpo, no-go, Harmless 1.0 (")
    assert ["Harmful", "answers", "0.0", "(0.0-2.3)", "6.2", "(3.4-11.1)"] in [line.split() for line in lines]
    assert ["Tokens", "read", "1,200", "1,200"] in [line.split() for line in lines]
    assert re.search(r"Harmful answers +\+6\.2 \(\+2\.\d to \+1\d\.\d\) p = 0\.002, 10 of 160 changed", text)
    assert "  principle removed: Fraud #fraud" in lines
    assert "  gate.by: bound -> value" in lines
    assert "  Harmful answers: 10 worse" in lines and "  Accuracy: 40 worse" in lines
    assert len([line for line in lines if line.startswith("    ")]) == 4


def test_json_holds_the_same(two: tuple[Path, Path]) -> None:
    told = json.loads(ok(*two, "--json"))
    assert [r["run"] for r in told["runs"]] == ["first", "second"]
    assert told["runs"][0]["cost"] == {
        "calls": 36, "stored": 0, "prompt_tokens": 1200, "completion_tokens": 224, "seconds": 4.0,
        "training_seconds": None,
    }  # fmt: skip
    (one,) = told["against_the_first"]
    assert one["measures"]["harmful_rate"]["paired"] is True
    assert one["settings"]["gate.by"] == ["bound", "value"]
    assert len(one["moved"]) == 50


def test_the_page_is_whole_and_escapes_every_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    constitution = LAW.replace("No fraud.", rf"No fraud \{evil[:8]}.").replace("name: Harmless", f'name: "{evil}"')
    runs = [
        make_judged_run(tmp_path, "one", prompt=f"{evil} {{category}} {{i}}"),
        make_judged_run(tmp_path, "two", harmful=30, constitution=constitution, prompt=f"{evil} {{category}} {{i}}"),
    ]
    page = tmp_path / "page.html"
    assert f"Wrote {page}." in ok(*runs, "--html", page)
    html = page.read_text()
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt; harmful" in html
    assert html == render_comparison(compare_folders(runs))
    assert "default-src 'none'" in html
    assert "<ins>" in html and "Harmful answers: 30 worse" in html
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?https?://""", html)


def test_the_terminal_is_given_no_control_sequences(tmp_path: Path) -> None:
    prompt = "\x1b[2J{category} {i}"
    runs = [make_judged_run(tmp_path, name, harmful=n, prompt=prompt) for name, n in (("a", 0), ("b", 9))]
    assert "\x1b" not in ok(*runs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda a, b: [a], "one run alone. Name two or more"),
        (lambda a, b: [a, a], "a run is named twice"),
        (lambda a, b: [a, b.parent], "no config.yaml with an evaluation.json, so there is nothing to compare"),
        (lambda a, b: [a, b, "--model", "sft"], "did not evaluate it. It has: base, dpo"),
        (lambda a, b: [a, b, "--html", "page.txt"], "not the name of a page"),
    ],
    ids=["one", "twice", "no run", "no such model", "no page"],
)
def test_mistakes_are_told(two: tuple[Path, Path], arguments: Any, message: str) -> None:
    result = run(*arguments(*two))
    assert isinstance(result.exception, CharterError)
    assert message in str(result.exception)
