"""From a run's folder to the report's data, and from there to the files that people open."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from charter.constitution import kept_constitution_path, load_kept_constitution
from charter.core.files import write_text_atomic
from charter.core.text import printable
from charter.evaluation.rounds import FIRST, round_model, rounds_of
from charter.pipeline.judges.dissent import dissent
from charter.report.cards import dataset_card, model_card
from charter.report.curves import thin
from charter.report.data import Constitution, Failure, MetricRow, Principle, ReportData, Stage
from charter.report.examples import held_out_examples, training_examples
from charter.report.headline import final_model
from charter.report.page import render_report
from charter.report.rounds import count_pairs
from charter.report.tables import count, failure_table, label_summary, scan, value_counts
from charter.runs.blame import count_deeds
from charter.runs.folder import AUDIT
from charter.runs.rounds import round_folders, round_title
from charter.training.job import DONE, STEPS
from charter.training.token_rewards import FOLDER, TokenReport, read_token_report

FILES = {
    "report.html": render_report,
    "report.json": ReportData.to_json,
    "MODEL_CARD.md": model_card,
    "DATASET_CARD.md": dataset_card,
}

CARDS = ("MODEL_CARD.md", "DATASET_CARD.md")

_NUMBERS = {field.name for field in fields(Stage)} - {"name"}


def collect(
    run_folder: Path,
    progress: Mapping[str, Mapping[str, float | int | None]] | None = None,
    *,
    made: str = "",
    command: str = "",
    models: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> ReportData:
    """Everything the report says about the run in `run_folder`.

    `progress` holds, per stage in order, any of ``rows_in``, ``rows_out``, ``failed``, ``seconds``, ``calls``,
    ``stored``, ``prompt_tokens`` and ``completion_tokens``. Without it rows are counted from the Parquet files.
    What a run has not made yet, such as models, is left out of the report. `models` names identities by model,
    `made` is the time to print: both are the caller's, so that the same folder gives the same page.

    Raises:
        ConstitutionError: the folder's ``constitution.md`` cannot be read.
        DataError: a shard is broken.
    """
    config = _yaml(run_folder / "config.yaml")
    evaluation, verdict = _json(run_folder / "evaluation.json"), _json(run_folder / "gate.json")
    steps, later = _steps(config), rounds_of(evaluation)[1:]
    failures = failure_table(_failures(run_folder, [run_folder / step for step in steps]))
    pairs = scan(run_folder, "pairs")
    trained = {name: done for name in (*steps, *later) if (done := _json(run_folder / name / DONE))}
    seed = int(config.get("seed", 0))
    return ReportData(
        name=str(config.get("name", run_folder.name)),
        made=made,
        config=config,
        constitution=_constitution(run_folder, str(config.get("constitution", ""))),
        verdict=verdict,
        evaluation=evaluation,
        stages=_with_training(
            _stages(run_folder, progress or {}, failures), [steps, *([m] for m in later)], _of_this_run(trained, models)
        ),
        failures=failures + _later_failures(run_folder, later),
        examples=held_out_examples(run_folder, final_model(evaluation, verdict), seed)
        + training_examples(run_folder, seed),
        labels=label_summary(pairs, failures),
        training={step: thin(_curves(run_folder, [step, *later] if step == FIRST else [step])) for step in steps},
        trained=trained,
        heat=_heat(run_folder, models or {}),
        rounds=count_pairs(run_folder),
        pair_strategies=value_counts(pairs, "strategy"),
        kinds=value_counts(pairs, "kind"),
        preambles=_preambles(run_folder),
        versions=dict(versions or {}),
        models=dict(models or {}),
        wrote=value_counts(scan(run_folder, "responses"), "model_identity"),
        judged=value_counts(_concat(run_folder, ("pairs", "sft_data"), "judge_identity"), "judge_identity"),
        audit=_audit(run_folder),
        dissent=_dissent(run_folder, config),
        review=_json(run_folder / "review.json"),
        command=command,
    )


def write_report(run_folder: Path, data: ReportData) -> Path:
    """Write ``report.html``, ``report.json`` and both cards into `run_folder`; the page's path.

    A run that made neither data nor models, but evaluated what others made, has no cards.
    """
    made = any((run_folder / name).is_dir() for name in ("responses", "pairs", *STEPS))
    for name, make in FILES.items():
        if name in CARDS and data.evaluation and not made:
            continue
        write_text_atomic(run_folder / name, printable(make(data)))
    return run_folder / "report.html"


def read_metrics(folder: Path) -> list[MetricRow]:
    """The numbers of ``metrics.jsonl``, one row per step in order; a last line that is half written is left out."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    rows: dict[float, MetricRow] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise
        row = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
        rows.setdefault(row.get("step") or float(number), {}).update(row)
    return [rows[step] for step in sorted(rows)]


def _constitution(run_folder: Path, path: str) -> Constitution:
    if not kept_constitution_path(run_folder).is_file():
        return Constitution(path=path)
    law = load_kept_constitution(run_folder)
    deeds, total = count_deeds(run_folder, law)
    principles = [Principle(p.id, p.title, p.text, deeds[p.id]) for p in law.principles]
    return Constitution(law.name, law.version, law.hash, path, principles, total)


