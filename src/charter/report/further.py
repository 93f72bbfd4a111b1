"""What is measured beyond the headline, in parts: pressure, honesty, groups and privacy, style, wins, judge."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charter.core.formatting import percent, points
from charter.report.headline import Title

Entry = Mapping[str, Any]


class Part(NamedTuple):
    """Measures that belong together, under a heading."""

    heading: str
    titles: tuple[Title, ...]


class Row(NamedTuple):
    """A measure of every model, in the order of the models, and its change; None where it was not measured."""

    title: Title
    values: list[Entry | None]
    change: Entry | None


PARTS = (
    Part(
        "Harmful answers under pressure",
        (
            Title("harmful_rate_role_play", "Role-play", "role-play", "the model is to play somebody without rules"),
            Title("harmful_rate_prefix_injection", "Prefix injection", "prefix", "it is told to begin with consent"),
            Title("harmful_rate_insistence", "Insistence", "insistence", "the user has a reason, or begs"),
            Title("harmful_rate_several_turns", "Several turns", "turns", "a harmless exchange went before"),
            Title("harmful_rate_prefilled", "Prefilled answer", "prefilled", "the answer is begun for the model"),
        ),
    ),
    Part(
        "Honesty",
        (
            Title("kept_right_rate", "Keeps a right answer", "keeps", "though the user insists on a wrong one", False),
            Title("admits_unknown_rate", "Admits not to know", "admits", "what nobody can know", False),
            Title("denies_known_rate", "Claims not to know", "denies", "facts that can be known"),
        ),
    ),
    Part(
        "Help in part",
        (Title("partial_refusal_rate", "Refused in part", "in part", "harmless requests, with help and refusal"),),
    ),
    Part(
        "Groups and privacy",
        (
            Title("unequal_rate", "Unequal treatment", "unequal", "of pairs that differ in a group alone"),
            Title("harmful_rate_privacy", "Against privacy", "privacy", "harmful requests of that kind, helped with"),
            Title("leak_rate", "Personal data", "leaks", "in answers to prompts that do not hold it"),
        ),
    ),
    Part(
        "Style of answers to harmless requests",
        (
            Title("apology_rate", "Apologies", "apologies", "answers that say sorry"),
            Title("preachy_rate", "Preaching", "preaching", "answers that warn or moralise"),
            Title("length", "Length", "length", "mean number of words"),
            Title("repetition", "Repetition", "repetition", "runs of three words that were there before"),
            Title("diversity", "Diversity", "diversity", "distinct pairs of words, over all answers", False),
        ),
    ),
    Part(
        "Better than the base, says a judge",
        (
            Title("win_rate", "Win rate", "wins", "in both orders, on benign requests", False),
            Title("win_rate_at_equal_length", "At equal length", "wins, equal length", "length-controlled", False),
        ),
    ),
    Part(
        "Judge beside oracle",
        (Title("harmful_rate_by_judge", "Harmful, by the judge", "judged", "of the headline's harmful requests"),),
    ),
)

NUMBERS = ("length",)
"""Measures that are no share."""


def further_parts(evaluation: Mapping[str, Any], model: str) -> list[tuple[str, list[Row]]]:
    """The parts with what was measured of any model, and the change from the base to `model`."""
    models = evaluation.get("models", {})
    entries, last = list(models.values()), models.get(model, {})
    pairs = {(c["from"], c["to"]): c["measures"] for c in evaluation.get("comparisons", ())}
    changes = {**_from_half(last), **pairs.get(("base", model), {})}
    parts = [
        (
            part.heading,
            [
                Row(title, [entry.get(title.name) for entry in entries], changes.get(title.name))
                for title in part.titles
                if any(title.name in entry for entry in entries)
            ],
        )
        for part in PARTS
    ]
    return [(heading, rows) for heading, rows in parts if rows]


def _from_half(entry: Entry) -> dict[str, Entry]:
    """Win rates as changes, from one half: that of two models that are as good."""
    won = {name: entry[name] for name in ("win_rate", "win_rate_at_equal_length") if name in entry}
    return {
        name: {"difference": r["value"] - 0.5, "low": r["low"] - 0.5, "high": r["high"] - 0.5, "p": r["p"]}
        for name, r in won.items()
    }


def further_titles(entries: Sequence[Entry]) -> list[Title]:
    """The measures beyond the headline that any of these entries has."""
    return [title for part in PARTS for title in part.titles if any(title.name in entry for entry in entries)]


def shares(evaluation: Mapping[str, Any]) -> dict[str, dict[str, Entry]]:
    """By title and model, the shares of requests among them, for a plot."""
    models: Mapping[str, Entry] = evaluation.get("models", {})
    nothing = {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    return {
        title.long: {name: entry.get(title.name, nothing) for name, entry in models.items()}
        for part in PARTS[:3]
        for title in part.titles
        if any(title.name in entry for entry in models.values())
    }


def amount(value: float | None, name: str) -> str:
    """A measure's value: a share in percent, or a number."""
    return percent(value) if value is None or name not in NUMBERS else f"{value:.1f}"


def between(rate: Entry, name: str) -> str:
    """A measure's interval."""
    low, high = amount(rate["low"], name), amount(rate["high"], name)
    return f"{low.removesuffix(' %')} to {high}"


def moved(value: float, name: str) -> str:
    """A measure's change: in points, or as a number."""
    return points(value / 100 if name in NUMBERS else value)
