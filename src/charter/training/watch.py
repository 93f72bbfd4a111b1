"""What is written down at every step, and what is said, or stops the run, when a watchdog sees something."""

import json
import logging
import math
import time
from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback

from charter.core.errors import TrainingError
from charter.training import watchdogs
from charter.training.job import METRICS, WARNINGS, Job, is_first_process
from charter.training.lengths import AnswerLengths
from charter.training.rows import Rows

log = logging.getLogger("charter.training")


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Appends each step's metrics to ``metrics.jsonl`` and lets the watchdogs look at them.

    What they see stands in ``warnings.jsonl`` at once, from where whoever launched this tells it.

    ``logps/chosen_change`` is log p(chosen) now minus under the reference, in nats per answer, on the same rows:
    the direct measure of likelihood displacement, which ``logps/chosen`` shows only through the noise of what each
    batch holds.

    Args:
        job: what is trained.
        seen: the lines written before a kill.
        lengths: measures the model's answers, where it can.
    """

    def __init__(
        self, job: Job, seen: list[dict[str, Any]] | None = None, lengths: AnswerLengths | None = None
    ) -> None:
        self._job = job
        self._path = job.out / METRICS
        self._lines = list(seen or [])
        self._lengths = lengths
        self._tokens = self._lines[-1]["tokens"] if self._lines else 0
        self._started = time.monotonic()
        self._said: dict[str, str] = {}

    @property
    def warnings(self) -> list[str]:
        """What was said, each once."""
        return list(self._said.values())

    @property
    def first_loss(self) -> float | None:
        """The first preference loss, 0.6931 where all is well."""
        return watchdogs.first_loss(self._lines)

    def look_at_rows(self, rows: Rows) -> None:
        """Let the watchdogs of the data look, before anything is trained.

        Raises:
            TrainingError: one saw something, and the configuration says stop.
        """
        section = self._job.optimisation
        self._say("long-rows", watchdogs.see_long_rows(rows, self._job.step, section.max_length))
        self._say("no-end", watchdogs.see_no_end(rows))
        self._say("altered", watchdogs.see_altered(rows))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write one line per optimiser step; the summary at the end of training has no loss and is left out."""
        if not logs or "loss" not in logs:
            return
        line = {"step": state.global_step, "total_steps": state.max_steps, **logs}
        # Of GRPO's tokens TRL keeps count in checkpoints; of the others since the process began.
        line["tokens"] = line.pop("num_tokens", 0) + (0 if self._job.step == "grpo" else self._tokens)
        line["seconds"] = round(time.monotonic() - self._started, 3)
        if "rewards/chosen" in line:
            line["logps/chosen_change"] = line["rewards/chosen"] / self._job.settings.dpo.beta
        line |= self._lengths.take() if self._lengths else {}
        self._lines.append(line)
        if state.is_world_process_zero:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: _plain(value) for key, value in line.items()}) + "\n")
        self._check_finite(line)
        self._say("first-loss", self._first_loss(args), hopeless=True)
        for name, text in self._look_at_lines():
            self._say(name, text)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A short run never fills a window: look at what there is, and at whether anything was learnt."""
        self._say("falling", watchdogs.see_falling_likelihood(self._lines, least=1))
        self._say("nothing-learnt", watchdogs.see_nothing_learnt(self._lines))

    def _first_loss(self, args: Any) -> str | None:
        return watchdogs.see_first_loss(self._lines, self._job.settings.dpo.beta, bool(getattr(args, "bf16", False)))

    def _look_at_lines(self) -> Iterator[tuple[str, str | None]]:
        yield "no-difference", watchdogs.see_no_difference(self._lines)
        yield "no-rewards", watchdogs.see_missing_rewards(self._lines)
        section = self._job.optimisation
        pairs_per_step = section.batch_size * section.gradient_accumulation * self._job.settings.processes
        yield "leak", watchdogs.see_leak(self._lines, pairs_per_step)
        yield "falling", watchdogs.see_falling_likelihood(self._lines)
        yield "drift", watchdogs.see_length_drift(self._lines)

    def _say(self, name: str, text: str | None, hopeless: bool = False) -> None:
        """Say it once; stop where the configuration says so, or where no usable model can come of it."""
        mode = self._job.settings.watch
        if text is None or name in self._said or mode == "off":
            return
        if hopeless:
            raise TrainingError(f"training step '{self._job.step}': {text}")
        if mode == "stop":
            raise TrainingError(f"training step '{self._job.step}': {text} Or go on nonetheless: training.watch: warn.")
        self._said[name] = text
        log.warning("%s", text)
        if is_first_process():
            with (self._job.out / WARNINGS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"watchdog": name, "text": text}) + "\n")

    def _check_finite(self, line: dict[str, Any]) -> None:
        """Whatever watches: there is no model any more."""
        for name in ("loss", "grad_norm"):
            if not math.isfinite(line.get(name, 0.0)):
                step = self._job.step
                raise TrainingError(
                    f"training step '{step}': {name} became {line[name]} at optimiser step {line['step']}."
                    f" Lower training.{step}.learning_rate, now {self._job.optimisation.learning_rate:g}."
                )


def _plain(value: Any) -> Any:
    """JSON has no NaN: such a number becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
