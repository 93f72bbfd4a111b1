from collections.abc import Callable

import pytest

from charter.constitution import Constitution, Principle
from charter.core.messages import user
from charter.pipeline.rows import StageContext
from charter.testing.scripted import Script, ScriptedModel

LAW = Constitution("law", "1", tuple(Principle(f"p{i}", f"P{i}", f"Principle number {i}.") for i in range(4)))


@pytest.fixture
def context() -> Callable[[Script], StageContext]:
    return lambda script: StageContext(ScriptedModel(script).ask, LAW, seed=1, model_identity="m")


@pytest.fixture
def prompts() -> Callable[[int], list[dict[str, object]]]:
    return lambda n: [
        {"row_id": f"r{i}", "prompt": [user(f"Question {i}?")], "kind": None, "source": "test"} for i in range(n)
    ]
