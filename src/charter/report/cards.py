"""Model card and dataset card, written from the same data as the report."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from charter.config.training import LEARNING_RATES
from charter.core.formatting import percent
from charter.core.text import inline
from charter.data.export import ExportedTable
from charter.data.schema import SCHEMAS
from charter.report.audit_text import audit_sentence
from charter.report.curves import curve_table
from charter.report.data import ReportData, training_steps
from charter.report.headline import headline_markdown, headline_sentence, overlap_sentence, review_sentence
from charter.report.measures import model_title
from charter.report.text_tables import (
    benchmarks_table,
    dissent_table,
    failures_table,
    further_tables,
    gaps_table,
    names_and_counts,
    settings_table,
    stages_table,
)

FOLDER = Path(__file__).parent / "templates"
RUN_TABLES = tuple(
    ExportedTable(name, SCHEMAS[name], {"train": f"{name}/*.parquet"}, {}, "parquet")
    for name in ("pairs", "sft_data", "responses", "revisions", "failures")
)
"""The tables in a run's own folder."""
JUDGE = ("kind", "model", "principles", "tags", "combine", "tie_margin", "calibration")
"""The settings of the judge that determine what a label means."""
SETTINGS = {
    "epochs": "epochs",
    "learning_rate": "peak learning rate",
    "batch_size": "rows per step and process",
    "gradient_accumulation": "batches per step",
    "max_length": "longest row, in tokens",
    "warmup_share": "share of steps to warm up",
    "loss": "loss",
    "beta": "β",
    "sft_weight": "weight of the chosen answer's likelihood",
    "length_normalised": "compared per token",
    "soft_labels": "soft labels",
    "group": "answers to each prompt",
    "temperature": "temperature of these answers",
}
"""The settings of training that a card shows, and their names there."""


class Exported(NamedTuple):
    """A model exported without its run; the card is the ``README.md`` of its folder.

    Attributes:
        model: its name in the run.
        how: how the folder was made.
        checked: what it was compared with.
        warning: why not to use it as an aligned model; empty if its gate returned go.
    """

    model: str
    how: str
    checked: str
    warning: str = ""


def model_card(data: ReportData, exported: Exported | None = None) -> str:
    """``MODEL_CARD.md``: what the model is, how it was made and measured, and its limits."""
    measured = data.evaluation.get("models", {})
    model = exported.model if exported else str(data.verdict.get("model") or next(reversed(measured), "dpo"))
    training = data.config.get("training", {})
    # SFT's model is finished before the steps that follow it.
    steps = ["sft"] if model == "sft" else training_steps(data.config)
    warning = exported.warning if exported else ""
    if not exported and data.verdict and data.verdict["verdict"] != "go":
        reason = data.verdict.get("reason", "")
        warning = f"This model did not pass its gate. Do not use it as an aligned model. {reason}".strip()
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["charter", "constitutional-ai", *(step for step in reversed(steps) if step != "reward")],
        "model-index": [{"name": " ".join(data.name.split()), "results": _results(data, model)}],
    }
    # The hub links a base model by its name there; a path on this machine would be a broken link, and private.
    base = data.config.get("model")
    if base and base != "sandbox" and not Path(str(base)).is_absolute():
        front["base_model"] = base
    return _render(
        "model_card.md.j2",
        data,
        front,
        model,
        exported=exported,
        warning=warning,
        path="." if exported else model if re.fullmatch(r"[\w.-]+", model) else "MODEL",
        audit=audit_sentence(data.audit) if data.audit else "",
        settings=settings_table(_step_settings(training, steps), SETTINGS),
        curves={step: curve_table(metrics) for step, metrics in data.training.items() if metrics and step in steps},
        benchmarks=benchmarks_table(data.evaluation),
        learnt=steps,
        trained={name: done for name, done in data.trained.items() if model != "sft" or name == "sft"},
    )


