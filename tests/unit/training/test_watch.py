import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charter.config import Training
from charter.core.errors import TrainingError
from charter.training.job import Job
from charter.training.watch import Watch

SEEN = {"step": 1, "tokens": 100, "rewards/chosen": 0.0, "rewards/margins": 0.0}


def watch(folder: Path, mode: str = "warn", seen: list[dict[str, Any]] | None = None) -> Watch:
    settings = Training.model_validate({"watch": mode, "dpo": {"batch_size": 64}})
    return Watch(Job("dpo", "model", folder, folder, settings, 0, ""), seen)


def log(it: Watch, step: int, **logs: Any) -> None:
    it.on_log(None, SimpleNamespace(global_step=step, max_steps=40, is_world_process_zero=True), None, logs)


def rewards(chosen: float, margin: float, accuracy: float = 0.5) -> dict[str, float]:
    return {"loss": 0.7, "rewards/chosen": chosen, "rewards/margins": margin, "rewards/accuracies": accuracy}


def test_each_step_is_one_line(tmp_path: Path) -> None:
    it = watch(tmp_path, seen=[SEEN])
    log(it, 2, num_tokens=50.0, **rewards(0.0, 0.0))
    log(it, 3, num_tokens=90.0, **rewards(-0.2, 0.1))
    log(it, 3, train_runtime=1.0)  # the summary at the end
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    assert [line["tokens"] for line in lines] == [150, 190]
    assert lines[1]["logps/chosen_change"] == pytest.approx(-2.0)
    assert it.first_loss == pytest.approx(math.log(2))


@pytest.mark.parametrize("mode", ["warn", "stop", "off"])
@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_stops_the_run(tmp_path: Path, name: str, value: float, mode: str) -> None:
    it = watch(tmp_path, mode)
    with pytest.raises(
        TrainingError, match=rf"{name} became (nan|inf) at optimiser step 3. Lower training.dpo.learning"
    ):
        log(it, 3, **{"loss": 1.0, name: value})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())[name] is None


@pytest.mark.parametrize("mode", ["warn", "stop"])
@pytest.mark.parametrize(("chosen", "margin"), [(0.0, 0.2), (3.0, 0.0)], ids=["loss-off", "reference-off"])
def test_a_reference_that_is_not_the_start_stops_the_run(
    tmp_path: Path, chosen: float, margin: float, mode: str
) -> None:
    with pytest.raises(TrainingError, match="reference is not the model that training starts from"):
        log(watch(tmp_path, mode), 1, **rewards(chosen, margin))
    log(watch(tmp_path, "off"), 1, **rewards(chosen, margin))


@pytest.mark.parametrize(
    ("bf16", "beta", "nats", "stops"),
    [
        (False, 0.1, 0.09, False),
        (False, 0.1, 0.11, True),
        (False, 2.0, 0.09, False),
        (False, 0.01, 0.5, True),
        (True, 0.1, 1.5, False),
        (True, 5.0, 1.5, False),
        (True, 0.1, 2.5, True),
        (True, 0.01, 20.0, True),
    ],
)
def test_how_far_a_first_step_may_be_from_its_reference_is_in_nats_and_more_under_bf16(
    tmp_path: Path, bf16: bool, beta: float, nats: float, stops: bool
) -> None:
    """Of another model answers are 20 nats off, whatever β; of the same one rounding makes a tenth, in bf16 a nat."""
    job = Job("dpo", "model", tmp_path, tmp_path, Training.model_validate({"dpo": {"beta": beta}}), 0, "")
    state = SimpleNamespace(global_step=1, max_steps=40, is_world_process_zero=True)
    for chosen, margin in ((beta * nats, 0.0), (0.0, -beta * nats)):
        with pytest.raises(TrainingError, match="nats from their reference") if stops else nullcontext():
            Watch(job).on_log(SimpleNamespace(bf16=bf16), state, None, rewards(chosen, margin))


def test_what_is_seen_is_said_once_or_stops_or_neither(tmp_path: Path) -> None:
    def fall(it: Watch) -> list[str]:
        for step in range(1, 21):
            log(it, step, **rewards(-0.1 * (step - 1), 0.0))
        return it.warnings

    (text,) = fall(watch(tmp_path))
    assert "log p(chosen) fell by 5.5 nats per answer" in text
    assert "sft_weight" in text
    with pytest.raises(TrainingError, match=r"step 'dpo': log p\(chosen\) fell by 5.5 .* To continue anyway"):
        fall(watch(tmp_path, "stop"))
    assert fall(watch(tmp_path, "off")) == []


