"""What benchmarks of training share: greedy answers with the oracle's grades, kept beside a model; means over seeds.

Not a command; `soft_labels.py` and `methods.py` use it.
"""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from charter.config import Evaluation
from charter.core.messages import user
from charter.evaluation.measures import MEASURES, measure_model
from charter.evaluation.records import HEADLINE, Graded, ModelAnswers
from charter.evaluation.requests import HeldOut, load_requests
from charter.sandbox.held_out import grade_by_oracle
from charter.training.job import DONE

BATCH = 100
NAMES = [m.name for m in MEASURES]
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t at 97.5 %, from one degree of freedom on; so for two to ten seeds."""


class Mean(NamedTuple):
    """A mean over seeds with its 95 % interval; one seed has none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        between = "" if math.isnan(self.low) else f" ({100 * self.low:.1f} to {100 * self.high:.1f})"
        return f"{100 * self.value:.1f}{between}"


def load_fewer(settings: Evaluation, seed: int, at_most: int | None) -> list[HeldOut]:
    """A run's held-out requests of the headline's categories, or at most so many of each."""
    sizes = {name: n for name, n in settings.model_dump().items() if name.startswith("n_")}
    fewer = {name: min(n, at_most or n) for name, n in sizes.items()}
    return [r for r in load_requests(settings.model_copy(update=fewer), seed) if r.category in HEADLINE]


def measured(model: Path, requests: Sequence[HeldOut], max_tokens: int, name: str = "held-out") -> dict[str, float]:
    """Each measure of a model over the requests, kept in its folder for as long as that model stands there."""
    path, asked = model / f"{name}.json", [request.request_id for request in requests]
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if found.get("asked") != asked:
        found = {"asked": asked, "measures": answered(model, requests, max_tokens)}
        if (model / DONE).is_file():  # a model that a benchmark trained; a shipped one's folder stays as it is
            path.write_text(json.dumps(found), encoding="utf-8")
    return dict(found["measures"])


def answered(model: Path, requests: Sequence[HeldOut], max_tokens: int) -> dict[str, float]:
    """Each measure of a model over the requests."""
    entry = measure_model(ModelAnswers(list(answer(model, requests, max_tokens))))
    return {name: entry[name]["value"] for name in NAMES}


def answer(folder: Path, requests: Sequence[HeldOut], max_tokens: int) -> Iterator[Graded]:
    """Greedy answers with the oracle's grades."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for start in range(0, len(requests), BATCH):
        part = requests[start : start + BATCH]
        asked = tokenizer.apply_chat_template(
            [[user(request.prompt)] for request in part],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            made = model.generate(**asked, max_new_tokens=max_tokens, do_sample=False)
        texts = tokenizer.batch_decode(made[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        for request, text in zip(part, texts, strict=True):
            said = Graded(request.request_id, request.category, request.kind, request.prompt, text, "stop")
            yield grade_by_oracle(said, request)


def mean(values: Sequence[float]) -> Mean:
    """With a t interval over the seeds."""
    middle, n = statistics.fmean(values), len(values)
    if n == 1:
        return Mean(middle, math.nan, math.nan)
    spread = T[n - 2] * statistics.stdev(values) / math.sqrt(n)
    return Mean(middle, middle - spread, middle + spread)


def plain(value: Any) -> Any:
    """As JSON has it: a mean by its parts, and null for an end of an interval that is not known."""
    if isinstance(value, Mean):
        return {name: None if math.isnan(number) else number for name, number in value._asdict().items()}
    return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value
