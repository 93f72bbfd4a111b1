"""Reward model and GRPO as real training processes, one of which is killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Training
from charter.training import TrainingResult, run_training
from tests.support.tiny_model import make_tiny_model
from tests.support.training_data import separable, write_rl_prompts, write_rows, write_sft

pytestmark = [pytest.mark.system, pytest.mark.slow]

SETTINGS = Training.model_validate(
    {
        "preference": "grpo",
        "sft": {"epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "max_length": 256},
        "reward": {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3},
        "grpo": {
            "epochs": 6, "group": 8, "batch_size": 64, "max_tokens": 24, "learning_rate": 3e-3, "save_steps": 3,
            "reward": "model",
        },
    }
)  # fmt: skip


def test_grpo_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Answers are drawn at every step: after a kill, the same ones as if it had not been."""
    sft = run_training(
        "sft", make_tiny_model(tmp_path / "base"), write_sft(tmp_path / "sft.parquet", 192), tmp_path / "sft", SETTINGS
    )
    pairs = write_rows(tmp_path / "pairs.parquet", separable(128))
    reward = run_training("reward", sft.model, pairs, tmp_path / "reward", SETTINGS)
    prompts = write_rl_prompts(tmp_path / "prompts.parquet", 16)

    def reinforce(name: str, on_metrics: Any = None) -> TrainingResult:
        return run_training("grpo", sft.model, prompts, tmp_path / name, SETTINGS, 0, on_metrics, reward.model)

    whole = reinforce("whole")

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == 8:
            raise KeyboardInterrupt  # ends the group with SIGKILL

    with pytest.raises(KeyboardInterrupt):
        reinforce("killed", kill)
    lines: list[dict[str, Any]] = []
    assert reinforce("killed", lines.append).steps == whole.steps == 12
    assert lines[0]["step"] > 1
    assert (tmp_path / "killed/model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    tokens = [
        [json.loads(line)["tokens"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("killed", "whole")
    ]
    assert tokens[0] == tokens[1] == sorted(tokens[1])
