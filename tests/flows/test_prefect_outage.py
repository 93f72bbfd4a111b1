"""Prefect's API server is killed in the middle of a run: the run goes on, and Prefect catches up."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

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

    def wait_for_calls(self, n: int, of: "subprocess.Popen[str]") -> None:
        while len(self.arrivals) < n:
            assert of.poll() is None, of.communicate()
            time.sleep(0.05)


def start_dataset(prefect: PrefectServer, model: NullServer, folder: Path, name: str, n: int) -> "subprocess.Popen[str]":
    """The dataset flow as a user starts it; four calls at a time, so that one which waits is seen."""
    config = {
        "name": name,
        "outputs": str(folder),
        "store": str(folder / f"{name}.sqlite"),
        "prompts": {"n": n},
        "serving": {"base_urls": [model.url]},
        "generation": {"rounds": 1, "shard_size": n // 2, "concurrency": 4},
        "judge": {"principles": 1, "tie_margin": 0.0},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "flows.dataset", str(path)]
    return subprocess.Popen(
        command, env=prefect.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("outage_s", [10.0, pytest.param(120.0, marks=pytest.mark.slow)])
def test_a_stage_does_not_notice_that_prefects_server_is_down(
    prefect: PrefectServer, tmp_path: Path, outage_s: float
) -> None:
    name, n = f"outage-{outage_s:.0f}", round(30 * outage_s)
    with run_null_server(TimedModel(latency_s=LATENCY_S)) as model:
        assert isinstance(model, TimedModel)
        run = start_dataset(prefect, model, tmp_path, name, n)
        try:
            model.wait_for_calls(40, run)
            prefect.kill()
            down = time.monotonic()
            while time.monotonic() < down + outage_s:
                assert run.poll() is None, run.communicate()
                time.sleep(0.1)
            prefect.start()
            up = time.monotonic()
            assert run.poll() is None, "the stages ended before the server was back"
            model.latency_s = 0.0
            output, _ = run.communicate(timeout=300)
        finally:
            run.kill()
    assert run.returncode == 0, output
    during = [at for at in model.arrivals if down <= at <= up]
    assert max(later - earlier for earlier, later in itertools.pairwise(during)) < LONGEST_GAP_S
    assert output.count("progress is not shown in Prefect for now") == 1

    manifest = json.loads((tmp_path / name / "manifest.json").read_text())
    assert manifest["stages"]["respond"]["rows_in"] == manifest["stages"]["respond"]["rows_out"] == n
    (flow_run,) = prefect.read("/flow_runs/filter", flow_runs={"name": {"any_": [f"dataset-{name}"]}})
    assert flow_run["state_type"] == "COMPLETED"
    shown = prefect.read("/artifacts/filter", flow_runs={"id": {"any_": [flow_run["id"]]}})
    by_key = {artifact["key"]: artifact for artifact in shown}
    assert by_key["progress-respond"]["data"] == by_key["progress-revise"]["data"] == 100.0
    assert {"stages", "failures", "before-and-after", "folder"} <= set(by_key)
