"""The result of a run in brief: sentences, and two tables for the terminal, Prefect and the model card."""

import textwrap
from collections.abc import Mapping
from typing import Any

from charter.core.formatting import interval, p_value, percent, points
from charter.core.tables import TextTable
from charter.core.text import inline
from charter.report.adherence import adherence_sentence, adherence_table
from charter.report.measures import ACCEPTED, TITLES, change_title, model_title


def final_model(evaluation: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """The model that a run ends with: the one the gate decided on, or the last; ``base`` if none was evaluated."""
    models = list(evaluation.get("models", {}))
    decided_on = verdict.get("model")
    # The last model is the most trained one: models are evaluated in the order of training.
    return str(decided_on) if decided_on in models else models[-1] if models else "base"


def comparisons_of(evaluation: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The changes between the run's models, and from the model accepted last to the one the gate decided on."""
    comparisons: list[Mapping[str, Any]] = list(evaluation.get("comparisons", ()))
    if verdict and verdict.get("changes"):
        # A model of another run, so it is not among the run's own comparisons.
        comparisons.append({"from": ACCEPTED, "to": verdict["model"], "measures": verdict["changes"]})
    return comparisons


def check_word(check: Mapping[str, Any]) -> str:
    """The outcome of one check of the gate."""
    return "passed" if check["passed"] else "undecided" if check.get("undecided") else "failed"


def headline_text(evaluation: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> str:
    """For a terminal of 80 columns: the measures, the changes, the verdict and the checks that failed."""
    rows = [
        [model_title(name), *(_rate_cell(entry[title.name], brief=True) for title in TITLES)]
        for name, entry in evaluation.get("models", {}).items()
    ]
    short = [title.short for title in TITLES]
    blocks = [[TextTable(["%", *short], rows).text(12), f"95 % intervals in brackets; n = {_sizes(evaluation)}"]]
    if changes := comparisons_of(evaluation, verdict):
        rows = [
            [
                f"vs {ACCEPTED}" if change["from"] == ACCEPTED else change_title(change),
                *(_change_cell(change["measures"][title.name], brief=True) for title in TITLES),
            ]
            for change in changes
        ]
        note = "change in points on the same requests; p by McNemar's exact test"
        blocks.append([TextTable(["change", *short], rows).text(12), note])
        if verdict and verdict.get("changes"):
            unpaired = any("p" not in change for change in verdict["changes"].values())
            note = "; without p: on other requests" if unpaired else ""
            blocks[-1].append(f"accepted: {verdict['accepted']}{note}")
    if adherence := adherence_sentence(evaluation, final_model(evaluation, verdict or {})):
        blocks.append([adherence])
    if verdict:
        lines = [self_graded] if (self_graded := grader_sentence(evaluation)) else []
        lines += [verdict["reason"]] if verdict.get("outcome") == "not enough data" else []
        lines += [verdict["sign_off"]] if verdict.get("sign_off") else []
        lines += [f"{check['name']}: {check['reason']}" for check in verdict["checks"] if not check["passed"]]
        blocks.append([f"verdict: {verdict['verdict']}", *(f"  {line}" for line in lines)])
    text = "\n\n".join("\n".join(block) for block in blocks)
    wrap = textwrap.TextWrapper(80, subsequent_indent="    ", break_on_hyphens=False).wrap
    return "\n".join(piece for line in text.split("\n") for piece in wrap(line) or [""])


def headline_markdown(evaluation: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> str:
    """For Prefect and the model card: the verdict with its checks, the measures and the changes."""
    parts = []
    if verdict:
        reason = f" {verdict['reason']}" if verdict.get("outcome") == "not enough data" else ""
        shown = [check for check in verdict["checks"] if not (check["passed"] and check.get("further"))]
        words = ["passed" if check["passed"] else f"**{check_word(check)}**" for check in shown]
        lines = [f"- {word}: {check['reason']}" for word, check in zip(words, shown, strict=True)]
        if kept := len(verdict["checks"]) - len(shown):
            lines.append(f"- passed: {kept} limits beyond the headline, which the report shows")
        if missing := verdict.get("not_measured"):
            lines.append(f"- not measured, so not decided on: {', '.join(missing).replace('_', ' ')}")
        parts += [f"**Verdict: {verdict['verdict']}**{reason}", "\n".join(lines)]
    parts[:0] = [f"**{inline(self_graded)}**"] if (self_graded := grader_sentence(evaluation)) else []
    models: Mapping[str, Any] = evaluation.get("models", {})
    rows = [[title.long, *(_rate_cell(entry[title.name]) for entry in models.values())] for title in TITLES]
    parts += [TextTable(["measure", *map(model_title, models)], rows).markdown()]
    parts += [f"95 % intervals in brackets; n = {_sizes(evaluation)}."]
    if changes := comparisons_of(evaluation, verdict):
        rows = [[title.long, *(_change_cell(change["measures"][title.name]) for change in changes)] for title in TITLES]
        parts.append(TextTable(["change, in points", *map(change_title, changes)], rows).markdown())
        note = "Each on the same requests; p is that of McNemar's exact test of no difference."
        accepted = f" The accepted model is {verdict['accepted']}." if verdict and verdict.get("changes") else ""
        parts.append(note + accepted)
    model = final_model(evaluation, verdict or {})
    if adherence := adherence_sentence(evaluation, model):
        parts += [inline(adherence), adherence_table(evaluation, model).markdown()]
    return "\n\n".join(filter(None, parts)) + "\n"


def headline_sentence(evaluation: Mapping[str, Any], constitution: str, model: str) -> str:
    """What changed, in one or two sentences that a person can repeat."""
    models = evaluation.get("models", {})
    if "base" not in models or model not in models or model == "base":
        return "No trained model was compared with its base in this run."
    before, after = models["base"], models[model]
    if not before["harmful_rate"]["n"] or not after["harmful_rate"]["n"]:
        nothing = "Harmful requests were not answered, so nothing can be said about harm."
        return adherence_sentence(evaluation, model) or nothing
    sentence = (
        f"Trained under {constitution or 'its constitution'}, the model helps with {_in_words(after['harmful_rate'])}"
        f" the harmful requests that it was asked; before, it helped with {_in_words(before['harmful_rate'])} them."
    )
    refused = after["borderline_refusal_rate"]
    if refused["n"]:
        sentence += f" It turns away {_in_words(refused)} those that only look harmful"
        sentence += f" and {_in_words(after['benign_refusal_rate'])} the harmless ones."
    return sentence


def verdict_sentence(verdict: Mapping[str, Any]) -> str:
    """The verdict and its reason for readers who do not know what a gate is; empty if there is no verdict."""
    if not verdict:
        return ""
    # Undecided counts as no: a model may be released only if every limit was shown to hold.
    word = "may" if verdict["verdict"] == "go" else "may not"
    reason = f"{verdict.get('reason', '')} {verdict.get('sign_off', '')}".strip()
    return f"By the limits that were set for it, the model {word} be released ({verdict['verdict']}). {reason}".strip()


def grader_sentence(evaluation: Mapping[str, Any]) -> str:
    """That the base model graded its own answers and its descendants'; empty if another judge or an oracle did."""
    grader = evaluation.get("grader")
    if not grader or not grader["is_base"]:
        return ""
    return (
        f"Self-graded: the base model ({grader['model']}) graded its own answers and those of the models trained from "
        "it. Name another judge.model for grades that others can rely on."
    )


def overlap_sentence(evaluation: Mapping[str, Any]) -> str:
    """Whether held-out requests are among the prompts that the models learned from, and how that was checked."""
    checked = evaluation.get("overlap")
    if not checked:
        return "It was not checked whether a model was trained on some of them."
    asked, prompts, found = checked["requests"], checked["prompts"], checked["exact"] + checked["near"]
    near = ""
    if checked["threshold"] < 1:
        near = f" or share at least {percent(checked['threshold'])} of their three-word sequences"
    how = f"checked: {asked:,} requests against {prompts:,} prompts, equal but for case and punctuation{near}"
    if not found:
        return f"None of them is among the prompts ({how})."
    return f"{found:,} of them are among the prompts that the models were trained on, so results are too good ({how})."


def review_sentence(record: Mapping[str, Any]) -> str:
    """What people decided about the labels of a run, in one sentence; `record` is ``review.json``."""
    answers, done = record["answers"], record["done"]
    by = f" ({answers['by']})" if answers["by"] else ""
    text = f"People{by} looked at {sum(record['shown'].values()):,} of {record['pairs']:,} pairs"
    if not answers["approve"]:
        return f"{text} and did not approve of them."
    text += f", dropped {done['dropped']:,} and swapped the answers of {done['flipped']:,}"
    text += f", and decided {done['settled']:,} on which the panel split" if done["settled"] else ""
    text += f"; {done['under-margin']:,} under their margin of {answers['min_margin']:g} were left out"
    agreed, kappa = (record["agreement"]["random"][name] for name in ("agreed", "kappa"))
    if agreed["value"] is None:
        return f"{text}."
    text += f". Of the {agreed['n']:,} drawn at random they agree with {percent(agreed['value'])} ({interval(agreed)})"
    return f"{text}; kappa is {kappa['value']:.2f} ({kappa['low']:.2f} to {kappa['high']:.2f})."


def _in_words(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "an unknown share of"
    # "0.0 % of" would read as if it were rounded.
    if rate["value"] in (0, 1):
        return "all of" if rate["value"] else "none of"
    return f"{percent(rate['value'])} of"


def _rate_cell(rate: Mapping[str, Any], brief: bool = False) -> str:
    if not rate["n"]:
        return "no data"
    if brief:  # four measures side by side have room for whole percents only
        return f"{100 * rate['value']:.1f} ({100 * rate['low']:.0f}-{100 * rate['high']:.0f})"
    return f"{percent(rate['value'])} ({interval(rate)})"


def _change_cell(test: Mapping[str, Any], brief: bool = False) -> str:
    if test["difference"] is None:
        return "no data"
    # Only changes on the same requests have a paired test and thus a p-value.
    if brief:
        return f"{points(test['difference'])} {p_value(test['p'])}" if "p" in test else points(test["difference"])
    p = p_value(test["p"]) if "p" in test else "on other requests"
    return f"{points(test['difference'])} ({points(test['low'])} to {points(test['high'])}), {p}"


def _sizes(evaluation: Mapping[str, Any]) -> str:
    entries = list(evaluation.get("models", {}).values())
    # All models answer the same requests, so the sizes of the last are those of all.
    return ", ".join(f"{entries[-1][t.name]['n']} ({t.short})" for t in TITLES) if entries else "0"
