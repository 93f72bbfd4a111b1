"""A row's story in the terminal."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from charter.report.terminal import SIDE_BY_SIDE, labelled, two_answers, visible
from charter.views.explain.attribution import Label
from charter.views.explain.story import Kept, Lost, Round, Story

SHOWN = {"response": "the first answer", "revision": "the last revision", "another": "another answer"}
"""What the answers are called that stand at the top, and those of which nothing is known."""


def print_story(story: Story, console: Console) -> None:
    """Print one row: prompt, answers, rounds, and where it ended."""
    console.print(*_story(story, console.width >= SIDE_BY_SIDE), sep="\n")


def _story(story: Story, wide: bool) -> Iterator[RenderableType]:
    title = " · ".join(filter(None, (story.row_id, story.kind, Path(story.run).name)))
    yield Rule(Text(" ".join(visible(title).split()), style="bold"), align="left", style="dim")
    if story.prompt:
        yield from labelled("Prompt", Text(visible(story.question)))
    yield from _answers(story, wide)
    for one in story.rounds:
        yield from _round(one)
    for kept in story.kept:
        yield from _kept(kept, story)
    for lost in story.lost:
        yield from _lost(lost)
    if story.ended == ["unfinished"]:
        yield from labelled("Ended", Text("nowhere yet: the run has not got further with this row."))


def _answers(story: Story, wide: bool) -> Iterator[RenderableType]:
    first, final = story.response, story.final
    if first is not None and final is not None and final != first.strip():
        yield from two_answers(first, final, ("First answer", "Last revision"), wide)
    elif first is not None:
        name = "First answer" if final is None else "First answer, which was left as it is"
        yield from labelled(name, Text(visible(first)))


def _round(one: Round) -> Iterator[RenderableType]:
    violated = one.verdict == "violated"
    verdict = Text(one.verdict.upper() if violated else one.verdict, style="bold red" if violated else "green")
    title, id = visible(one.principle_title), visible(one.principle_id)
    yield Text.assemble((f"Round {one.number}, ", "bold"), verdict, (f": {title}", "bold"), f" #{id}")
    yield Padding(Text(visible(one.critique), overflow="fold"), (0, 0, 0, 4))
    if one.changed:
        yield Padding(Text("Revision", style="bold"), (0, 0, 0, 2))
        yield Padding(Text(visible(one.revision), overflow="fold"), (0, 0, 0, 4))


def _kept(kept: Kept, story: Story) -> Iterator[RenderableType]:
    yield from labelled("Ended", Text(visible(_where(kept))))
    for name, text, what in (("Chosen", kept.chosen, kept.chosen_is), ("Rejected", kept.rejected, kept.rejected_is)):
        if text is not None and what not in ("response", "revision"):
            yield from labelled(f"{name}: {what}", Text(visible(text)))
    if kept.label is not None:
        yield from _label(kept.label, story)


def _where(kept: Kept) -> str:
    name = SHOWN.get(kept.chosen_is, kept.chosen_is)
    other = SHOWN.get(kept.rejected_is or "", kept.rejected_is)
    if kept.label is None:
        return f"in SFT, which learns {name}; no critique found fault with it, so nobody judged."
    odds = f"{kept.label.p:.3f}, log-odds {kept.label.log_odds:+.2f}"
    if kept.table == "review":
        return f"in review, where people decide: {name} or {other}? p of {name} would be {odds}."
    if kept.table == "sft_data":
        return f"in SFT, which learns {name}; p(chosen) = {odds}."
    return f"as a preference pair ({kept.pair_id or kept.strategy}): {name} over {other}; p(chosen) = {odds}."


def _label(label: Label, story: Story) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Who moved the label", overflow="fold")
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("log-odds", justify="right", no_wrap=True)

    def line(name: str, p: float, odds: float, style: str = "") -> None:
        table.add_row(Text(visible(name), style=style), f"{p:.3f}", f"{odds:+.2f}")

    for share in label.shares:
        line(f"{share.title} #{share.id}{' (against)' if share.p < 0.5 else ''}", share.p, share.log_odds)
    if label.rest:
        table.add_row("combined otherwise than by the mean, clamped or calibrated", "", f"{label.rest:+.2f}")
    line("together", label.p, label.log_odds, "bold")
    for order in label.orders:
        line(f"all, the chosen answer shown {order.chosen_shown}", order.p, order.log_odds)
    for member in label.members:
        line(f"member {member.id}", member.p, member.log_odds)
    yield Padding(table, (1, 0, 1, 2))
    law = story.constitution
    by = f"judged by {label.judge_kind or 'choice'} with {label.judge_identity}"
    under = f"Under {law['name']} {law['version']} ({law['hash']}), {by}."
    yield Padding(Text(visible(under), style="dim", overflow="fold"), (0, 0, 0, 2))


def _lost(lost: Lost) -> Iterator[RenderableType]:
    under = f", under {', '.join(lost.principles)}" if lost.principles else ""
    said = f"at {lost.stage}{f', pair {lost.pair_id}' if lost.pair_id else ''}: {lost.reason}{under}"
    yield from labelled("Failed", Text(visible(f"{said}\n{lost.detail}" if lost.detail.strip() else said)), "bold red")
