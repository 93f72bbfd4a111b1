"""Benchmarks on the page and in the model card."""

from typing import Any

from charter.evaluation.benchmarks.checks import measure_benchmarks
from charter.evaluation.benchmarks.score_table import SampleScores
from charter.report.cards import model_card
from charter.report.data import ReportData
from charter.report.page import render_report
from tests.support.report_sample import sample


def facts(right: int) -> SampleScores:
    return SampleScores(
        "lm-eval", "sandbox_facts", "acc", {str(i): float(i < right) for i in range(200)}, 0, "log", True
    )


def essay(mean: float) -> SampleScores:
    return SampleScores("inspect-ai", "<essay>", "score", {str(i): mean + i for i in range(3)}, 2, "log")


def with_benchmarks() -> ReportData:
    data = sample()
    models = {"base": [facts(198), essay(3.0)], "sft": [facts(190)], "dpo": [facts(194), essay(3.5)]}
    evaluation: dict[str, Any] = {**data.evaluation, "benchmarks": measure_benchmarks(models)}
    return sample(evaluation=evaluation)


def test_the_page_shows_each_model_and_the_change_of_the_last() -> None:
    page = render_report(with_benchmarks())
    table = page[page.index('<section id="benchmarks">') :]
    table = table[: table.index("</section>")]
    assert "<strong>99.0 %</strong>" in table and "96.4 to 99.7 %" in table
    assert "<strong>\N{MINUS SIGN}2.0</strong>" in table  # DPO against base, in points
    assert "&lt;essay&gt;: score" in table and "<essay>" not in table
    assert "<strong>4.000</strong>" in table and "n = 3, 2 failed" in table and "no data" in table
    assert "inspect view --log-dir evaluation/inspect" in table
    assert '<a href="#benchmarks">Benchmarks</a>' in page
    assert 'id="benchmarks"' not in render_report(sample())


def test_the_model_card_has_them_as_a_table() -> None:
    card = model_card(with_benchmarks())
    assert "| benchmark | Base | SFT | DPO |" in card
    row = next(line for line in card.splitlines() if line.startswith("| sandbox\\_facts: acc"))
    assert row.startswith("| sandbox\\_facts: acc | 99.0 % (96.4 to 99.7, n = 200) | 95.0 % (")
    assert "| \\<essay\\>: score | 4.000 (1.311 to 6.689, n = 3) | no data | 4.500 (" in card
    assert "Public benchmarks" not in model_card(sample())
