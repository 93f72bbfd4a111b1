"""Prefect's API server is killed in the middle of a run: the run goes on, and Prefect catches up."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from charter.core.messages import Message
from charter.testing.null_server import NullServer, run_null_server
from tests.flows.conftest import answer
from tests.support.prefect_api import PrefectServer, run_prefect_server

LATENCY_S = 0.2
LONGEST_GAP_S = LATENCY_S + 1.0
"""The longest time without a new call that passes: no call may wait for Prefect's server for more than a second."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with run_prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


class TimedModel(NullServer):
    """A model's server that notes when each call arrives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.arrivals = list[float]()
        self.answer = self._note

    def _note(self, messages: Sequence[Message]) -> str:
        self.arrivals.append(time.monotonic())
        return answer(messages)

    def wait_for_calls(self, n: int, run: "Run") -> None:
        run.wait_until(lambda: len(self.arrivals) >= n)


@dataclass(frozen=True)
class Run:
    """The dataset flow as the process that a user starts."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.process.poll() is None, self.output
            time.sleep(0.05)


@contextmanager
def run_dataset(prefect: PrefectServer, model: NullServer, folder: Path, n: int) -> Iterator[Run]:
    """Start the flow with four calls at a time, so that a call which waits for Prefect is noticed."""
    config = {
        "name": folder.name,
        "outputs": str(folder),
        "store": str(folder / "store.sqlite"),
        "prompts": {"n": n},
        "serving": {"base_urls": [model.url]},
        "generation": {"rounds": 1, "shard_size": n // 2, "concurrency": 4},
        "judge": {"principles": 1, "tie_margin": 0.0},
    }
    settings, log = folder / "run.yaml", folder / "run.log"
    settings.write_text(json.dumps(config))
    with log.open("wb") as output:
        command = [sys.executable, "-m", "flows.dataset", str(settings)]
        process = subprocess.Popen(command, env=prefect.environment, stdout=output, stderr=output)
        try:
            yield Run(process, log)
        finally:
            process.kill()
            process.wait()


def artifacts(prefect: PrefectServer, folder: Path) -> dict[str, Any]:
    """The data of each artifact of the run, which Prefect has as completed."""
    (flow_run,) = prefect.read("/flow_runs/filter", flow_runs={"name": {"any_": [f"dataset-{folder.name}"]}})
    assert flow_run["state_type"] == "COMPLETED"
    shown = prefect.read("/artifacts/filter", flow_runs={"id": {"any_": [flow_run["id"]]}})
    return {artifact["key"]: artifact["data"] for artifact in shown}


RESULTS = {"stages", "folder", "principles", "failures", "labels", "before-and-after"}


@pytest.mark.parametrize("outage_s", [10.0, pytest.param(120.0, marks=pytest.mark.slow)])
def test_a_stage_does_not_notice_that_prefects_server_is_down(
    prefect: PrefectServer, tmp_path: Path, outage_s: float
) -> None:
    n = round(30 * outage_s)  # more than the calls of the outage
    with run_null_server(TimedModel(latency_s=LATENCY_S)) as model, run_dataset(prefect, model, tmp_path, n) as run:
        assert isinstance(model, TimedModel)
        model.wait_for_calls(40, run)
        prefect.kill()
        down = time.monotonic()
        run.wait_until(lambda: time.monotonic() > down + outage_s)
        prefect.start()
        up = time.monotonic()
        assert run.process.poll() is None, "the stages ended before the server was back"
        model.latency_s = 0.0
        assert run.process.wait(300) == 0, run.output
    during = [at for at in model.arrivals if down <= at <= up]
    assert max(later - earlier for earlier, later in itertools.pairwise(during)) < LONGEST_GAP_S
    assert run.output.count("progress is not shown in Prefect for now") == 1

    respond = json.loads((tmp_path / tmp_path.name / "manifest.json").read_text())["stages"]["respond"]
    assert respond["rows_in"] == respond["rows_out"] == n
    shown = artifacts(prefect, tmp_path)
    assert shown["progress-respond"] == shown["progress-revise"] == 100.0
    assert set(shown) >= RESULTS


def test_a_finished_run_waits_for_prefects_server_to_show_its_results(prefect: PrefectServer, tmp_path: Path) -> None:
    with run_null_server(TimedModel(latency_s=LATENCY_S)) as model, run_dataset(prefect, model, tmp_path, 40) as run:
        assert isinstance(model, TimedModel)
        model.wait_for_calls(20, run)
        prefect.kill()
        model.latency_s = 0.0
        run.wait_until((tmp_path / tmp_path.name / "manifest.json").is_file)
        prefect.start()
        assert run.process.wait(300) == 0, run.output
    shown = artifacts(prefect, tmp_path)
    assert shown["progress-respond"] == shown["progress-revise"] == 100.0
    assert set(shown) >= RESULTS


def test_without_prefects_server_a_run_ends_with_one_message(model_server: NullServer, tmp_path: Path) -> None:
    absent = PrefectServer(tmp_path, 9)
    with run_dataset(absent, model_server, tmp_path, 4) as run:
        assert run.process.wait(120) == 2
    assert "Prefect server 'http://127.0.0.1:9/api': does not answer" in run.output
    assert "Traceback" not in run.output
