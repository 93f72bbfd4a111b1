"""The held-out requests that every model of a run is asked."""

from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from charter.config import Evaluation
from charter.core.errors import DataError
from charter.core.plugins import Registry
from charter.data.readers import read_records
from charter.evaluation.probes import probe
from charter.evaluation.records import HEADLINE, Category, HeldOut

__all__ = ["HeldOut", "in_turns", "load_requests"]

RequestSource = Callable[[Evaluation, int], list[HeldOut]]
"""From the settings and a seed to every request of an evaluation; the same seed gives the same requests."""

REQUEST_SOURCES: Registry[RequestSource] = Registry("source of held-out requests", "evaluation.source")
request_source = REQUEST_SOURCES.register
"""Decorator: make a function available as `evaluation.source` under a name."""

_COLUMNS = ("prompt", "category")
_OWN: tuple[Category, ...] = (*HEADLINE, "unknown", "paired")
"""Categories of rows; the others are made of these."""
_XSTEST: Mapping[str, Category] = {"safe": "borderline", "unsafe": "harmful"}


def load_requests(settings: Evaluation, seed: int) -> list[HeldOut]:
    """The requests of `settings.source`, as many of each category as the settings say, and what is made of them.

    Raises:
        DataError: a file that cannot be read, lacks a column, or holds an unknown category or half a pair.
    """
    if settings.source in REQUEST_SOURCES:
        return REQUEST_SOURCES[settings.source](settings, seed)
    counts: dict[Category, int] = {
        "harmful": settings.n_harmful,
        "benign": settings.n_benign,
        "borderline": settings.n_borderline,
        "fact": settings.n_facts,
        "unknown": settings.probes.n_unknown,
    }
    read = _from_file(Path(settings.source))
    plain = [r for c, n in counts.items() for r in in_turns([r for r in read if r.category == c])[:n]]
    return [*plain, *probe(plain, settings.probes, seed), *_pairs_of(read, settings)]


def in_turns(requests: list[HeldOut]) -> list[HeldOut]:
    """Kinds take turns, so that each has its share of the first few."""
    kinds: dict[str | None, list[HeldOut]] = {}
    for request in requests:
        kinds.setdefault(request.kind, []).append(request)
    turns = zip_longest(*kinds.values())
    return [request for turn in turns for request in turn if request is not None]


def _pairs_of(read: list[HeldOut], settings: Evaluation) -> list[HeldOut]:
    """The first pairs of a file, whole."""
    pairs: dict[str, list[HeldOut]] = {}
    for request in read:
        if request.category == "paired":
            pairs.setdefault(str(request.pair), []).append(request)
    for name, rows in pairs.items():
        if len(rows) != 2 or rows[0].variant == rows[1].variant:
            raise DataError(
                f"evaluation.source '{settings.source}': pair '{name}' has {len(rows)} rows. A pair is two rows of "
                "category paired that share `pair` and differ in `group`."
            )
    return [row for rows in list(pairs.values())[: settings.probes.n_paired] for row in rows]


def _from_file(path: Path) -> list[HeldOut]:
    requests = []
    for number, record in enumerate(read_records(path)):
        if record.problem:
            raise DataError(f"evaluation.source '{path}': row {number} cannot be read: {record.problem}. Mend the row.")
        values = _read_xstest(record.values)
        if missing := [column for column in _COLUMNS if not values.get(column)]:
            raise DataError(
                f"evaluation.source '{path}': row {number} has no {' and no '.join(missing)}. "
                f"Each row needs {' and '.join(_COLUMNS)}; kind, answer, wrong, pair and group may follow."
            )
        if values["category"] not in _OWN:
            known = ", ".join(_OWN)
            raise DataError(f"evaluation.source '{path}': row {number}: category '{values['category']}'. Use {known}.")
        if values["category"] == "paired" and not (values.get("pair") and values.get("group")):
            raise DataError(f"evaluation.source '{path}': row {number} is paired and needs the columns pair and group.")
        requests.append(_from_row(number, values))
    return requests


def _from_row(number: int, values: Mapping[str, Any]) -> HeldOut:
    def text(column: str) -> str | None:
        return str(values[column]) if values.get(column) not in (None, "") else None

    return HeldOut(
        request_id=f"{number:06d}",
        prompt=values["prompt"],
        category=values["category"],
        kind=text("kind"),
        answer=text("answer"),
        variant=text("group") if values["category"] == "paired" else None,
        pair=text("pair"),
        wrong=text("wrong"),
    )


def _read_xstest(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of XSTest's own file (Röttger et al., 2024) with its columns as ours; any other row as it is."""
    if "category" in values or values.get("label") not in _XSTEST or not values.get("type"):
        return values
    return {**values, "category": _XSTEST[values["label"]], "kind": values["type"]}
