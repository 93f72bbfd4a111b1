"""Model card and dataset card, written from the same data as the report."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from charter.report.data import ReportData
from charter.report.headline import headline_markdown, headline_sentence, model_title, percent

FOLDER = Path(__file__).parent / "templates"


def model_card(data: ReportData) -> str:
    """``MODEL_CARD.md``: what the model is, how it was made and measured, and where its limits lie."""
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["charter", "constitutional-ai", "dpo", "sft"],
        "model-index": [{"name": " ".join(data.name.split()), "results": _results(data)}],
    }
    base = data.config.get("model")
    if base and base != "sandbox" and not Path(str(base)).is_absolute():
        front["base_model"] = base
    return _render("model_card.md.j2", data, front)


def dataset_card(data: ReportData) -> str:
    """``DATASET_CARD.md``: what the rows are, how they were made, what was set aside, how to load them."""
    front = {
        "task_categories": ["text-generation"],
        "tags": ["charter", "constitutional-ai", "preference", "synthetic"],
        "configs": [
            {"config_name": name, "data_files": f"{name}/*.parquet"}
            for name in ("pairs", "sft_data", "responses", "revisions", "failures")
        ],
    }
    return _render("dataset_card.md.j2", data, front)


def _results(data: ReportData) -> list[dict[str, Any]]:
    models = data.evaluation.get("models", {})
    if not models:
        return []
    metrics = [
        {"name": name, "type": name, "value": round(rate["value"], 6)}
        for name, rate in list(models.values())[-1].items()
        if isinstance(rate, dict) and isinstance(rate.get("value"), float)
    ]
    dataset = {"name": "Charter held-out requests", "type": "charter-held-out"}
    return [{"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}]


def _render(template: str, data: ReportData, front: dict[str, Any]) -> str:
    models = list(data.evaluation.get("models", {}))
    name = data.constitution.name
    text = (
        _environment()
        .get_template(template)
        .render(
            data=data,
            front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
            headline=headline_markdown(data.evaluation, data.verdict or None) if models else "",
            sentence=headline_sentence(data.evaluation, f"“{name}”" if name else "", models[-1] if models else "base"),
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def inline(value: object) -> str:
    """`value` as one line of Markdown text: no markup of its own, no table cell broken."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split()))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(  # Markdown, not HTML: what comes from people and models goes through `inline`
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {"inline": inline, "percent": percent, "model_title": model_title}
    return environment
