"""The review of labels by people, in one sentence."""

from collections.abc import Mapping
from typing import Any

from charter.core.formatting import interval, percent


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
