"""Rounds in the report: their curve, what is said of them, and that a run of one round shows none."""

import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config, Gate, Training
from charter.data.schema import FAILURES, SCHEMAS
from charter.data.shards import write_rows
from charter.evaluation.gate import decide
from charter.evaluation.measures import evaluate_models
from charter.report.cards import model_card
from charter.report.collect import collect
from charter.report.data import ReportData
from charter.report.headline import final_model, headline_text
from charter.report.measures import model_title
from charter.report.page import render_report
from charter.report.plots import rounds_plot
from tests.support.report_sample import answers, sample

MODELS = {
    "base": answers(0.98, 0, 0, 0.99),
    "sft": answers(0.04, 0.01, 0.06, 0.99),
    "dpo": answers(0.01, 0.005, 0.02, 0.985),
    "dpo-round-2": answers(0.005, 0.005, 0.02, 0.985),
    "dpo-round-3": answers(0.02, 0.005, 0.05, 0.985),
}
EVALUATION = evaluate_models(MODELS)


def in_rounds() -> ReportData:
    """The data of a run whose second round of three is kept."""
    verdict = decide(EVALUATION, Gate(by="value"), "dpo-round-2").to_dict()
    rounds = {"dpo": 521, "dpo-round-2": 40, "dpo-round-3": 12}
    return sample(evaluation=EVALUATION, verdict=verdict, rounds=rounds)


def test_the_curve_tells_each_measure_by_round() -> None:
    drawn = rounds_plot(EVALUATION, "dpo-round-2")
    assert "Harmful answers: round 1 1.0 %, round 2 0.5 %, round 3 2.0 %" in drawn
    for title in ("Benign refusals", "Over-refusal", "Accuracy"):
        assert f"{title}: round 1" in drawn
    assert rounds_plot(EVALUATION, "sft") != drawn  # nothing is marked as kept
    assert rounds_plot({"models": {name: EVALUATION["models"][name] for name in ("base", "sft", "dpo")}}, "dpo") == ""


def test_the_page_says_which_round_is_kept_and_compares_it_with_the_base() -> None:
    page = " ".join(render_report(in_rounds()).split())
    section = page[page.index('<section id="rounds">') :].split("</section>")[0]
    assert "<b>DPO2</b> is kept" in section
    assert "Pairs by round: DPO 521, DPO2 40, DPO3 12." in section
    assert '<a href="#rounds">Round by round</a>' in page
    headline = page[page.index("Headline table") :].split("</table>")[0]
    assert "\N{MINUS SIGN}97.5" in headline  # from 98.0 % to 0.5 %, which is not the last model's
    assert 'id="rounds"' not in render_report(sample())


def test_the_model_card_is_that_of_the_round_that_is_kept() -> None:
    card = model_card(in_rounds())
    assert "Pairs by round: DPO 521, DPO2 40, DPO3 12." in card
    assert 'from_pretrained("dpo-round-2")' in card
    assert "Pairs by round" not in model_card(sample())


def test_many_rounds_still_fit_a_terminal() -> None:
    lines = headline_text(EVALUATION).splitlines()
    assert max(map(len, lines)) <= 80
    starts = [line.split("  ")[0] for line in lines]
    assert {"DPO2", "DPO3", "DPO3 \N{MINUS SIGN} Base", "DPO3 \N{MINUS SIGN} DPO2"} <= set(starts)


@pytest.mark.parametrize(("name", "title"), [("dpo", "DPO"), ("dpo-round-2", "DPO2"), ("dpo-round-x", "dpo-round-x")])
def test_a_round_s_model_has_a_short_title(name: str, title: str) -> None:
    assert model_title(name) == title


def test_the_final_model_is_the_one_that_was_judged() -> None:
    assert final_model(EVALUATION, {"model": "dpo-round-2"}) == "dpo-round-2"
    assert final_model(EVALUATION, {}) == "dpo-round-3"
    assert final_model({}, {"model": "dpo"}) == "base"


def test_what_rounds_lost_and_learnt_is_read_from_their_folders(tmp_path: Path) -> None:
    def lose(path: Path, reason: str, stage: str = "judge") -> None:
        named = {"row_id": reason, "pair_id": None, "principle_ids": None, "detail": "why"}
        write_rows(path, FAILURES, [{**named, "stage": stage, "reason": reason}])

    def log(model: str, losses: list[float]) -> None:
        rows: list[dict[str, Any]] = [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
        (tmp_path / model).mkdir()
        (tmp_path / model / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    config = Config(name="run", training=Training(rounds=3)).model_dump_json()
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "evaluation.json").write_text(
        json.dumps({"models": {name: EVALUATION["models"][name] for name in ("base", "dpo", "dpo-round-2")}})
    )
    log("dpo", [0.7, 0.5])
    log("dpo-round-2", [0.69, 0.6])
    log("dpo-round-3", [9.0])  # of an earlier run: this one's third round made no pairs
    for name, reason in (("", "tie"), ("rounds/2", "tie"), ("rounds/3", "cut-off")):
        folder = tmp_path / name
        lose(folder / "failures" / "judge-00000.parquet", reason)
        write_rows(folder / "pairs" / "00000.parquet", SCHEMAS["pairs"], [])
    lose(tmp_path / "dpo-round-2" / "dropped.parquet", "too-long", "dpo")

    data = collect(tmp_path)
    assert data.rounds == {"dpo": 0, "dpo-round-2": 0, "dpo-round-3": 0}
    assert [(lost.stage, lost.reason, lost.count) for lost in data.failures] == [
        ("judge", "tie", 1),
        ("round 2: dpo", "too-long", 1),
        ("round 2: judge", "tie", 1),
        ("round 3: judge", "cut-off", 1),
    ]
    assert data.labels.ties == 1
    assert [(row["step"], row["loss"]) for row in data.training["dpo"]] == [(1, 0.7), (2, 0.5), (3, 0.69), (4, 0.6)]
