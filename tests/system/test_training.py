"""Real training processes: SFT, then DPO; killed and continued, reused, and failing in plain words."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from charter.config import Training
from charter.core.errors import ModelError, TrainingError
from charter.data.schema import FAILURES
from charter.training import TrainingResult, run_training
from charter.training.job import last_checkpoint
from tests.support.tiny_model import make_tiny_model
from tests.support.training_data import write_pairs, write_sft

pytestmark = pytest.mark.system

ROWS, BATCH = 30, 4
STEPS = 16  # two epochs of eight batches, the last of two rows
LONG = {"epochs": 9, "save_steps": 3}
LONG_STEPS = 9 * STEPS // 2


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
        self.sft = run_training(
            "sft", self.base, self.sft_data, folder / "sft", settings(), 5, self.lines["sft"].append
        )
        self.dpo = run_training(
            "dpo", self.sft.model, self.pairs, folder / "dpo", settings(), 5, self.lines["dpo"].append
        )

    def dpo_again(self, out: Path, on_metrics: Any = None, **changes: Any) -> TrainingResult:
        return run_training("dpo", self.sft.model, self.pairs, out, settings(**changes), 5, on_metrics)


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


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_step_killed_at_random_continues_to_the_same_weights(world: World, tmp_path: Path, kills: int) -> None:
    """Each time another process is killed: the one that trains, the one that launched it, the whole group.

    The moments are drawn anew each time; where it fails, its output says the seed.
    """
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 # shown only where the test fails
    draw = random.Random(seed)
    steps = sorted(draw.sample(range(2, LONG_STEPS // 2), kills))
    ways = draw.sample([_kill_worker, _kill_launcher, _kill_group], kills)
    whole, out = world.dpo_again(tmp_path / "whole", dpo=LONG), tmp_path / "dpo"
    for step, kill in zip(steps, ways, strict=True):
        kill(world, out, step, draw.uniform(0, 0.2))
        assert not (out / "DONE").exists()
    lines: list[dict[str, Any]] = []
    result = world.dpo_again(out, lines.append, dpo=LONG)
    assert result.steps == whole.steps == LONG_STEPS
    assert lines[0]["step"] > steps[-1] - LONG["save_steps"] or lines[0]["step"] == 1
    assert weights(out) == weights(whole.model)
    assert "read from reference.parquet" in (out / "training.log").read_text()
    seen = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert seen == list(range(1, result.steps + 1))


@pytest.mark.slow
def test_a_half_written_checkpoint_is_passed_over(world: World, tmp_path: Path) -> None:
    out = tmp_path / "dpo"
    _kill_group(world, out, 7, 0.0)
    _, step = last_checkpoint(out) or (None, 0)
    half = out / "checkpoints" / f"checkpoint-{step + LONG['save_steps']}"
    half.mkdir(parents=True, exist_ok=True)
    (half / "trainer_state.json").unlink(missing_ok=True)
    lines: list[dict[str, Any]] = []
    world.dpo_again(out, lines.append, dpo=LONG)
    assert lines[0]["step"] == step + 1


@pytest.mark.slow
def test_a_killed_step_is_one_run_in_mlflow(world: World, tmp_path: Path) -> None:
    import mlflow

    out = tmp_path / "outputs" / "mine" / "dpo"

    def stop(line: dict[str, Any]) -> None:
        if line["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.dpo_again(out, stop, dpo=LONG, tracker="mlflow")
    result = world.dpo_again(out, dpo=LONG, tracker="mlflow")
    assert world.dpo_again(out, dpo=LONG).reused  # what tells of a training changes nothing of it
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("charter")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine/dpo", "FINISHED")
    told = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "loss")}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sorted(told) == [line["step"] for line in lines] == list(range(1, result.steps + 1))
    assert told == pytest.approx({line["step"]: line["loss"] for line in lines}, abs=1e-3)


def _kill_group(world: World, out: Path, at_step: int, delay: float) -> None:
    def stop(line: dict[str, Any]) -> None:
        if line["step"] >= at_step:
            time.sleep(delay)
            raise KeyboardInterrupt  # ends the group with SIGKILL

    with pytest.raises(KeyboardInterrupt):
        world.dpo_again(out, stop, dpo=LONG)


def _kill_worker(world: World, out: Path, at_step: int, delay: float) -> None:
    def kill(line: dict[str, Any]) -> None:
        if line["step"] >= at_step:
            time.sleep(delay)
            for process in _workers(out):
                os.kill(int(process), signal.SIGKILL)

    with pytest.raises(TrainingError, match="signal 9"):
        world.dpo_again(out, kill, dpo=LONG)


LAUNCHER = """
import sys, time
from pathlib import Path
from charter.training import run_training
from tests.system.test_training import LONG, settings
model, data, out = map(Path, sys.argv[1:4])
run_training("dpo", model, data, out, settings(dpo=LONG), 5, lambda line: print(line["step"], flush=True))
"""


def _kill_launcher(world: World, out: Path, at_step: int, delay: float) -> None:
    """Kill a launcher, and wait until its training process has died with it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", LAUNCHER, str(world.sft.model), str(world.pairs), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as launcher:
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if int(line) >= at_step:
                break
        time.sleep(delay)
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


