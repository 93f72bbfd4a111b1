"""What follows SFT, as the config says: DPO on the pairs, or GRPO with a reward."""

from pathlib import Path

from charter.config import Config
from charter.runs.reinforcement import reward_judge, write_rl_prompts
from charter.training.launch import TrainingResult
from flows.serving import serve_judge
from flows.tasks import train_step


def train_preference(config: Config, sft: Path) -> TrainingResult:
    """Train the model of `training.preference`, whose name it has, from SFT's.

    GRPO's judge is served as long as GRPO runs; a reward model is trained before, from SFT's model as well.
    """
    if config.training.preference == "dpo":
        return train_step(config, "dpo", str(sft))
    write_rl_prompts(config.run_folder)
    if config.training.asks_judge:
        with serve_judge(config) as engine:
            return train_step(config, "grpo", str(sft), reward=reward_judge(config, engine))
    reward = train_step(config, "reward", str(sft))
    return train_step(config, "grpo", str(sft), reward=reward.model)
