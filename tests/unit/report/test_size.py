"""The report of a large run: small enough to send, with what it leaves out said."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import pytest

from charter.config import Config
from charter.core.statistics.intervals import wilson
from charter.report.collect import collect
from charter.report.curves import POINTS, thin
from charter.report.data import MetricRow
from charter.report.plots import KINDS, kinds_plot, running_means
from charter.report.publish import write_report
from tests.support.complete_report import FINAL, measured

STEPS, MANY = 100_000, 1_000
KEYS = ("loss", "rewards/accuracies", "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")


def metrics(n: int) -> list[MetricRow]:
    """Steps whose numbers come down in zigzag."""
    return [{"step": s, **dict.fromkeys(KEYS, 1 / (1 + s / n) + s % 7 / 100)} for s in range(1, n + 1)]


def test_a_report_of_a_large_run_is_small(tmp_path: Path) -> None:
    evaluation = copy.deepcopy(measured())
    for entry in evaluation["models"].values():
        for measure in ("harmful_rate_by_kind", "borderline_refusal_rate_by_kind"):
            entry[measure] = {f"kind {i:04d}": wilson(i % 5, 20).to_dict() for i in range(MANY)}
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    (tmp_path / "config.yaml").write_text(Config(name="large").model_dump_json())
    (tmp_path / "dpo").mkdir()
    (tmp_path / "dpo" / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in metrics(STEPS)))
    page = write_report(tmp_path, collect(tmp_path))
    assert page.stat().st_size < 5_000_000
    assert (tmp_path / "report.json").stat().st_size < 5_000_000
    assert len(json.loads((tmp_path / "report.json").read_text())["training"]["dpo"]) <= POINTS
    assert "Of 1,000 kinds, the plot shows those on which DPO2 does worst" in page.read_text()


def test_many_steps_become_means_and_few_stay() -> None:
    rows = metrics(5_000)
    assert thin(rows[:POINTS]) == rows[:POINTS]
    few = thin(rows)
    assert len(few) <= POINTS and few[0] == rows[0] and few[-1]["step"] == 5_000
    assert few[1] == pytest.approx({"step": 4} | {key: sum(row[key] for row in rows[1:4]) / 3 for key in KEYS})
    assert all(a["step"] < b["step"] for a, b in pairwise(few))
    gaps: list[MetricRow] = [{"loss": 1.0}, {"loss": None}, {"loss": float("nan"), "kl": 2.0}, {"loss": 3.0}, {}]
    assert thin(gaps, 3) == [{"loss": 1.0}, {"kl": 2.0}, {"loss": 3.0}]


def test_running_means_are_those_of_the_last_so_many() -> None:
    assert running_means([1.0, 2.0, 3.0, 4.0], 2) == [1.0, 1.5, 2.5, 3.5]
    assert running_means([1.0, 2.0], 5) == [1.0, 1.5]
    assert running_means([], 1) == []


def test_of_many_kinds_the_worst_are_drawn() -> None:
    rates = {f"kind {i:02d}": wilson(i, 60).to_dict() for i in range(60)}
    evaluation = {"models": {"base": {"harmful_rate_by_kind": dict.fromkeys(rates, rates["kind 00"])}}}
    evaluation["models"][FINAL] = {"harmful_rate_by_kind": rates}
    drawn = kinds_plot(evaluation, final=FINAL)
    assert "kind 59: " in drawn and f"kind {60 - KINDS}: " in drawn and f"kind {59 - KINDS}: " not in drawn
