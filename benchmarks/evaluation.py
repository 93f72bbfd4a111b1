"""Seconds to evaluate one model on a thousand requests of the sandbox and more, the server's start included.

    python benchmarks/evaluation.py

The sandbox's model is served, asked the held-out requests and the probes that are asked by default, graded by the
oracle, and measured, in this process and without a store from before; Prefect has no part in it. Under two minutes are
wanted for a thousand requests on two cores.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from charter.config import Evaluation, Serving
from charter.evaluation.answering import answer_requests
from charter.evaluation.measures import measure_model
from charter.evaluation.records import HeldOut, ModelAnswers
from charter.evaluation.requests import load_requests
from charter.inference import EngineSpec, open_engine, serve
from charter.sandbox import MODEL
from charter.sandbox.held_out import grade_by_oracle

WANTED_S = 120


def evaluated(folder: Path, settings: Evaluation) -> tuple[int, dict[str, float]]:
    """How many requests were asked, and after how many seconds the server was up, all were answered, and measured."""
    requests, began, seconds = load_requests(settings, seed=0), time.monotonic(), dict[str, float]()
    with serve(MODEL, Serving(), folder / "vllm.log", "sandbox") as served:
        seconds["the server is up"] = time.monotonic() - began
        answers = asyncio.run(_answers(EngineSpec.of(served, str(folder / "store.sqlite")), requests, settings))
        seconds["all is answered"] = time.monotonic() - began
    by_id = {request.request_id: request for request in requests}
    graded = [grade_by_oracle(answer, by_id[answer.request_id]) for answer in answers.graded]
    measure_model(ModelAnswers(graded, answers.failed), asked=len(requests))
    seconds["all is graded and measured"] = time.monotonic() - began
    return len(requests), seconds


async def _answers(spec: EngineSpec, requests: Sequence[HeldOut], settings: Evaluation) -> ModelAnswers:
    async with open_engine(spec) as engine:
        return await answer_requests(requests, engine.ask, settings.max_tokens)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="charter-evaluation-") as place:
        n, seconds = evaluated(Path(place), Evaluation())
    print(f"| {n:,} requests | seconds |\n|---|---:|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.1f} |")
    whole = seconds["all is graded and measured"]
    print(f"\n{1000 * whole / n:.1f} s for a thousand; under {WANTED_S} s are wanted.")


if __name__ == "__main__":
    main()
