"""GRPO on the tiny model: what is rewarded becomes more frequent, and what has no reward changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Judge, Training
from charter.core.errors import TrainingError
from charter.core.messages import Message
from charter.inference import EngineSpec
from charter.pipeline.judges.reward import RewardJudge
from charter.testing.null_server import NullServer, run_null_server
from charter.training.job import Job
from charter.training.rewards import make_reward
from charter.training.watch import Watch
from tests.support.training_build import build_job, train_job
from tests.support.training_data import goodness, write_rl_prompts

LAW = "---\nname: words\n---\n## Words {#words}\nUse the better words.\n"
END = 1


def grpo_job(model: Path, folder: Path, reward: RewardJudge | Path, prompts: int = 16, **changes: Any) -> Job:
    section = {"group": 8, "batch_size": 64, "max_tokens": 24, "learning_rate": 3e-3, "warmup_share": 0.0} | changes
    settings = Training.model_validate({"preference": "grpo", "grpo": section})
    data = write_rl_prompts(folder / "prompts.parquet", prompts)
    return Job("grpo", str(model), data, folder / "grpo", settings, 0, "", reward)


def lines(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.out / "metrics.jsonl").read_text().splitlines()]


def better_words(messages: list[Message]) -> str:
    """A or B, whichever of both answers has more of the better words."""
    asked = messages[-1]["content"]
    a, b = (asked.split(f"<answer_{x}>")[1].split("</answer_")[0] for x in "ab")
    return "A" if goodness(a) > goodness(b) else "B"


def test_a_reward_model_s_score_rises(speaking: Path, ranker: Path, tmp_path: Path) -> None:
    job = grpo_job(speaking, tmp_path, ranker, epochs=3)
    watch = train_job(job)
    made = lines(job)
    assert [line["step"] for line in made] == list(range(1, 7))
    assert made[-1]["reward"] > made[0]["reward"] + made[0]["reward_std"] / 2
    assert {"kl", "rewards/missing", "completions/mean_length", "tokens"} <= made[-1].keys()
    assert watch.warnings == []
    assert (job.out / "config.json").read_bytes() == (speaking / "config.json").read_bytes()


def test_a_judge_s_probability_rises(speaking: Path, tmp_path: Path) -> None:
    (tmp_path / "law.md").write_text(LAW)
    with run_null_server(NullServer(answer=better_words)) as server:
        spec = EngineSpec((server.url,), server.model_name, "m", str(tmp_path / "store.sqlite"))
        job = grpo_job(speaking, tmp_path, RewardJudge(spec, Judge(principles=1), tmp_path / "law.md"), epochs=3)
        train_job(job)
    made = lines(job)
    assert 0.2 < made[0]["reward"] < 0.6
    assert made[-1]["reward"] > made[0]["reward"] + 0.1


def columns(answers: list[list[int]], texts: list[str]) -> dict[str, Any]:
    """What TRL gives a reward function."""
    n = len(answers)
    return {
        "prompts": [[{"role": "user", "content": "Why?"}]] * n,
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "completion_ids": answers,
        "row_id": ["r"] * n,
        "prompt_ids": [[5, 6]] * n,
        "first": ["You steal."] * n,
        "drawn": [[]] * n,
    }


def test_what_is_cut_off_or_empty_has_no_reward(ranker: Path, tmp_path: Path) -> None:
    """None, which TRL leaves out of the group's mean; never a number that says it is bad."""
    told: dict[str, float] = {}
    reward = make_reward(grpo_job(ranker, tmp_path, ranker), {END})
    asked = columns([[7, 8], [END], [], [7, END], [8, 9, 10, END]], ["You", "", "", "You", "You steal a"])
    made = reward(**asked, log_metric=told.__setitem__)
    assert made[:3] == [None, None, None]
    assert all(isinstance(value, float) for value in made[3:])
    assert told == {"rewards/missing": 0.6, "rewards/alike": 0.0}
    alone = reward(**columns([[7, END]], ["You"]), log_metric=told.__setitem__)
    assert alone == pytest.approx(made[3:4], abs=1e-5)  # padding beside a longer answer changes nothing


def test_prompts_that_do_not_fill_a_step_are_refused(speaking: Path, ranker: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a step takes 8 prompts, and there are 5"):
        build_job(grpo_job(speaking, tmp_path, ranker, prompts=5))


def warned(job: Job) -> list[str]:
    watch: Watch = train_job(job)
    return watch.warnings


def test_watchdogs_see_answers_without_rewards_and_rewards_without_a_difference(
    tiny: Path, speaking: Path, ranker: Path, tmp_path: Path
) -> None:
    few = {"group": 4, "batch_size": 8, "epochs": 5, "prompts": 4, "learning_rate": 1e-6}
    (one, two) = (tmp_path / "one", tmp_path / "two")
    one.mkdir()
    two.mkdir()
    (text,) = warned(grpo_job(tiny, one, ranker, max_tokens=4, **few))  # untrained, it does not end
    assert "100% of the answers of 10 steps have no reward" in text
    (text,) = warned(grpo_job(speaking, two, ranker, temperature=1e-3, **few))
    assert "for 10 steps all answers to the same prompt have had the same reward" in text
