"""Parts of the report in Markdown, for Prefect's artifacts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from charter.core.formatting import percent
from charter.core.text import cut_inline, inline
from charter.report.data import BeforeAfter, ConstitutionReport, FailureCount, LabelSummary
from charter.report.text_tables import counts_table, labels_table, principles_table

PLACES = {
    "report.html": "the report, a page for a browser",
    "MODEL_CARD.md": "a description of the models",
    "DATASET_CARD.md": "a description of the data",
    "gate.json": "the verdict",
    "evaluation.json": "the measures",
    "answers": "the models' answers to held-out requests",
    "pairs": "pairs with soft labels",
    "sft_data": "rows of supervised fine-tuning",
    "failures": "rows that were lost",
    "sft": "the model after SFT",
    "dpo": "the model after DPO",
    "grpo": "the model after GRPO",
    "logs": "the logs of the model servers",
    "manifest.json": "counts, models and hashes",
}
"""The files and folders of a run that people look at."""


def principles_markdown(constitution: ConstitutionReport) -> str:
    """What each principle did, most drawn first."""
    return f"""{principles_table(constitution).markdown()}

Rounds in which a principle was drawn, its critique flagged the answer, and the answer was changed; labels it judged, \
and those it spoke against; its mean contribution to a label's log-odds; ties; other rows that were lost under it.
"""


def labels_markdown(labels: LabelSummary, judged: Mapping[str, int]) -> str:
    """How many pairs were labelled, how sure the judge is of them, and who labelled them."""
    parts = [f"**{labels.n:,} pairs kept, {labels.ties:,} ties left out.**"]
    if labels.mean_p is not None:
        parts.append(f"Mean probability of the chosen answer: {percent(labels.mean_p)}.")
    if labels.orders_agree is not None:
        share = percent(labels.orders_agree / labels.n)
        parts.append(f"Both orders of the answers agree on {labels.orders_agree:,} of them ({share}).")
    parts += [labels_table(labels).markdown(), counts_table("labelled by", "labels", judged).markdown()]
    return "\n\n".join(parts) + "\n"


def places_markdown(folder: Path) -> str:
    """The paths of everything in a run's folder, on the machine that it ran on."""
    lines = [f"Everything is in `{folder.resolve()}`.", "", "| what | where |", "|---|---|"]
    # A run that evaluates models made elsewhere has only some of them.
    existing = ((words, folder / name) for name, words in PLACES.items() if (folder / name).exists())
    return "\n".join([*lines, *(f"| {words} | `{path.resolve()}` |" for words, path in existing)]) + "\n"


def failures_markdown(failures: Sequence[FailureCount]) -> str:
    """The rows that were lost, by stage and reason."""
    if not failures:
        return "No row was lost.\n"
    lines = ["| stage | reason | rows | for example |", "|---|---|---:|---|"]
    lines += [
        f"| {inline(f.stage)} | {inline(f.reason)} | {f.count:,} | {cut_inline(f.detail, 120)} |" for f in failures
    ]
    return "\n".join(lines) + "\n"


def examples_markdown(examples: Sequence[BeforeAfter]) -> str:
    """Prompts before and after, each with how it was chosen; unpleasant ones last, under a warning."""

    def sections(examples: Sequence[BeforeAfter]) -> Iterator[str]:
        for example in examples:
            yield f"### {cut_inline(example.prompt, 120)}"
            yield f"*{inline(example.how)}*"
            yield f"**{inline(example.before_label)}.** {cut_inline(example.before)}"
            yield f"**{inline(example.after_label)}.** {cut_inline(example.after)}"

    # Prefect shows the artifact without a click to hide anything, so they come last.
    pleasant = [example for example in examples if not example.unpleasant]
    parts = list(sections(pleasant))
    if len(pleasant) < len(examples):
        parts += ["---", "**What follows may be unpleasant to read: harmful requests, and answers to them.**"]
        parts += sections([example for example in examples if example.unpleasant])
    return "\n\n".join(parts or ["There are no examples yet."]) + "\n"
