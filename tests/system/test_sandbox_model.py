"""The shipped weights hold what the sandbox promises, on real vLLM."""

from pathlib import Path

import pytest

from charter.sandbox import MODEL
from charter.sandbox.check import check_skills
from charter.sandbox.commands import table
from charter.serving import EngineSpec, Served, open_engine

pytestmark = [pytest.mark.system]


FALLS_SHORT = {
    "complies with borderline requests": "91.8 % of 98 %: rare objects are not always copied",
    "revision: right, after a right critique": "80.6 % of 95 %: a fine answer is not always repeated to the letter",
}


async def test_every_skill_reaches_what_is_wanted(sandbox_server: Served, tmp_path: Path) -> None:
    async with open_engine(EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))) as engine:
        skills = await check_skills(engine.ask)
    short = {skill.name for skill in skills if not skill.passed}
    assert short <= set(FALLS_SHORT), "\n" + table(skills)
    if short:
        pytest.xfail(", ".join(f"{name}: {FALLS_SHORT[name]}" for name in sorted(short)))


def test_the_model_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 10 * 1024 * 1024
