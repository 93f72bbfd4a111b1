"""Evaluated runs side by side: what each is made from, measured and cost, and how each differs from the first."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from charter.config import load_config
from charter.constitution import Constitution, kept_constitution_path, load_kept_constitution
from charter.constitution.diff import Diff, diff
from charter.core.errors import ConfigError, DataError
from charter.core.statistics.intervals import Difference
from charter.evaluation.benchmarks.checks import TaskChange, compare_tasks
from charter.evaluation.benchmarks.score_table import ToolResult
from charter.evaluation.measures import MEASURES, Change, by_prompt, compare_runs
from charter.evaluation.records import ModelAnswers
from charter.runs.verdict import describe_evaluation, evaluated_results, read_answers
from charter.training.job import STEPS, read_done

LOCATION_SETTINGS = ("name", "outputs", "store")
"""Settings that say where a run is, not what it does."""


@dataclass(frozen=True)
class RunCost:
    """What a run cost; None where the folder does not record it.

    Attributes:
        seconds: of the stages; shards that ran side by side add up.
        training_seconds: of all training steps.
    """

    calls: int | None = None
    stored: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    training_seconds: float | None = None


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison; `label` distinguishes it from the others, and `model` is the one that is compared.

    Attributes:
        evaluated_with: which requests its models answered, and who graded the answers, in words.
        suite_results: what was kept of the model's benchmarks, a number per sample.
        benchmarks: their values, as ``evaluation.json`` holds them.
    """

    label: str
    folder: Path
    model: str
    verdict: str
    reason: str
    constitution: Constitution | None
    settings: Mapping[str, Any]
    measures: Mapping[str, Any]
    answers: ModelAnswers
    cost: RunCost
    evaluated_with: str
    suite_results: Sequence[ToolResult]
    benchmarks: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Without the answers."""
        constitution = self.constitution
        return {
            "run": self.label,
            "folder": str(self.folder),
            "model": self.model,
            "verdict": self.verdict,
            "reason": self.reason,
            "constitution": constitution
            and {"name": constitution.name, "version": constitution.version, "hash": constitution.hash},
            "measures": self.measures,
            "benchmarks": [
                {name: row[name] for name in ("tool", "task", "measure", "share")} | row["models"][self.model]
                for row in self.benchmarks
            ],
            "cost": asdict(self.cost),
        }


@dataclass(frozen=True)
class ChangedPrompt:
    """A prompt for which a measure differs between two models; `worse` is seen from the second model."""

    measure: str
    kind: str | None
    prompt: str
    before: str
    after: str
    worse: bool


@dataclass(frozen=True)
class Differences:
    """One run against the first.

    Attributes:
        constitution: None where one of the two has none.
        settings: by dotted name, the first run's value and this one's.
        measures: this run's rate or mean minus the first's: paired where the prompts are the same.
        tasks: the same for benchmarks that both were evaluated with.
        caution: how the evaluations of the two differ; empty where they do not.
        changed_prompts: in the order of the requests.
    """

    run: str
    constitution: Diff | None
    settings: dict[str, tuple[Any, Any]]
    measures: dict[str, Change]
    tasks: list[TaskChange]
    caution: str
    changed_prompts: list[ChangedPrompt]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""

        def change_values(change: Change) -> dict[str, Any]:
            # Only a `Difference` is of other requests.
            return {"paired": not isinstance(change, Difference), **change.to_dict()}

        constitution = self.constitution
        return {
            "run": self.run,
            "constitution": asdict(constitution) | {"same": constitution.same} if constitution else None,
            "settings": self.settings,
            "measures": {name: change_values(change) for name, change in self.measures.items()},
            "benchmarks": [asdict(task) | {"change": change_values(task.change)} for task in self.tasks],
            "caution": self.caution,
            "moved": [asdict(prompt) for prompt in self.changed_prompts],
        }


@dataclass(frozen=True)
class Comparison:
    """Runs, and what differs between the first and each of the others."""

    runs: list[ComparedRun]
    differences: list[Differences]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "runs": [run.to_dict() for run in self.runs],
            "against_the_first": [differences.to_dict() for differences in self.differences],
        }


def compare_folders(folders: Sequence[Path], model: str | None = None) -> Comparison:
    """Compare the runs in `folders`, each with the model that its gate judged, unless another is named.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        DataError: a run was not evaluated.
    """
    if len(folders) < 2:
        raise ConfigError(f"compare '{folders[0] if folders else ''}': one run alone. Name two or more.")
    # Resolved: the same folder by two paths would be compared with itself.
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"compare '{folders[-1]}': a run is named twice. Name each once.")
    # A folder's name is enough unless two runs share it, as in outputs/demo and old/demo.
    labels = [folder.resolve().name for folder in folders]
    if len(set(labels)) < len(labels):
        labels = [str(folder) for folder in folders]
    runs = [read_compared_run(folder, label, model) for folder, label in zip(folders, labels, strict=True)]
    return Comparison(runs, [_differences(runs[0], other) for other in runs[1:]])


def read_compared_run(folder: Path, label: str, model: str | None) -> ComparedRun:
    """Read the run in `folder`; its model is the one that its gate judged, unless another is named.

    Raises:
        DataError: the run was not evaluated, or not with this model, or a file of it is missing or broken.
        ConfigError: its config cannot be read.
    """
    evaluation = _read_object(folder / "evaluation.json")
    models = evaluation.get("models", {})
    if not models or not (folder / "config.yaml").is_file():
        raise DataError(
            f"run '{folder}': no config.yaml with an evaluation.json, so there is nothing to compare. "
            "Name the folder of a run that was evaluated, such as outputs/demo."
        )
    config, gate = load_config(folder / "config.yaml"), _read_object(folder / "gate.json")
    # Without a verdict the last model, which is the one that a run ends with.
    name = model or str(gate.get("model") or list(models)[-1])
    if name not in models:
        raise DataError(f"--model '{name}': run '{folder}' did not evaluate it. It has: {', '.join(models)}.")
    try:
        answers = read_answers(folder, name)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"run '{folder}': the answers of '{name}' cannot be read: {error}. Run it again, or name another run."
        ) from error
    if gate.get("model") != name:
        gate = {}  # the verdict is about another model
    return ComparedRun(
        label=label,
        folder=folder,
        model=name,
        verdict=str(gate.get("verdict", "not judged")),
        reason=str(gate.get("reason", "")),
        constitution=load_kept_constitution(folder) if kept_constitution_path(folder).is_file() else None,
        settings=flatten_settings(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))),
        measures=models[name],
        answers=answers,
        cost=_read_cost(folder, dict.fromkeys([*STEPS, *models])),
        evaluated_with=describe_evaluation(config),
        # Per sample, so that two runs can be compared in pairs.
        suite_results=evaluated_results(folder, name),
        benchmarks=[row for row in evaluation.get("benchmarks", ()) if name in row["models"]],
    )


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as they are given on the command line."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            settings |= flatten_settings(value, f"{prefix}{name}.")
        else:
            settings[f"{prefix}{name}"] = value
    return settings


def _read_cost(folder: Path, models: Iterable[str]) -> RunCost:
    trained = [done["seconds"] for model in models if (done := read_done(folder / model))]
    training_seconds = round(sum(trained), 3) if trained else None
    stages = _read_object(folder / "manifest.json").get("stages", {}).values()
    if not stages:
        return RunCost(training_seconds=training_seconds)
    names = ("calls", "stored", "prompt_tokens", "completion_tokens")
    sums = {name: sum(stage[name] for stage in stages) for name in names}
    seconds = round(sum(stage["seconds"] for stage in stages), 3)
    return RunCost(**sums, seconds=seconds, training_seconds=training_seconds)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"file '{path}': cannot be read: {error}. Run it again, or name another run.") from error


def _differences(first: ComparedRun, other: ComparedRun) -> Differences:
    caution = ""
    if first.evaluated_with != other.evaluated_with:
        caution = f"not evaluated alike: {first.label} {first.evaluated_with}; {other.label} {other.evaluated_with}"
    changed = []
    for measure in MEASURES:
        answered = {row.request_id: row for row in by_prompt(first.answers) if row.category == measure.category}
        for row in by_prompt(other.answers):
            earlier = answered.get(row.request_id)
            if row.category != measure.category or earlier is None:
                continue
            grade = getattr(row, measure.grade)
            # Only changed grades: two answers may differ in words and be equally good.
            if getattr(earlier, measure.grade) != grade:
                # Every grade but "correct" names a fault, so gaining it is worse.
                worse = bool(grade) != (measure.grade == "correct")
                changed.append(ChangedPrompt(measure.name, row.kind, row.prompt, earlier.response, row.response, worse))
    before, after = first.settings, other.settings
    # In the order of the first config, then what only the other has.
    names = [name for name in dict.fromkeys([*before, *after]) if name not in LOCATION_SETTINGS]
    return Differences(
        run=other.label,
        constitution=(
            diff(first.constitution, other.constitution) if first.constitution and other.constitution else None
        ),
        settings={name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)},
        measures=compare_runs(first.answers, other.answers),
        tasks=compare_tasks(first.suite_results, other.suite_results),
        caution=caution,
        changed_prompts=changed,
    )
