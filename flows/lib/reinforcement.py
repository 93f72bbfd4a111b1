"""What follows SFT, as the config says: DPO on the pairs, or GRPO with a reward."""

from pathlib import Path

from charter.runs.reinforcement import reward_judge, write_rl_prompts
from charter.training.launch import TrainingResult
from flows.lib.flow_run import FlowRun
from flows.lib.serving import serve_judge
from flows.lib.tasks import train_step


async def train_preference(run: FlowRun, sft: Path) -> TrainingResult:
    """Train the model of `training.preference`, whose name it has, from SFT's.

    GRPO's judge is served while GRPO runs; a reward model is trained first, also from SFT's model.
    """
    config = run.config
    if config.training.preference == "dpo":
        return await train_step(run, "dpo", str(sft))
    write_rl_prompts(config.run_folder)
    if config.training.asks_judge:
        async with serve_judge(run) as engine:
            return await train_step(run, "grpo", str(sft), reward=reward_judge(config, engine))
    reward = await train_step(run, "reward", str(sft))
    return await train_step(run, "grpo", str(sft), reward=reward.model)
