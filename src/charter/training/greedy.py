"""Whether a model, decoding greedily in transformers, gives the answers that another server gave, token by token."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig

from charter.training import models
from charter.training.token_worker import load, log_probabilities

ROUNDING = {"torch.float32": 0.01, "torch.float16": 0.1, "torch.bfloat16": 0.5}
"""By dtype, how far apart two tokens may be, in nats, so that two programs may choose differently by rounding."""


class GreedyGaps(NamedTuple):
    """How far answers are from a model's greedy ones.

    Attributes:
        gaps: for each answer, the most by which the model prefers another token to one in the answer, in nats; 0 means
            that the answer is the model's own greedy answer.
        other_prompts: prompts that the model's tokenizer and chat template turn into other tokens.
        dtype: the dtype of the model, or of the base if an adapter was merged, as merging rounds to that.
    """

    gaps: list[float]
    other_prompts: int
    dtype: str


def greedy_gaps(folder: str, base: str | None, answers: Sequence[Mapping[str, Any]]) -> GreedyGaps:
    """Compare answers, each with its question, ``prompt_ids`` and ``answer_ids``, with a model's greedy ones.

    Args:
        folder: the model, or an adapter of `base`, which is not merged for this.
        base: the model that an adapter belongs to.
        answers: from a server.
    """
    model = models.attach_adapter(load(base), Path(folder)) if base else load(folder)
    tokenizer = models.load_tokenizer(text_folder(folder, base))
    other_prompts = 0
    for answer in answers:
        turns = [{"role": "user", "content": answer["question"]}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        other_prompts += answer["prompt_ids"] != tokenizer(text, add_special_tokens=False)["input_ids"]
    gaps = [greedy_gap(model, answer["prompt_ids"], answer["answer_ids"]) for answer in answers]
    return GreedyGaps(gaps, other_prompts, str(AutoConfig.from_pretrained(base).dtype if base else model.dtype))


def greedy_gap(model: Any, prompt: list[int], answer: list[int]) -> float:
    """The most by which `model` prefers another token to one of `answer`, in nats."""
    # The answer is read and not written again: one forward pass shows each token's rank, and how near a tie was.
    logps = log_probabilities(model, prompt, answer)
    actual = logps.gather(1, torch.tensor(answer, device=logps.device)[:, None])[:, 0]
    return float((logps.max(-1).values - actual).max())


def text_folder(folder: str, base: str | None) -> str:
    """The folder with the tokenizer: an adapter may have its own."""
    return folder if base is None or any(Path(folder).glob("tokenizer*")) else base