def test_what_is_seen_is_written_down_at_once_for_whoever_follows(tmp_path: Path) -> None:
    it = watch(tmp_path)
    for step in range(1, 21):
        log(it, step, **rewards(-0.1 * (step - 1), 0.0))
        if it.warnings:
            break
    assert step < 20
    (line,) = (tmp_path / "warnings.jsonl").read_text().splitlines()
    assert json.loads(line) == {"watchdog": "falling", "text": it.warnings[0]}


def test_a_short_run_is_looked_at_when_it_ends(tmp_path: Path) -> None:
    it = watch(tmp_path)
    for step in (1, 2, 3):
        log(it, step, **rewards(-2.0 * (step - 1), 0.0))
    assert it.warnings == []
    it.on_train_end(None, None, None)
    assert "fell by 20.0 nats" in it.warnings[0]


def test_likelihood_that_holds_is_not_said(tmp_path: Path) -> None:
    it = watch(tmp_path)
    for step in range(1, 21):
        log(it, step, **rewards(0.01 * (step - 1), 0.01 * (step - 1)))
    it.on_train_end(None, None, None)
    assert it.warnings == []


@pytest.mark.parametrize(
    ("margins", "rates", "said"),
    [
        ([0.0], [0.0], "rejected answers is 0.0000, after 1 optimiser step(s), 0 of which had a learning rate above 0"),
        (
            [0.0, 0.0, 0.001, 0.002],
            [0.0, 1e-9, 1e-9, 0.0],
            "rejected answers is 0.0015, after 4 optimiser step(s), 2 of which",
        ),
        ([0.0, 0.1, -0.3, -0.4], [1e-5] * 4, "rejected answers is -0.3500, after 4 optimiser step(s), 4 of which"),
        ([0.0, 0.0, 0.01, 0.02], [1e-5] * 4, ""),
    ],
    ids=["one-step", "tiny-steps", "the-wrong-way", "learnt"],
)
def test_a_run_that_learns_nothing_is_said_when_it_ends(
    tmp_path: Path, margins: list[float], rates: list[float], said: str
) -> None:
    it = watch(tmp_path)
    for step, (margin, rate) in enumerate(zip(margins, rates, strict=True), 1):
        log(it, step, learning_rate=rate, **rewards(0.0, margin))
    assert it.warnings == []
    it.on_train_end(None, None, None)
    assert [said in text for text in it.warnings] == ([True] if said else [])


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([0.0, 0.0, 1.0, 1.0, 1.0, 1.0], True),
        ([0.5, 1.0, 1.0, 1.0, 1.0, 0.5], True),
        ([0.0, 0.0, 1.0, 1.0, 1.0], False),
        ([0.0, 0.0, 1.0, 1.0, 0.99, 1.0, 1.0], False),
        ([0.0, 0.5, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0], False),
    ],
    ids=["from-3", "from-2", "few-pairs", "a-mistake", "learnt"],
)
def test_a_leak_is_256_pairs_without_a_mistake_from_the_start(
    tmp_path: Path, accuracies: list[float], said: bool
) -> None:
    it = watch(tmp_path)
    for step, accuracy in enumerate(accuracies, 1):
        log(it, step, **rewards(0.0, 0.0, accuracy))
    assert bool(it.warnings) is said


@pytest.mark.parametrize(("after", "said"), [(39.0, "shorter"), (41.0, ""), (159.0, ""), (161.0, "longer")])
def test_answers_of_another_length_are_said(tmp_path: Path, after: float, said: str) -> None:
    it = watch(tmp_path)
    log(it, 1, **rewards(0.0, 0.0), **{"lengths/start": 80.0})
    log(it, 2, **rewards(0.0, 0.0), **{"lengths/answer": after})
    log(it, 3, **rewards(0.0, 0.0))
    assert [said in text for text in it.warnings] == ([True] if said else [])


def test_lines_from_before_a_kill_count(tmp_path: Path) -> None:
    it = watch(tmp_path, seen=[{**SEEN, "lengths/start": 80.0}])
    log(it, 2, **rewards(0.0, 0.0), **{"lengths/answer": 200.0})
    assert "from 80 tokens to 200" in it.warnings[0]
