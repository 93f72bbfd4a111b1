from pathlib import Path

from charter.config import Judge, load_config
from charter.core.messages import Messages
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows
from charter.inference import EngineSpec
from charter.inference.completion import Sampling
from charter.pipeline.pair import in_sft_half
from charter.runs.reinforcement import reward_judge, write_rl_prompts
from tests.support.scripted_run import make_run

LAW = "---\nname: law\n---\n## One {#one}\nBe kind.\n"


def script(messages: Messages, sampling: Sampling) -> str | float:
    """Every other first answer is bad, and revised."""
    asked = messages[-1]["content"]
    if sampling.choices:
        return 0.9 if "<answer_a>\ngood" in asked else 0.1
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('bad') else 'respected'}"
    return "good now" if asked.startswith("Rewrite") else f"{'bad' if is_bad(asked) else 'good'}, {asked}"


def is_bad(asked: str) -> bool:
    """Whether the number in the question is odd."""
    return int(asked.split()[1][:-1]) % 2 == 1


def test_the_prompts_of_grpo_are_those_that_sft_does_not_learn_from(tmp_path: Path) -> None:
    prompts = [{"prompt": f"Question {i}?"} for i in range(40)]
    folder = make_run(tmp_path / "outputs", LAW, prompts, script, rounds=1, shard_size=25)
    written = write_rl_prompts(folder)
    rows = list(read_rows(written))
    taught = {row["row_id"] for row in read_rows(folder / "sft_data")}
    half = [row for row in read_rows(folder / "prompts") if not in_sft_half(row["prompt"], 0.5)]
    assert [row["row_id"] for row in rows] == [row["row_id"] for row in half]
    assert not taught & {row["row_id"] for row in rows}
    assert {row["row_id"] for row in read_rows(folder / "pairs")} < {row["row_id"] for row in rows}
    for row in rows:
        bad = is_bad(row["prompt"][0]["content"])
        assert (row["first"].split(",")[0], row["drawn"]) == (("bad", ["one"]) if bad else ("good", []))
    assert [path.name for path in sorted(written.iterdir())] == ["00000.parquet", "00001.parquet"]
    assert list(rows[0]) == SCHEMAS["rl_prompts"].names


def test_the_judge_of_grpo_is_the_run_s(tmp_path: Path) -> None:
    judging = Judge(kind="score", principles=1)
    folder = make_run(tmp_path / "outputs", LAW, [{"prompt": "Question 1?"}], script, judge=judging, judged=False)
    spec = EngineSpec((), "judge", "m", "store.sqlite")
    judge = reward_judge(load_config(folder / "config.yaml"), spec)
    assert (judge.engine, judge.settings, judge.constitution) == (spec, judging, folder / "constitution" / "law.md")
