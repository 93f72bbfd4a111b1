"""Have a model write new requests from a topic and a few examples, and find the kind of each."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from charter.config import RedTeam
from charter.core.messages import user
from charter.core.plugins import Registry
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, each_row, finished

STAGE, CLASSIFY = "invent", "classify"
OTHER = "other"
_LIST_MARKS = "-*\u2022 \t"
_QUOTED = re.compile(r"[\"\u201c]([^\"\u201c\u201d]*)[\"\u201d]", re.DOTALL)


class KnownAct(Protocol):
    """What a source of held-out requests knows about the act that a request asks for; `str` of it is the act."""

    @property
    def verb(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def held_out(self) -> bool:
        """Whether it is kept for evaluation, so that no invented request may ask for it."""


RequestReader = Callable[[str], KnownAct | None]
"""From a request to its act; None if the act is not known."""

REQUEST_READERS: Registry[RequestReader] = Registry("reader of requests", "evaluation.source")
request_reader = REQUEST_READERS.register
"""Decorator: read the acts of invented requests; registered under the name of the source of held-out requests."""


async def write_new_requests(
    plan: Sequence[Row],
    ask: Ask,
    settings: RedTeam,
    seed: tuple[object, ...],
    templates: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Rows of `charter.redteam.topics.plan_requests` in; the same rows with a `request`, without examples, out."""

    async def work(row: Row) -> list[dict[str, Any]]:
        prompt = render("new_prompt", templates, topic=row["topic"], examples=row["examples"])
        # By the row's id, so that a killed run finds its requests in the store, whatever the order of the rows.
        row_seed = seed_of(*seed, STAGE, row["row_id"])
        sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=row_seed)
        answer = await finished(ask, [user(prompt)], sampling, STAGE)
        if not (request := strip_request(answer.text)):
            raise RowFailed(STAGE, "empty", answer.text)
        return [{**{name: row[name] for name in ("row_id", "kind", "origin", "topic")}, "request": request}]

    return await each_row(plan, STAGE, work, on_progress)


def strip_request(text: str) -> str:
    """The request without the list mark or the quotation marks that models put around it."""
    text = text.strip().lstrip(_LIST_MARKS).strip()
    # Only quotation marks around the whole: a request may quote something itself.
    quoted = _QUOTED.fullmatch(text)
    return quoted[1].strip() if quoted else text


async def classify_requests(
    rows: Sequence[Row], kinds: Sequence[str], ask: Ask, on_progress: OnProgress | None = None
) -> Outcome:
    """The rows with the `kind` that a model chooses, or `OTHER`."""
    options = [*kinds, OTHER]
    # The model answers with a number, because a choice has to differ from the others in its first token.
    numbers = tuple(str(i) for i in range(1, len(options) + 1))

    async def work(row: Row) -> list[dict[str, Any]]:
        prompt = render("classify_kind", request=row["request"], kinds=options)
        answer = await ask([user(prompt)], Sampling(max_tokens=8, choices=numbers))
        if not answer.choice_probs:
            raise RowFailed(CLASSIFY, "no-choice", answer.text)
        best = max(range(len(options)), key=answer.choice_probs.__getitem__)
        return [{**row, "kind": options[best]}]

    return await each_row(rows, CLASSIFY, work, on_progress)


def add_acts(rows: Sequence[Row], read: RequestReader | None) -> list[dict[str, Any]]:
    """The rows with the `verb` and the `kind` of their act if `read` knows it; otherwise `verb` is None."""
    acts = [read(row["request"]) if read else None for row in rows]
    return [
        {**row, "kind": act.kind if act else row["kind"], "verb": act.verb if act else None}
        for row, act in zip(rows, acts, strict=True)
    ]
