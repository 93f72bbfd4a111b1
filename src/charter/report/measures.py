"""The names of measures and models in reports, and how a measure's value, interval and change are written."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charter.core.formatting import percent, points, shorten_name
from charter.evaluation.gate import FIRST, round_number

Entry = Mapping[str, Any]


class Title(NamedTuple):
    """How one measure is presented; `short` fits a narrow column of a terminal."""

    name: str
    long: str
    short: str
    explanation: str
    lower_is_better: bool = True


class MeasureRow(NamedTuple):
    """A measure of every model, in the order of the models, and its change; None where it was not measured."""

    title: Title
    values: list[Entry | None]
    change: Entry | None


TITLES = (
    Title("harmful_rate", "Harmful answers", "harmful", "harmful requests that the model helped with"),
    Title("benign_refusal_rate", "Benign refusals", "benign refused", "harmless requests that it declined"),
    Title(
        "borderline_refusal_rate",
        "Over-refusal",
        "over-refusal",
        "requests that only look harmful, such as “shoot a portrait”, that it declined",
    ),
    Title("accuracy", "Accuracy", "accuracy", "questions of fact that it answered correctly", False),
)
"""The headline's measures."""

PARTS: Mapping[str, tuple[Title, ...]] = {
    "Harmful answers under pressure": (
        Title("harmful_rate_role_play", "Role-play", "role-play", "the model is to play someone without rules"),
        Title("harmful_rate_prefix_injection", "Prefix injection", "prefix", "it is told to begin with consent"),
        Title("harmful_rate_insistence", "Insistence", "insistence", "the user gives a reason, or begs"),
        Title("harmful_rate_several_turns", "Several turns", "turns", "after a harmless exchange"),
        Title("harmful_rate_prefilled", "Prefilled answer", "prefilled", "the beginning of the answer is given"),
    ),
    "Honesty": (
        Title("kept_right_rate", "Keeps a right answer", "keeps", "though the user insists on a wrong one", False),
        Title("admits_unknown_rate", "Admits ignorance", "admits", "of what no one can know", False),
        Title("denies_known_rate", "Claims ignorance", "denies", "of facts that can be known"),
    ),
    "Help in part": (
        Title("partial_refusal_rate", "Refused in part", "in part", "harmless requests, with help and refusal"),
    ),
    "Groups and privacy": (
        Title("unequal_rate", "Unequal treatment", "unequal", "of pairs that differ in a group alone"),
        Title("harmful_rate_privacy", "Against privacy", "privacy", "harmful requests of that kind, helped with"),
        Title("leak_rate", "Personal data", "leaks", "in answers to prompts that do not contain it"),
    ),
    "Style of answers to harmless requests": (
        Title("apology_rate", "Apologies", "apologies", "answers that apologise"),
        Title("preachy_rate", "Preaching", "preaching", "answers that warn or moralise"),
        Title("length", "Length", "length", "mean number of words"),
        Title("repetition", "Repetition", "repetition", "share of three-word sequences that occurred before"),
        Title("diversity", "Diversity", "diversity", "distinct pairs of words, over all answers", False),
    ),
    "Better than the base, according to a judge": (
        Title("win_rate", "Win rate", "wins", "in both orders, on benign requests", False),
        Title("win_rate_at_equal_length", "At equal length", "wins, equal length", "length-controlled", False),
    ),
    "Judge compared with oracle": (
        Title("harmful_rate_by_judge", "Harmful, by the judge", "judged", "of the headline's harmful requests"),
    ),
}
"""The measures beyond the headline, by the heading of their part."""

SHARES = tuple(PARTS)[:3]
"""The parts that a plot of shares shows: those about requests, which have enough in common for one axis."""
NUMBERS = ("length",)
"""Measures that are not shares."""
MODELS = {"base": "Base", "sft": "SFT", "dpo": "DPO", "grpo": "GRPO"}
ACCEPTED = "accepted"
"""The name in comparisons of the model that was accepted last."""
UNMEASURED: Entry = {"value": None, "low": 0.0, "high": 1.0, "n": 0}


def further_parts(evaluation: Mapping[str, Any], model: str) -> list[tuple[str, list[MeasureRow]]]:
    """The parts with what was measured of any model, and the change from the base to `model`."""
    models = evaluation.get("models", {})
    entries, last = list(models.values()), models.get(model, {})
    # Two equally good models win half of the comparisons, so a win rate's change is its distance from one half.
    changes: dict[str, Entry] = {
        name: {"difference": r["value"] - 0.5, "low": r["low"] - 0.5, "high": r["high"] - 0.5, "p": r["p"]}
        for name in ("win_rate", "win_rate_at_equal_length")
        if (r := last.get(name))
    }
    for comparison in evaluation.get("comparisons", ()):
        if (comparison["from"], comparison["to"]) == ("base", model):
            changes |= comparison["measures"]
    parts = []
    for heading in PARTS:
        # In the order of `PARTS`, whatever the order of the entries.
        titles = [title for title in further_titles(entries) if title in PARTS[heading]]
        rows = [MeasureRow(t, [entry.get(t.name) for entry in entries], changes.get(t.name)) for t in titles]
        # A run that was not asked these requests has no such part.
        parts += [(heading, rows)] if rows else []
    return parts


def further_titles(entries: Sequence[Entry]) -> list[Title]:
    """The measures beyond the headline that any of these entries has."""
    return [title for part in PARTS.values() for title in part if any(title.name in entry for entry in entries)]


def shares(evaluation: Mapping[str, Any]) -> dict[str, dict[str, Entry]]:
    """By title and model, the measures beyond the headline that are shares of requests, for a plot."""
    models: Mapping[str, Entry] = evaluation.get("models", {})
    return {
        # A model that was not asked has no dot, but keeps its place and colour.
        title.long: {name: entry.get(title.name, UNMEASURED) for name, entry in models.items()}
        for heading in SHARES
        for title in PARTS[heading]
        if any(title.name in entry for entry in models.values())
    }


def amount(value: float | None, name: str) -> str:
    """The value of the measure `name`: a share in percent, or a number."""
    return percent(value) if value is None or name not in NUMBERS else f"{value:.1f}"


def between(rate: Entry, name: str) -> str:
    """The interval of the measure `name`."""
    low, high = amount(rate["low"], name), amount(rate["high"], name)
    # The unit once, after the second number.
    return f"{low.removesuffix(' %')} to {high}"


def moved(value: float, name: str) -> str:
    """A change of the measure `name`: in percentage points, or as a number."""
    return points(value / 100 if name in NUMBERS else value)


def model_title(name: str) -> str:
    """A model's name in tables and plots; ``DPO2`` is the model of the second round."""
    # Later rounds are always DPO.
    number = round_number(name) or 1
    return f"{MODELS[FIRST]}{number}" if number > 1 else MODELS.get(name, shorten_name(name))


def change_title(comparison: Mapping[str, Any]) -> str:
    """``DPO`` minus ``Base``: the second model's rates are subtracted from the first's."""
    return f"{model_title(comparison['to'])} \N{MINUS SIGN} {model_title(comparison['from'])}"
