"""Model card and dataset card, written from the same data as the report."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from charter.data.export import Table
from charter.data.schema import SCHEMAS
from charter.judging.text import sentence as audit_sentence
from charter.report.data import ReportData
from charter.report.headline import headline_markdown, headline_sentence, model_title, percent

FOLDER = Path(__file__).parent / "templates"
RUN_TABLES = tuple(
    Table(name, SCHEMAS[name], {"train": f"{name}/*.parquet"}, {}, "parquet")
    for name in ("pairs", "sft_data", "responses", "revisions", "failures")
)
"""What a run's own folder holds."""
JUDGE = ("kind", "model", "principles", "tags", "combine", "tie_margin")
"""The settings of the judge that say what a label means."""


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


def dataset_card(data: ReportData, tables: Sequence[Table] | None = None, license: str | None = None) -> str:
    """``DATASET_CARD.md``: what the rows are, how they were made, what was set aside, how to load them.

    Args:
        data: of the run.
        tables: those of an export, whose ``README.md`` this is then; those of the run's folder if not given.
        license: the identifier that a hub knows; ``unknown`` if not given, but for data that is all the sandbox's.
    """
    source = data.config.get("prompts", {}).get("source")
    ours = source == "sandbox" and data.config.get("model") == "sandbox"
    front: dict[str, Any] = {
        "license": license or ("apache-2.0" if ours else "unknown"),
        "task_categories": ["text-generation"],
        "tags": ["charter", "constitutional-ai", "preference", "synthetic"],
        "configs": [{"config_name": table.name, "data_files": _data_files(table)} for table in tables or RUN_TABLES],
    }
    if tables:  # so that a column which is empty for long is read as what it is
        front["dataset_info"] = [
            {"config_name": table.name, "features": [_feature(field) for field in table.schema]} for table in tables
        ]
    return _render(
        "dataset_card.md.j2",
        data,
        front,
        tables=tables or RUN_TABLES,
        exported=bool(tables),
        license=front["license"],
        source=source,
        judge=_judge(data.config.get("judge", {})),
        audit=audit_sentence(data.audit) if data.audit else "",
    )


def _judge(settings: Mapping[str, Any]) -> dict[str, str]:
    said = {name: settings[name] for name in JUDGE if settings.get(name)}
    return {name: ", ".join(value) if isinstance(value, list | tuple) else str(value) for name, value in said.items()}


def _data_files(table: Table) -> str | list[dict[str, str]]:
    if not table.rows:
        return table.files["train"]
    return [{"split": side, "path": path} for side, path in table.files.items()]


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column as the front matter of a hub's card describes it."""
    if not pa.types.is_list(field.type):
        return {"name": field.name, "dtype": _dtype(field.type)}
    item = field.type.value_type
    inner = [_feature(part) for part in item] if pa.types.is_struct(item) else _dtype(item)
    return {"name": field.name, "list": inner}


def _dtype(kind: pa.DataType) -> str:
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))


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


def _render(template: str, data: ReportData, front: dict[str, Any], **more: object) -> str:
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
            **more,
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def inline(value: object) -> str:
    """`value` as one line of Markdown text: no markup of its own, no table cell broken."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split()))


def place(value: object) -> str:
    """The name of a file, model or source; of a path on one's own machine only the last part."""
    path = Path(str(value))
    return inline(path.name if path.is_absolute() else value)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(  # Markdown, not HTML: what comes from people and models goes through `inline`
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {"inline": inline, "place": place, "percent": percent, "model_title": model_title}
    environment.filters["meaning"] = lambda column: inline(column.metadata[b"meaning"].decode())
    return environment
