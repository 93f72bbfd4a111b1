"""The folder of a run that was evaluated and judged, with made-up answers: for tests of what reads its verdict."""

import json
from collections.abc import Mapping
from pathlib import Path

from charter.config import Config, Evaluation, Gate, Review
from charter.evaluation.benchmarks.checks import measure_benchmarks
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult, save_result
from charter.evaluation.measures import evaluate_models
from charter.evaluation.records import Category, Graded, save_answers
from charter.inference.identity import model_identity
from charter.pipeline.counts import StageCount
from charter.report.cards import model_card
from charter.report.collect import collect
from charter.runs.folder import reset_run_folder
from charter.runs.manifest import write_manifest
from charter.runs.verdict import decide_and_save, read_answers

LAW = "---\nname: Harmless\nversion: 1.0\n---\n\n## Theft\n\nNo theft.\n\n## Fraud\n\nNo fraud.\n"
ASKED = {"harmful": 160, "benign": 200, "borderline": 80, "fact": 200}
GRADES = {"harmful": "harmful", "benign": "refused", "borderline": "refused", "fact": "correct"}
COUNTS = (StageCount("respond", 12, 12, 0, 2.5, 12, 0, 300, 200), StageCount("judge", 12, 12, 0, 1.5, 24, 0, 900, 24))


def answers_of(
    model: str,
    yes: Mapping[str, int],
    asked: Mapping[str, int] = ASKED,
    prompt: str = "{category} {i}",
    answer: str = "{model} answers {category} {i}",
) -> list[Graded]:
    """One model's answers: in each category, yes to the grade of the first so many requests."""

    def row(category: Category, i: int) -> Graded:
        said = answer.format(model=model, category=category, i=i)
        kind = ("theft", "fraud")[i % 2] if category == "harmful" else None
        text = prompt.format(category=category, i=i)
        grade = {GRADES[category]: i < yes.get(category, 0)}
        return Graded(f"{category}-{i:04d}", category, kind, text, said, "stop", **grade)

    categories: tuple[Category, ...] = ("harmful", "benign", "borderline", "fact")
    return [row(category, i) for category in categories for i in range(asked[category])]


def keep_task(folder: Path, right: Mapping[str, int], questions: str) -> dict[str, list[SampleScores]]:
    """A benchmark of 100 questions in a run's folder, of which each model knows that many; its scores by model."""
    scores = {}
    for model, known in right.items():
        values = {str(i): float(i < known) for i in range(100)}
        scores[model] = [SampleScores("lm-eval", "sums", "acc", values, 0, "evaluation/log.json", headline=True)]
        path = folder / "evaluation" / "harness" / f"{model}.sheets.json"
        save_result(path, ToolResult(scores[model], 100, 0, 100, questions=questions), "inputs")
    return scores


def make_judged_run(
    outputs: Path,
    name: str = "demo",
    *,
    harmful: int = 0,
    facts: int = 200,
    constitution: str = LAW,
    weights: str = "weights",
    gate: Gate | None = None,
    evaluation: Evaluation | None = None,
    review: Review | None = None,
    prompt: str = "{category} {i}",
    answer: str = "{model} answers {category} {i}",
    sums: int | None = None,
    questions: str = "the same",
) -> Path:
    """A finished run whose last model helps with `harmful` of 160 harmful requests and knows some of 200 facts.

    With `sums` it was asked a benchmark as well, and knows that many of 100; `questions` is the hash of what was asked.
    """
    outputs.mkdir(parents=True, exist_ok=True)
    config = Config(
        name=name,
        outputs=outputs,
        constitution=outputs / "law.md",
        gate=gate or Gate(),
        review=review or Review(),
        evaluation=evaluation or Evaluation(n_harmful=160, n_benign=200, n_borderline=80, n_facts=200),
    )
    folder = reset_run_folder(config)
    (folder / "constitution.md").write_text(constitution)
    (folder / "dpo").mkdir(exist_ok=True)
    (folder / "dpo" / "config.json").write_text("{}")
    (folder / "dpo" / "model.safetensors").write_text(weights)
    (folder / "dpo" / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    made = {"base": {"harmful": 160, "fact": 200}, "dpo": {"harmful": harmful, "fact": facts}}
    for model, yes in made.items():
        save_answers(folder / "answers", model, answers_of(model, yes, prompt=prompt, answer=answer))
        (folder / "answers" / f"{model}-failed.json").write_text("[]")
    evaluated = evaluate_models({model: read_answers(folder, model) for model in made})
    if sums is not None:
        evaluated["benchmarks"] = measure_benchmarks(keep_task(folder, {"base": 100, "dpo": sums}, questions))
    (folder / "evaluation.json").write_text(json.dumps(evaluated))
    decide_and_save(config)
    (folder / "MODEL_CARD.md").write_text(model_card(collect(folder)))
    (folder / "report.html").write_text("<p>A report, whose plots would take a second.</p>")
    write_manifest(folder, COUNTS, {"base": "sha256:00", "dpo": model_identity(folder / "dpo")})
    return folder
