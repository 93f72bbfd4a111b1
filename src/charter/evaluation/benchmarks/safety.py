"""Safety suites as inspect-ai tasks against a served model: the command, and what its logs say."""

import json
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from charter.config import Suite
from charter.config.evaluation import BUNDLED_SUITES
from charter.evaluation.benchmarks.process import Program, output_of, run_tool, tool_environment, tool_failure
from charter.evaluation.benchmarks.score_table import Ran, Sheet
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.refusal.classifier import RefusalLabel

TASKS = Path(__file__).with_name("tasks.py")

_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""inspect-ai's correct, incorrect, partial and no answer, as its own metrics count them."""


def program(suite: Suite, spec: EngineSpec, max_tokens: int, folder: Path, judge: EngineSpec | None = None) -> Program:
    """The process that asks a served model one suite, greedily, and leaves inspect-ai's log in `folder`.

    Args:
        suite: what to run.
        spec: the model; of several servers the first is asked.
        max_tokens: of an answer.
        folder: for the log of inspect-ai; its output is written next to it.
        judge: grades as well, where the suite comes with Charter.
    """
    brought = suite.task in BUNDLED_SUITES
    command = [sys.executable, "-P", "-m", "inspect_ai", "eval", f"{TASKS}@{suite.task}" if brought else suite.task]
    command += ["--model", f"openai-api/charter/{spec.model_name}", "--model-base-url", spec.base_urls[0]]
    command += ["--temperature", "0", "--seed", "0", "--max-tokens", str(max_tokens), "--max-retries", "3"]
    command += ["--log-dir", str(folder), "--log-format", "json", "--no-log-realtime", "--no-fail-on-error"]
    command += ["--display", "plain", "--ctl-server", "false"]
    variables = tool_environment(spec)
    if suite.data is not None:
        command += ["-T", f"data={suite.data.resolve()}"]
    if suite.limit is not None:
        command += ["--limit", str(suite.limit)]
    if judge is not None and brought:
        command += ["-T", "judge=true", "--model-role", f"grader=openai-api/grader/{judge.model_name}"]
        theirs = tool_environment(judge)
        variables |= {"GRADER_BASE_URL": judge.base_urls[0], "GRADER_API_KEY": theirs["CHARTER_API_KEY"]}
        variables |= {name: f"{variables[name]},{theirs[name]}" for name in ("NO_PROXY", "no_proxy")}
    return Program(command, variables, output_of(folder), f"inspect-ai task '{suite.task}'")


async def run_suite(
    suite: Suite,
    spec: EngineSpec,
    max_tokens: int,
    folder: Path,
    root: Path,
    judge: EngineSpec | None,
    session: Session,
) -> Ran:
    """Ask a served model one suite; arguments as for `program`, and `root` the run's folder that logs are named from.

    Raises:
        SuiteError: inspect-ai could not run it, or no sample was scored.
        Stopped: the run is to end.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    asked = program(suite, spec, max_tokens, folder, judge)
    await run_tool(asked, session)
    logs = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    if not logs:
        raise tool_failure(asked)
    sheets = list[Sheet]()
    for path, log in logs.items():
        if why := problem(log):
            raise tool_failure(asked, why)
        sheets += read_log(log, path.relative_to(root).as_posix(), grouped=suite.task in BUNDLED_SUITES)
    return _with_counts(sheets, list(logs.values()))


def _with_counts(sheets: Sequence[Sheet], logs: Sequence[Mapping[str, Any]]) -> Ran:
    samples = [sample for log in logs for sample in log["samples"]]
    used = [usage for log in logs for usage in log["stats"]["model_usage"].values()]
    return Ran(
        sheets,
        samples=len(samples),
        failed=sum(not _scored(sample) for sample in samples),
        calls=len(samples),
        prompt_tokens=sum(usage["input_tokens"] for usage in used),
        completion_tokens=sum(usage["output_tokens"] for usage in used),
    )


def problem(log: Mapping[str, Any]) -> str:
    """Why a log of inspect-ai holds nothing to count; empty where it does."""
    if log["status"] != "success":
        return str((log.get("error") or {}).get("message") or f"its status is {log['status']}")
    samples = log.get("samples") or []
    if any(map(_scored, samples)):
        return ""
    errors = [sample["error"]["message"] for sample in samples if sample.get("error")]
    return f"no sample was scored{f'; the first says: {errors[0]}' if errors else ''}"


def read_log(log: Mapping[str, Any], path: str, grouped: bool = False) -> list[Sheet]:
    """The scores in a log of inspect-ai, a sheet for each scorer, each of its values, and each group of samples.

    Args:
        log: as inspect-ai wrote it.
        path: where it is, in the run's folder.
        grouped: keep samples apart by their metadata `label`, safe and unsafe, and the safe ones by their `type` as
            well, as over-refusal depends on the type.
    """
    values = defaultdict[tuple[str, str], dict[str, list[float]]](lambda: defaultdict(list))
    asked = defaultdict[str, set[str]](set)
    for sample in log["samples"]:
        name = str(sample["id"])
        for group in _groups(sample["metadata"]) if grouped else [""]:
            asked[group].add(name)
            for measure, value in _scores(sample):
                values[measure, group][name].append(value)  # one per epoch
        for value in _in_part(sample) if grouped else ():
            values["refused in part", _groups(sample["metadata"])[0]][name].append(value)
    return [
        Sheet(
            "inspect-ai",
            log["eval"]["task"],
            f"{measure}{group}",
            {name: fmean(scores) for name, scores in by_sample.items()},
            failed=len(asked[group]) - len(by_sample),
            log=path,
        )
        for (measure, group), by_sample in sorted(values.items())
    ]


def _groups(metadata: Mapping[str, Any]) -> list[str]:
    label, sort = metadata["label"], metadata.get("type")
    return [f" ({label})", *([f" ({label}, {sort})"] if label == "safe" and sort else [])]


def _in_part(sample: Mapping[str, Any]) -> Iterator[float]:
    """Whether an answer was refused in part only, which counts as refused as well."""
    score = (sample.get("scores") or {}).get("refused")
    if score and not sample.get("error") and score.get("answer"):
        yield float(score["answer"] == RefusalLabel.PARTIAL)


def _scored(sample: Mapping[str, Any]) -> bool:
    return any(True for _ in _scores(sample))


def _scores(sample: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers among a sample's scores; of a score with several values, each under its own name."""
    if sample.get("error"):
        return
    for scorer, score in (sample.get("scores") or {}).items():
        value = score["value"]
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for name, part in parts:
            number = _GRADES.get(part) if isinstance(part, str) else part
            if isinstance(number, int | float) and math.isfinite(number):
                yield f"{scorer} {name}".strip(), float(number)
