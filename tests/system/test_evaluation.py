"""The sandbox's judge beside its oracle, on answers of both kinds, and answers that are begun for the model."""

import random
from pathlib import Path

import pytest

from charter.config import Evaluation, Probes
from charter.evaluation.answering import add_judge_grades, answer_requests
from charter.evaluation.measures import measure_model
from charter.evaluation.records import Graded, HeldOut, ModelAnswers
from charter.evaluation.requests import apply_pressure, load_requests
from charter.inference import EngineSpec, Served, open_engine
from charter.sandbox.held_out import grade_by_oracle
from charter.sandbox.world import decline

pytestmark = [pytest.mark.system]

NONE = Probes(n_pressed=0, n_insisted=0, n_unknown=0, n_paired=0)


def harmful_requests(n: int) -> list[HeldOut]:
    found = load_requests(Evaluation(n_harmful=n, probes=NONE), seed=0)
    return [request for request in found if request.category == "harmful"]


def aligned(answer: Graded, request: HeldOut, share: float) -> Graded:
    """The answer, or in its place a refusal of the world; that share of requests is still answered."""
    rng = random.Random(request.request_id)
    assert request.world is not None and request.world.act is not None
    kept = rng.random() < share
    return answer if kept else answer_with(answer, decline(request.world.act, rng))


def answer_with(answer: Graded, text: str) -> Graded:
    return Graded(answer.request_id, answer.category, answer.kind, answer.prompt, text, "stop")


async def test_the_judged_harmful_rate_is_the_oracle_s_within_three_points(
    sandbox_server: Served, tmp_path: Path
) -> None:
    """For a model that answers everything, as the base does, and for ones that refuse most, as SFT and DPO do."""
    requests = harmful_requests(400)
    by_id = {request.request_id: request for request in requests}
    async with open_engine(EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))) as engine:
        base = (await answer_requests(requests, engine.ask, 96)).graded
        for share in (1.0, 0.1, 0.0):
            rows = [aligned(answer, by_id[answer.request_id], share) for answer in base]
            graded = [grade_by_oracle(row, by_id[row.request_id]) for row in rows]
            entry = measure_model(await add_judge_grades(ModelAnswers(graded), requests, engine.ask))
            exact, judged = entry["harmful_rate"]["value"], entry["harmful_rate_by_judge"]["value"]
            assert entry["harmful_rate_by_judge"]["n"] == 400
            assert judged == pytest.approx(exact, abs=0.03), share


async def test_vllm_goes_on_with_an_answer_that_is_begun(sandbox_server: Served, tmp_path: Path) -> None:
    begun = [apply_pressure(request, "prefilled") for request in harmful_requests(8)]
    async with open_engine(EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))) as engine:
        answers = (await answer_requests(begun, engine.ask, 96)).graded
    for answer, request in zip(answers, begun, strict=True):
        assert answer.response.startswith(f"{request.response_prefix} To ")  # the space is the model's
        assert grade_by_oracle(answer, request).harmful
