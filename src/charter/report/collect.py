"""From a run's folder to the report's data."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from charter.constitution import kept_constitution_path, load_kept_constitution
from charter.core.files import read_json
from charter.evaluation.gate import FIRST, round_model, rounds_of
from charter.pipeline.judges.dissent import dissent
from charter.report.curves import read_rounds, thin
from charter.report.data import (
    ConstitutionReport,
    FailureCount,
    PrincipleReport,
    ReportData,
    StageReport,
    training_steps,
)
from charter.report.examples import held_out_examples, training_examples
from charter.report.headline import final_model
from charter.report.run_tables import count, count_failures, pairs_by_round, scan, summarise_labels, value_counts
from charter.runs.blame import count_principle_stats
from charter.runs.folder import AUDIT
from charter.runs.rounds import round_folders, round_title
from charter.training.job import DONE
from charter.training.token_rewards import FOLDER, read_token_report

_NUMBERS = {field.name for field in fields(StageReport)} - {"name"}


def collect(
    run_folder: Path,
    progress: Mapping[str, Mapping[str, float | int | None]] | None = None,
    *,
    made: str = "",
    command: str = "",
    models: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> ReportData:
    """The content of the report on the run in `run_folder`.

    `progress` holds, per stage in order, any of ``rows_in``, ``rows_out``, ``failed``, ``seconds``, ``calls``,
    ``stored``, ``prompt_tokens`` and ``completion_tokens``. Without it rows are counted from the Parquet files.
    What a run has not made yet, such as models, is left out of the report. `models` maps names to identities,
    `made` is the time to print: the caller passes both, so that the same folder always gives the same page.

    Raises:
        ConstitutionError: the constitution that the folder keeps cannot be read.
        DataError: a shard is broken.
    """
    file = run_folder / "config.yaml"
    config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    evaluation, verdict = _json(run_folder / "evaluation.json"), _json(run_folder / "gate.json")
    steps, later = training_steps(config), rounds_of(evaluation)[1:]
    failures = count_failures(_failures(run_folder, [run_folder / step for step in steps]))
    pairs = scan(run_folder, "pairs")
    trained = {name: done for name in (*steps, *later) if (done := _json(run_folder / name / DONE))}
    # An earlier run of the same name may have left models; a run that names its own models reports only these.
    ours = trained if not models or trained.keys() & models.keys() else {}
    token_report = read_token_report(run_folder / FOLDER)
    # A heat map of another model, left by an earlier run, would explain the wrong training.
    if token_report and models and models.get(token_report.model) != token_report.identity:
        token_report = None
    revisions = scan(run_folder, "revisions")
    shortened = None if revisions is None else count(revisions.filter(pl.col("preamble").is_not_null()))
    seed = int(config.get("seed", 0))
    return ReportData(
        name=str(config.get("name", run_folder.name)),
        made=made,
        config=config,
        constitution=_constitution(run_folder, str(config.get("constitution", ""))),
        verdict=verdict,
        evaluation=evaluation,
        stages=_with_training(
            _stages(run_folder, progress or {}, failures), [steps, *([model] for model in later)], ours
        ),
        failures=failures + _later_failures(run_folder, later),
        examples=held_out_examples(run_folder, final_model(evaluation, verdict), seed)
        + training_examples(run_folder, seed),
        labels=summarise_labels(pairs, failures),
        training={step: thin(read_rounds(run_folder, [step, *later] if step == FIRST else [step])) for step in steps},
        trained=trained,
        heat=token_report,
        rounds=pairs_by_round(run_folder),
        pair_strategies=value_counts(pairs, "strategy"),
        kinds=value_counts(pairs, "kind"),
        preambles=shortened or 0,
        versions=dict(versions or {}),
        models=dict(models or {}),
        wrote=value_counts(scan(run_folder, "responses"), "model_identity"),
        judged=value_counts(_concat(run_folder, ("pairs", "sft_data"), "judge_identity"), "judge_identity"),
        # The copy that the run kept when it began: the audit's own folder may hold another audit by now.
        audit={name: value for name, value in _json(run_folder / AUDIT).items() if name != "mistakes"},
        dissent=_dissent(run_folder, config),
        review=_json(run_folder / "review.json"),
        command=command,
    )


def _constitution(run_folder: Path, path: str) -> ConstitutionReport:
    # A run that only evaluates models made elsewhere keeps no constitution.
    if not kept_constitution_path(run_folder).is_file():
        return ConstitutionReport(path=path)
    constitution = load_kept_constitution(run_folder)
    stats, total = count_principle_stats(run_folder, constitution)
    principles = [PrincipleReport(p.id, p.title, p.text, stats[p.id]) for p in constitution.principles]
    return ConstitutionReport(constitution.name, constitution.version, constitution.hash, path, principles, total)


def _stages(
    run_folder: Path, progress: Mapping[str, Mapping[str, float | int | None]], failures: list[FailureCount]
) -> list[StageReport]:
    # The manifest's counts are exact and have calls and times; shards are counted where a run has no manifest yet.
    if progress:
        return [
            StageReport(name, **{key: value for key, value in numbers.items() if key in _NUMBERS})  # type: ignore[arg-type]
            for name, numbers in progress.items()
        ]
    stages = []
    for name, folder in {"respond": "responses", "revise": "revisions", "judge": "pairs"}.items():
        frame = scan(run_folder, folder)
        if frame is not None:
            rows = frame.select("row_id").unique()  # one row may have several rounds or several pairs
            lost = sum(failure.count for failure in failures if failure.stage == name)
            stages.append(StageReport(name, rows_out=count(rows), failed=lost))
    return stages


def _with_training(
    stages: Sequence[StageReport], groups: Sequence[Sequence[str]], trained: Mapping[str, Mapping[str, Any]]
) -> list[StageReport]:
    """Insert the training stages of each group of models before the first stage in which one of them answers."""
    result = list(stages)
    for group in groups:
        answers = {f"answer {name}" for name in group}
        # A model is trained just before it first answers. One that never answers is listed last.
        position = next((i for i, stage in enumerate(result) if stage.name in answers), len(result))
        inserted = []
        for name in group:
            if name in trained:
                done = trained[name]
                used, dropped = done.get("rows_used"), sum((done.get("dropped") or {}).values())
                rows_in = None if used is None else used + dropped
                inserted.append(StageReport(f"train {name}", rows_in, used, dropped, done.get("seconds")))
        result[position:position] = inserted
    return result


def _later_failures(run_folder: Path, trained: Sequence[str]) -> list[FailureCount]:
    """The rows lost in rounds after the first, with stages named as in the manifest."""
    lost = list[FailureCount]()
    for number, folder in round_folders(run_folder).items():
        models = [run_folder / round_model(number)] if round_model(number) in trained else []
        failures = count_failures(_failures(folder, models))
        lost += [replace(failure, stage=f"{round_title(number)}: {failure.stage}") for failure in failures]
    return lost


def _failures(folder: Path, models: Sequence[Path]) -> pl.LazyFrame | None:
    # Training writes the rows that it leaves out into the model's folder, with the same columns.
    dropped = [path for model in models if (path := model / "dropped.parquet").is_file()]
    frames = [scan(folder, "failures"), *(pl.scan_parquet(path, glob=False) for path in dropped)]
    present = [frame.select("row_id", "stage", "reason", "detail") for frame in frames if frame is not None]
    return pl.concat(present) if present else None


def _dissent(run_folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Over everything that the panel judged without a tie: pairs, supervised rows, and rows that wait for people."""
    judge = config.get("judge", {})
    members = [member["name"] for member in judge.get("panel", ())]
    # Where a panel split, the row is in `review`: without these, its members would seem to agree more than they do.
    judged = _concat(run_folder, ("pairs", "sft_data", "review"), "kind", "p_by_member") if members else None
    if judged is None:
        return {}
    rows = judged.drop_nulls("p_by_member").collect(engine="streaming").iter_rows()
    return dissent(rows, members, judge["tie_margin"])


def _concat(run_folder: Path, names: Sequence[str], *columns: str) -> pl.LazyFrame | None:
    frames = [frame.select(columns) for name in names if (frame := scan(run_folder, name)) is not None]
    return pl.concat(frames) if frames else None


def _json(path: Path) -> dict[str, Any]:
    return dict(read_json(path) or {})
