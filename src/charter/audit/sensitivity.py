"""Does the judge read the principle? The same pairs under principles that apply, that do not, and that are inverted.

A judge that prefers the same answer whatever principle it is shown may agree with every label. But its labels do not
follow the constitution, and an edit of the constitution does not change them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from charter.audit.labelled import LabelledPair
from charter.constitution import Constitution, Principle, parse_constitution
from charter.core.sampling import draw
from charter.core.statistics.intervals import bootstrap_mean
from charter.core.templates import render
from charter.pipeline.judges.protocol import Compare
from charter.pipeline.rows import OnProgress, Row, StageContext, each_row

STAGE = "sensitivity"


class Moved(NamedTuple):
    """The probability of the better answer of one pair, under each sort of principle."""

    applicable: float
    inapplicable: float
    inverted: float


async def measure_sensitivity(
    pairs: Sequence[LabelledPair],
    n: int,
    compare: Compare,
    context: StageContext,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """How far the judge's probabilities move with the principle, over `n` pairs drawn at random.

    Returns:
        Means with 95 % intervals: of p under each sort of principle; ``distance``, of how far p is from one half under
        inapplicable ones; ``shift``, of p under applicable minus inapplicable ones; ``inversion``, of p under
        applicable minus inverted ones. None if no pair could be judged.
    """
    usable = {pair.row_id: pair for pair in pairs if _applicable(pair, context.constitution)}
    drawn = [usable[row_id] for row_id in draw(usable, n, context.seed)]
    found = list[Moved]()

    async def work(row: Row) -> list[dict[str, Any]]:
        pair: LabelledPair = row["pair"]
        principle = _applicable(pair, context.constitution)
        assert principle is not None  # only such pairs are drawn
        inverted = replace(
            principle,
            id=f"{principle.id}.inverted",
            text=render("inverted_principle", context.templates, principle=principle),
            preference_request=None,
            checks=(),
        )
        shown = (principle, _inapplicable(pair, context.constitution), inverted)
        judgements = await asyncio.gather(
            *(compare(pair.prompt, pair.worse, pair.better, [one], context) for one in shown)
        )
        found.append(Moved(*(judgement.p for judgement in judgements)))
        return [{"row_id": pair.row_id}]

    await each_row([{"row_id": pair.row_id, "pair": pair} for pair in drawn], STAGE, work, on_progress)
    if not found:
        return None

    def mean(values: Sequence[float]) -> dict[str, Any]:
        return bootstrap_mean(list(values), context.seed).to_dict()

    found.sort()  # rows end in any order, and the interval of the same audit must be the same
    return {
        **{name: mean([getattr(one, name) for one in found]) for name in Moved._fields},
        "distance": mean([abs(one.inapplicable - 0.5) for one in found]),
        "shift": mean([one.applicable - one.inapplicable for one in found]),
        "inversion": mean([one.applicable - one.inverted for one in found]),
    }


def _applicable(pair: LabelledPair, constitution: Constitution) -> Principle | None:
    """A principle that bears on the pair, or any where the data do not say which do; None if none does."""
    bearing = [p for p in constitution.principles if pair.bearing is None or p.id in pair.bearing]
    return bearing[int(pair.row_id, 16) % len(bearing)] if bearing else None


def _inapplicable(pair: LabelledPair, constitution: Constitution) -> Principle:
    """A principle of the constitution that does not bear on the pair, or a neutral one where none is known."""
    others = [p for p in constitution.principles if pair.bearing is not None and p.id not in pair.bearing]
    choice = others or neutral_principles()
    return choice[int(pair.row_id, 16) % len(choice)]


@cache
def neutral_principles() -> list[Principle]:
    """Principles that bear on hardly any pair."""
    text = (files("charter.audit") / "neutral.md").read_text(encoding="utf-8")
    return list(parse_constitution(text).principles)
