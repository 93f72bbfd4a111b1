"""A comparison in the terminal: runs by letter, measures, cost, and what each run does differently from the first."""

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from textwrap import indent
from typing import Any, NamedTuple

from charter.constitution import kept_constitution_path
from charter.core.formatting import p_value
from charter.core.sampling import draw
from charter.core.statistics.intervals import Difference, PairedTest
from charter.core.tables import TextTable
from charter.evaluation.measures import Change
from charter.report.measures import TITLES, Title, amount, between, further_titles, moved
from charter.report.terminal import visible
from charter.views.compare.comparison import ChangedPrompt, ComparedRun, Comparison, Differences

COSTS = (
    ("Calls asked", "calls", "{:,}"),
    ("from the store", "stored", "{:,}"),
    ("Tokens read", "prompt_tokens", "{:,}"),
    ("Tokens written", "completion_tokens", "{:,}"),
    ("Seconds in stages", "seconds", "{:,.1f}"),
    ("Seconds in training", "training_seconds", "{:,.1f}"),
)


class PromptGroup(NamedTuple):
    """The changed prompts of one measure and direction, by their text."""

    title: Title
    worse: bool
    prompts: dict[str, ChangedPrompt]


def comparison_text(comparison: Comparison, shown: int) -> str:
    """Everything but the answers; at most `shown` changed prompts per measure and direction, drawn at random."""
    runs = comparison.runs
    # Columns named by runs would not fit a terminal.
    letters = [ascii_uppercase[i] if i < len(ascii_uppercase) else f"run {i + 1}" for i in range(len(runs))]
    lines = []
    for letter, run in zip(letters, runs, strict=True):
        used = run.constitution
        named = f"{used.name} {used.version} ({used.hash[:12]})" if used else "no constitution"
        lines.append(f"{letter}  {run.label}: {run.model}, {run.verdict}, {named}")
    lines += ["", _measure_table(runs, letters).text(), "", cost_table(runs, letters).text()]
    for letter, run, differences in zip(letters[1:], runs[1:], comparison.differences, strict=True):
        lines += ["", f"{letter} against {letters[0]}"]
        lines += [f"  {differences.caution}"] if differences.caution else []
        lines.append(indent(change_table(differences).text(), "  "))
        lines += _constitution_lines(differences, runs[0], run)
        lines += [f"  {name}: {before} -> {after}" for name, (before, after) in differences.settings.items()]
        lines += _prompt_lines(differences, shown)
    # Once for all: names, prompts and constitutions come from files that others may have written.
    return visible("\n".join(lines))


def cost_table(runs: Sequence[ComparedRun], names: Sequence[str]) -> TextTable:
    """What each run cost; the columns are named by `names`."""
    rows = []
    for title, name, form in COSTS:
        values = [getattr(run.cost, name) for run in runs]
        rows.append([title, *("-" if value is None else form.format(value) for value in values)])
    return TextTable(("Cost", *names), rows, "Seconds of shards that ran side by side add up")


def change_table(differences: Differences) -> TextTable:
    """How each measure and benchmark of a run differs from that of the first."""
    measures = differences.measures
    rows = [[title.long, change_text(measures[title.name])] for title in TITLES]
    rows += [[title.long, change_text(measures[title.name], title.name)] for title in further_titles([measures])]
    rows += [[task_title(task.task, task.measure), change_text(task.change)] for task in differences.tasks]
    return TextTable(
        ("Measure", "Change"),
        rows,
        "Change in percentage points, with its 95 % interval; p is McNemar's exact test of no difference on the same "
        "requests, or that of random signs for means",
        left=(0, 1),
    )


def change_text(change: Change, name: str = "") -> str:
    """A change of the measure `name` with its interval and test; in percentage points, except for lengths."""
    if change.difference is None:
        return "no data"
    text = f"{moved(change.difference, name)} ({moved(change.low, name)} to {moved(change.high, name)})"
    if isinstance(change, Difference):
        return f"{text}, other requests: not paired"
    if isinstance(change, PairedTest):
        return f"{text} {p_value(change.p)}, {change.only_first + change.only_second} of {change.n} changed"
    return f"{text} {p_value(change.p)}, n = {change.n}"


def task_title(task: str, measure: str) -> str:
    """The name of a benchmark's measure."""
    return f"{task}: {measure}"


def prompt_groups(prompts: Sequence[ChangedPrompt]) -> Iterator[PromptGroup]:
    """Changed prompts by headline measure and direction; empty groups are left out."""
    for title in TITLES:
        for worse in (True, False):
            # By text: a prompt that was asked twice is shown once.
            group = {p.prompt: p for p in prompts if (p.measure, p.worse) == (title.name, worse)}
            if group:
                yield PromptGroup(title, worse, group)


def _measure_table(runs: Sequence[ComparedRun], letters: Sequence[str]) -> TextTable:
    def share(rate: Mapping[str, Any]) -> str:
        if not rate["n"]:
            return "no data"
        return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}-{100 * rate['high']:.1f})"

    rows = [[title.long, *(share(run.measures[title.name]) for run in runs)] for title in TITLES]
    for title in further_titles([run.measures for run in runs]):
        cells = []
        for run in runs:
            rate = run.measures.get(title.name)
            if rate and rate["n"]:
                # Short, as the table has a column per run; the heading has the unit.
                span = between(rate, title.name).replace(" to ", "-")
                cells.append(f"{amount(rate['value'], title.name)} ({span})".replace(" %", ""))
            else:
                cells.append("-")
        rows.append([title.long, *cells])
    # A benchmark is named by its tool too: two suites may have a task of the same name.
    tasks = [{(row["tool"], row["task"], row["measure"]): row for row in run.benchmarks} for run in runs]
    # In the order of the first run that has it.
    for task in dict.fromkeys(name for names in tasks for name in names):
        cells = []
        for run, benchmarks in zip(runs, tasks, strict=True):
            if row := benchmarks.get(task):
                rate = row["models"][run.model]
                number = f"{rate['value']:.3f} ({rate['low']:.3f}-{rate['high']:.3f})"
                cells.append(share(rate) if row["share"] else number)
            else:
                cells.append("-")
        rows.append([task_title(*task[1:]), *cells])
    return TextTable(("%", *letters), rows)


def _constitution_lines(differences: Differences, first: ComparedRun, other: ComparedRun) -> Iterator[str]:
    change = differences.constitution
    if change is None:
        return
    if change.same:
        yield "  the same constitution"
        return
    for principle in change.principles:
        yield f"  principle {principle.change}: {principle.title} #{principle.id}"
    for field in change.shared:
        yield f"  {field.field} of the whole constitution changed"
    before, after = (kept_constitution_path(run.folder) for run in (first, other))
    yield f"  word by word: charter constitution diff {before} {after}"


def _prompt_lines(differences: Differences, shown: int) -> Iterator[str]:
    if not differences.changed_prompts:
        yield "  no prompt changed sides"
    for title, worse, prompts in prompt_groups(differences.changed_prompts):
        yield f"  {title.long}: {len(prompts)} {'worse' if worse else 'better'}"
        for prompt in draw(prompts, shown, 0):
            kind = prompts[prompt].kind
            # Two lines of a terminal at most.
            yield f"    {f'[{kind}] ' if kind else ''}{' '.join(prompt.split())[:160]}"
