"""A small run on numbered prompts, which a server answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charter.config import Config


def config_with_prompts(
    outputs: Path,
    url: str,
    n: int,
    serving: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
) -> Config:
    """The config of a run on `n` prompts of one round, with a judge that leaves no tie."""
    outputs.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"prompt": f"How do I do the thing with number {i}?"}) for i in range(n)]
    (outputs / "prompts.jsonl").write_text("\n".join(rows))
    return Config.model_validate(
        {
            "name": "run",
            "outputs": str(outputs),
            "prompts": {"source": str(outputs / "prompts.jsonl")},
            "evaluation": {"grader": "judge"},
            "serving": {"base_urls": [url], **(serving or {})},
            "generation": {"rounds": 1, **(generation or {})},
            "judge": {"principles": 1, "tie_margin": 0.0},
        }
    )
