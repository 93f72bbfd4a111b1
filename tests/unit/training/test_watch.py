import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charter.config import Training
from charter.errors import TrainingError
from charter.training.job import Job
from charter.training.watch import Watch


def watch(folder: Path) -> Watch:
    return Watch(Job("dpo", "model", folder, folder, Training(), 0, ""), tokens=100)


def log(it: Watch, step: int, **logs: Any) -> None:
    it.on_log(None, SimpleNamespace(global_step=step, max_steps=40, is_world_process_zero=True), None, logs)


def rewards(chosen: float, margin: float) -> dict[str, float]:
    return {"loss": 0.7, "rewards/chosen": chosen, "rewards/margins": margin}


def test_each_step_is_one_line(tmp_path: Path) -> None:
    it = watch(tmp_path)
    log(it, 1, num_tokens=50.0, **rewards(0.0, 0.0))
    log(it, 2, num_tokens=90.0, **rewards(-0.2, 0.1))
    log(it, 2, train_runtime=1.0)  # the summary at the end
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert [line["tokens"] for line in lines] == [150, 190]
    assert lines[1]["logps/chosen_change"] == pytest.approx(-2.0)
    assert it.first_loss == pytest.approx(math.log(2))


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_stops_the_run(tmp_path: Path, name: str, value: float) -> None:
    it = watch(tmp_path)
    with pytest.raises(
        TrainingError, match=rf"{name} became (nan|inf) at optimiser step 3. Lower training.dpo.learning"
    ):
        log(it, 3, **{"loss": 1.0, name: value})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())[name] is None


@pytest.mark.parametrize(("chosen", "margin"), [(0.0, 0.2), (3.0, 0.0)], ids=["loss-off", "reference-off"])
def test_a_reference_that_is_not_the_start_stops_the_run(tmp_path: Path, chosen: float, margin: float) -> None:
    with pytest.raises(TrainingError, match="reference is not the model that training starts from"):
        log(watch(tmp_path), 1, **rewards(chosen, margin))


def test_falling_likelihood_of_the_chosen_is_said(tmp_path: Path) -> None:
    it = watch(tmp_path)
    for step in range(1, 21):
        log(it, step, **rewards(-0.1 * (step - 1), 0.0))
    (text,) = it.warnings
    assert "log p(chosen) fell by 14.5 nats per answer" in text
    assert "sft_weight" in text


def test_likelihood_that_holds_is_not(tmp_path: Path) -> None:
    it = watch(tmp_path)
    for step in range(1, 21):
        log(it, step, **rewards(0.01 * (step - 1), 0.0))
    assert it.warnings == []
