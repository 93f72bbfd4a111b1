"""A registry with one accepted run, whose model answered the sandbox's held-out requests: for tests of the monitor."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from charter.config import Config, Evaluation
from charter.core.files import write_json
from charter.core.messages import Message, user
from charter.evaluation.records import Graded, save_answers
from charter.evaluation.requests import load_requests
from charter.runs.registry.record import AcceptedRun, Event, add_event, changing
from charter.sandbox.held_out import grade_by_oracle


def accept_run(outputs: Path, answer: Callable[[Sequence[Message]], str], evaluation: Evaluation) -> AcceptedRun:
    """Accept a run whose model answers as `answer` does."""
    config = Config(name="demo", outputs=outputs, evaluation=evaluation)
    folder = outputs / "accepted" / "demo-1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    rows = []
    for r in load_requests(evaluation, config.seed):
        given = Graded(r.request_id, r.category, r.kind, r.prompt, answer([user(r.prompt)]), "stop")
        rows.append(grade_by_oracle(given, r) if r.world else replace(given, harmful=False))
    save_answers(folder / "answers", "dpo", rows)
    write_json(folder / "answers" / "dpo-failed.json", [])
    run = AcceptedRun(
        id="demo-1",
        run="demo",
        model="dpo",
        identity="sha256:00",
        folder="accepted/demo-1",
        constitution="Harmless 1.0",
        verdict="go",
        verdict_reason="Every limit is kept.",
    )
    with changing(outputs) as registry:
        add_event(registry, Event(action="promote", at="2026-01-01T00:00:00Z", by="Ada", reason="", run=run))
    return run
