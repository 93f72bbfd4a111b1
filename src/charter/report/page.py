"""The report as one HTML file that opens offline and makes no requests."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from charter.core.formatting import interval, nats, p_value, percent, points
from charter.core.text import plain
from charter.report import plots
from charter.report.adherence import adherence_sentence, adherence_table, worst_first
from charter.report.audit_plots import biases_plot, reliability_plot
from charter.report.audit_text import audit_sentence
from charter.report.data import ReportData
from charter.report.headline import (
    check_word,
    comparisons_of,
    final_model,
    grader_sentence,
    headline_sentence,
    overlap_sentence,
    review_sentence,
    verdict_sentence,
)
from charter.report.measures import TITLES, amount, between, change_title, further_parts, model_title, moved, shares
from charter.report.svg import STYLE_SHEET
from charter.report.text_tables import dissent_table, gaps_table
from charter.report.token_view import shade_pairs, visible_token

FOLDER = Path(__file__).parent / "templates"

SHOWN = 4000
"""Characters of one text on the page; longer texts are shortened, with a note."""

LIMITS = {name: f"max_{name}" for name in ("harmful_rate", "benign_refusal_rate", "borderline_refusal_rate")}
"""The setting of the gate that limits each measure."""


def render_report(data: ReportData | Mapping[str, Any]) -> str:
    """The whole page. Every text is escaped, and the page's policy forbids scripts and requests."""
    # A page is also made of plain values, and `plain` replaces what HTML and JSON cannot hold: NaN, lone surrogates.
    data = ReportData.from_dict(plain(asdict(data) if isinstance(data, ReportData) else data))
    final, name = final_model(data.evaluation, data.verdict), data.constitution.name
    totals = {}
    for field in ("failed", "calls", "stored", "prompt_tokens", "completion_tokens", "seconds"):
        # A stage of training makes no calls; the sum is over the stages that counted.
        values = [value for stage in data.stages if (value := getattr(stage, field)) is not None]
        totals[field] = f"{sum(values):,.{1 if field == 'seconds' else 0}f}" if values else "-"
    return render_page(
        "report.html.j2",
        data=data,
        plots=_plots(data, final),
        **_results(data.evaluation, final, data.verdict),
        final=final,
        sentence=headline_sentence(data.evaluation, f"“{name}”" if name else "", final),
        decided=" ".join(filter(None, (verdict_sentence(data.verdict), grader_sentence(data.evaluation)))),
        principle_titles={p.id: p.title for p in data.constitution.principles},
        totals=totals,
        audited=audit_sentence(data.audit) if data.audit else "",
        token_pairs=shade_pairs(data.heat) if data.heat else None,
        dissent=dissent_table(data.dissent),
        config=yaml.safe_dump(data.config, sort_keys=False, allow_unicode=True) if data.config else "",
        contents=_contents(data),
    )


def render_page(template: str, folders: Sequence[Path] = (), styles: Sequence[Path] = (), **values: object) -> str:
    """A page that extends ``base.html.j2``: its template is in `folders`, its style sheets follow the report's.

    The page's content-security policy admits exactly this one style element, by its hash.
    """
    css = "".join(path.read_text(encoding="utf-8") for path in (STYLE_SHEET, *styles))
    # Text by models is on the page: without this policy, a mistake in escaping would let it run as a script.
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    values |= {"style": Markup(css), "style_hash": Markup(f"sha256-{digest}")}  # Charter's own text, no user's
    return environment(*folders).get_template(template).render(values)


def shorten(text: str | None, length: int = SHOWN) -> str:
    """`text`, or its beginning and how much is left out."""
    text = text or ""
    if len(text) <= length:
        return text
    return f"{text[:length]}\n… ({len(text) - length:,} more characters in the run's folder)"


