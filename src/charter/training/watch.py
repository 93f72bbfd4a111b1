"""What is written down at every step, and what stops a run or is said about it in plain words."""

import json
import math
import time
from collections import deque
from typing import Any

from transformers import TrainerCallback

from charter.errors import TrainingError
from charter.training.job import METRICS, Job

FIRST_LOSS = math.log(2)
"""The DPO loss before the first step, when policy and reference are the same model: -log ½, whatever the label."""

_FIRST_LOSS_TOLERANCE = 0.01
_WINDOW = 10
_FALL_NATS = 5.0


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Appends each step's metrics to ``metrics.jsonl`` and stops a run that cannot end well.

    ``logps/chosen_change`` is log p(chosen) now minus under the reference, in nats per answer, on the same rows:
    the direct measure of likelihood displacement (arXiv 2410.08847), which ``logps/chosen`` shows only through the
    noise of what each batch holds.
    """

    def __init__(self, job: Job, tokens: int = 0) -> None:
        self._job = job
        self._path = job.out / METRICS
        self._tokens = tokens
        self._started = time.monotonic()
        self._changes: deque[float] = deque(maxlen=_WINDOW)
        self.first_loss: float | None = None

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, now that the run is over."""
        change = sum(self._changes) / max(len(self._changes), 1)
        if change > -_FALL_NATS:
            return []
        return [
            f"log p(chosen) fell by {-change:.1f} nats per answer from its reference: likelihood displacement."
            " Raise training.dpo.sft_weight, or lower training.dpo.learning_rate."
        ]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write one line per optimiser step; the summary at the end of training has no loss and is left out."""
        if not logs or "loss" not in logs:
            return
        line = {"step": state.global_step, "total_steps": state.max_steps, **logs}
        line["tokens"] = self._tokens + line.pop("num_tokens", 0)
        line["seconds"] = round(time.monotonic() - self._started, 3)
        if "rewards/chosen" in line:
            line["logps/chosen_change"] = line["rewards/chosen"] / self._job.settings.dpo.beta
            self._changes.append(line["logps/chosen_change"])
        if state.is_world_process_zero:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: _plain(value) for key, value in line.items()}) + "\n")
        self._check_finite(line)
        if state.global_step == 1 and "rewards/margins" in line:
            self._check_first(line)

    def _check_finite(self, line: dict[str, Any]) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(line.get(name, 0.0)):
                step = self._job.step
                raise TrainingError(
                    f"training step '{step}': {name} became {line[name]} at optimiser step {line['step']}."
                    f" Lower training.{step}.learning_rate, now {self._job.optimisation.learning_rate:g}."
                )

    def _check_first(self, line: dict[str, Any]) -> None:
        """Refuse a reference that is not the model training starts from."""
        self.first_loss = math.log1p(math.exp(-line["rewards/margins"]))
        if max(abs(self.first_loss - FIRST_LOSS), abs(line["rewards/chosen"])) > _FIRST_LOSS_TOLERANCE:
            raise TrainingError(
                f"training step 'dpo': the first preference loss is {self.first_loss:.4f}, not {FIRST_LOSS:.4f}: the"
                f" reference is not the model that training starts from. Check that '{self._job.model}' is whole."
            )


def _plain(value: Any) -> Any:
    """JSON has no NaN: such a number becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
