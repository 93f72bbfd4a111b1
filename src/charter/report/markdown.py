"""Parts of the report as Markdown, for Prefect's artifacts."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from charter.core.formatting import percent
from charter.core.text import inline
from charter.report.data import Constitution, Example, Failure, Labels
from charter.runs.blame import Deeds

SHOWN = 400
"""Characters of one text; the page has more."""

PLACES = {
    "report.html": "the report, a page for a browser",
    "MODEL_CARD.md": "what is to be known of the models",
    "DATASET_CARD.md": "what is to be known of the data",
    "gate.json": "the verdict",
    "evaluation.json": "what was measured",
    "answers": "what the models answered",
    "pairs": "pairs with soft labels",
    "sft_data": "rows of supervised fine-tuning",
    "failures": "rows that were lost",
    "sft": "the model after SFT",
    "dpo": "the model after DPO",
    "grpo": "the model after GRPO",
    "logs": "what the servers of models said",
    "manifest.json": "counts, models and hashes",
}
"""What a run's folder may hold for people."""


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


def labels_markdown(labels: Labels, judged: Mapping[str, int]) -> str:
    """How many pairs were labelled, how sure the judge is of them, and who labelled them."""
    lines = [f"**{labels.n:,} pairs kept, {labels.ties:,} ties set aside.**", ""]
    if labels.mean_p is not None:
        lines += [f"Mean probability of the chosen answer: {percent(labels.mean_p)}.", ""]
    if labels.orders_agree is not None:
        share = percent(labels.orders_agree / labels.n)
        lines += [f"Both orders of the answers agree on {labels.orders_agree:,} of them ({share}).", ""]
    lines += ["| p of the chosen answer | pairs |", "|---|---:|"]
    bins = zip(pairwise(labels.edges), labels.counts, strict=True)
    lines += [f"| {low:.3g} to {high:.3g} | {count:,} |" for (low, high), count in bins]
    lines += ["", "| labelled by | labels |", "|---|---:|"]
    lines += [f"| {inline(judge)} | {count:,} |" for judge, count in judged.items()]
    return "\n".join(lines) + "\n"


def places_markdown(folder: Path) -> str:
    """Where everything of a run is, on the machine that it ran on."""
    lines = [f"All of it is in `{folder.resolve()}`.", "", "| what | where |", "|---|---|"]
    found = ((words, folder / name) for name, words in PLACES.items() if (folder / name).exists())
    return "\n".join([*lines, *(f"| {words} | `{path.resolve()}` |" for words, path in found)]) + "\n"


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