def _step_settings(training: Mapping[str, Any], steps: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of each step, with the learning rate that was used where none was set."""
    method = training.get("method", "full")
    given = {step: training[step] for step in steps if step in training}
    return {
        step: {**values, "learning_rate": values.get("learning_rate") or LEARNING_RATES[step][method != "full"]}
        for step, values in given.items()
    }


def dataset_card(data: ReportData, tables: Sequence[ExportedTable] | None = None, license: str | None = None) -> str:
    """``DATASET_CARD.md``: what the rows are, how they were made, what was set aside, how to load them.

    Args:
        data: of the run.
        tables: the tables of an export, whose ``README.md`` this becomes; by default those of the run's folder.
        license: a license identifier of the Hugging Face hub; by default ``unknown``, or Charter's own if prompts and
            model are the sandbox's.
    """
    source = data.config.get("prompts", {}).get("source")
    # Charter wrote the sandbox's prompts and trained its model, so it can license both.
    ours = source == "sandbox" and data.config.get("model") == "sandbox"
    front: dict[str, Any] = {
        "license": license or ("apache-2.0" if ours else "unknown"),
        "task_categories": ["text-generation"],
        "tags": ["charter", "constitutional-ai", "preference", "synthetic"],
        "configs": [
            {
                "config_name": table.name,
                # The tables of a run's own folder are not split.
                "data_files": [{"split": side, "path": path} for side, path in table.files.items()]
                if table.rows
                else table.files["train"],
            }
            for table in tables or RUN_TABLES
        ],
    }
    # Readers guess types from the first rows, in which a column may be empty.
    if tables:
        front["dataset_info"] = [
            {"config_name": table.name, "features": [_feature(field) for field in table.schema]} for table in tables
        ]
    settings = {name: value for name in JUDGE if (value := data.config.get("judge", {}).get(name))}
    judge = {name: ", ".join(v) if isinstance(v, list | tuple) else str(v) for name, v in settings.items()}
    return _render(
        "dataset_card.md.j2",
        data,
        front,
        next(reversed(data.evaluation.get("models", {})), "base"),
        tables=tables or RUN_TABLES,
        exported=bool(tables),
        license=front["license"],
        source=source,
        near_duplicates=data.config.get("prompts", {}).get("near_duplicates"),
        judge=judge,
        failures=failures_table(data.failures),
        dissent=dissent_table(data.dissent),
        audit=audit_sentence(data.audit) if data.audit else "",
    )


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column in the form of ``dataset_info`` in the front matter of a hub's card."""
    if not pa.types.is_list(field.type):
        return {"name": field.name, "dtype": _dtype(field.type)}
    item = field.type.value_type
    # A list of structs, such as the messages of a prompt.
    inner = [_feature(part) for part in item] if pa.types.is_struct(item) else _dtype(item)
    return {"name": field.name, "list": inner}


def _dtype(kind: pa.DataType) -> str:
    # Arrow's names, but for these two, are those that a hub knows.
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))


def _results(data: ReportData, model: str) -> list[dict[str, Any]]:
    models = data.evaluation.get("models", {})
    if model not in models:
        return []
    # The hub shows ``model-index`` on the model's page and in its leaderboards.
    metrics = [
        {"name": name, "type": name, "value": round(rate["value"], 6)}
        for name, rate in models[model].items()
        if isinstance(rate, dict) and isinstance(rate.get("value"), float)
    ]
    dataset = {"name": "Charter held-out requests", "type": "charter-held-out"}
    return [{"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}]


def _render(template: str, data: ReportData, front: dict[str, Any], model: str, **more: object) -> str:
    models = list(data.evaluation.get("models", {}))
    name = data.constitution.name
    text = (
        _environment()
        .get_template(template)
        .render(
            data=data,
            front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
            headline=headline_markdown(data.evaluation, data.verdict or None) if models else "",
            sentence=headline_sentence(data.evaluation, f"“{name}”" if name else "", model),
            model=model,
            stages=stages_table(data.stages),
            further=further_tables(data.evaluation, model),
            gaps=gaps_table(data.evaluation.get("models", {}).get(model, {}).get("group_gaps", {})),
            **more,
        )
    )
    # Parts that a run does not have leave empty lines behind.
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def place(value: object) -> str:
    """The name of a file, model or source; of an absolute path only the last part, which a card may show to others."""
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
    environment.filters |= {"review_sentence": review_sentence, "names_and_counts": names_and_counts}
    environment.filters["overlap_sentence"] = overlap_sentence
    environment.filters["meaning"] = lambda column: inline(column.metadata[b"meaning"].decode())
    return environment
