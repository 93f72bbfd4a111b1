"""How far people and the judge agree, and the review in one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from charter.evaluation.intervals import rate_of
from charter.judging.association import pair_kappa
from charter.judging.layouts import Label
from charter.report.headline import interval, percent
from charter.review.forms import Answers
from charter.review.sample import Shown


def agreement(sample: Sequence[Shown], answers: Answers) -> dict[str, Any]:
    """Agreement and Cohen's kappa, with intervals: over the pairs by lot, which speak for all, and the unsure ones.

    A pair that people turned around is one they judge the other way, one that they dropped is a tie to them, and any
    other one they agree with. Where a panel split there is no label to agree with.
    """
    found = {}
    for why in ("random", "uncertain"):
        people = [_label(shown.id, answers) for shown in sample if shown.why == why]
        judge: list[Label] = ["better"] * len(people)
        agreed = rate_of([label == "better" for label in people])
        found[why] = {"agreed": agreed.to_dict(), "kappa": pair_kappa(judge, people).to_dict()}
    return found


def sentence(record: Mapping[str, Any]) -> str:
    """What people said about the labels of a run, in words that a person can repeat; `record` is ``review.json``."""
    answers, done = record["answers"], record["done"]
    by = f" ({answers['by']})" if answers["by"] else ""
    shown = sum(record["shown"].values())
    said = f"People{by} looked at {shown:,} of {record['pairs']:,} pairs"
    if not answers["approve"]:
        return f"{said} and did not approve of them."
    said += f", dropped {done['dropped']:,} and turned {done['flipped']:,} around"
    said += f", and settled {done['settled']:,} on which the panel split" if done["settled"] else ""
    said += f"; {done['under-margin']:,} under their margin of {answers['min_margin']:g} were left out"
    agreed, kappa = (record["agreement"]["random"][name] for name in ("agreed", "kappa"))
    if agreed["value"] is None:
        return f"{said}."
    said += f". Of the {agreed['n']:,} drawn by lot they agree with {percent(agreed['value'])} ({interval(agreed)})"
    return f"{said}; kappa is {kappa['value']:.2f} ({kappa['low']:.2f} to {kappa['high']:.2f})."


def _label(id: str, answers: Answers) -> Label:
    return "worse" if id in answers.flip else "tie" if id in answers.drop else "better"
