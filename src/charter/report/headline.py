"""The headline: one sentence and one table, for the terminal, for Prefect and for the page."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from charter.core.formatting import interval, p_value, percent, points, shorten_name
from charter.evaluation.rounds import FIRST, round_number


class Title(NamedTuple):
    """What a measure is called, long and short, and which way is better."""

    name: str
    long: str
    short: str
    explanation: str
    lower_is_better: bool = True


TITLES = (
    Title("harmful_rate", "Harmful answers", "harmful", "harmful requests that the model helped with"),
    Title("benign_refusal_rate", "Benign refusals", "benign refused", "harmless requests that it declined"),
    Title(
        "borderline_refusal_rate",
        "Over-refusal",
        "over-refusal",
        "requests that only look harmful, such as “shoot a portrait”, that it declined",
    ),
    Title("accuracy", "Accuracy", "accuracy", "questions of fact that it answered correctly", False),
)

MODELS = {"base": "Base", "sft": "SFT", "dpo": "DPO", "grpo": "GRPO"}

ACCEPTED = "accepted"

NAME, CELL = 12, 17


def model_title(name: str) -> str:
    """What a model is called in tables and plots; ``DPO2`` is that of the second round."""
    number = round_number(name) or 1
    return f"{MODELS[FIRST]}{number}" if number > 1 else MODELS.get(name, shorten_name(name))


def final_model(evaluation: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """The model that a run ends with: the one that was judged, or the last; ``base`` where none was evaluated."""
    models = list(evaluation.get("models", {}))
    named = verdict.get("model")
    return str(named) if named in models else models[-1] if models else "base"


def change_title(comparison: Mapping[str, Any]) -> str:
    """``DPO`` minus ``Base``: which model's rates are taken from which."""
    return f"{model_title(comparison['to'])} \N{MINUS SIGN} {model_title(comparison['from'])}"


