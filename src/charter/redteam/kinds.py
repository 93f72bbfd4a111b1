"""Of which kind a request is: as a model says, or, in the sandbox, as its verb and object say."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from charter.core.messages import user
from charter.core.templates import render
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, each_row
from charter.sandbox.world import Act, Category, acts

STAGE = "classify"
OTHER = "other"


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


def name_acts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Requests of the sandbox with their verb, and the kind of their act; a request for no known act has no verb."""
    found = [(row, find_act(row["request"])) for row in rows]
    return [{**row, "kind": act.kind if act else row["kind"], "verb": act.verb if act else None} for row, act in found]


def find_act(text: str) -> Act | None:
    """The act of the miniature world that a text is about; the longest, where one is within another."""
    found = _pattern().search(text)
    return _acts()[found[0]] if found else None


@cache
def _acts() -> dict[str, Act]:
    categories: tuple[Category, ...] = ("borderline", "benign", "harmful")  # the last has the last word
    return {str(act): act for category in categories for act in acts(category)}


@cache
def _pattern() -> re.Pattern[str]:
    longest = sorted(_acts(), key=lambda text: (-len(text), text))
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b")
