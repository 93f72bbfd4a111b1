"""The sandbox's judge on held-out pairs, by the oracle: right, calibrated, and better in company."""

from pathlib import Path
from typing import Any

import pytest

from charter.audit.judged import judge_pairs
from charter.audit.labelled import LabelledData, read_labelled
from charter.audit.metrics import audit_metrics
from charter.config import Judge
from charter.constitution import load_constitution
from charter.inference import EngineSpec, Served, open_engine
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rows import StageContext

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1200)]

HARMLESS = load_constitution(Path(__file__).parents[2] / "constitutions" / "harmless.md")
N = 2000


async def audited(labelled: LabelledData, principles: int, spec: EngineSpec) -> dict[str, Any]:
    async with open_engine(spec) as engine:
        context, settings = StageContext(engine.ask, HARMLESS, 0, spec.identity), Judge(principles=principles)
        said = await judge_pairs(labelled.pairs, judge_of(settings), context, settings)
    assert said.failures == []
    return audit_metrics(said.pairs, settings.tie_margin)


async def test_three_principles_in_both_orders_are_right_calibrated_and_better_than_one_in_one(
    sandbox_server: Served, tmp_path: Path
) -> None:
    labelled = read_labelled("sandbox", "sandbox", HARMLESS, N)
    assert len(labelled.pairs) == N
    spec = EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))
    three, one = await audited(labelled, 3, spec), await audited(labelled, 1, spec)
    measured = {
        "agreement": three["agreement"],
        "ties": three["ties"],
        "one order, one principle": one["one_order"],
        "flips": (one["position"]["flips"], three["position"]["flips"]),
        "by kind": three["by_kind"],
        "ece": {name: three["calibration"][name]["ece"] for name in ("before", "temperature", "isotonic")},
    }
    assert three["agreement"]["value"] >= 0.95, measured
    assert three["ties"]["value"] <= 0.10, measured
    # No less, and no more where both are right every time.
    alone = one["one_order"]["agreement"]["value"]
    assert three["agreement"]["value"] > alone or three["agreement"]["value"] == alone == 1.0, measured
    assert three["calibration"]["isotonic"]["ece"] <= 0.05, measured
    flips, flips_alone = three["position"]["flips"]["value"], one["position"]["flips"]["value"]
    assert flips < flips_alone or flips == flips_alone == 0.0, measured
