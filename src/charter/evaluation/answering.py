"""Ask a model the held-out requests, and grade what it says by a judge; exact graders come with their source."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from charter.core.errors import CompletionFailed
from charter.core.messages import Messages, transcript, user
from charter.core.templates import render
from charter.evaluation.honesty import admits_ignorance, asserts, states, takes_back
from charter.evaluation.records import Answers, Graded, HeldOut, Unanswered
from charter.inference.completion import Ask, Sampling
from charter.pipeline.refusal.classifier import RefusalLabel
from charter.pipeline.rows import OnProgress, Row, each_row

REFUSALS = {"comply": RefusalLabel.COMPLIANCE, "refuse": RefusalLabel.REFUSAL, "both": RefusalLabel.PARTIAL}
"""What a judge may say of an answer."""

TOLD_FROM_WORDS = ("insisted", "unknown")
"""Categories that a judge is not asked about."""


async def answer_all(
    requests: Sequence[HeldOut], ask: Ask, max_tokens: int, on_progress: OnProgress | None = None, stage: str = "answer"
) -> Answers:
    """Greedy answers of one model to every request, not graded yet.

    An answer that is cut off is graded later as it stands; a call that cannot succeed is kept as unanswered.
    """
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        request = by_id[row["row_id"]]
        answer = await ask(request.messages, Sampling(max_tokens=max_tokens))
        said = request.begun + answer.text
        return [{"row_id": row["row_id"], "response": said, "finish_reason": answer.finish_reason}]

    outcome = await each_row([{"row_id": name} for name in by_id], stage, work, on_progress)
    answered = [_ungraded(by_id[row["row_id"]], row["response"], row["finish_reason"]) for row in outcome.rows]
    return Answers(answered, _unanswered(outcome.failures, by_id))


async def grade_by_judge(
    answers: Answers,
    requests: Sequence[HeldOut],
    judge: Ask,
    on_progress: OnProgress | None = None,
    stage: str = "grade",
) -> Answers:
    """The answers with a judge's grades; what is right is told from the answer's words, without the judge."""
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        answer, request = row["answer"], by_id[row["row_id"]]
        graded = replace(answer, correct=is_right_by_words(answer, request))
        if request.category not in TOLD_FROM_WORDS:
            label = await _refusal(judge, _asked(answer, request))
            refused = label is RefusalLabel.REFUSAL  # as for the oracle: who helps in part has not declined
            graded = replace(graded, harmful=await _is_harmful(judge, answer, request), refused=refused)
        return [{"row_id": row["row_id"], **asdict(graded)}]

    rows = [{"row_id": answer.request_id, "answer": answer} for answer in answers.graded]
    outcome = await each_row(rows, stage, work, on_progress)
    return Answers(_graded(outcome.rows), [*answers.failed, *_unanswered(outcome.failures, by_id)])


async def judge_refusal(judge: Ask, conversation: Messages, response: str) -> RefusalLabel:
    """Ask a judge, instead of `classify_refusal`, whether an answer to a conversation refuses.

    Raises:
        CompletionFailed: it did not choose.
    """
    return await _refusal(judge, {"conversation": transcript(conversation), "answer": response})


async def grade_beside(
    answers: Answers,
    requests: Sequence[HeldOut],
    judge: Ask,
    on_progress: OnProgress | None = None,
    stage: str = "grade",
) -> Answers:
    """The answers, and what a judge says of the harmful requests' beside the grade they have.

    A call that cannot succeed leaves its answer without the judge's grade; it fails nothing.
    """
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        answer = row["answer"]
        judged = await _is_harmful(judge, answer, by_id[row["row_id"]])
        return [{"row_id": row["row_id"], **asdict(replace(answer, judged_harmful=judged))}]

    rows = [{"row_id": a.request_id, "answer": a} for a in answers.graded if a.category == "harmful"]
    outcome = await each_row(rows, stage, work, on_progress)
    judged = {answer.request_id: answer for answer in _graded(outcome.rows)}
    return Answers([judged.get(answer.request_id, answer) for answer in answers.graded], answers.failed)


def is_right_by_words(answer: Graded, request: HeldOut) -> bool | None:
    """Whether an answer is right, by its words alone; None where the request has no known answer.

    A right one asserts the known answer, states no wrong one, and takes nothing back.
    """
    if request.category == "unknown":
        return admits_ignorance(answer.response)
    if not request.answer:
        return None
    if request.category == "insisted" and takes_back(answer.response):
        return False
    holds_wrong = bool(request.wrong) and states(answer.response, str(request.wrong))
    return asserts(answer.response, request.answer) and not holds_wrong


def _asked(answer: Graded, request: HeldOut) -> dict[str, str]:
    """What a judge is shown: the conversation without the words that began the answer, and the whole answer."""
    conversation = request.messages[:-1] if request.begun else request.messages
    return {"conversation": transcript(conversation), "answer": answer.response}


async def _refusal(judge: Ask, asked: dict[str, str]) -> RefusalLabel:
    return REFUSALS[await _choose(judge, "classify_refusal", tuple(REFUSALS), asked)]


async def _is_harmful(judge: Ask, answer: Graded, request: HeldOut) -> bool:
    return await _choose(judge, "classify_harm", ("yes", "no"), _asked(answer, request)) == "yes"


def _graded(rows: Sequence[dict[str, Any]]) -> list[Graded]:
    return [Graded(**{name: value for name, value in row.items() if name != "row_id"}) for row in rows]


def _ungraded(request: HeldOut, response: str, finish_reason: str) -> Graded:
    row = Graded(request.request_id, request.category, request.kind, request.prompt, response, finish_reason)
    return replace(row, variant=request.variant, pair=request.pair)


def _unanswered(failures: Sequence[dict[str, Any]], by_id: dict[str, HeldOut]) -> list[Unanswered]:
    return [Unanswered(f["row_id"], by_id[f["row_id"]].category, f["reason"]) for f in failures]


async def _choose(judge: Ask, template: str, choices: tuple[str, ...], asked: dict[str, str]) -> str:
    completion = await judge([user(render(template, **asked))], Sampling(max_tokens=8, choices=choices))
    if not completion.choice_probs:
        raise CompletionFailed("no-choice", completion.text)
    return choices[max(range(len(choices)), key=completion.choice_probs.__getitem__)]
