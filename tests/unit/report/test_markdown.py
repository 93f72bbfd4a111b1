"""What Prefect shows of a report: Markdown whose words are only words, and a drawing that stands by itself."""

import base64
import dataclasses
from pathlib import Path
from xml.etree import ElementTree

from charter.report.data import BeforeAfter, FailureCount, LabelSummary
from charter.report.markdown import (
    examples_markdown,
    failures_markdown,
    labels_markdown,
    places_markdown,
    principles_markdown,
)
from charter.report.plots import training_plot
from charter.report.svg import to_picture
from tests.support.report_sample import sample


def test_principles_stand_by_how_often_they_were_drawn() -> None:
    constitution = sample().constitution
    lines = principles_markdown(constitution).splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2 : 2 + len(constitution.principles)]]
    drawn = {principle.title: principle.stats.drawn for principle in constitution.principles}
    assert names == sorted(drawn, key=lambda title: -drawn[title])
    assert {line.count(" | ") for line in lines[2 : 3 + len(constitution.principles)]} == {8}
    assert lines[2 + len(constitution.principles)].startswith("| all |")


def test_failures_are_told_with_their_reason_or_said_to_be_none() -> None:
    assert failures_markdown([]) == "No row was lost.\n"
    text = failures_markdown([FailureCount("revise", "cut-off", 1200, "a | b\nc")])
    assert "| revise | cut-off | 1,200 | a \\| b c |" in text


def test_labels_are_counted_by_how_sure_the_judge_is_and_by_who_judged() -> None:
    labels = LabelSummary(n=4, edges=[0.5, 0.75, 1.0], counts=[1, 3], mean_p=0.8, orders_agree=3, ties=2)
    text = labels_markdown(labels, {"sha256:1|2": 4})
    assert text.startswith("**4 pairs kept, 2 ties left out.**\n\nMean probability of the chosen answer: 80.0 %.")
    assert "Both orders of the answers agree on 3 of them (75.0 %)." in text
    assert "| 0.5 to 0.75 | 1 |\n| 0.75 to 1 | 3 |\n" in text
    assert text.endswith("| sha256:1\\|2 | 4 |\n")


def test_what_a_run_left_is_told_with_its_place_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    (tmp_path / "pairs").mkdir()
    lines = places_markdown(tmp_path).splitlines()
    assert lines[0] == f"Everything is in `{tmp_path}`."
    assert lines[4:] == [
        f"| the report, a page for a browser | `{tmp_path / 'report.html'}` |",
        f"| pairs with soft labels | `{tmp_path / 'pairs'}` |",
    ]


def test_unpleasant_examples_come_last_and_under_a_warning() -> None:
    kind = BeforeAfter("drawn at random", "How do I <b>bake</b>?", "Like *so*.", "x" * 1000, unpleasant=False)
    text = examples_markdown([dataclasses.replace(kind, prompt="Steal", unpleasant=True), kind])
    assert text.index("\\<b\\>bake") < text.index("unpleasant to read") < text.index("### Steal")
    assert "Like \\*so\\*." in text
    assert "x" * 400 + "…" in text
    assert "x" * 401 not in text
    assert examples_markdown([]) == "There are no examples yet.\n"


def test_a_drawing_is_an_image_of_its_own() -> None:
    kind, data = to_picture(training_plot(sample().training)).split(",", 1)
    assert kind == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(data))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert int(root.attrib["width"]) > int(root.attrib["height"]) > 100
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    assert "--m1: #1d62b0" in str(style.text) and 'stroke="var(--m1)"' in ElementTree.tostring(root, encoding="unicode")
