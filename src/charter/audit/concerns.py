"""What the metrics of an audit give reason to worry about, each named after the metric that shows it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from charter.core.formatting import interval, percent

MAX_P = 0.01
"""A bias is reported if chance would produce one as large less often than this,"""
MIN_GAP = 0.1
"""and if it changes at least this share of the verdicts: with many pairs, even a tiny bias is significant."""
MIN_SHIFT = 0.1
"""A judge whose probabilities move less than this with the principle is said to ignore it."""
MAX_TIES = 0.1
MAX_ECE = 0.05


class Concern(NamedTuple):
    """One reason not to trust the judge's labels as they are."""

    figure: str
    text: str


def passes(figures: Mapping[str, Any], floor: float, max_ties: float = 1.0, min_sensitivity: float = 0.0) -> bool:
    """Whether agreement and sensitivity are as high as required, by the lower ends of their intervals, and ties few."""
    rate, ties, sensitivity = figures["agreement"], figures["ties"], figures.get("sensitivity")
    follows = min_sensitivity == 0 or (sensitivity is not None and sensitivity["shift"]["low"] >= min_sensitivity)
    # An empty rate has the interval 0 to 1, which would pass a floor of 0.
    return bool(rate["n"]) and rate["low"] >= floor and ties["value"] <= max_ties and follows


def concerns(figures: Mapping[str, Any], floor: float) -> Iterator[Concern]:
    """Reasons for concern, the gravest first; there are none if the judge's labels can be used as they are."""
    rate, ties, calibration = figures["agreement"], figures["ties"], figures["calibration"]
    if not rate["n"]:
        yield Concern("agreement", "It reached no verdict on any pair, so its agreement is unknown.")
    # Significantly wrong is worse than undecided: it means that something is swapped.
    elif rate["high"] < 0.5:
        yield Concern(
            "inverted",
            f"It prefers the worse answer more often than the better one ({percent(rate['value'])} right). Check "
            "whether labels or letters are swapped.",
        )
    elif rate["low"] <= 0.5:
        yield Concern("chance", f"It is no better than a coin: {percent(rate['value'])} right ({interval(rate)}).")
    if rate["n"] and rate["low"] < floor:
        yield Concern(
            "agreement", f"The lower end of its agreement, {percent(rate['low'])}, is under {percent(floor)}."
        )
    sensitivity = figures.get("sensitivity")
    if sensitivity and max(sensitivity[name]["high"] for name in ("shift", "inversion")) < MIN_SHIFT:
        yield Concern(
            "sensitivity",
            "It ignores the constitution: the better answer is as probable under principles that do not apply "
            f"({sensitivity['inapplicable']['value']:.2f}) and under inverted ones "
            f"({sensitivity['inverted']['value']:.2f}) as under those that apply "
            f"({sensitivity['applicable']['value']:.2f}). Labels will not follow an edit of a principle.",
        )
    yield from _bias_concerns(figures)
    if ties["n"] and ties["value"] > MAX_TIES:
        yield Concern("ties", f"{percent(ties['value'])} of the pairs are ties, which label nothing.")
    # The half that no calibration was fitted to, if there are enough pairs: the fitted scores are of that half too.
    before = calibration["before"] or calibration["whole"]
    if before["ece"] is not None and before["ece"] > MAX_ECE:
        after = {how: calibration[how]["ece"] for how in ("temperature", "isotonic") if calibration[how]}
        # The one that helps most on pairs it was not fitted to.
        best = min(after, key=lambda how: float(after[how]), default="")
        remedy = f" With {best} calibration the error is {after[best]:.3f}." if best else ""
        yield Concern("calibration", f"Its probabilities are {before['ece']:.3f} off on average (ECE).{remedy}")


def _bias_concerns(figures: Mapping[str, Any]) -> Iterator[Concern]:
    position, length, own = figures["position"], figures["length"], figures["self_preference"]
    flips, a_twice = position["flips"], position["a_twice"]
    if flips["n"] and flips["value"] >= MIN_GAP and position["p"] < MAX_P:
        # Named by the letter that it prefers.
        letter, share = ("A", a_twice["value"]) if a_twice["value"] > 0.5 else ("B", 1 - a_twice["value"])
        yield Concern(
            "position",
            f"{percent(flips['value'])} of its verdicts flip with the order of the answers, and {percent(share)} of "
            f"those name {letter} both times.",
        )
    if _is_bias(length):
        longer, shorter = percent(length["better_is_longer"]["value"]), percent(length["better_is_shorter"]["value"])
        yield Concern(
            "length",
            f"It is right in {longer} of pairs whose better answer is the longer one, and in {shorter} where it is "
            f"the shorter one: it prefers the {'longer' if length['gap'] > 0 else 'shorter'} answer.",
        )
    if own and _is_bias(own):
        mine, others = percent(own["better_is_own"]["value"]), percent(own["worse_is_own"]["value"])
        yield Concern(
            "self_preference",
            f"It is right in {mine} of pairs whose better answer is its own, and in {others} where the worse one is: "
            f"it {'favours' if own['gap'] > 0 else 'penalises'} its own answers.",
        )


def _is_bias(groups: Mapping[str, Any]) -> bool:
    return groups["gap"] is not None and abs(groups["gap"]) >= MIN_GAP and groups["p"] < MAX_P
