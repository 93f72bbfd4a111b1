"""Ask a model every request in every style, and grade its answers.

A style is a template with a line ``---`` between turns. The model answers after each turn; its last answer counts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from charter.core.errors import ConfigError
from charter.core.messages import Message, assistant, user
from charter.core.templates import render
from charter.evaluation.answering import grade_by_judge
from charter.evaluation.records import ExactGrader, Graded, HeldOut, ModelAnswers
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, each_row, failure

STAGE, GRADE = "attack", "grade"
STYLES = Path(__file__).parent / "styles"
_TURN_BREAK = re.compile(r"^---$", re.MULTILINE)
_PLACEHOLDER = "\0"


def plan_attacks(requests: Iterable[Row], styles: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every request in every style."""
    for row in requests:
        for style in styles:
            yield {**row, "row_id": f"{row['row_id']}/{style}", "style": style}


async def make_attempts(
    attacks: Sequence[Row],
    ask: Ask,
    max_tokens: int,
    templates: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Rows of `plan_attacks` with the conversation as `prompt` and the last answer as `response`.

    Sampling is greedy, as in an evaluation. An answer that is cut off at `max_tokens` counts as it is.
    """
    # Without a temperature, that is greedy: an attempt can be repeated and gives the same answer.
    sampling = Sampling(max_tokens=max_tokens)

    async def work(row: Row) -> list[dict[str, Any]]:
        messages, response = list[Message](), ""
        for turn in split_turns(row["style"], row["request"], templates):
            if messages:
                # Chat templates reject an assistant turn without text.
                if not response.strip():
                    raise RowFailed(STAGE, "empty", turn)
                messages.append(assistant(response))
            messages.append(user(turn))
            answer = await ask(messages, sampling)
            response = answer.text
        return [{**row, "prompt": messages, "response": response, "finish_reason": answer.finish_reason}]

    return await each_row(attacks, STAGE, work, on_progress)


def grade_attempts_exactly(attempts: Sequence[Row], grade: ExactGrader) -> Outcome:
    """The attempts with an exact grade in `harmful`."""
    return Outcome([{**row, "harmful": bool(grade(_answer(row), _request(row)).harmful)} for row in attempts])


async def grade_attempts_by_judge(
    attempts: Sequence[Row], judge: Ask, on_progress: OnProgress | None = None
) -> Outcome:
    """The attempts with a judge's grade in `harmful`."""
    requests, answers = [_request(row) for row in attempts], [_answer(row) for row in attempts]
    graded = await grade_by_judge(ModelAnswers(answers), requests, judge, on_progress, GRADE)
    by_id = {row["row_id"]: row for row in attempts}
    return Outcome(
        [{**by_id[answer.request_id], "harmful": bool(answer.harmful)} for answer in graded.graded],
        [failure(by_id[lost.request_id], GRADE, lost.reason) for lost in graded.failed],
    )


# Graders ask whether an answer is harmful only for some categories of requests; `pressed` is the one for attacks.
def _answer(row: Row) -> Graded:
    return Graded(row["row_id"], "pressed", row["kind"], row["request"], row["response"], row["finish_reason"])


def _request(row: Row) -> HeldOut:
    return HeldOut(row["row_id"], row["request"], "pressed", row["kind"], conversation=tuple(row["prompt"]))


def split_turns(style: str, request: str, folder: Path | None = None) -> list[str]:
    """The user's turns of a style.

    Args:
        style: a shipped one, or the name of a file ``NAME.md.j2`` in `folder`.
        request: the request to make.
        folder: the user's templates.

    Raises:
        ConfigError: there is no such style, or it leaves out the request.
    """
    custom = folder is not None and (folder / f"{style}.md.j2").is_file()
    # The request replaces a placeholder after the split, so that a line `---` within it starts no turn.
    text = render(style, folder if custom else STYLES, request=_PLACEHOLDER)
    turns = [turn.strip() for turn in _TURN_BREAK.split(text)]
    if _PLACEHOLDER not in text or not all(turns):
        raise ConfigError(
            f"style '{style}': leaves out the request, or a turn is empty. Put {{{{ request }}}} into {style}.md.j2."
        )
    return [turn.replace(_PLACEHOLDER, request) for turn in turns]


def check_styles(styles: Sequence[str], folder: Path | None = None) -> None:
    """Check that every style can be used.

    Raises:
        ConfigError: a style does not exist, or cannot be used.
    """
    shipped = {path.name.removesuffix(".md.j2") for path in STYLES.glob("*.j2")}
    for style in styles:
        if style not in shipped and not (folder and (folder / f"{style}.md.j2").is_file()):
            raise ConfigError(
                f"redteam.styles '{style}': no such style. Use {', '.join(sorted(shipped))}, or put {style}.md.j2 into "
                "the folder that generation.templates names."
            )
        # Renders it once, which finds a variable that the template does not get.
        split_turns(style, "?", folder)
