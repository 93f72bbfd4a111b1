"""Parts of the report as Markdown, for Prefect's artifacts."""

from collections.abc import Iterator, Sequence

from charter.constitution.blame import Deeds
from charter.report.cards import inline
from charter.report.data import Constitution, Example, Failure

SHOWN = 400
"""Characters of one text; the page has more."""


def principles_markdown(law: Constitution) -> str:
    """What each principle did, the most drawn first."""
    ranked = sorted(law.principles, key=lambda principle: -principle.deeds.drawn)
    lines = ["| principle | drawn | flagged | revised | judged | against | log-odds | ties | failed |"]
    lines.append("|---|" + "---:|" * 8)
    lines += [f"| {inline(principle.title)} | {_cells(principle.deeds)} |" for principle in ranked]
    lines.append(f"| **all** | {_cells(law.total)} |")
    lines += [
        "",
        "Rounds in which a principle was drawn, found the answer at fault, and changed it; labels it had a part in, "
        "and those it spoke against; its mean part in a label's log-odds; ties; other rows that were lost under it.",
    ]
    return "\n".join(lines) + "\n"


def failures_markdown(failures: Sequence[Failure]) -> str:
    """Rows that were lost, by stage and reason."""
    if not failures:
        return "No row was lost.\n"
    lines = ["| stage | reason | rows | such as |", "|---|---|---:|---|"]
    lines += [f"| {inline(f.stage)} | {inline(f.reason)} | {f.count:,} | {_cut(f.detail, 120)} |" for f in failures]
    return "\n".join(lines) + "\n"


def examples_markdown(examples: Sequence[Example]) -> str:
    """Prompts before and after, each with how it was chosen; the unpleasant ones last, under a warning."""
    pleasant = [example for example in examples if not example.unpleasant]
    parts = list(_told(pleasant))
    if len(pleasant) < len(examples):
        parts += ["---", "**What follows may be unpleasant to read: harmful requests, and answers to them.**"]
        parts += _told([example for example in examples if example.unpleasant])
    return "\n\n".join(parts or ["There are no examples yet."]) + "\n"


def _told(examples: Sequence[Example]) -> Iterator[str]:
    for example in examples:
        yield f"### {_cut(example.prompt, 120)}"
        yield f"*{inline(example.how)}*"
        yield f"**{inline(example.before_label)}.** {_cut(example.before)}"
        yield f"**{inline(example.after_label)}.** {_cut(example.after)}"


def _cells(deeds: Deeds) -> str:
    counts = (deeds.drawn, deeds.flagged, deeds.revised, deeds.judged, deeds.against)
    odds = "-" if deeds.log_odds is None else f"{deeds.log_odds:+.2f}"
    return " | ".join([*(f"{count:,}" for count in counts), odds, f"{deeds.ties:,}", f"{deeds.failed:,}"])


def _cut(text: str, length: int = SHOWN) -> str:
    return inline(text if len(text) <= length else f"{text[:length]}…")
