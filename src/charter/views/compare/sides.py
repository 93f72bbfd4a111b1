"""One run, read for a comparison: what it was made from, what was measured, what it cost."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from charter.config import load_config
from charter.constitution import Constitution, kept_constitution_path, load_kept_constitution
from charter.core.errors import DataError
from charter.evaluation.benchmarks.score_table import Ran
from charter.evaluation.records import Answers
from charter.runs.verdict import describe_evaluation, ran_of, read_answers
from charter.training.job import STEPS, read_done


@dataclass(frozen=True)
class Cost:
    """What a run cost; None where the folder does not tell.

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
class Side:
    """A run in a comparison; `label` tells it from the others, and `model` is the one that is compared.

    Attributes:
        asked: what its models were asked, and who graded them, in words.
        ran: what was kept of the model's benchmarks, a number per sample.
        benchmarks: their values, as ``evaluation.json`` holds them.
    """

    label: str
    folder: Path
    model: str
    verdict: str
    reason: str
    law: Constitution | None
    settings: Mapping[str, Any]
    measures: Mapping[str, Any]
    answers: Answers
    cost: Cost
    asked: str
    ran: Sequence[Ran]
    benchmarks: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Without the answers."""
        law = {"name": self.law.name, "version": self.law.version, "hash": self.law.hash} if self.law else None
        return {
            "run": self.label,
            "folder": str(self.folder),
            "model": self.model,
            "verdict": self.verdict,
            "reason": self.reason,
            "constitution": law,
            "measures": self.measures,
            "benchmarks": [
                {name: row[name] for name in ("tool", "task", "measure", "share")} | row["models"][self.model]
                for row in self.benchmarks
            ],
            "cost": asdict(self.cost),
        }


def read_side(folder: Path, label: str, model: str | None) -> Side:
    """Read the run in `folder`; its model is the one that was judged, if no other is named.

    Raises:
        DataError: the run was not evaluated, or not with this model, or a file of it is missing or broken.
        ConfigError: its config cannot be read.
    """
    whole = _json(folder / "evaluation.json")
    evaluation = whole.get("models", {})
    if not evaluation or not (folder / "config.yaml").is_file():
        raise DataError(
            f"run '{folder}': no config.yaml with an evaluation.json, so there is nothing to compare. "
            "Name the folder of a run that was evaluated, such as outputs/demo."
        )
    config, gate = load_config(folder / "config.yaml"), _json(folder / "gate.json")
    name = model or str(gate.get("model") or list(evaluation)[-1])
    if name not in evaluation:
        raise DataError(f"--model '{name}': run '{folder}' did not evaluate it. It has: {', '.join(evaluation)}.")
    judged = gate if gate.get("model") == name else {}
    return Side(
        label=label,
        folder=folder,
        model=name,
        verdict=str(judged.get("verdict", "not judged")),
        reason=str(judged.get("reason", "")),
        law=load_kept_constitution(folder) if kept_constitution_path(folder).is_file() else None,
        settings=flatten(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))),
        measures=evaluation[name],
        answers=_answers(folder, name),
        cost=_cost(folder, dict.fromkeys([*STEPS, *evaluation])),
        asked=describe_evaluation(config),
        ran=ran_of(folder, name),
        benchmarks=[row for row in whole.get("benchmarks", ()) if name in row["models"]],
    )


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as they are given on the command line."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flatten(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _cost(folder: Path, models: Iterable[str]) -> Cost:
    stages = _json(folder / "manifest.json").get("stages", {}).values()
    trained = [done["seconds"] for model in models if (done := read_done(folder / model))]
    training = round(sum(trained), 3) if trained else None
    if not stages:
        return Cost(training_seconds=training)
    sums = {name: sum(stage[name] for stage in stages) for name in ("calls", "stored", "prompt_tokens")}
    written, seconds = (sum(stage[name] for stage in stages) for name in ("completion_tokens", "seconds"))
    return Cost(**sums, completion_tokens=written, seconds=round(seconds, 3), training_seconds=training)


def _answers(folder: Path, model: str) -> Answers:
    try:
        return read_answers(folder, model)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"run '{folder}': the answers of '{model}' cannot be read: {error}. Run it again, or name another run."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"file '{path}': cannot be read: {error}. Run it again, or name another run.") from error
