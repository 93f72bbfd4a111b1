"""New requests: a model is shown a topic and a few examples, and writes one more."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.config import RedTeam
from charter.core.messages import user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, each_row, finished

STAGE = "invent"
_MARKS = "-*\u2022 \t"
_QUOTED = re.compile(r"[\"\u201c]([^\"\u201c\u201d]*)[\"\u201d]", re.DOTALL)


async def invent(
    plan: Sequence[Row],
    ask: Ask,
    settings: RedTeam,
    seed: tuple[object, ...],
    templates: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """What to ask for in, requests out."""

    async def work(row: Row) -> list[dict[str, Any]]:
        prompt = render("new_prompt", templates, topic=row["topic"], examples=row["examples"])
        number = seed_of(*seed, STAGE, row["row_id"])
        sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=number)
        answer = await finished(ask, [user(prompt)], sampling, STAGE)
        if not (request := strip_request(answer.text)):
            raise RowFailed(STAGE, "empty", answer.text)
        kept = {name: row[name] for name in ("row_id", "kind", "origin", "topic")}
        return [{**kept, "request": request}]

    return await each_row(plan, STAGE, work, on_progress)


def strip_request(text: str) -> str:
    """The request itself, without the mark of a list or the quotation marks that models put about it."""
    text = text.strip().lstrip(_MARKS).strip()
    quoted = _QUOTED.fullmatch(text)
    return quoted[1].strip() if quoted else text
