"""Of which kind a request is: as a model says, or as the source of held-out requests knows."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from charter.core.messages import user
from charter.core.plugins import Registry
from charter.core.templates import render
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, each_row

STAGE = "classify"
OTHER = "other"


class KnownAct(Protocol):
    """What a source of held-out requests knows about the act that a request asks for; its text is the act."""

    @property
    def verb(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def held_out(self) -> bool:
        """Whether it is kept for evaluation, so that no request may ask for it."""


RequestReader = Callable[[str], KnownAct | None]
"""From a request to its act; None where it is no known one."""

REQUEST_READERS: Registry[RequestReader] = Registry("reader of requests", "evaluation.source")
request_reader = REQUEST_READERS.register
"""Decorator: read the acts of invented requests; by the name of the source of held-out requests."""


async def classify(
    rows: Sequence[Row], kinds: Sequence[str], ask: Ask, on_progress: OnProgress | None = None
) -> Outcome:
    """Requests with the kind that a model finds them to be of, or `OTHER`; it answers with the kind's number."""
    named = [*kinds, OTHER]
    numbers = tuple(str(i) for i in range(1, len(named) + 1))

    async def work(row: Row) -> list[dict[str, Any]]:
        prompt = render("classify_kind", request=row["request"], kinds=named)
        answer = await ask([user(prompt)], Sampling(max_tokens=8, choices=numbers))
        if not answer.choice_probs:
            raise RowFailed(STAGE, "no-choice", answer.text)
        best = max(range(len(named)), key=answer.choice_probs.__getitem__)
        return [{**row, "kind": named[best]}]

    return await each_row(rows, STAGE, work, on_progress)


def name_acts(rows: Sequence[Row], read: RequestReader | None) -> list[dict[str, Any]]:
    """Requests with the verb and the kind of their act, where `read` knows it; otherwise without a verb."""
    acts = [read(row["request"]) if read else None for row in rows]
    return [
        {**row, "kind": act.kind if act else row["kind"], "verb": act.verb if act else None}
        for row, act in zip(rows, acts, strict=True)
    ]
