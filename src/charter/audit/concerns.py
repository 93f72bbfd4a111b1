"""What the figures of an audit give reason to worry about, each under the name of the figure that shows it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from charter.core.formatting import interval, percent

SURE = 0.01
"""A bias is named when chance would show as much less often than this,"""
GAP = 0.1
"""and when it moves at least this share of the verdicts: with many pairs the smallest bias is beyond chance."""
MOST_TIES = 0.1
WORST_ECE = 0.05


class Concern(NamedTuple):
    """One reason not to trust the judge's labels as they are."""

    figure: str
    text: str


def concerns(figures: Mapping[str, Any], floor: float) -> list[Concern]:
    """The gravest first; none for a judge whose labels can be used as they are."""
    return [*_agreement(figures, floor), *_biases(figures), *_ties(figures), *_calibration(figures["calibration"])]


def passes(figures: Mapping[str, Any], floor: float, max_ties: float = 1.0) -> bool:
    """Whether agreement is surely above the floor (the lower end of its interval is not under it), ties being few."""
    rate, ties = figures["agreement"], figures["ties"]
    return bool(rate["n"]) and rate["low"] >= floor and ties["value"] <= max_ties


def _agreement(figures: Mapping[str, Any], floor: float) -> Iterator[Concern]:
    rate = figures["agreement"]
    if not rate["n"]:
        yield Concern("agreement", "There is no verdict at all, so nothing shows that the judge can tell.")
    elif rate["high"] < 0.5:
        yield Concern(
            "inverted",
            f"It names the worse answer more often than the better one ({percent(rate['value'])} right). Look for "
            "labels or letters that are the wrong way round.",
        )
    elif rate["low"] <= 0.5:
        yield Concern("chance", f"It is no better than a coin: {percent(rate['value'])} right ({interval(rate)}).")
    if rate["n"] and rate["low"] < floor:
        yield Concern(
            "agreement", f"The lower end of its agreement, {percent(rate['low'])}, is under {percent(floor)}."
        )


def _biases(figures: Mapping[str, Any]) -> Iterator[Concern]:
    place = figures["position"]
    flips, a_twice = place["flips"], place["a_twice"]
    if flips["n"] and flips["value"] >= GAP and place["p"] < SURE:
        letter, share = ("A", a_twice["value"]) if a_twice["value"] > 0.5 else ("B", 1 - a_twice["value"])
        yield Concern(
            "position",
            f"{percent(flips['value'])} of its verdicts flip with the order of the answers, and {percent(share)} of "
            f"those name {letter} both times.",
        )
    size = figures["length"]
    if _is_bias(size):
        longer, shorter = percent(size["better_is_longer"]["value"]), percent(size["better_is_shorter"]["value"])
        yield Concern(
            "length",
            f"It is right in {longer} of pairs whose better answer is the longer one, and in {shorter} where it is "
            f"the shorter one: it prefers the {'longer' if size['gap'] > 0 else 'shorter'} answer.",
        )
    own = figures["self_preference"]
    if own and _is_bias(own):
        mine, others = percent(own["better_is_own"]["value"]), percent(own["worse_is_own"]["value"])
        leaning = "favours" if own["gap"] > 0 else "is hard on"
        yield Concern(
            "self_preference",
            f"It is right in {mine} of pairs whose better answer is its own, and in {others} where the worse one is: "
            f"it {leaning} itself.",
        )


def _is_bias(split: Mapping[str, Any]) -> bool:
    return split["gap"] is not None and abs(split["gap"]) >= GAP and split["p"] < SURE


def _ties(figures: Mapping[str, Any]) -> Iterator[Concern]:
    ties = figures["ties"]
    if ties["n"] and ties["value"] > MOST_TIES:
        yield Concern("ties", f"{percent(ties['value'])} of the pairs are ties, which label nothing.")


def _calibration(scores: Mapping[str, Any]) -> Iterator[Concern]:
    before = scores["before"] or scores["whole"]
    if before["ece"] is None or before["ece"] <= WORST_ECE:
        return
    after = {how: scores[how]["ece"] for how in ("temperature", "isotonic") if scores[how]}
    best = min(after, key=lambda how: float(after[how]), default="")
    mended = f" By {best} calibration it comes down to {after[best]:.3f}." if best else ""
    yield Concern("calibration", f"Its probabilities are {before['ece']:.3f} off on average (ECE).{mended}")
