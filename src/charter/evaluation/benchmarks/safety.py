"""A served model's safety, by suites of inspect-ai: the command, and how its logs are read."""

import json
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from charter.config import Suite
from charter.config.evaluation import BUNDLED_SUITES
from charter.evaluation.benchmarks.process import Program, output_file, run_tool, tool_environment, tool_failure
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.refusal.classifier import RefusalLabel

TASKS = Path(__file__).with_name("tasks.py")

_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""inspect-ai's correct, incorrect, partial and no answer, as its own metrics count them."""


def suite_program(
    suite: Suite, spec: EngineSpec, max_tokens: int, folder: Path, judge: EngineSpec | None = None
) -> Program:
    """The process that asks a served model one suite, greedily, and leaves inspect-ai's log in `folder`.

    Args:
        suite: what to run.
        spec: the model; of several servers the first is asked.
        max_tokens: of an answer.
        folder: for the log of inspect-ai; its output is written next to it.
        judge: grades as well, if the suite comes with Charter.
    """
    bundled = suite.task in BUNDLED_SUITES
    command = [sys.executable, "-P", "-m", "inspect_ai", "eval", f"{TASKS}@{suite.task}" if bundled else suite.task]
    command += ["--model", f"openai-api/charter/{spec.model_name}", "--model-base-url", spec.base_urls[0]]
    # Greedy, with a seed, and no failure on single samples: those are counted as failed.
    command += ["--temperature", "0", "--seed", "0", "--max-tokens", str(max_tokens), "--max-retries", "3"]
    command += ["--log-dir", str(folder), "--log-format", "json", "--no-log-realtime", "--no-fail-on-error"]
    command += ["--display", "plain", "--ctl-server", "false"]
    variables = tool_environment(spec)
    if suite.data is not None:
        command += ["-T", f"data={suite.data.resolve()}"]
    if suite.limit is not None:
        command += ["--limit", str(suite.limit)]
    if judge is not None and bundled:
        command += ["-T", "judge=true", "--model-role", f"grader=openai-api/grader/{judge.model_name}"]
        # The judge may need another key than the model.
        of_judge = tool_environment(judge)
        variables |= {"GRADER_BASE_URL": judge.base_urls[0], "GRADER_API_KEY": of_judge["CHARTER_API_KEY"]}
        variables |= {name: f"{variables[name]},{of_judge[name]}".strip(",") for name in ("NO_PROXY", "no_proxy")}
    return Program(command, variables, output_file(folder), f"inspect-ai task '{suite.task}'")


async def run_suite(
    suite: Suite,
    spec: EngineSpec,
    max_tokens: int,
    folder: Path,
    root: Path,
    judge: EngineSpec | None,
    session: Session,
) -> ToolResult:
    """Ask a served model one suite; arguments as for `suite_program`, and paths of logs are relative to `root`.

    Raises:
        SuiteError: inspect-ai could not run it, or no sample was scored.
        Stopped: the run is to end.
    """
    # A log of an earlier attempt would be counted as well.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = suite_program(suite, spec, max_tokens, folder, judge)
    await run_tool(program, session)
    logs = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    if not logs:
        raise tool_failure(program)
    found = list[SampleScores]()
    for path, log in logs.items():
        if why := log_problem(log):
            raise tool_failure(program, why)
        found += read_log(log, path.relative_to(root).as_posix(), grouped=suite.task in BUNDLED_SUITES)
    samples = [sample for log in logs.values() for sample in log["samples"]]
    usage = [used for log in logs.values() for used in log["stats"]["model_usage"].values()]
    return ToolResult(
        found,
        samples=len(samples),
        # A sample without any number: its call failed, or its scorer did.
        failed=sum(not any(_scores(sample)) for sample in samples),
        calls=len(samples),
        prompt_tokens=sum(used["input_tokens"] for used in usage),
        completion_tokens=sum(used["output_tokens"] for used in usage),
    )


def log_problem(log: Mapping[str, Any]) -> str:
    """Why a log of inspect-ai holds nothing to count; empty if it can be counted."""
    if log["status"] != "success":
        return str((log.get("error") or {}).get("message") or f"its status is {log['status']}")
    samples = log.get("samples") or []
    if any(any(_scores(sample)) for sample in samples):
        return ""
    errors = [sample["error"]["message"] for sample in samples if sample.get("error")]
    return f"no sample was scored{f'; the first says: {errors[0]}' if errors else ''}"


def read_log(log: Mapping[str, Any], path: str, grouped: bool = False) -> list[SampleScores]:
    """The scores in a log of inspect-ai, separate for each scorer, each of its values, and each group of samples.

    Args:
        log: as inspect-ai wrote it.
        path: where it is, in the run's folder.
        grouped: separate samples by their metadata `label`, safe and unsafe, and the safe ones by their `type` as
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
        # Whether an answer was refused in part only, which the scorer counts as refused as well
        refused = (sample.get("scores") or {}).get("refused") if grouped and not sample.get("error") else None
        if refused and refused.get("answer"):
            partial = float(refused["answer"] == RefusalLabel.PARTIAL)
            values["refused in part", _groups(sample["metadata"])[0]][name].append(partial)
    return [
        SampleScores(
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
    label, kind = metadata["label"], metadata.get("type")
    return [f" ({label})", *([f" ({label}, {kind})"] if label == "safe" and kind else [])]


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
