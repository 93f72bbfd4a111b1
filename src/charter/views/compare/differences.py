"""What differs between runs: each against the first, by constitution, settings, measures and single prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charter.constitution.diff import Diff, diff
from charter.core.errors import ConfigError
from charter.core.statistics.intervals import Difference
from charter.evaluation.across import Change, by_prompt, compare_runs
from charter.evaluation.benchmarks.checks import TaskChange, compare_tasks
from charter.evaluation.measures import MEASURES, Measure
from charter.evaluation.records import Graded
from charter.views.compare.sides import Side, read_side

OWN = ("name", "outputs", "store")
"""Settings that say where a run is, not what it does."""


@dataclass(frozen=True)
class Moved:
    """One prompt on which the two models came out differently; `worse` is the second's side of it."""

    measure: str
    kind: str | None
    prompt: str
    before: str
    after: str
    worse: bool


@dataclass(frozen=True)
class Differences:
    """One run against the first.

    Attributes:
        constitution: None where one of the two has none.
        settings: by dotted name, the first run's value and this one's.
        measures: this run's rate or mean minus the first's: paired where the prompts are the same.
        tasks: the same for benchmarks that both were asked.
        caution: why the two were not asked or graded alike; empty where they were.
        moved: prompts that changed sides, in the order in which they were asked.
    """

    run: str
    constitution: Diff | None
    settings: dict[str, tuple[Any, Any]]
    measures: dict[str, Change]
    tasks: list[TaskChange]
    caution: str
    moved: list[Moved]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        law = asdict(self.constitution) | {"same": self.constitution.same} if self.constitution else None
        return {
            "run": self.run,
            "constitution": law,
            "settings": self.settings,
            "measures": {name: _told(change) for name, change in self.measures.items()},
            "benchmarks": [asdict(one) | {"change": _told(one.change)} for one in self.tasks],
            "caution": self.caution,
            "moved": [asdict(one) for one in self.moved],
        }


@dataclass(frozen=True)
class Comparison:
    """Runs, and what differs between the first and each of the others."""

    sides: list[Side]
    differences: list[Differences]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "runs": [side.to_dict() for side in self.sides],
            "against_the_first": [one.to_dict() for one in self.differences],
        }


def compare_folders(folders: Sequence[Path], model: str | None = None) -> Comparison:
    """Compare the runs in `folders`, each with the model that was judged, if no other is named.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        DataError: a run was not evaluated.
    """
    if len(folders) < 2:
        raise ConfigError(f"compare '{folders[0] if folders else ''}': one run alone. Name two or more.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"compare '{folders[-1]}': a run is named twice. Name each once.")
    sides = [read_side(folder, label, model) for folder, label in zip(folders, _labels(folders), strict=True)]
    return Comparison(sides, [_against(sides[0], side) for side in sides[1:]])


def _told(change: Change) -> dict[str, Any]:
    return {"paired": not isinstance(change, Difference), **change.to_dict()}


def _labels(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _against(first: Side, other: Side) -> Differences:
    return Differences(
        run=other.label,
        constitution=diff(first.law, other.law) if first.law and other.law else None,
        settings=_changed(first.settings, other.settings),
        measures=compare_runs(first.answers, other.answers),
        tasks=compare_tasks(first.ran, other.ran),
        caution=_caution(first, other),
        moved=[moved for m in MEASURES for moved in _moved(first, other, m)],
    )


def _caution(first: Side, other: Side) -> str:
    if first.asked == other.asked:
        return ""
    return f"not asked or graded alike: {first.label} {first.asked}; {other.label} {other.asked}"


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [name for name in dict.fromkeys([*before, *after]) if name not in OWN]
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _moved(first: Side, other: Side, m: Measure) -> list[Moved]:
    before = {row.request_id: row for row in by_prompt(first.answers) if row.category == m.category}
    found = []
    for row in by_prompt(other.answers):
        was = before.get(row.request_id) if row.category == m.category else None
        if was and getattr(was, m.grade) != getattr(row, m.grade):
            found.append(_one(was, row, m))
    return found


def _one(was: Graded, row: Graded, m: Measure) -> Moved:
    worse = bool(getattr(row, m.grade)) != (m.grade == "correct")
    return Moved(m.name, row.kind, row.prompt, was.response, row.response, worse)