def comparisons_of(evaluation: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The changes between the run's models, and from the model accepted last to the one that is judged."""
    found: list[Mapping[str, Any]] = list(evaluation.get("comparisons", ()))
    if verdict and verdict.get("changes"):
        found.append({"from": ACCEPTED, "to": verdict["model"], "measures": verdict["changes"]})
    return found


def check_word(check: Mapping[str, Any]) -> str:
    """What became of a check of the gate."""
    return "passed" if check["passed"] else "undecided" if check.get("undecided") else "failed"


def headline_text(evaluation: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> str:
    """The table as plain text, at most 80 columns, a model a line; then changes, the verdict and what failed."""
    lines = [
        f"{'%':<{NAME}}" + "".join(f"{title.short:>{CELL}}" for title in TITLES),
        "-" * (NAME + CELL * len(TITLES)),
    ]
    for name, entry in evaluation.get("models", {}).items():
        cells = "".join(f"{_cell(entry[t.name]):>{CELL}}" for t in TITLES)
        lines.append(f"{model_title(name)[: NAME - 1]:<{NAME}}{cells}")
    lines.append(f"95 % intervals in brackets; n = {_sizes(evaluation)}")
    if changes := comparisons_of(evaluation, verdict):
        lines.append("")
        for change in changes:
            cells = "".join(f"{_change_cell(change['measures'][t.name]):>{CELL}}" for t in TITLES)
            name = f"vs {ACCEPTED}" if change["from"] == ACCEPTED else change_title(change)
            lines.append(f"{name[:NAME]:<{NAME}}{cells}")
        lines.append("change in points on the same requests; p by McNemar's exact test")
        lines += [_accepted_line(verdict)] if verdict and verdict.get("changes") else []
    if verdict:
        lines.append("")
        lines.append(f"verdict: {verdict['verdict']}")
        lines += [f"  {verdict['reason']}"] if _is_open(verdict) else []
        lines += [f"  {verdict['sign_off']}"] if verdict.get("sign_off") else []
        lines += [f"  {check['name']}: {check['reason']}" for check in verdict["checks"] if not check["passed"]]
    return "\n".join(_wrap(line) for line in lines)


def headline_markdown(evaluation: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> str:
    """The table in Markdown, a measure a line, with the verdict and its reasons."""
    models: Mapping[str, Any] = evaluation.get("models", {})
    lines = []
    if verdict:
        lines += [f"**Verdict: {verdict['verdict']}**{' ' + verdict['reason'] if _is_open(verdict) else ''}", ""]
        told = [c for c in verdict["checks"] if not (c["passed"] and c.get("further"))]
        lines += [f"- {'passed' if c['passed'] else f'**{check_word(c)}**'}: {c['reason']}" for c in told]
        if kept := len(verdict["checks"]) - len(told):
            lines.append(f"- passed: {kept} limits beyond the headline, which the report shows")
        if missing := verdict.get("not_measured"):
            lines.append(f"- not measured, so not judged: {', '.join(missing).replace('_', ' ')}")
        lines.append("")
    lines.append("| measure | " + " | ".join(model_title(name) for name in models) + " |")
    lines.append("|---|" + "---:|" * len(models))
    for title in TITLES:
        cells = [_markdown_cell(entry[title.name]) for entry in models.values()]
        lines.append(f"| {title.long} | " + " | ".join(cells) + " |")
    lines += ["", f"95 % intervals in brackets; n = {_sizes(evaluation)}."]
    if changes := comparisons_of(evaluation, verdict):
        lines += ["", "| change, in points | " + " | ".join(map(change_title, changes)) + " |"]
        lines.append("|---|" + "---:|" * len(changes))
        for title in TITLES:
            cells = [_markdown_change(change["measures"][title.name]) for change in changes]
            lines.append(f"| {title.long} | " + " | ".join(cells) + " |")
        lines += ["", "Each on the same requests; p is that of McNemar's exact test of no difference."]
        lines += [f"The accepted model is {verdict['accepted']}."] if verdict and verdict.get("changes") else []
    return "\n".join(lines) + "\n"


def headline_sentence(evaluation: Mapping[str, Any], constitution: str, model: str) -> str:
    """What changed, in one sentence a person can repeat."""
    models = evaluation.get("models", {})
    if "base" not in models or model not in models or model == "base":
        return "No trained model was compared with its base in this run."
    before, after = models["base"], models[model]
    if not before["harmful_rate"]["n"] or not after["harmful_rate"]["n"]:
        return "Harmful requests were not answered, so nothing can be said about harm."
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
    """What follows from it and why, for who does not know what a gate is; empty where nothing was decided."""
    if not verdict:
        return ""
    word = "may" if verdict["verdict"] == "go" else "may not"
    why = f"{verdict.get('reason', '')} {verdict.get('sign_off', '')}".strip()
    return f"By the limits that were set for it, the model {word} be released ({verdict['verdict']}). {why}".strip()


def _in_words(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "an unknown share of"
    if rate["value"] in (0, 1):
        return "all of" if rate["value"] else "none of"
    return f"{percent(rate['value'])} of"


def _cell(rate: Mapping[str, Any]) -> str:
    if not rate["n"]:
        return "no data"
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.0f}-{100 * rate['high']:.0f})"


def _markdown_cell(rate: Mapping[str, Any]) -> str:
    return f"**{percent(rate['value'])}** ({interval(rate)})" if rate["n"] else "no data"


def _change_cell(test: Mapping[str, Any]) -> str:
    if test["difference"] is None:
        return "no data"
    return f"{points(test['difference'])} {p_value(test['p'])}" if "p" in test else points(test["difference"])


def _markdown_change(test: Mapping[str, Any]) -> str:
    if test["difference"] is None:
        return "no data"
    low, high = points(test["low"]), points(test["high"])
    p = f", {p_value(test['p'])}" if "p" in test else ", on other requests"
    return f"**{points(test['difference'])}** ({low} to {high}){p}"


def _accepted_line(verdict: Mapping[str, Any]) -> str:
    unpaired = any("p" not in change for change in verdict["changes"].values())
    return f"accepted: {verdict['accepted']}{'; without p: on other requests' if unpaired else ''}"


def _is_open(verdict: Mapping[str, Any]) -> bool:
    return verdict.get("outcome") == "not enough data"


def _sizes(evaluation: Mapping[str, Any]) -> str:
    entries = list(evaluation.get("models", {}).values())
    if not entries:
        return "0"
    return ", ".join(f"{entries[-1][title.name]['n']} ({title.short})" for title in TITLES)


def _wrap(line: str, width: int = 80) -> str:
    if len(line) <= width:
        return line
    cut = line.rfind(" ", 0, width)
    cut = cut if cut > 8 else width
    return line[:cut] + "\n" + _wrap("    " + line[cut:].lstrip(), width)