@pytest.mark.slow
def test_other_inputs_train_again_from_the_start(world: World, tmp_path: Path) -> None:
    out = tmp_path / "dpo"
    world.dpo_again(out, dpo={"epochs": 1})
    first = weights(out)
    lines: list[dict[str, Any]] = []
    result = world.dpo_again(out, lines.append, dpo={"epochs": 1, "beta": 0.5})
    assert not result.reused
    assert lines[0]["step"] == 1
    assert weights(out) != first


@pytest.mark.slow
def test_adapters_are_merged_into_a_model_of_the_same_kind(world: World, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    result = world.dpo_again(tmp_path / "lora", dpo={"epochs": 1}, method="lora", lora_rank=4)
    trained = AutoModelForCausalLM.from_pretrained(result.model)
    start = AutoModelForCausalLM.from_pretrained(world.sft.model)
    assert type(trained) is type(start)
    assert trained.state_dict().keys() == start.state_dict().keys()
    assert not (result.model / "adapter_config.json").exists()
    assert weights(result.model) != weights(world.sft.model)


@pytest.mark.slow
def test_weights_come_back_in_the_dtype_they_came_in(world: World, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    half = tmp_path / "half"
    half_model = AutoModelForCausalLM.from_pretrained(world.base, dtype=torch.bfloat16)
    make_tiny_model(half)
    half_model.save_pretrained(half)
    result = run_training("sft", half, world.sft_data, tmp_path / "sft", settings(sft={"epochs": 1}))
    assert json.loads((result.model / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(result.model, dtype="auto").dtype == torch.bfloat16


@pytest.mark.slow
def test_rows_left_out_are_counted_and_kept_with_their_reason(world: World, tmp_path: Path) -> None:
    table = pq.read_table(world.pairs).to_pylist()
    table[3]["chosen"] = "word " * 400
    table[9]["rejected"] = table[9]["chosen"]
    data = tmp_path / "pairs.parquet"
    pq.write_table(pq.read_table(world.pairs).from_pylist(table), data)
    result = run_training("dpo", world.sft.model, data, tmp_path / "dpo", settings(dpo={"epochs": 1}))
    assert result.dropped == {"too-long": 1, "identical": 1}
    assert (result.rows_used, result.rows_dropped) == (ROWS - 2, 2)
    dropped = pq.read_table(tmp_path / "dpo" / "dropped.parquet")
    assert dropped.schema.equals(FAILURES)
    assert {(row["row_id"], row["stage"], row["reason"]) for row in dropped.to_pylist()} == {
        ("p3", "dpo", "too-long"),
        ("p9", "dpo", "identical"),
    }


@pytest.mark.slow
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


@pytest.mark.slow
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
        run_training("sft", broken, world.sft_data, tmp_path / "sft", settings())


@pytest.mark.slow
def test_other_settings_read_the_reference_that_was_kept(world: World, tmp_path: Path) -> None:
    out = tmp_path / "dpo"
    world.dpo_again(out, dpo={"epochs": 1})
    world.dpo_again(out, dpo={"epochs": 1, "loss": "ipo"})
    said = [line for line in (out / "training.log").read_text().splitlines() if "reference log-prob" in line]
    assert len(said) == 1  # the log is of the last run
    assert said[0].endswith(f"of {ROWS} pairs read from reference.parquet")


@pytest.mark.slow
def test_a_watchdog_stops_a_run_in_plain_words_and_lets_it_go_on(world: World, tmp_path: Path) -> None:
    out, short = tmp_path / "dpo", {"epochs": 1, "max_length": 24}
    with pytest.raises(TrainingError, match=r"training step 'dpo': \d+ of 30 rows .* are over 24 tokens"):
        world.dpo_again(out, dpo=short, watch="stop")
    result = world.dpo_again(out, dpo=short)
    assert "are over 24 tokens" in result.warnings[0]
    assert "are over 24 tokens" in (out / "training.log").read_text()


@pytest.mark.slow
def test_a_launcher_that_starts_fewer_processes_than_were_asked_for_is_found_out(world: World, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n")
    with pytest.raises(TrainingError, match=r"training.processes '2': 1 process\(es\) came up"):
        world.dpo_again(tmp_path / "dpo", processes=2, accelerate_config=mine)
    assert not (tmp_path / "dpo" / "DONE").exists()


DP = {"epochs": 2, "batch_size": 2, "sft_weight": 0.0, "learning_rate": 1e-4}


@pytest.fixture(scope="module")
def one_process(world: World) -> tuple[TrainingResult, list[float]]:
    """Steps of four pairs in one process, 28 pairs so that none is drawn twice to fill a batch."""
    return run_split(world, world.folder / "one", {**DP, "batch_size": 4})


def run_split(world: World, out: Path, dpo: dict[str, Any], **settings_: Any) -> tuple[TrainingResult, list[float]]:
    losses: list[float] = []
    data = write_pairs(world.folder / "even.parquet", 28)
    result = run_training(
        "dpo", world.sft.model, data, out, settings(dpo=dpo, **settings_), 5, lambda line: losses.append(line["loss"])
    )
    return result, losses


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("distributed", ["ddp", "fsdp2", "zero3"])
def test_two_processes_have_the_loss_curve_of_one(
    world: World, one_process: tuple[TrainingResult, list[float]], tmp_path: Path, distributed: str, method: str
) -> None:
    if distributed == "zero3":
        pytest.importorskip("deepspeed")
    if method == "lora":
        one_process = run_split(world, tmp_path / "one", {**DP, "batch_size": 4}, method="lora")
    launched = {"processes": 2, "distributed": distributed, "method": method}
    result, losses = run_split(world, tmp_path / "two", DP, **launched)
    assert losses == pytest.approx(one_process[1], abs=1e-3)
    assert result.steps == 14
    done = json.loads((result.model / "DONE").read_text())
    assert (done["processes"], done["distributed"]) == (2, distributed)
    assert _distance(result.model, one_process[0].model) < 1e-2 * _distance(result.model, world.sft.model)


@pytest.mark.slow
def test_split_weights_that_were_killed_are_continued_to_the_same_ones(world: World, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "even.parquet", 28)
    split = settings(dpo=DP, processes=2, distributed="fsdp2")

    def stop(line: dict[str, Any]) -> None:
        if line["step"] == 7:
            raise KeyboardInterrupt

    def run(out: str, on_metrics: Any = None) -> Path:
        return run_training("dpo", world.sft.model, data, tmp_path / out, split, 5, on_metrics).model

    with pytest.raises(KeyboardInterrupt):
        run("killed", stop)
    assert last_checkpoint(tmp_path / "killed") is not None
    steps: list[int] = []
    again = run("killed", lambda line: steps.append(line["step"]))
    assert steps[0] > 1 and steps[-1] == 14
    assert weights(again) == weights(run("whole"))


def _distance(one: Path, other: Path) -> float:
    """Between the weights of two models, as vectors."""
    from safetensors.torch import load_file

    a, b = (load_file(model / "model.safetensors") for model in (one, other))
    assert a.keys() == b.keys()
    return float(sum(((a[name] - b[name]).double() ** 2).sum() for name in a) ** 0.5)
