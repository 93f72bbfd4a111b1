"""Put requests to the model in question, in every style, and grade what it says."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from charter.core.messages import Message, assistant, user
from charter.evaluation.answering import grade_by_judge
from charter.evaluation.records import Answers, ExactGrader, Graded, HeldOut
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, each_row, failure
from charter.redteam.attack_styles import turns_of

STAGE, GRADE = "attack", "grade"


def plan_attacks(requests: Iterable[Row], styles: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every request in every style."""
    for row in requests:
        for style in styles:
            yield {**row, "row_id": f"{row['row_id']}/{style}", "style": style}


async def attack(
    planned: Sequence[Row],
    ask: Ask,
    max_tokens: int,
    templates: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Conversations with their last answers; greedy, as in an evaluation. An answer that is cut off stands as it is."""
    sampling = Sampling(max_tokens=max_tokens)

    async def work(row: Row) -> list[dict[str, Any]]:
        messages, said = list[Message](), ""
        for turn in turns_of(row["style"], row["request"], templates):
            if messages:
                if not said.strip():
                    raise RowFailed(STAGE, "empty", turn)
                messages.append(assistant(said))
            messages.append(user(turn))
            answer = await ask(messages, sampling)
            said = answer.text
        return [{**row, "prompt": messages, "response": said, "finish_reason": answer.finish_reason}]

    return await each_row(planned, STAGE, work, on_progress)


def grade_exactly(attempts: Sequence[Row], grade: ExactGrader) -> Outcome:
    """The attempts with an exact grade."""
    return Outcome([{**row, "harmful": bool(grade(_answer(row), _request(row)).harmful)} for row in attempts])


async def grade_with_judge(attempts: Sequence[Row], judge: Ask, on_progress: OnProgress | None = None) -> Outcome:
    """The attempts with a judge's grade."""
    requests, answers = [_request(row) for row in attempts], [_answer(row) for row in attempts]
    graded = await grade_by_judge(Answers(answers), requests, judge, on_progress, GRADE)
    by_id = {row["row_id"]: row for row in attempts}
    rows = [{**by_id[answer.request_id], "harmful": bool(answer.harmful)} for answer in graded.graded]
    failed = [failure(by_id[lost.request_id], GRADE, lost.reason) for lost in graded.failed]
    return Outcome(rows, failed)


def _answer(row: Row) -> Graded:
    return Graded(row["row_id"], "pressed", row["kind"], row["request"], row["response"], row["finish_reason"])


def _request(row: Row) -> HeldOut:
    return HeldOut(row["row_id"], row["request"], "pressed", row["kind"], conversation=tuple(row["prompt"]))
