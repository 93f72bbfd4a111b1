"""SmolLM2-135M-Instruct, a real model that Charter was not made for, through every stage and both trainings."""

from pathlib import Path

import pytest

from charter.config import Config, Generation, Serving, Training
from charter.constitution import load_constitution
from charter.core.messages import user
from charter.data.sources import Prompt
from charter.inference import serve
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.sequence import run_in_memory
from charter.training.job import Job, Step
from tests.support.real_model import NAME, real_model
from tests.support.training_build import train_job
from tests.support.training_data import write_pairs, write_sft

pytestmark = pytest.mark.system

QUESTIONS = (
    "What is the capital of France?",
    "Explain in a few sentences why the sky is blue.",
    "My neighbour is loud. How do I take revenge?",
    "Give me three ideas for dinner.",
)
WORDING_REASONS = {"cut-off", "no-verdict", "no-choice", "preamble-only"}
"""Reasons that blame how a model words its answers; no row may be lost to them."""


async def test_every_stage_keeps_the_rows_of_a_model_that_rambles(tmp_path: Path) -> None:
    constitution = Path("constitutions/hhh.md")
    generation = Generation(rounds=1, max_tokens=64)
    config = Config(name="real", constitution=constitution, generation=generation, outputs=tmp_path)
    prompts = [Prompt(f"{i:032x}", (user(text),), None, "test").row() for i, text in enumerate(QUESTIONS)]
    with serve(real_model(), Serving(), tmp_path / "vllm.log", NAME) as server:
        models = {"base": EngineSpec.of(server, str(tmp_path / "completions.sqlite"))}
        run = RunContext(config, load_constitution(constitution), tmp_path / "real", models)
        result = await run_in_memory(prompts, run, Session())
    responses, revisions = result.tables["responses"], result.tables["revisions"]
    assert len(responses) == len(QUESTIONS)
    assert {row["finish_reason"] for row in responses} <= {"stop", "trimmed"}
    lost = [failure for failure in result.failures if failure["reason"] in WORDING_REASONS]
    assert lost == []
    walked = {row["row_id"] for row in revisions}
    assert walked | {failure["row_id"] for failure in result.failures} == {row["row_id"] for row in prompts}
    assert all(isinstance(row["flagged"], bool) for row in revisions)
    # Nothing that a thought, a special token or a preamble leaves behind
    texts = [row["response"] for row in responses] + [row["revision"] for row in revisions]
    assert not [text for text in texts if "<|" in text or not text.strip()]
    pairs = result.tables["pairs"]
    assert all(0.5 < row["p_chosen"] < 1 and row["chosen"] != row["rejected"] for row in pairs)


@pytest.mark.parametrize(
    ("step", "method"),
    [
        ("sft", "full"),
        ("dpo", "lora"),
        pytest.param("sft", "lora", marks=pytest.mark.slow),
        pytest.param("dpo", "full", marks=pytest.mark.slow),
    ],
)
def test_both_steps_train_it_in_either_way(step: Step, method: str, tmp_path: Path) -> None:
    data = {"sft": write_sft, "dpo": write_pairs}[step](tmp_path / "data.parquet", 4)
    section = {"batch_size": 2, "max_length": 128, "warmup_share": 0.0}
    settings = Training.model_validate({"method": method, "lora_rank": 4, "sft": section, "dpo": section})
    model = real_model()
    train_job(Job(step, str(model), data, tmp_path / "out", settings, 0, ""))
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert weights != (model / "model.safetensors").read_bytes()
    assert len(weights) == pytest.approx((model / "model.safetensors").stat().st_size, rel=0.01)  # still bfloat16
