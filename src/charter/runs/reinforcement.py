"""What GRPO takes from a run: the prompts that are answered, and the judge that rewards."""

from pathlib import Path

from charter.config import Config, load_config
from charter.constitution import kept_constitution_path
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.inference.engine import EngineSpec
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.pair import in_sft_half, walked_rows
from charter.runs.folder import judge_settings, shard_sizes

PROMPTS = "rl_prompts"


def write_rl_prompts(folder: Path) -> Path:
    """Write the prompts of a run that SFT does not learn from, each with its first answer; the folder they are in.

    Among them are those whose answer no critique found fault with: they make no pair, but a model that starts to
    refuse them is to be told.
    """
    share = load_config(folder / "config.yaml").training.sft_share
    for shard in shard_sizes(folder):
        responses, revisions = (list(read_rows(folder / name / _file(shard))) for name in ("responses", "revisions"))
        rows = [
            {name: row[name] for name in SCHEMAS[PROMPTS].names}
            for row in walked_rows(responses, revisions)
            if not in_sft_half(row["prompt"], share)
        ]
        write_rows(folder / PROMPTS / _file(shard), SCHEMAS[PROMPTS], rows)
    return folder / PROMPTS


def reward_judge(config: Config, engine: EngineSpec) -> RewardJudge:
    """The run's judge behind `engine`, with the constitution and the panel as the run's folder keeps them."""
    folder, making = config.run_folder.resolve(), config.generation
    settings = judge_settings(folder, config)
    return RewardJudge(engine, settings, kept_constitution_path(folder), config.seed, making.templates, making.preface)


def _file(shard: int) -> str:
    return f"{shard:05d}.parquet"
