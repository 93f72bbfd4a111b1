"""Writes the metrics of every step, and warns or stops the run when a watchdog detects a problem."""

import json
import logging
import math
import time
from typing import Any

from transformers import TrainerCallback

from charter.core.errors import TrainingError
from charter.training import watchdogs
from charter.training.job import METRICS, WARNINGS, Job, is_first_process
from charter.training.lengths import AnswerLengths
from charter.training.rows import Rows

log = logging.getLogger("charter.training")


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
        if state.is_world_process_zero:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: _json_value(value) for key, value in line.items()}) + "\n")
        self._check_finite(line)
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

    def _check_finite(self, line: dict[str, Any]) -> None:
        """Stop at a loss or gradient that is not finite, whatever the settings: the weights are lost."""
        for name in ("loss", "grad_norm"):
            if not math.isfinite(line.get(name, 0.0)):
                step = self._job.step
                raise TrainingError(
                    f"training step '{step}': {name} became {line[name]} at optimiser step {line['step']}."
                    f" Lower training.{step}.learning_rate, now {self._job.optimisation.learning_rate:g}."
                )


def _json_value(value: Any) -> Any:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