def _stages(
    run_folder: Path, progress: Mapping[str, Mapping[str, float | int | None]], failures: list[Failure]
) -> list[Stage]:
    if progress:
        return [
            Stage(name, **{key: value for key, value in numbers.items() if key in _NUMBERS})  # type: ignore[arg-type]
            for name, numbers in progress.items()
        ]
    made = {"respond": "responses", "revise": "revisions", "judge": "pairs"}
    stages = []
    for name, folder in made.items():
        frame = scan(run_folder, folder)
        if frame is not None:
            rows = frame.select("row_id").unique()  # several rounds, or several pairs, may be of one row
            lost = sum(failure.count for failure in failures if failure.stage == name)
            stages.append(Stage(name, rows_out=count(rows), failed=lost))
    return stages


def _of_this_run(trained: Mapping[str, Any], models: Mapping[str, str] | None) -> Mapping[str, Any]:
    """What was trained, unless the run named its models and these are others, which an earlier run of the name left."""
    return trained if not models or trained.keys() & models.keys() else {}


def _with_training(
    stages: Sequence[Stage], groups: Sequence[Sequence[str]], trained: Mapping[str, Mapping[str, Any]]
) -> list[Stage]:
    """The stages with those that trained a model, which come before any model of the same group was asked."""
    found = list(stages)
    for group in groups:
        asked = {f"answer {name}" for name in group}
        place = next((i for i, stage in enumerate(found) if stage.name in asked), len(found))
        found[place:place] = [_training(name, trained[name]) for name in group if name in trained]
    return found


def _training(name: str, done: Mapping[str, Any]) -> Stage:
    used, dropped = done.get("rows_used"), sum((done.get("dropped") or {}).values())
    return Stage(f"train {name}", None if used is None else used + dropped, used, dropped, done.get("seconds"))


def _steps(config: Mapping[str, Any]) -> list[str]:
    """The training steps of the run; an earlier one of the same name may have left the folders of others."""
    training = config.get("training", {})
    last = training.get("preference", "dpo")
    by_model = last == "grpo" and training.get("grpo", {}).get("reward") == "model"
    return ["sft", "reward", last] if by_model else ["sft", last]


def _curves(run_folder: Path, models: Sequence[str]) -> list[MetricRow]:
    """The numbers of training steps of which each went on from the one before; their optimiser steps are counted on."""
    rows = list[MetricRow]()
    for model in models:
        past = float(rows[-1].get("step") or len(rows)) if rows else 0.0
        found = read_metrics(run_folder / model)
        rows += [row | {"step": past + (row.get("step") or 0.0)} for row in found] if past else found
    return rows


def _later_failures(run_folder: Path, trained: Sequence[str]) -> list[Failure]:
    """Rows that were lost in rounds after the first, their stages named as in the manifest."""
    found = list[Failure]()
    for number, folder in round_folders(run_folder).items():
        models = [run_folder / round_model(number)] if round_model(number) in trained else []
        named = round_title(number)
        found += [replace(f, stage=f"{named}: {f.stage}") for f in failure_table(_failures(folder, models))]
    return found


def _failures(folder: Path, models: Sequence[Path]) -> pl.LazyFrame | None:
    # Rows that training leaves out are kept beside the model, with the same columns.
    dropped = [path for model in models if (path := model / "dropped.parquet").is_file()]
    frames = [scan(folder, "failures"), *(pl.scan_parquet(path, glob=False) for path in dropped)]
    present = [frame.select("row_id", "stage", "reason", "detail") for frame in frames if frame is not None]
    return pl.concat(present) if present else None


def _audit(run_folder: Path) -> dict[str, Any]:
    """The audit that the run insisted on, as it kept it: the file it came from may be another by now."""
    return {name: value for name, value in _json(run_folder / AUDIT).items() if name != "mistakes"}


def _preambles(run_folder: Path) -> int:
    revisions = scan(run_folder, "revisions")
    return 0 if revisions is None else count(revisions.filter(pl.col("preamble").is_not_null())) or 0


def _dissent(run_folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Over all that the panel judged and did not tie on: pairs, supervised rows, and what waits for people."""
    judge = config.get("judge", {})
    members = [member["name"] for member in judge.get("panel", ())]
    judged = _concat(run_folder, ("pairs", "sft_data", "review"), "kind", "p_by_member") if members else None
    if judged is None:
        return {}
    rows = judged.drop_nulls("p_by_member").collect(engine="streaming").iter_rows()
    return dissent(rows, members, judge["tie_margin"])


def _heat(run_folder: Path, models: Mapping[str, str]) -> TokenReport | None:
    """What was found of the tokens, unless that was of another model of the same name, which an earlier run made."""
    heat = read_token_report(run_folder / FOLDER)
    return None if heat and models and models.get(heat.model) != heat.identity else heat


def _concat(run_folder: Path, names: Sequence[str], *columns: str) -> pl.LazyFrame | None:
    frames = [frame.select(columns) for name in names if (frame := scan(run_folder, name)) is not None]
    return pl.concat(frames) if frames else None


def _yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
