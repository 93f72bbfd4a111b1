"""What is beyond the headline, on the page: in parts, escaped, and left out where it was not measured."""

import copy
from typing import Any

from charter.config import Gate
from charter.core.statistics.intervals import PairedMean, mcnemar, wilson
from charter.evaluation.gate import decide
from charter.report.headline import headline_markdown
from charter.report.measures import amount, between, further_parts, moved
from charter.report.page import render_report
from tests.support.report_sample import sample

HEADLINE = {"harmful_rate", "benign_refusal_rate", "borderline_refusal_rate", "accuracy"}
OLDER = HEADLINE | {"harmful_rate_by_kind", "answered", "cut_off", "failed"}
MINUS = "\N{MINUS SIGN}"


def measured() -> dict[str, Any]:
    """The sample's evaluation with some of what is beyond the headline."""
    evaluation = copy.deepcopy(sample().evaluation)
    for name, harmful in (("base", 50), ("sft", 9), ("dpo", 4)):
        evaluation["models"][name]["harmful_rate_role_play"] = wilson(harmful, 50).to_dict()
        evaluation["models"][name]["length"] = {"value": 17.25, "low": 16.5, "high": 18.0, "n": 290}
    dpo, change = evaluation["models"]["dpo"], evaluation["comparisons"][1]["measures"]
    dpo["group_gaps"] = {"<b>women</b>": mcnemar([False] * 20, [True] * 4 + [False] * 16).to_dict()}
    dpo["win_rate"] = {"value": 0.6, "low": 0.52, "high": 0.68, "n": 50, "p": 0.02}
    change["harmful_rate_role_play"] = mcnemar([True] * 50, [True] * 4 + [False] * 46).to_dict()
    change["length"] = PairedMean(-1.5, -2.0, -1.0, 280, 0.001).to_dict()
    return evaluation


def older() -> dict[str, Any]:
    """The same as an earlier version wrote it."""
    evaluation = copy.deepcopy(sample().evaluation)
    for name, entry in evaluation["models"].items():
        evaluation["models"][name] = {key: value for key, value in entry.items() if key in OLDER}
    for comparison in evaluation["comparisons"]:
        comparison["measures"] = {name: comparison["measures"][name] for name in HEADLINE}
    return evaluation


def test_parts_hold_what_was_measured_and_its_change_from_the_base() -> None:
    parts = dict(further_parts(measured(), "dpo"))
    (pressed,) = parts["Harmful answers under pressure"]
    assert [rate and rate["value"] for rate in pressed.values] == [1.0, 0.18, 0.08]
    assert pressed.change is not None and pressed.change["difference"] == -0.92
    (won,) = parts["Better than the base, according to a judge"]
    assert won.values[0] is None and won.change is not None
    assert round(won.change["difference"], 3) == 0.1
    assert "Judge compared with oracle" not in parts


def test_shares_are_told_in_percent_and_lengths_in_words() -> None:
    assert (amount(0.125, "repetition"), amount(17.25, "length"), amount(None, "length")) == ("12.5 %", "17.2", "-")
    assert between({"low": 0.1, "high": 0.2}, "leak_rate") == "10.0 to 20.0 %"
    assert between({"low": 16.5, "high": 18.0}, "length") == "16.5 to 18.0"
    assert (moved(-0.92, "leak_rate"), moved(-1.5, "length")) == (f"{MINUS}92.0", f"{MINUS}1.5")


def test_the_page_shows_them_in_parts_and_escapes_the_names_of_groups() -> None:
    evaluation = measured()
    page = render_report(sample(evaluation=evaluation, verdict=decide(evaluation, Gate(by="value")).to_dict()))
    assert '<section id="further">' in page and 'href="#further"' in page
    assert "Harmful answers under pressure" in page and "<strong>8.0 %</strong>" in page
    assert "&lt;b&gt;women&lt;/b&gt;" in page and "<b>women</b>" not in page
    assert "limits beyond the headline kept" in page
    assert "Not measured, so not judged: harmful rate prefix injection, harmful rate insistence" in page


def test_limits_that_are_kept_are_one_line_in_markdown_and_a_broken_one_stands_in_full() -> None:
    evaluation = measured()
    verdict = decide(evaluation, Gate(by="value")).to_dict()
    assert "limits beyond the headline, which the report shows\n" in headline_markdown(evaluation, verdict)
    evaluation["models"]["dpo"]["harmful_rate_role_play"] = wilson(50, 50).to_dict()
    text = headline_markdown(evaluation, decide(evaluation, Gate(by="value")).to_dict())
    assert "- **failed**: 100.0 % of 50 harmful requests under pressure (role play) got a harmful answer" in text


def test_an_evaluation_of_an_earlier_version_is_told_without_them() -> None:
    evaluation = older()
    verdict = decide(evaluation, Gate(by="value")).to_dict()
    verdict["checks"] = [check for check in verdict["checks"] if not check["further"]]
    assert (verdict["verdict"], len(verdict["checks"])) == ("go", 5)
    del verdict["not_measured"]
    for check in verdict["checks"]:
        del check["further"]
    page = render_report(sample(evaluation=evaluation, verdict=verdict))
    assert 'id="further"' not in page and "Not measured" not in page
    assert headline_markdown(evaluation, verdict).startswith("**Verdict: go**")
