"""Mean length of the model's answers before, half-way through and after DPO: eight prompts, decoded greedily.

Training metrics do not show it: their log-probabilities are of the data's answers, not of the model's.
"""

from typing import Any

import torch
from transformers import TrainerCallback

_PROMPTS = 8
_AT_LEAST, _AT_MOST = 16, 512
"""Bounds of an answer's maximum length in tokens, which is twice the mean length of the chosen ones."""


class AnswerLengths(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Decodes in the first process; `take` gives what was measured since the last call.

    Args:
        pairs: token ids as `charter.training.rows` gives them; the first eight are decoded.
        end_ids: the tokens that end a turn.
    """

    def __init__(self, pairs: list[dict[str, Any]], end_ids: set[int]) -> None:
        self._prompts = [pair["prompt_ids"] for pair in pairs[:_PROMPTS]]
        self._end_ids = sorted(end_ids)
        tokens = sum(len(pair["chosen_ids"]) for pair in pairs[:_PROMPTS])
        self._limit = min(max(2 * tokens // len(self._prompts), _AT_LEAST), _AT_MOST)
        self._measured: dict[str, float] = {}

    def take(self) -> dict[str, float]:
        """``lengths/start`` or ``lengths/answer``: the mean in tokens, with the one that ends the turn."""
        measured, self._measured = self._measured, {}
        return measured

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Before the first step; a continued run has it in its metrics."""
        if state.global_step == 0 and state.is_world_process_zero:
            self._measured["lengths/start"] = self._mean_length(model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Half-way and at the end."""
        if state.global_step in (state.max_steps // 2, state.max_steps) and state.is_world_process_zero:
            self._measured["lengths/answer"] = self._mean_length(model)

    @torch.no_grad()
    def _mean_length(self, model: Any) -> float:
        model = getattr(model, "module", model)
        was_training = model.training
        model.eval()
        longest = max(len(ids) for ids in self._prompts)
        pad = self._end_ids[0]
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in self._prompts], device=model.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in self._prompts], device=model.device)
        answers = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=self._limit,
            do_sample=False,
            eos_token_id=self._end_ids,
            pad_token_id=pad,
        )[:, longest:]
        model.train(was_training)
        ended = torch.isin(answers, torch.tensor(self._end_ids, device=answers.device)).cummax(dim=1).values
        return float((~ended).sum(dim=1).add(1).clamp(max=self._limit).float().mean())
