"""Writes the metrics of every step, and warns or stops the run when a watchdog detects a problem."""

import json
import logging
import math
import time
from typing import Any

import torch
from transformers import TrainerCallback

from charter.core.errors import TrainingError
from charter.training import watchdogs
from charter.training.job import METRICS, WARNINGS, Job, is_first_process
from charter.training.rows import Rows

log = logging.getLogger("charter.training")

_LENGTH_PROMPTS = 8
_SHORTEST_LIMIT, _LONGEST_LIMIT = 16, 512
"""Bounds of an answer's maximum length in tokens, which is twice the mean length of the chosen ones."""


class AnswerLengths(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Mean length of the model's answers before, half-way through and after DPO: eight prompts, decoded greedily.

    Decodes in the first process; `take` returns what was measured since the last call.

    Args:
        pairs: token ids as `charter.training.rows` gives them; the first eight are decoded.
        end_ids: the tokens that end a turn.
    """

    def __init__(self, pairs: list[dict[str, Any]], end_ids: set[int]) -> None:
        # Training metrics do not show it: their log-probabilities are of the data's answers, not of the model's.
        self._prompts = [pair["prompt_ids"] for pair in pairs[:_LENGTH_PROMPTS]]
        self._end_ids = sorted(end_ids)
        tokens = sum(len(pair["chosen_ids"]) for pair in pairs[:_LENGTH_PROMPTS])
        self._limit = min(max(2 * tokens // len(self._prompts), _SHORTEST_LIMIT), _LONGEST_LIMIT)
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
        # Generation continues at the right end, so prompts are padded on the left.
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


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Appends each step's metrics to ``metrics.jsonl`` and has the watchdogs check them.

    Their warnings are appended to ``warnings.jsonl``, which the launching process follows.

    ``logps/chosen_change`` is log p(chosen) now minus under the reference, in nats per answer, on the same rows:
    the direct measure of likelihood displacement, which in ``logps/chosen`` is hidden by differences between batches.

    Args:
        job: what is trained.
        lines: those written before a kill.
        lengths: measures the length of the model's answers, if it can.
    """

    def __init__(
        self, job: Job, lines: list[dict[str, Any]] | None = None, lengths: AnswerLengths | None = None
    ) -> None:
        self._job = job
        self._path = job.out / METRICS
        self._lines = list(lines or [])
        self._lengths = lengths
        self._tokens = self._lines[-1]["tokens"] if self._lines else 0
        self._started = time.monotonic()
        self._warnings: dict[str, str] = {}

    @property
    def warnings(self) -> list[str]:
        """The warnings so far, each once."""
        return list(self._warnings.values())

    @property
    def first_loss(self) -> float | None:
        """The first preference loss; 0.6931 if the reference is the model that training starts from."""
        return watchdogs.first_loss(self._lines)

    def check_rows(self, rows: Rows) -> None:
        """Have the watchdogs check the data, before anything is trained.

        Raises:
            TrainingError: one detected a problem, and the configuration says stop.
        """
        section = self._job.optimisation
        self._warn("long-rows", watchdogs.detect_long_rows(rows, self._job.step, section.max_length))
        self._warn("no-end", watchdogs.detect_no_end(rows))
        self._warn("altered", watchdogs.detect_altered(rows))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write one line per optimiser step; the summary at the end of training has no loss and is left out."""
        if not logs or "loss" not in logs:
            return
        line = {"step": state.global_step, "total_steps": state.max_steps, **logs}
        # TRL keeps the count of GRPO's tokens in checkpoints; other steps' only since the process started.
        line["tokens"] = line.pop("num_tokens", 0) + (0 if self._job.step == "grpo" else self._tokens)
        line["seconds"] = round(time.monotonic() - self._started, 3)
        if "rewards/chosen" in line:
            line["logps/chosen_change"] = line["rewards/chosen"] / self._job.settings.dpo.beta
        line |= self._lengths.take() if self._lengths else {}
        self._lines.append(line)
        is_infinite = {key: isinstance(value, float) and not math.isfinite(value) for key, value in line.items()}
        if state.is_world_process_zero:
            with self._path.open("a", encoding="utf-8") as file:
                # JSON has no NaN and no infinity: they become null.
                values = {key: None if is_infinite[key] else value for key, value in line.items()}
                file.write(json.dumps(values) + "\n")
        for name in ("loss", "grad_norm"):
            # Stops whatever the settings say: the weights are lost.
            if is_infinite.get(name):
                step = self._job.step
                raise TrainingError(
                    f"training step '{step}': {name} became {line[name]} at optimiser step {line['step']}."
                    f" Lower training.{step}.learning_rate, now {self._job.optimisation.learning_rate}."
                )
        beta, rounded = self._job.settings.dpo.beta, bool(getattr(args, "bf16", False))
        self._warn("first-loss", watchdogs.detect_first_loss(self._lines, beta, rounded), hopeless=True)
        self._warn("no-difference", watchdogs.detect_no_difference(self._lines))
        self._warn("no-rewards", watchdogs.detect_missing_rewards(self._lines))
        section = self._job.optimisation
        pairs_per_step = section.batch_size * section.gradient_accumulation * self._job.settings.processes
        self._warn("leak", watchdogs.detect_leak(self._lines, pairs_per_step))
        self._warn("falling", watchdogs.detect_falling_likelihood(self._lines))
        self._warn("drift", watchdogs.detect_length_drift(self._lines))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A short run never fills a window: check what there is, and whether anything was learnt."""
        self._warn("falling", watchdogs.detect_falling_likelihood(self._lines, least=1))
        self._warn("nothing-learnt", watchdogs.detect_nothing_learnt(self._lines))

    def _warn(self, name: str, text: str | None, hopeless: bool = False) -> None:
        """Warn once; stop if the configuration says so, or if no usable model can result (`hopeless`)."""
        mode = self._job.settings.watch
        if text is None or name in self._warnings or mode == "off":
            return
        if hopeless:
            raise TrainingError(f"training step '{self._job.step}': {text}")
        if mode == "stop":
            raise TrainingError(
                f"training step '{self._job.step}': {text} To continue anyway, set training.watch=warn."
            )
        self._warnings[name] = text
        log.warning("%s", text)
        if is_first_process():
            with (self._job.out / WARNINGS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"watchdog": name, "text": text}) + "\n")
