"""Does the judge read the principle? Scripted judges that do, and that do not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from charter.audit.concerns import concerns, passes
from charter.audit.sensitivity import measure_sensitivity, neutral_principles
from charter.config import Generation, Judge
from charter.core.errors import ConfigError
from charter.core.files import write_json
from charter.core.messages import Messages
from charter.inference.completion import Sampling
from charter.pipeline.judges.floor import check_audit, how_asked
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rows import StageContext
from charter.testing.scripted import ScriptedModel
from tests.support.judged_pairs import LAW, audited, good, pairs, shown

Choose = Callable[[str, str], float]
"""From the question's principle and the answer shown as A to the probability of A."""


def reads_the_principle(question: str, a: str) -> float:
    sign = -1 if "Do the opposite" in question else 1 if "Principle number 1." in question else 0
    return 0.5 + 0.45 * sign * (1 if a.startswith("good") else -1)


def ignores_the_principle(question: str, a: str) -> float:
    return 0.95 if a.startswith("good") else 0.05


async def measured(choose: Choose, bearing: frozenset[str] | None = frozenset({"p1"})) -> dict[str, dict[str, float]]:
    def script(messages: Messages, sampling: Sampling) -> float:
        return choose(messages[-1]["content"].split("</answer_b>")[-1], shown(messages)[0])

    context = StageContext(ScriptedModel(script).ask, LAW, seed=1, model_identity="m")
    found = await measure_sensitivity(pairs(60, bearing=bearing), 40, judge_of(Judge()), context)
    assert found is not None
    return found


async def test_a_judge_that_reads_the_principle_moves_with_it() -> None:
    found = await measured(reads_the_principle)
    assert found["applicable"]["n"] == 40
    assert found["applicable"]["value"] == pytest.approx(0.95)
    assert found["inapplicable"]["value"] == pytest.approx(0.5)
    assert found["inverted"]["value"] == pytest.approx(0.05)
    assert found["distance"]["value"] == pytest.approx(0.0)
    assert found["shift"]["value"] == pytest.approx(0.45)
    assert found["inversion"]["value"] == pytest.approx(0.9)


async def test_a_judge_that_ignores_the_principle_is_caught_though_it_agrees_with_every_label() -> None:
    figures = await audited(good(0.98), pairs(200))
    for choose, caught in ((ignores_the_principle, True), (reads_the_principle, False)):
        figures["sensitivity"] = await measured(choose)
        assert ("sensitivity" in {concern.figure for concern in concerns(figures, 0.8)}) == caught
        assert passes(figures, 0.8, 0.5, 0.3) != caught
        assert passes(figures, 0.8, 0.5)


async def test_without_known_principles_neutral_ones_do_not_apply() -> None:
    asked = set[str]()

    def choose(question: str, a: str) -> float:
        asked.update(p.text for p in neutral_principles() if p.text in question)
        return 0.5

    await measured(choose, bearing=None)
    assert asked == {principle.text for principle in neutral_principles()}


@pytest.mark.parametrize(("low", "refused"), [(0.1, True), (0.4, False), (None, True)])
def test_a_run_can_require_a_judge_that_reads_the_principle(tmp_path: Path, low: float | None, refused: bool) -> None:
    sensitivity = None if low is None else {"shift": {"low": low}}
    record = {
        "judge": {"identity": "m", "kind": "choice", "members": []},
        "settings": how_asked(Judge(), Generation()),
        "figures": {"agreement": {"n": 100, "low": 0.9}, "ties": {"value": 0.0}, "sensitivity": sensitivity},
    }
    settings = Judge(audit=write_json(tmp_path / "audit.json", record), min_sensitivity=0.3)
    if refused:
        with pytest.raises(ConfigError, match="min_sensitivity"):
            check_audit(settings, "m")
    else:
        check_audit(settings, "m")
