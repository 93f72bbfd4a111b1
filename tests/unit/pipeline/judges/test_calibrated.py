"""Labels calibrated by the curve that an audit fitted, kept from the run's beginning to its end."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from charter.audit.metrics import audit_metrics, calibration_scores
from charter.config import Config, Judge
from charter.core.errors import ConfigError
from charter.core.messages import Messages
from charter.data.shards import read_rows
from charter.inference.completion import Sampling
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.calibrated import read_curve
from charter.pipeline.judges.calibration import Isotonic, Temperature, curve_of
from charter.pipeline.judges.floor import label_settings
from charter.pipeline.judges.protocol import JUDGES
from charter.report.collect import collect
from charter.runs.folder import AUDIT, judge_settings
from charter.runs.preflight import check_config
from charter.testing.null_server import NullServer, run_null_server
from charter.views.explain.story import read_story
from tests.support.judge_scripts import candidate, context
from tests.support.judged_pairs import good, judged, pairs
from tests.support.scripted_run import make_run

CURVES = {
    "temperature": {"parameters": {"temperature": 2.0}},
    "isotonic": {"parameters": {"stated": [0.1, 0.3, 0.7, 0.9], "found": [0.4, 0.5, 0.5, 0.6]}},
}


def audit(path: Path, **curves: Any) -> Path:
    rate = {"value": 0.95, "low": 0.9, "high": 1.0, "n": 100}
    said = {"agreement": rate, "calibration": CURVES | curves}
    settings = {name: getattr(Judge(), name) for name in label_settings(JUDGES.names())}
    named = {"identity": "served:null@unknown", "kind": "choice", "members": []}
    path.write_text(json.dumps({"judge": named, "settings": settings, "figures": said}))
    return path


def prefers_safe(messages: Messages, sampling: Sampling) -> float:
    return 0.9 if "<answer_a>\nsafe" in messages[-1]["content"] else 0.1


@pytest.mark.parametrize(("name", "p"), [(None, 0.9), ("temperature", 0.75), ("isotonic", 0.6)])
async def test_a_label_is_mended_and_what_was_read_stays(tmp_path: Path, name: Any, p: float) -> None:
    settings = Judge(audit=audit(tmp_path / "audit.json"), calibration=name)
    (row,) = (await judge_candidates([candidate()], context(prefers_safe)[0], settings)).rows
    assert row["p_chosen"] == pytest.approx(p)
    assert row["p_by_principle"] == pytest.approx([0.9] * 3) and row["p_by_order"] == pytest.approx([0.9, 0.9])


async def test_what_the_audit_knows_to_be_a_coin_is_a_tie(tmp_path: Path) -> None:
    settings = Judge(audit=audit(tmp_path / "audit.json"), calibration="isotonic")
    unsure = context(lambda m, s: 0.68 if "<answer_a>\nsafe" in m[-1]["content"] else 0.32)[0]
    outcome = await judge_candidates([candidate()], unsure, settings)
    assert [(f["reason"], f["detail"].split(" under")[0]) for f in outcome.failures] == [("tie", "p = 0.500")]


async def test_what_an_audit_fitted_is_what_a_run_applies() -> None:
    """90 % sure and always right: the curves that the audit tried on its other half come out of its record again."""
    found = audit_metrics(await judged(good(0.7), pairs(120)))
    assert found["calibration"] == calibration_scores(await judged(good(0.7), pairs(120)))
    record = json.loads(json.dumps({"figures": found}))
    temperature, isotonic = (curve_of(record, name) for name in ("temperature", "isotonic"))
    assert isinstance(temperature, Temperature) and isinstance(isotonic, Isotonic)
    assert temperature([0.7])[0] > 0.99 and isotonic([0.7])[0] > 0.99 and isotonic([0.3])[0] < 0.01


LAW = "---\nname: Manners\n---\n## Be kind {#kind}\nAnswers are kind.\n"
PROMPTS = [{"id": f"r{i}", "prompt": f"Question {i}?"} for i in range(6)]


def answer(messages: Messages, sampling: Sampling) -> str | float:
    asked = messages[-1]["content"]
    if sampling.choices:
        return prefers_safe(messages, sampling)
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('bad') else 'respected'}"
    return f"{'safe' if asked.startswith('Rewrite') else 'bad'} words"


def test_a_run_keeps_the_audit_that_mends_its_labels(tmp_path: Path) -> None:
    path = audit(tmp_path / "audit.json")
    settings = Judge(audit=path, calibration="temperature", principles=1)
    run = make_run(tmp_path, LAW, PROMPTS, answer, judge=settings)
    path.write_text("")  # which the run does not look at any more
    kept = Config(name="run", outputs=tmp_path, judge=settings)
    assert read_curve(judge_settings(run, kept)) == Temperature(0.5) and (run / AUDIT).is_file()
    rows = [row for name in ("pairs", "sft_data") for row in read_rows(run / name)]
    assert len(rows) == 6 and {round(row["p_chosen"], 6) for row in rows} == {0.75}
    label = read_story(run, rows[0]["row_id"]).kept[0].label
    assert label is not None and label.shares[0].log_odds + label.rest == pytest.approx(label.log_odds)
    make_run(tmp_path, LAW, PROMPTS, answer)
    assert not (run / AUDIT).exists()


@pytest.mark.parametrize("calibration", [None, "temperature"])
def test_the_report_tells_of_the_audit_as_it_was_when_the_run_began(tmp_path: Path, calibration: str | None) -> None:
    path = audit(tmp_path / "audit.json")
    before = json.loads(path.read_text())
    run = make_run(tmp_path, LAW, PROMPTS, answer, judge=Judge(audit=path, calibration=calibration, principles=1))
    path.write_text(json.dumps({"figures": {"agreement": "of another judge"}}))  # audited again, after the run
    assert collect(run).audit == before
    path.unlink()
    assert collect(run).audit == before
    make_run(tmp_path, LAW, PROMPTS, answer)
    assert collect(run).audit == {}


def test_a_run_without_a_curve_to_calibrate_by_is_refused_before_it_starts(tmp_path: Path) -> None:
    with run_null_server(NullServer()) as server:
        values = {"prompts": {"n": 8}, "serving": {"base_urls": [server.url]}, "outputs": str(tmp_path)}
        path = audit(tmp_path / "audit.json", isotonic=None)
        for name in ("temperature", "isotonic"):
            config = Config.model_validate(values | {"judge": {"audit": str(path), "calibration": name}})
            if name == "temperature":
                check_config(config)
            else:
                with pytest.raises(ConfigError, match="had too few pairs to fit a curve"):
                    check_config(config)
    with pytest.raises(ValidationError, match="name its audit"):
        Judge(calibration="temperature")
    with pytest.raises(ConfigError, match="is no audit"):
        read_curve(Judge(audit=tmp_path / "none.json", calibration="isotonic"))
