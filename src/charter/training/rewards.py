"""Rewards of GRPO's answers in the form of TRL's reward functions: a number for each answer, or None if unknown.

TRL leaves an answer without a reward out of its group's mean, and the answer changes nothing. So None is not a low
reward: it is given if the judge failed, and to answers that a run would never use, cut-off and empty ones.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification

from charter.inference.session import Session
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.rows import Row
from charter.training.job import Job

log = logging.getLogger("charter.training")

Score = Callable[[Sequence[Row]], Sequence[float | str]]
"""From rows of ``rl_prompts`` with their `answer` and `answer_ids` to rewards, or reasons why there are none."""


def make_reward(job: Job, end_ids: set[int]) -> Callable[..., list[float | None]]:
    """What `job` rewards answers with, in the form of TRL's reward functions.

    Args:
        job: of the step ``grpo``.
        end_ids: the tokens that end a turn.
    """
    size = job.optimisation.batch_size
    score = by_judge(job.reward) if isinstance(job.reward, RewardJudge) else by_model(str(job.reward), size)

    def reward(
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        log_metric: Callable[[str, float], None],
        **columns: Any,
    ) -> list[float | None]:
        rows = [
            {
                **{name: columns[name][i] for name in ("row_id", "prompt_ids", "first", "drawn")},
                "prompt": prompts[i],
                "answer": completions[i][0]["content"].strip(),
                "answer_ids": completion_ids[i],
            }
            for i in range(len(prompts))
        ]
        # Only answers that ended by themselves and are not empty are scored; for the others, the reason is noted.
        values: list[float | str] = []
        for row in rows:
            ended = bool(row["answer_ids"]) and row["answer_ids"][-1] in end_ids
            values.append("cut-off" if not ended else "" if row["answer"] else "empty")
        whole = [i for i, reason in enumerate(values) if not reason]
        for i, value in zip(whole, score([rows[i] for i in whole]), strict=True):
            values[i] = value

        missing = Counter(value for value in values if isinstance(value, str))
        log_metric("rewards/missing", missing.total() / len(values))
        if missing:
            log.info("%d of %d answers have no reward: %s", missing.total(), len(values), dict(missing))
        known = defaultdict[str, list[float]](list)
        for row, value in zip(rows, values, strict=True):
            if not isinstance(value, str):
                known[row["row_id"]].append(round(value, 6))
        # A group whose answers all have the same reward has no advantage, and teaches nothing.
        if groups := [group for group in known.values() if len(group) > 1]:
            log_metric("rewards/alike", sum(len(set(group)) == 1 for group in groups) / len(groups))
        return [None if isinstance(value, str) else value for value in values]

    return reward


def by_judge(judge: RewardJudge) -> Score:
    """Ask the judge about all answers of a step concurrently."""
    session = Session()  # one for all steps, so that the servers' capacity is found out once
    return lambda rows: asyncio.run(judge.rewards(rows, session)) if rows else []


def by_model(folder: Path | str, size: int) -> Score:
    """The scores of the reward model in `folder`, on the tokens that were drawn, `size` answers at a time."""
    dtype = "auto" if torch.cuda.is_available() else torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()
    padding = model.config.get_text_config().pad_token_id

    @torch.inference_mode()
    def score(rows: Sequence[Row]) -> list[float]:
        model.to(PartialState().device)
        return [value for start in range(0, len(rows), size) for value in scores_of(rows[start : start + size])]

    def scores_of(rows: Sequence[Row]) -> list[float]:
        ids = [torch.tensor(row["prompt_ids"] + row["answer_ids"]) for row in rows]
        padded = pad_sequence(ids, batch_first=True, padding_value=padding)
        mask = pad_sequence([torch.ones_like(one) for one in ids], batch_first=True)
        logits = model(input_ids=padded.to(model.device), attention_mask=mask.to(model.device)).logits
        scores: list[float] = logits[:, 0].float().tolist()
        return scores

    return score
