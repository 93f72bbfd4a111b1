"""Have a model write scenarios from the text of each principle, and keep those that are what they should be."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charter.constitution import Constitution, Principle
from charter.core.messages import user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.data.duplicates import near_duplicates
from charter.evaluation.adherence.scenarios import SITUATIONS, Situation
from charter.evaluation.overlap import NEAR
from charter.inference.completion import Sampling
from charter.pipeline.asking import ask_for_choice
from charter.pipeline.rows import OnProgress, Row, RowFailed, StageContext, each_row, finished

STAGE = "scenarios"
SPARE = 2
"""Scenarios are asked for this many times as often as they are wanted, because some are dropped."""
LONGEST = 400
"""Tokens of a scenario."""
AREAS = tuple((Path(__file__).parent / "areas.txt").read_text(encoding="utf-8").splitlines())
"""Where a scenario takes place, so that those of one principle differ."""


class WrittenScenarios(NamedTuple):
    """The scenarios that are kept, as rows of their file, and how many were dropped, by principle and reason."""

    rows: list[dict[str, Any]]
    dropped: dict[str, Counter[str]]


async def write_scenarios(
    constitution: Constitution, context: StageContext, per_situation: int, on_progress: OnProgress | None = None
) -> WrittenScenarios:
    """Scenarios for every principle and situation, `per_situation` of each if enough of them are good.

    A scenario is dropped if the model, asked once more, says that its principle does not apply (or, of a look-alike,
    that it does), and if it nearly repeats an earlier one.

    Args:
        constitution: whose principles they are about.
        context: asks the model; best another one than that which is trained.
        per_situation: how many to keep of each principle and situation; conflicts need a second principle.
        on_progress: is told how many are written.
    """
    plan = [
        {"row_id": f"{principle.id} {situation} {i}", "principle": principle, "situation": situation, "place": i}
        for principle in constitution.principles
        for situation in SITUATIONS
        if situation != "conflict" or len(constitution.principles) > 1
        for i in range(SPARE * per_situation)
    ]

    async def work(row: Row) -> list[dict[str, Any]]:
        principle: Principle = row["principle"]
        draw = random.Random(f"{STAGE}:{context.seed}:{row['row_id']}")
        others = [other for other in constitution.principles if other.id != principle.id]
        other = draw.choice(others) if row["situation"] == "conflict" else None
        shown = {"principle": principle, "other": other, "situation": row["situation"], "area": draw.choice(AREAS)}
        sampling = Sampling(LONGEST, temperature=1.0, seed=seed_of(context.seed, STAGE, row["row_id"]))
        request = [user(render("scenario", context.templates, **shown))]
        written = await finished(context.ask, request, sampling, STAGE)
        prompt = strip_quotation(written.text)
        if not await _is_right(prompt, principle, row["situation"], context):
            raise RowFailed(STAGE, "wrong-situation", prompt)
        kept = {"principle": principle.id, "situation": row["situation"], "prompt": prompt}
        return [{"row_id": row["row_id"], **kept, **({"against": other.id} if other else {})}]

    outcome = await each_row(plan, STAGE, work, on_progress)
    dropped = {principle.id: Counter[str]() for principle in constitution.principles}
    for failure in outcome.failures:
        dropped[failure["row_id"].split()[0]][failure["reason"]] += 1
    return WrittenScenarios(_select(outcome.rows, per_situation, dropped), dropped)


def strip_quotation(text: str) -> str:
    """A message without the quotation marks that models put around it."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] in '"“' and text[-1] in '"”' else text


def to_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """The scenarios as their file holds them."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


async def _is_right(prompt: str, principle: Principle, situation: Situation, context: StageContext) -> bool:
    """Whether the model, asked on its own, agrees that the principle applies to the prompt, or that it does not."""
    question = [user(render("scenario_applies", context.templates, principle=principle, message=prompt))]
    applies, _ = await ask_for_choice(context, question, ("yes", "no"), seed_of(context.seed, STAGE, principle.hash))
    return (applies > 0.5) == (situation != "look-alike")


def _select(
    rows: Sequence[dict[str, Any]], per_situation: int, dropped: dict[str, Counter[str]]
) -> list[dict[str, Any]]:
    repeated = {duplicate.number for duplicate in near_duplicates([row["prompt"] for row in rows], NEAR)}
    taken, kept = Counter[tuple[str, str]](), list[dict[str, Any]]()
    for number, row in enumerate(rows):
        group = row["principle"], row["situation"]
        if number in repeated:
            dropped[row["principle"]]["near-duplicate"] += 1
        elif taken[group] < per_situation:
            taken[group] += 1
            kept.append({name: value for name, value in row.items() if name != "row_id"})
    return kept
