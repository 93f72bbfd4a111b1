"""A finished run, made by the steps of a flow against a null server: for tests of what looks at runs and stores."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charter.config import Config, Judge, Prompts, Serving
from charter.core.messages import Message
from charter.inference import EngineSpec, connect
from charter.inference.session import Session
from charter.pipeline.sequence import stages_of
from charter.pipeline.shards import run_stage
from charter.runs.dataset import make_tables
from charter.runs.folder import start_run
from charter.runs.manifest import write_manifest

LAW = """---
name: doors
---

## Keep quiet {#quiet}

Secrets stay secrets in every answer.

## Be kind {#kind}

The answer has a friendly tone.
"""


def answer(messages: Sequence[Message]) -> str:
    """Tells secrets, finds them under one principle alone, and then takes them back; A is always better."""
    asked = messages[-1]["content"]
    if asked.startswith("Critique your last answer"):
        wrong = "Secrets" in asked and "tells the secret" in messages[-2]["content"]
        return f"It is about a door. Verdict: {'violated' if wrong else 'respected'}"
    if asked.startswith("Rewrite your answer"):
        return messages[-4]["content"].replace("tells the secret", "keeps quiet about the secret")
    return f"{asked} This answer tells the secret of the door."


def settings(folder: Path, url: str, n: int = 6) -> Config:
    """Of a run in `folder`, with its constitution and prompts written there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "law.md").write_text(LAW)
    prompts = [{"id": f"r{i}", "prompt": f"Question number {i}?", "kind": "door"} for i in range(n)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return Config(
        outputs=folder / "outputs",
        constitution=folder / "law.md",
        prompts=Prompts(source=str(folder / "prompts.jsonl")),
        serving=Serving(base_urls=(url,)),
        judge=Judge(principles=1, tie_margin=0.0),
    )


def finish_run(config: Config, **changes: Any) -> Path:
    """Walk every stage of a run of one shard, with changes to what its engines are opened with; its folder."""
    folder = config.run_folder
    served = connect(config.serving.base_urls, config.serving)
    spec = replace(EngineSpec.of(served, config.store_url, config.generation.concurrency), **changes)
    started = start_run(config)
    run, counts = started.context({"base": spec}), [started.prompts]
    for stage in stages_of(config):
        counts.append(asyncio.run(run_stage(run, stage, 0, Session())))
    write_manifest(folder, counts, {"base": spec.identity})
    return folder


def make_data(config: Config) -> Path:
    """Walk every shard of a run by the library alone; its folder."""
    served = connect(config.serving.base_urls, config.serving)
    spec = EngineSpec.of(served, config.store_url, config.generation.concurrency)
    write_manifest(config.run_folder, asyncio.run(make_tables(config, {"base": spec})), {"base": spec.identity})
    return config.run_folder
