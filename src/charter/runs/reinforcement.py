"""What GRPO needs from a run: the prompts, and the judge that rewards answers to them."""

from pathlib import Path

from charter.config import Config, load_config
from charter.constitution import kept_constitution_path
from charter.data.schema import SCHEMAS
from charter.data.shards import write_rows
from charter.inference.engine import EngineSpec
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.pair import in_sft_half, walked_rows
from charter.pipeline.shards import read_shard, shard_path
from charter.runs.folder import judge_settings, shard_sizes

PROMPTS = "rl_prompts"


def write_rl_prompts(folder: Path) -> Path:
    """Write the prompts of a run that SFT does not learn from, each with its first answer. Returns their folder.

    Prompts whose answer no critique found fault with are among them: they make no pair, but a model that starts to
    refuse them must lose reward.
    """
    share = load_config(folder / "config.yaml").training.sft_share
    for shard in shard_sizes(folder):
        responses, revisions = (read_shard(folder, name, shard) for name in ("responses", "revisions"))
        rows = [
            {name: row[name] for name in SCHEMAS[PROMPTS].names}
            for row in walked_rows(responses, revisions)
            if not in_sft_half(row["prompt"], share)
        ]
        write_rows(shard_path(folder, PROMPTS, shard), SCHEMAS[PROMPTS], rows)
    return folder / PROMPTS


def reward_judge(config: Config, engine: EngineSpec) -> RewardJudge:
    """The run's judge behind `engine`, with the constitution and the panel as the run's folder keeps them."""
    folder, generation = config.run_folder.resolve(), config.generation
    return RewardJudge(
        engine,
        judge_settings(folder, config),
        kept_constitution_path(folder),
        config.seed,
        generation.templates,
        generation.preface,
    )
