"""Whether a model would have said, token by token, what another server answered for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig

from charter.training import models
from charter.training.merge import attach
from charter.training.token_worker import load, log_probabilities

ROUNDING = {"torch.float32": 0.01, "torch.float16": 0.1, "torch.bfloat16": 0.5}
"""By number format, how far apart two tokens may be, in nats, for two programs to choose differently."""


class Choices(NamedTuple):
    """For each answer, the most by which the model preferred another token than the one that was said, in nats.

    0 means that every token was its first choice, so that its own greedy answer is this one. `other_prompts` counts
    prompts that its own tokenizer and chat template turn into other tokens. `dtype` is what was rounded to: merging
    rounds to the number format of the base.
    """

    gaps: list[float]
    other_prompts: int
    dtype: str


def choices(folder: str, base: str | None, answers: Sequence[Mapping[str, Any]]) -> Choices:
    """Hold answers, each with its question, ``prompt_ids`` and ``answer_ids``, against a model.

    Args:
        folder: the model, or the adapter of `base`, which is not merged for it.
        base: the model that an adapter belongs to.
        answers: from a server.
    """
    model = attach(load(base), Path(folder)) if base else load(folder)
    tokenizer = models.load_tokenizer(text_folder(folder, base))
    other = sum(answer["prompt_ids"] != _prompt(tokenizer, answer["question"]) for answer in answers)
    gaps = [gap(model, answer["prompt_ids"], answer["answer_ids"]) for answer in answers]
    return Choices(gaps, other, str(AutoConfig.from_pretrained(base).dtype if base else model.dtype))


def gap(model: Any, prompt: list[int], answer: list[int]) -> float:
    """The most by which `model` preferred another token to one of `answer`, in nats."""
    found = log_probabilities(model, prompt, answer)
    said = found.gather(1, torch.tensor(answer, device=found.device)[:, None])[:, 0]
    return float((found.max(-1).values - said).max())


def text_folder(folder: str, base: str | None) -> str:
    """Where the tokenizer is: an adapter may bring its own."""
    return folder if base is None or any(Path(folder).glob("tokenizer*")) else base


def _prompt(tokenizer: Any, question: str) -> list[int]:
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
