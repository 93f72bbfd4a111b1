"""A comparison on the terminal: runs by letter, measures, cost, and what each run does differently from the first."""

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from charter.constitution import kept_constitution_path
from charter.core.formatting import p_value
from charter.core.sampling import draw
from charter.core.statistics.intervals import Difference, PairedTest
from charter.evaluation.across import Change
from charter.report.further import amount, between, further_titles, moved
from charter.report.headline import TITLES
from charter.report.terminal import visible
from charter.views.compare.differences import Comparison, Differences, Moved
from charter.views.compare.sides import Cost, Side

COSTS = (
    ("Calls asked", "calls", "{:,}"),
    ("from the store", "stored", "{:,}"),
    ("Tokens read", "prompt_tokens", "{:,}"),
    ("Tokens written", "completion_tokens", "{:,}"),
    ("Seconds in stages", "seconds", "{:,.1f}"),
    ("Seconds in training", "training_seconds", "{:,.1f}"),
)
NAME, CELL = 20, 20


def comparison_text(comparison: Comparison, shown: int) -> str:
    """Everything but the answers; of the prompts that changed sides, at most `shown` per measure, drawn by lot."""
    sides = comparison.sides
    lines = [f"{_letter(i)}  {_title(side)}" for i, side in enumerate(sides)]
    lines += ["", *_measures(sides), *_benchmarks(sides), "", *_costs(sides)]
    for i, one in enumerate(comparison.differences, start=1):
        lines += ["", f"{_letter(i)} against {_letter(0)}", *_caution(one), *_changes(one)]
        lines += _law(one, sides[0], sides[i])
        lines += [*_settings(one.settings), *_moved(one.moved, shown)]
    return visible("\n".join(lines))


def change_text(test: Change, name: str = "") -> str:
    """A change of this measure with its interval, and how sure it is that there is one; in points but for lengths."""
    if test.difference is None:
        return "no data"
    said = f"{moved(test.difference, name)} ({moved(test.low, name)} to {moved(test.high, name)})"
    if isinstance(test, Difference):
        return f"{said}, other requests: not paired"
    of = (
        f"{test.only_first + test.only_second} of {test.n} changed" if isinstance(test, PairedTest) else f"n = {test.n}"
    )
    return f"{said} {p_value(test.p)}, {of}"


def task_title(task: str, measure: str) -> str:
    """What a benchmark's measure is called."""
    return f"{task}: {measure}"


def _letter(i: int) -> str:
    return ascii_uppercase[i] if i < len(ascii_uppercase) else f"run {i + 1}"


def _title(side: Side) -> str:
    law = f"{side.law.name} {side.law.version} ({side.law.hash[:12]})" if side.law else "no constitution"
    return f"{side.label}: {side.model}, {side.verdict}, {law}"


def _measures(sides: Sequence[Side]) -> Iterator[str]:
    yield _row("%", [_letter(i) for i in range(len(sides))])
    for title in TITLES:
        yield _row(title.long, [_rate(side.measures[title.name]) for side in sides])
    for title in further_titles([side.measures for side in sides]):
        yield _row(title.long, [_further(side.measures.get(title.name), title.name) for side in sides])


def _benchmarks(sides: Sequence[Side]) -> Iterator[str]:
    rows = [{_task(row): row for row in side.benchmarks} for side in sides]
    for task in dict.fromkeys(task for row in rows for task in row):
        cells = [_value(row.get(task), side.model) for side, row in zip(sides, rows, strict=True)]
        yield _row(task_title(*task[1:]), cells)


def _value(row: Mapping[str, Any] | None, model: str) -> str:
    if row is None:
        return "-"
    rate = row["models"][model]
    return _rate(rate) if row["share"] else f"{rate['value']:.3f} ({rate['low']:.3f}-{rate['high']:.3f})"


def _task(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["tool"], row["task"], row["measure"]


def _costs(sides: Sequence[Side]) -> Iterator[str]:
    for title, name, form in COSTS:
        yield _row(title, [_amount(side.cost, name, form) for side in sides])


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{NAME}}{' ' if len(name) >= NAME else ''}" + "".join(f"{cell:>{CELL}}" for cell in cells)


def _rate(rate: Mapping[str, Any]) -> str:
    if not rate["n"]:
        return "no data"
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}-{100 * rate['high']:.1f})"


def _further(rate: Mapping[str, Any] | None, name: str) -> str:
    if not rate or not rate["n"]:
        return "-"
    value, span = amount(rate["value"], name), between(rate, name).replace(" to ", "-")
    return f"{value} ({span})".replace(" %", "")


def _amount(cost: Cost, name: str, form: str) -> str:
    value = getattr(cost, name)
    return "-" if value is None else form.format(value)


def _caution(one: Differences) -> Iterator[str]:
    if one.caution:
        yield f"  {one.caution}"


def _changes(one: Differences) -> Iterator[str]:
    for title in TITLES:
        yield f"  {title.long:<{NAME}}{change_text(one.measures[title.name])}"
    for title in further_titles([one.measures]):
        yield f"  {title.long:<{NAME}} {change_text(one.measures[title.name], title.name)}"
    for task in one.tasks:
        yield f"  {task_title(task.task, task.measure):<{NAME}} {change_text(task.change)}"


def _law(one: Differences, first: Side, other: Side) -> Iterator[str]:
    if one.constitution is None:
        return
    if one.constitution.same:
        yield "  the same constitution"
        return
    for change in one.constitution.principles:
        yield f"  principle {change.change}: {change.title} #{change.id}"
    for field in one.constitution.shared:
        yield f"  {field.field} of the whole constitution changed"
    before, after = (kept_constitution_path(side.folder) for side in (first, other))
    yield f"  word by word: charter constitution diff {before} {after}"


def _settings(settings: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for name, (before, after) in settings.items():
        yield f"  {name}: {before} -> {after}"


def _moved(moved: Sequence[Moved], shown: int) -> Iterator[str]:
    if not moved:
        yield "  no prompt changed sides"
    for title in TITLES:
        for worse in (True, False):
            found = {one.prompt: one for one in moved if (one.measure, one.worse) == (title.name, worse)}
            if not found:
                continue
            yield f"  {title.long}: {len(found)} {'worse' if worse else 'better'}"
            for prompt in draw(found, shown, 0):
                kind = found[prompt].kind
                yield f"    {f'[{kind}] ' if kind else ''}{' '.join(prompt.split())[:160]}"
