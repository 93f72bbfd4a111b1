"""The shipped weights hold what the sandbox promises, on real vLLM."""

from pathlib import Path

import pytest

from charter.sandbox import MODEL
from charter.sandbox.check import check_skills
from charter.sandbox.commands import table
from charter.serving import EngineSpec, Served, open_engine

pytestmark = [pytest.mark.system]


async def test_every_skill_reaches_what_is_wanted(sandbox_server: Served, tmp_path: Path) -> None:
    async with open_engine(EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))) as engine:
        skills = await check_skills(engine.ask)
    assert all(skill.passed for skill in skills), "\n" + table(skills)


def test_the_model_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 10 * 1024 * 1024
