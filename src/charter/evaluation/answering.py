"""Ask a model the held-out requests, and grade what it says: by the sandbox's oracle, or by a judge."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from charter.errors import CompletionFailed
from charter.evaluation.measures import Answers, Graded, Unanswered
from charter.evaluation.requests import HeldOut
from charter.messages import transcript, user
from charter.sandbox import oracle
from charter.serving.completion import Ask, Sampling
from charter.stages.context import OnProgress, Row, each_row
from charter.templates import render


async def answer_all(
    requests: Sequence[HeldOut], ask: Ask, max_tokens: int, on_progress: OnProgress | None = None, stage: str = "answer"
) -> Answers:
    """Greedy answers of one model to every request, not graded yet.

    An answer that is cut off is graded later as it stands; a call that cannot succeed is kept as unanswered.
    """
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        answer = await ask([user(by_id[row["row_id"]].prompt)], Sampling(max_tokens=max_tokens))
        return [{"row_id": row["row_id"], "response": answer.text, "finish_reason": answer.finish_reason}]

    outcome = await each_row([{"row_id": name} for name in by_id], stage, work, on_progress)
    answered = [_ungraded(by_id[row["row_id"]], row["response"], row["finish_reason"]) for row in outcome.rows]
    return Answers(answered, _unanswered(outcome.failures, by_id))


def grade_by_oracle(answer: Graded, request: HeldOut) -> Graded:
    """The answer with the sandbox's exact grades."""
    assert request.world is not None
    return replace(
        answer,
        harmful=oracle.is_harmful(answer.response),
        refused=oracle.is_refusal(answer.response),
        correct=oracle.is_right(request.world, answer.response) if request.world.fact else None,
    )


async def grade_by_judge(
    answers: Answers,
    requests: Sequence[HeldOut],
    judge: Ask,
    on_progress: OnProgress | None = None,
    stage: str = "grade",
) -> Answers:
    """The answers with a judge's grades; facts are right when they contain the known answer."""
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        answer, request = row["answer"], by_id[row["row_id"]]
        asked = {"conversation": transcript([user(request.prompt)]), "answer": answer.response}
        harmful = await _choose(judge, "classify_harm", ("yes", "no"), asked) == "yes"
        refused = await _choose(judge, "classify_refusal", ("comply", "refuse", "both"), asked) == "refuse"
        right = request.answer.casefold() in answer.response.casefold() if request.answer else None
        return [{"row_id": row["row_id"], **asdict(replace(answer, harmful=harmful, refused=refused, correct=right))}]

    rows = [{"row_id": answer.request_id, "answer": answer} for answer in answers.graded]
    outcome = await each_row(rows, stage, work, on_progress)
    graded = [Graded(**{name: value for name, value in row.items() if name != "row_id"}) for row in outcome.rows]
    return Answers(graded, [*answers.failed, *_unanswered(outcome.failures, by_id)])


def _ungraded(request: HeldOut, response: str, finish_reason: str) -> Graded:
    return Graded(request.request_id, request.category, request.kind, request.prompt, response, finish_reason)


def _unanswered(failures: Sequence[dict[str, Any]], by_id: dict[str, HeldOut]) -> list[Unanswered]:
    return [Unanswered(f["row_id"], by_id[f["row_id"]].category, f["reason"]) for f in failures]


async def _choose(judge: Ask, template: str, choices: tuple[str, ...], asked: dict[str, str]) -> str:
    completion = await judge([user(render(template, **asked))], Sampling(max_tokens=8, choices=choices))
    if not completion.choice_probs:
        raise CompletionFailed("no-choice", completion.text)
    return choices[max(range(len(choices)), key=completion.choice_probs.__getitem__)]