def _plots(data: ReportData, final: str) -> dict[str, Markup]:
    # A config may lack a limit, as those of earlier versions do; then the plot has no mark for it.
    limits = {name: data.config["gate"][key] for name, key in LIMITS.items() if key in data.config.get("gate", {})}
    drawn = {
        "headline": plots.headline_plot(data.evaluation, limits) if data.evaluation.get("models") else "",
        "kinds": plots.kinds_plot(data.evaluation, final=final),
        "lookalikes": plots.kinds_plot(data.evaluation, "borderline_refusal_rate", final),
        "further": plots.further_plot(shares(data.evaluation)),
        "principles": plots.principles_plot(data.constitution.principles),
        "tradeoff": plots.tradeoff_plot(data.evaluation),
        "rounds": plots.rounds_plot(data.evaluation, final),
        "training": plots.training_plot(data.training),
        "labels": plots.labels_plot(data.labels),
        "time": plots.time_plot(data.stages),
        "reliability": reliability_plot(data.audit["figures"]["calibration"]) if data.audit else "",
        "biases": biases_plot(data.audit["figures"]) if data.audit else "",
    }
    return {name: Markup(svg) for name, svg in drawn.items()}  # text in them is escaped by the XML writer


def _results(evaluation: Mapping[str, Any], final: str, verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    models: Mapping[str, Any] = evaluation.get("models", {})
    # By measure and model, as the table shows them.
    rows = [(title, [entry[title.name] for entry in models.values()]) for title in TITLES] if models else []
    comparisons = comparisons_of(evaluation, verdict)
    # What training did as a whole, for the column beside the models.
    changes = [c["measures"] for c in comparisons if (c["from"], c["to"]) == ("base", final)]
    unanswered = [
        f"{model_title(name)} {entry['failed']['n']}"
        for name, entry in models.items()
        if entry.get("failed", {}).get("n")
    ]
    kinds = {kind for entry in models.values() for kind in entry.get("harmful_rate_by_kind", {})}
    return {
        "models": list(models),
        "rows": rows,
        "changes": changes[0] if changes else {},
        "comparisons": comparisons,
        "titles": TITLES,
        "adherence": adherence_table(evaluation, final),
        "adherence_sentence": adherence_sentence(evaluation, final),
        "quoted": [p for p in worst_first(evaluation, final) if p["quotations"]],
        "further": further_parts(evaluation, final),
        "many_kinds": len(kinds) if len(kinds) > plots.KINDS else 0,  # then the plot shows only some of them
        "gaps": gaps_table(models.get(final, {}).get("group_gaps", {})),
        "unanswered": ", ".join(unanswered),
    }


def _contents(data: ReportData) -> list[tuple[str, str]]:
    parts: Sequence[tuple[str, str, object]] = (
        ("verdict", "Verdict", data.verdict),
        ("results", "What changed", data.evaluation.get("models")),
        ("adherence", "Principle by principle", data.evaluation.get("adherence")),
        ("further", "Beyond the headline", further_parts(data.evaluation, "")),
        ("benchmarks", "Benchmarks", data.evaluation.get("benchmarks")),
        ("rounds", "Round by round", data.rounds),
        ("examples", "Before and after", data.examples),
        ("constitution", "Constitution", data.constitution.principles),
        ("labels", "Preferences", data.labels.n),
        ("training", "Training", any(data.training.values())),
        ("tokens", "Token by token", data.heat),
        ("rows", "Rows and cost", data.stages or data.failures),
        ("lineage", "Lineage", True),
    )
    # The template leaves out the same parts, so every link leads somewhere.
    return [(id_, title) for id_, title, content in parts if content]


@lru_cache(maxsize=8)
def environment(*folders: Path) -> Environment:
    """The environment that renders pages: templates of `folders`, then the report's, with the report's filters."""
    environment = Environment(
        loader=FileSystemLoader([*folders, FOLDER]),
        autoescape=True,
        # A missing value is an error: a page with a gap where a number should be would not be noticed.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "signed": lambda value: "-" if value is None else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}"),
        "points": points,
        "amount": amount,
        "between": between,
        "moved": moved,
        "review_sentence": review_sentence,
        "overlap_sentence": overlap_sentence,
        "nats": nats,
        "visible_token": visible_token,
        "p_value": p_value,
        "change_title": change_title,
        "check_word": check_word,
        "model_title": model_title,
        "shorten": shorten,
    }
    return environment
