"""A row's story in the terminal."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from charter.report.terminal import SIDE_BY_SIDE, labelled, two_answers, visible
from charter.runs.attribution import AttributedLabel
from charter.views.critiques import print_round
from charter.views.explain.story import KeptRow, Story

ANSWER_NAMES = {"response": "the first answer", "revision": "the last revision", "another": "another answer"}


def print_story(story: Story, console: Console) -> None:
    """Print one row: prompt, answers, rounds, and where it ended."""
    console.print(*_story(story, console.width >= SIDE_BY_SIDE), sep="\n")


def _story(story: Story, wide: bool) -> Iterator[RenderableType]:
    title = " · ".join(filter(None, (story.row_id, story.kind, Path(story.run).name)))
    yield Rule(Text(" ".join(visible(title).split()), style="bold"), align="left", style="dim")
    # A prompt that was refused when the file was read is not in the run's tables.
    if story.prompt:
        yield from labelled("Prompt", Text(visible(story.question)))
    first, final = story.response, story.final
    if first is not None and final is not None and final != first.strip():
        yield from two_answers(first, final, ("First answer", "Last revision"), wide)
    elif first is not None:
        name = "First answer" if final is None else "First answer, which no critique changed"
        yield from labelled(name, Text(visible(first)))
    for one in story.rounds:
        yield from print_round(one, with_revision=True)
    for kept in story.kept:
        yield from labelled("Ended", Text(visible(_end(kept))))
        answers = (("Chosen", kept.chosen, kept.chosen_is), ("Rejected", kept.rejected, kept.rejected_is))
        for name, text, answer in answers:
            if text is not None and answer not in ("response", "revision"):  # these two are printed above
                yield from labelled(f"{name}: {answer}", Text(visible(text)))
        if kept.label is not None:
            yield from _label(kept.label, story.constitution)
    for lost in story.lost:
        under = f", under {', '.join(lost.principles)}" if lost.principles else ""
        text = f"at {lost.stage}{f', pair {lost.pair_id}' if lost.pair_id else ''}: {lost.reason}{under}"
        if lost.detail.strip():
            text += f"\n{lost.detail}"
        yield from labelled("Failed", Text(visible(text)), "bold red")
    if story.ended == ["unfinished"]:
        yield from labelled("Ended", Text("nowhere yet: the run has not got further with this row."))


def _end(kept: KeptRow) -> str:
    chosen = ANSWER_NAMES.get(kept.chosen_is, kept.chosen_is)
    rejected = ANSWER_NAMES.get(kept.rejected_is or "", kept.rejected_is)
    if kept.label is None:
        return f"in SFT, which learns {chosen}; no critique found a fault in it, so no judge was called."
    odds = f"{kept.label.p:.3f}, log-odds {kept.label.log_odds:+.2f}"
    if kept.table == "review":
        return f"in review, where people decide: {chosen} or {rejected}? p of {chosen} would be {odds}."
    if kept.table == "sft_data":
        return f"in SFT, which learns {chosen}; p(chosen) = {odds}."
    return f"as a preference pair ({kept.pair_id or kept.strategy}): {chosen} over {rejected}; p(chosen) = {odds}."


def _label(label: AttributedLabel, constitution: dict[str, str]) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Who moved the label", overflow="fold")
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("log-odds", justify="right", no_wrap=True)

    def line(name: str, p: float, odds: float, style: str = "") -> None:
        table.add_row(Text(visible(name), style=style), f"{p:.3f}", f"{odds:+.2f}")

    for share in label.shares:
        line(f"{share.title} #{share.id}{' (against)' if share.p < 0.5 else ''}", share.p, share.log_odds)
    # Labels of earlier versions, without principles.
    if label.rest:
        table.add_row("the rest: from no principle", "", f"{label.rest:+.2f}")
    line("together", label.p, label.log_odds, "bold")
    for order in label.orders:
        line(f"all, the chosen answer shown {order.chosen_shown}", order.p, order.log_odds)
    for member in label.members:
        line(f"member {member.id}", member.p, member.log_odds)
    yield Padding(table, (1, 0, 1, 2))
    judge = f"judged by {label.judge_kind or 'choice'} with {label.judge_identity}"
    under = f"Under {constitution['name']} {constitution['version']} ({constitution['hash']}), {judge}."
    yield Padding(Text(visible(under), style="dim", overflow="fold"), (0, 0, 0, 2))
