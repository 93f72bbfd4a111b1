"""inspect-ai and lm-evaluation-harness against the sandbox's server: their numbers are ours on the same samples."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config, Evaluation, Harness
from charter.core.errors import ConfigError
from charter.core.messages import user
from charter.evaluation.benchmarks.asking import ask_suites, read_scores
from charter.evaluation.benchmarks.inspection import check_suites, read_prompts
from charter.inference import EngineSpec, Served, open_engine
from charter.inference.completion import Sampling
from charter.inference.session import Session
from charter.pipeline.refusal.classifier import classify_refusal
from charter.sandbox.oracle import is_right
from charter.sandbox.world import held_out_requests

pytestmark = [pytest.mark.system]

SHORT = 48
"""Characters: the sandbox's model reads little at once."""
FACTS = 24
EACH = 16
"""Prompts of XSTest with each label, and as many of the sandbox's harmful requests twice over."""
OBEYED = "A good answer does not help with harm."
"""Said before a request, the sandbox's model declines some of them and answers the others."""


def write_some(source: Path, path: Path) -> Path:
    """Some prompts of XSTest, in its own format, and some that the sandbox's model knows how to decline."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if len(row["prompt"]) < SHORT]
    sorts = [[row for row in rows if row["label"] == label] for label in ("safe", "unsafe")]
    chosen = [row for sort in sorts for row in sort[:: len(sort) // EACH][:EACH]]  # of many types
    for i, request in enumerate(held_out_requests("harmful", 2 * EACH, seed=0)):
        own = {"id": f"own-{i}", "prompt": f"{OBEYED} {request.text}", "label": "unsafe", "type": "own"}
        chosen.append({column: own.get(column, "") for column in rows[0]})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, chosen[0])
        writer.writeheader()
        writer.writerows(chosen)
    return path


def only(folder: Path, pattern: str) -> Any:
    """The one file of that name, which holds JSON."""
    (path,) = folder.rglob(pattern)
    return json.loads(path.read_text(encoding="utf-8"))


async def test_their_numbers_are_ours(sandbox_server: Served, shared_data: Path, tmp_path: Path) -> None:
    prompts_file = write_some(shared_data / "xstest" / "xstest_prompts.csv", tmp_path / "xstest.csv")
    evaluation = {
        "suites": [{"task": "xstest", "data": str(prompts_file)}],
        "harness": {"tasks": ["sandbox_facts"]},
        "n_facts": FACTS,
        "max_tokens": 32,
    }
    config = Config.model_validate({"outputs": str(tmp_path), "evaluation": evaluation})
    spec = EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))
    counts = await ask_suites(config, "base", spec, Session(), print)
    assert [(c.stage, c.rows_in, c.failed) for c in counts] == [
        ("xstest base", 4 * EACH, 0),
        ("harness base", FACTS, 0),
    ]
    theirs = {scores.measure: scores.values for scores in read_scores(config, "base")}

    prompts, facts = read_prompts("xstest", prompts_file), held_out_requests("fact", FACTS, config.seed)
    async with open_engine(spec) as engine:

        async def ask(text: str) -> str:
            return (await engine.ask([user(text)], Sampling(max_tokens=32))).text

        answers = {prompt.id: await ask(prompt.text) for prompt in prompts}
        stated = [await ask(request.text) for request in facts]

    refused = {
        prompt.id: (prompt.label, float(classify_refusal(prompt.text, answers[prompt.id]).refused))
        for prompt in prompts
    }
    for label in ("safe", "unsafe"):
        assert theirs[f"refused ({label})"] == {name: value for name, (of, value) in refused.items() if of == label}
    assert {value for _, value in refused.values()} == {0.0, 1.0}
    for kind in {prompt.kind for prompt in prompts if prompt.label == "safe"}:
        of_kind = {prompt.id: refused[prompt.id][1] for prompt in prompts if prompt.kind == kind}
        assert theirs[f"refused (safe, {kind})"] == of_kind
    assert theirs["acc"] == {
        str(i): float(is_right(request, answer)) for i, (request, answer) in enumerate(zip(facts, stated, strict=True))
    }
    accuracy = sum(theirs["acc"].values()) / FACTS
    assert accuracy > 0.8

    # The tools' own files: the same answers, and the same totals.
    folder = config.run_folder / "evaluation"
    log = only(folder / "inspect", "*_xstest_*.json")
    said = {sample["id"]: sample["output"]["choices"][0]["message"]["content"] for sample in log["samples"]}
    assert said == answers
    totals = {name: metric["value"] for name, metric in log["results"]["scores"][0]["metrics"].items()}
    for label in ("safe", "unsafe"):
        values = theirs[f"refused ({label})"].values()
        assert totals[label] == pytest.approx(sum(values) / len(values))
    results = only(folder / "harness", "results_*.json")["results"]["sandbox_facts"]
    assert results["acc,none"] == pytest.approx(accuracy)


@pytest.mark.slow
def test_a_task_that_the_harness_does_not_know_is_named_before_anything_is_started() -> None:
    named = Evaluation(harness=Harness(tasks=("gsm8k", "no_such_task", "sandbox_facts")))
    with pytest.raises(ConfigError, match=r"evaluation.harness.tasks 'no_such_task': lm-evaluation-harness knows no"):
        check_suites(named)
