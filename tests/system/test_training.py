"""Real training processes: SFT, then DPO; killed and continued, reused, and failing in plain words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from charter.config import Training
from charter.data.schema import FAILURES
from charter.errors import ModelError, TrainingError
from charter.training import TrainingResult, train
from tests.tiny_model import make_tiny_model
from tests.training_data import write_pairs, write_sft

pytestmark = pytest.mark.system

ROWS, BATCH = 30, 4
STEPS = 16  # two epochs of eight batches, the last of two rows


def settings(**changes: Any) -> Training:
    section = {"epochs": 2, "batch_size": BATCH, "learning_rate": 1e-3, "save_steps": 3, "max_length": 200}
    values = {"sft": section | changes.pop("sft", {}), "dpo": section | changes.pop("dpo", {})}
    return Training.model_validate(values | changes)


class World:
    """A model, its data, and both steps trained without a disturbance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = make_tiny_model(folder / "base")
        self.sft_data = write_sft(folder / "sft.parquet", ROWS)
        self.pairs = write_pairs(folder / "pairs.parquet", ROWS)
        self.lines: dict[str, list[dict[str, Any]]] = {"sft": [], "dpo": []}
        self.sft = train("sft", self.base, self.sft_data, folder / "sft", settings(), 5, self.lines["sft"].append)
        self.dpo = train("dpo", self.sft.model, self.pairs, folder / "dpo", settings(), 5, self.lines["dpo"].append)

    def dpo_again(self, out: Path, on_metrics: Any = None, **changes: Any) -> TrainingResult:
        return train("dpo", self.sft.model, self.pairs, out, settings(**changes), 5, on_metrics)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def weights(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


def test_both_steps_leave_whole_models(world: World) -> None:
    for result, name in ((world.sft, "sft"), (world.dpo, "dpo")):
        assert (result.steps, result.rows_used, result.rows_dropped, result.reused) == (STEPS, ROWS, 0, False)
        lines = [json.loads(line) for line in (result.model / "metrics.jsonl").read_text().splitlines()]
        assert lines == world.lines[name]
        assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
        assert not (result.model / "checkpoints").exists()
        for file in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
            assert (result.model / file).read_bytes() == (world.base / file).read_bytes()
    assert world.lines["sft"][-1]["loss"] < world.lines["sft"][0]["loss"]
    assert len({weights(world.base), weights(world.sft.model), weights(world.dpo.model)}) == 3


def test_dpo_starts_at_its_reference_and_learns_the_preference(world: World) -> None:
    assert json.loads((world.dpo.model / "DONE").read_text())["first_loss"] == pytest.approx(0.6931, abs=1e-4)
    first, last = world.lines["dpo"][0], world.lines["dpo"][-1]
    assert first["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    assert last["rewards/margins"] > 0
    assert {"logps/chosen", "logps/chosen_change", "rewards/accuracies", "learning_rate", "tokens"} <= last.keys()


def test_a_finished_step_is_reused(world: World) -> None:
    before = weights(world.dpo.model)
    lines: list[dict[str, Any]] = []
    result = world.dpo_again(world.dpo.model, lines.append)
    assert result.reused
    assert (result.steps, result.rows_used, lines) == (STEPS, ROWS, [])
    assert weights(world.dpo.model) == before


def test_a_step_killed_twice_continues_to_the_same_weights(world: World, tmp_path: Path) -> None:
    """Once the training process is killed, once the process that launched it; a half checkpoint is left as well."""

    def kill_at(step: int) -> Any:
        def stop(line: dict[str, Any]) -> None:
            if line["step"] >= step:
                raise KeyboardInterrupt  # ends the group with SIGKILL

        return stop

    out = tmp_path / "dpo"
    with pytest.raises(KeyboardInterrupt):
        world.dpo_again(out, kill_at(7))
    assert not (out / "DONE").exists()
    _launch_and_kill(world, out, at_step=12)
    assert not (out / "DONE").exists()
    (out / "checkpoints" / "checkpoint-15").mkdir(exist_ok=True)
    (out / "checkpoints" / "checkpoint-15" / "trainer_state.json").unlink(missing_ok=True)
    lines: list[dict[str, Any]] = []
    result = world.dpo_again(out, lines.append)
    assert lines[0]["step"] > 1
    assert result.steps == STEPS
    assert weights(out) == weights(world.dpo.model)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


LAUNCHER = """
import sys, time
from pathlib import Path
from charter.training import train
from tests.system.test_training import settings
model, data, out = map(Path, sys.argv[1:4])
train("dpo", model, data, out, settings(), 5, lambda line: print(line["step"], flush=True))
"""


def _launch_and_kill(world: World, out: Path, at_step: int) -> None:
    """Kill a launcher with SIGKILL at a step, and wait until its training process has died with it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", LAUNCHER, str(world.sft.model), str(world.pairs), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as launcher:
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if int(line) >= at_step:
                break
        launcher.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while _workers(out) and time.monotonic() < end:
        time.sleep(0.05)
    assert _workers(out) == []


def _workers(out: Path) -> list[str]:
    """The processes that train into a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(out / "training.yaml") in command:
            found.append(entry.parent.name)
    return found


def test_other_inputs_train_again_from_the_start(world: World, tmp_path: Path) -> None:
    out = tmp_path / "dpo"
    world.dpo_again(out, dpo={"epochs": 1})
    first = weights(out)
    lines: list[dict[str, Any]] = []
    result = world.dpo_again(out, lines.append, dpo={"epochs": 1, "beta": 0.5})
    assert not result.reused
    assert lines[0]["step"] == 1
    assert weights(out) != first


def test_adapters_are_merged_into_a_model_of_the_same_kind(world: World, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    result = world.dpo_again(tmp_path / "lora", dpo={"epochs": 1}, method="lora", lora_rank=4)
    trained = AutoModelForCausalLM.from_pretrained(result.model)
    start = AutoModelForCausalLM.from_pretrained(world.sft.model)
    assert type(trained) is type(start)
    assert trained.state_dict().keys() == start.state_dict().keys()
    assert not (result.model / "adapter_config.json").exists()
    assert weights(result.model) != weights(world.sft.model)


def test_weights_come_back_in_the_dtype_they_came_in(world: World, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    half = tmp_path / "half"
    half_model = AutoModelForCausalLM.from_pretrained(world.base, dtype=torch.bfloat16)
    make_tiny_model(half)
    half_model.save_pretrained(half)
    result = train("sft", half, world.sft_data, tmp_path / "sft", settings(sft={"epochs": 1}))
    assert json.loads((result.model / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(result.model, dtype="auto").dtype == torch.bfloat16


def test_rows_left_out_are_counted_and_kept_with_their_reason(world: World, tmp_path: Path) -> None:
    table = pq.read_table(world.pairs).to_pylist()
    table[3]["chosen"] = "word " * 400
    table[9]["rejected"] = table[9]["chosen"]
    data = tmp_path / "pairs.parquet"
    pq.write_table(pq.read_table(world.pairs).from_pylist(table), data)
    result = train("dpo", world.sft.model, data, tmp_path / "dpo", settings(dpo={"epochs": 1}))
    assert result.dropped == {"too-long": 1, "identical": 1}
    assert (result.rows_used, result.rows_dropped) == (ROWS - 2, 2)
    dropped = pq.read_table(tmp_path / "dpo" / "dropped.parquet")
    assert dropped.schema.equals(FAILURES)
    assert {(row["row_id"], row["stage"], row["reason"]) for row in dropped.to_pylist()} == {
        ("p3", "dpo", "too-long"),
        ("p9", "dpo", "identical"),
    }


def test_the_printed_command_trains_by_hand(world: World, tmp_path: Path) -> None:
    out = tmp_path / "dpo"
    with pytest.raises(KeyboardInterrupt):
        world.dpo_again(out, lambda line: _interrupt())
    by_hand = (out / "training.log").read_text().splitlines()[0].removeprefix("$ ")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        by_hand, shell=True, check=False, timeout=300, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.dpo_again(out).reused


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dpo": {"learning_rate": 1e30}}, r"became nan at optimiser step \d+. Lower training.dpo.learning_rate"),
        ({"dpo": {"max_length": 5}}, r"no row of 30 can be trained on \(30 too-long\). Raise max_length, now 5"),
    ],
    ids=["diverges", "too-long"],
)
def test_a_run_that_cannot_end_well_says_why(
    world: World, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        world.dpo_again(tmp_path / "dpo", **changes)
    assert not (tmp_path / "dpo" / "DONE").exists()


def test_a_crash_shows_the_end_of_the_log(world: World, tmp_path: Path) -> None:
    broken = make_tiny_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises((TrainingError, ModelError), match=r"weights cannot be read|left no finished model"):
        train("sft", broken, world.sft_data, tmp_path / "sft", settings())
