"""What the tests of the judges share: a small law, a context with a scripted model, candidates to judge."""

from typing import Any

from charter.constitution import Constitution, Principle
from charter.core.messages import user
from charter.pipeline.rows import StageContext
from charter.testing.scripted import Script, ScriptedModel

LAW = Constitution("law", "1", tuple(Principle(f"p{i}", f"P{i}", f"Principle number {i}.") for i in range(3)))
PROMPT = [user("Question?")]


def context(script: Script, law: Constitution = LAW) -> tuple[StageContext, ScriptedModel]:
    """A run's context, and the model behind it, which keeps what it was asked."""
    model = ScriptedModel(script)
    return StageContext(model.ask, law, seed=1, model_identity="m"), model


def candidate(row_id: str = "r0", question: str = "Question?", kind: str | None = None) -> dict[str, Any]:
    """A pair to judge, its first answer bad and its last one safe."""
    row = {"row_id": row_id, "pair_id": f"{row_id}/revision/0", "strategy": "revision", "prompt": [user(question)]}
    return {**row, "kind": kind, "seed": 1, "first": "bad", "last": "safe", "drawn": [], "model_identity": "m"}
