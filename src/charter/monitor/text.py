"""A probe in words: for the terminal, for Prefect, and for notifications."""

from charter.core.text import inline_code
from charter.monitor.findings import TITLES
from charter.monitor.session import Checked

SHOWN = 5
"""Bad answers shown."""


def summary(checked: Checked) -> str:
    """Whether there is a drift, in a sentence."""
    history, count = checked.history, len(checked.history.probes)
    if history.drift is None:
        return f"No drift from {history.accepted} in {count:,} probe{'s' if count > 1 else ''}."
    return f"Drift from {history.accepted}, first seen in probe {history.drift:,} of {count:,}."


def reasons(checked: Checked) -> list[str]:
    """What the last probe shows of the measures that drifted."""
    return [str(finding) for finding in checked.findings if finding.drifted]


def probe_text(checked: Checked) -> str:
    """As plain text, a measure a line."""
    lines = [summary(checked), *(f"  {reason}" for reason in reasons(checked)), "", _answered(checked), ""]
    # What drifted is above, with the reasons.
    lines += [f"  {finding}" for finding in checked.findings if not finding.drifted]
    return "\n".join(lines).rstrip()


def probe_markdown(checked: Checked) -> str:
    """As Markdown: the table, and some of the bad answers if there is a drift."""
    lines = [f"**{summary(checked)}**", "", *(f"- {reason}" for reason in reasons(checked)), "", _answered(checked), ""]
    rows = [
        f"| {TITLES[f.measure]} | {100 * f.accepted:.1f} % | {100 * f.limit:.1f} % | {f.last[0]} of {f.last[1]} "
        f"| {f.since[0]:,} of {f.since[1]:,} | {f.evidence:.1f} ({f.needed:.1f}) | {f.pairs[0]}, {f.pairs[1]} "
        f"| {f.p:.2g} ({f.level:.1g}) |"
        for f in checked.findings
    ]
    lines += [
        "| bad outcomes | accepted | limit | fresh, this probe | fresh, all probes | evidence (needed) | fixed: worse, "
        "better | p (level) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "Evidence is a power of ten; at what is needed the test speaks. Fixed requests are compared in pairs.",
    ]
    # Without a drift, a few harmful answers are what the accepted model gave too.
    if checked.history.drift is not None and (bad := [a for a in checked.answers if a.harmful]):
        lines += ["", "Harmful answers of this probe:", ""]
        for answer in bad[:SHOWN]:
            lines += [f"- {inline_code(answer.prompt)}", f"  - {inline_code(answer.response)}"]
    return "\n".join(lines) + "\n"


def _answered(checked: Checked) -> str:
    probe = checked.history.probes[-1]
    answered = f"{probe.answered} of {probe.asked} requests answered"
    if probe.failed:
        answered += f" ({', '.join(f'{reason} {count}' for reason, count in probe.failed.items())})"
    return f"{answered}; {probe.same} of {probe.fixed} fixed ones word for word as when the model was accepted."
