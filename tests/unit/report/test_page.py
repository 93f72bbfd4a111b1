"""The page: self-contained, escaped, and true to its data."""

import base64
import dataclasses
import hashlib
import json
import math
import re
from functools import lru_cache

import pytest

from charter.config import Gate
from charter.evaluation.gate import decide
from charter.evaluation.measures import evaluate_models
from charter.evaluation.records import ModelAnswers
from charter.report import plots
from charter.report.data import (
    BeforeAfter,
    FailureCount,
    LabelSummary,
    ReportData,
)
from charter.report.page import render_report, shorten
from charter.runs.blame import PrincipleStats
from tests.support.html_page import HOSTILE, Page, hostile, skeleton
from tests.support.report_sample import KINDS, answers, sample


@lru_cache
def harmless() -> str:
    return render_report(hostile("words"))


def test_the_page_asks_for_nothing() -> None:
    html = render_report(sample())
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "link", "iframe", "object", "embed", "img", "form", "base"})
    for _, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset")]
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in html
    assert "url(http" not in html


def test_the_policy_names_the_one_style_sheet() -> None:
    html = render_report(sample())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert policy.group(1) == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_figures_have_titles_and_descriptions() -> None:
    page = Page(render_report(sample()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == 11
    for attributes in figures:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    assert "Harmful answers: Base 98.0 %, SFT 4.2 %, DPO 1.0 %" in "".join(page.text)


def test_references_inside_figures_lead_somewhere() -> None:
    html = render_report(sample())
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert targets
    assert set(targets) <= ids


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_only_ever_text(text: str) -> None:
    html = render_report(hostile(text))
    assert skeleton(html) == skeleton(harmless())
    html.encode("utf-8")
    assert "\x00" not in html
    assert "\x1b" not in html


def test_principles_are_told_by_what_they_did_the_most_drawn_first() -> None:
    html = render_report(sample())
    table = html[html.index("Principles, as used in this run") :].split("</table>")[0]
    heads = re.findall(r'<th scope="row">([^<]*?)\s*<', table)
    assert heads == [*(kind.capitalize() for kind in reversed(KINDS)), "Total"]
    first = table[table.index('<th scope="row">') :].split("</tr>")[0]
    cells = [
        " ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in re.findall(r"<td[^>]*>(.*?)</td>", first, re.DOTALL)
    ]
    assert cells == [*("147", "81 55 %", "79 54 %", "193", "28 15 %", "\N{MINUS SIGN}0.09", "13", "1 revise: cut-off")]
    assert "+1.84" in table


def test_principles_are_drawn_with_their_shares() -> None:
    words = "".join(Page(render_report(sample())).text)
    assert "Dangerous substances: flagged 55.1 %, revised 53.7 %" in words  # 81 and 79 of 147
    unused = [dataclasses.replace(p, stats=PrincipleStats()) for p in sample().constitution.principles]
    assert plots.principles_plot(unused) == ""


def part(html: str, id_: str) -> str:
    """The words of one section, white space as a browser shows it."""
    section = html[html.index(f'<section id="{id_}">') :].split("</section>")[0]
    return " ".join(re.sub("<[^>]*>", " ", section).split())


def test_how_far_the_judge_can_be_trusted_stands_beside_its_labels() -> None:
    html = render_report(sample())
    said = part(html, "labels")
    assert "On 200 labelled pairs the judge agrees with the label in 90.0 % of its verdicts (85.1 to 93.4 %)" in said
    assert "The lower end of its agreement, 85.1 %, is under 90.0 %." in said
    assert "Confidence and share of right verdicts" in said
    assert "verdict flips with the order: " in said and "right, better is its own: 90.0 % of 200" in said
    assert "labelled.jsonl" in said
    assert "theft 20 0.0 % (0.0 to 16.1 %) 100.0 % (83.9 to 100.0 %) 0.0 % (0.0 to 16.1 %)" in said


def test_a_judge_that_nobody_measured_is_said_to_be_that() -> None:
    said = part(render_report(sample(audit={}, dissent={})), "labels")
    assert "This judge was not measured" in said and "charter judge audit" in said
    assert "Dissent in the panel" not in said


def test_template_braces_are_not_evaluated() -> None:
    assert "{{ 7 * 7 }}" in "".join(Page(render_report(hostile("{{ 7 * 7 }}"))).text)


def test_a_long_response_is_shortened_and_says_so() -> None:
    long = BeforeAfter("at random", "prompt", "x" * 200_000, "y" * 200_000)
    html = render_report(sample(examples=[long] * 30))
    assert len(html.encode()) < 1_000_000
    assert "… (196,000 more characters in the run&#39;s folder)" in html
    assert shorten("abc", 3) == "abc"


def test_unpleasant_examples_are_folded() -> None:
    page = Page(render_report(sample()))
    folded = ["open" in attributes for tag, attributes in page.tags if tag == "details"]
    # limits that are kept, paired tests, three examples of which one is harmless, four failures, the configuration
    assert folded == [False, False, False, True, False, *[False] * 4, False]


def test_what_a_model_wrote_is_folded_among_the_failures_too() -> None:
    wrote = "Sure. To forge a passport, start small."
    html = render_report(sample(failures=[FailureCount("revise", "junk", 3, wrote), FailureCount("judge", "tie", 2)]))
    table = html[html.index("Failures table") :].split("</table>")[0]
    assert f'<details><summary>One of them</summary><div class="inside text">{wrote}</div></details>' in table
    assert table.count(wrote) == table.count("<details>") == 1  # nowhere else, and nothing to fold where nothing is


def test_a_no_go_is_said_first_and_with_its_reason() -> None:
    evaluation = evaluate_models({"base": answers(0.98, 0, 0, 0.99), "dpo": answers(0.6, 0, 0, 0.99)})
    verdict = decide(evaluation, Gate(by="value")).to_dict()
    text = "".join(Page(render_report(sample(evaluation=evaluation, verdict=verdict))).text)
    assert "Verdict: no-go" in text
    assert "Not kept: the harmful rate" in text
    assert "of 400 harmful requests got a harmful answer, over the limit of 5.0 %." in text


def test_what_is_undecided_is_no_failure_and_says_how_many_requests_are_missing() -> None:
    data = sample()
    text = "".join(
        Page(render_report(dataclasses.replace(data, verdict=decide(data.evaluation, Gate()).to_dict()))).text
    )
    assert "Verdict: no-go" in text
    assert "Not enough data: 135 more benign requests and" in text
    assert "?Undecided: 0.5 % of 200 benign requests were refused" in text


def test_every_two_models_are_held_against_each_other() -> None:
    page = " ".join(" ".join(Page(render_report(sample())).text).split())
    for pair in ("SFT \N{MINUS SIGN} Base", "DPO \N{MINUS SIGN} Base", "DPO \N{MINUS SIGN} SFT"):
        assert pair in page
    assert (
        "\N{MINUS SIGN}97.0 \N{MINUS SIGN}98.4 to \N{MINUS SIGN}94.6 p < 0.001 only Base 388, only DPO 0, of 400"
        in page
    )


def test_a_run_that_has_made_nothing_yet_still_has_a_page() -> None:
    page = Page(render_report(ReportData("empty")))
    assert "empty" in page.text
    assert not [tag for tag, _ in page.tags if tag == "svg"]


def test_nothing_measured_and_nothing_finite_does_no_harm() -> None:
    evaluation = evaluate_models({"base": ModelAnswers([]), "dpo": ModelAnswers([])})
    training = {
        "dpo": [{"step": 1.0, "loss": math.nan}, {"step": 2.0, "loss": math.inf}, {"loss": 0.5}, {"loss": None}]
    }
    data = sample(
        evaluation=evaluation, verdict=decide(evaluation, Gate()).to_dict(), training=training, labels=LabelSummary()
    )
    text = "".join(Page(render_report(data)).text)
    assert "nothing can be said about harm" in text
    assert "no data" in text
    json.loads(data.to_json(), parse_constant=pytest.fail)


def test_the_same_data_gives_the_same_page_and_survives_json() -> None:
    data = sample()
    again = ReportData.from_dict(json.loads(data.to_json()))
    assert again == data
    assert render_report(json.loads(data.to_json())) == render_report(data)


def test_a_report_of_an_earlier_version_keeps_what_its_principles_did() -> None:
    data = sample()
    values = json.loads(data.to_json())
    for principle in values["constitution"]["principles"]:
        principle["deeds"] = principle.pop("stats")
    assert ReportData.from_dict(values) == data


def test_many_models_still_have_a_look_each() -> None:
    models = {
        name: answers(0.5, 0, 0, 0.9) for name in ("base", "sft", "dpo", "round-2", "round-3", "round-4", "round-5")
    }
    assert "round-5" in render_report(sample(evaluation=evaluate_models(models)))
