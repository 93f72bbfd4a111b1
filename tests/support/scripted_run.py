"""A run's folder, made by the real stages under a scripted model: for tests of what reads such folders."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.config import Config, Generation, Judge, Pairs, Prompts, Training
from charter.constitution import load_kept_constitution
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.pipeline.label import label
from charter.pipeline.pair import walked_rows
from charter.pipeline.respond import respond, sample
from charter.pipeline.revise import revise
from charter.pipeline.rows import StageContext
from charter.pipeline.strategies import Plan, gather, wanted_samples
from charter.runs.folder import start_run
from charter.runs.manifest import write_manifest
from charter.testing.scripted import Script, ScriptedModel


def make_run(
    outputs: Path,
    law: str,
    prompts: Sequence[dict[str, Any]],
    script: Script,
    *,
    rounds: int = 2,
    judge: Judge | None = None,
    pairs: Pairs | None = None,
    shard_size: int = 50,
    judged: bool = True,
    sft_share: float = 0.5,
) -> Path:
    """The folder of a finished run; without labels, halves and manifest if it was not `judged`."""
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / "law.md").write_text(law)
    (outputs / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    config = Config(
        name="run",
        outputs=outputs,
        constitution=outputs / "law.md",
        prompts=Prompts(source=str(outputs / "prompts.jsonl")),
        generation=Generation(rounds=rounds, shard_size=shard_size),
        judge=judge or Judge(principles=2),
        pairs=pairs or Pairs(),
        training=Training(sft_share=sft_share),
    )
    start_run(config)
    folder = config.run_folder
    context = StageContext(ScriptedModel(script).ask, load_kept_constitution(folder), config.seed, "model-1")
    for shard in sorted((folder / "prompts").glob("*.parquet")):
        asyncio.run(_walk(folder, shard.name, context, config, judged))
    if judged:
        write_manifest(folder, [], {})
    return folder


async def _walk(folder: Path, name: str, context: StageContext, config: Config, judged: bool) -> None:
    def keep(table: str, rows: Sequence[dict[str, Any]], prefix: str = "") -> None:
        write_rows(folder / table / f"{prefix}{name}", SCHEMAS[table], rows)

    first = await respond(list(read_rows(folder / "prompts" / name)), context, config.generation)
    revised = await revise(first.rows, context, config.generation)
    keep("responses", first.rows)
    keep("revisions", revised.rows)
    keep("failures", first.failures + revised.failures, "revise-")
    if not judged:
        return
    walked = walked_rows(first.rows, revised.rows)
    plan = Plan(config.pairs, config.training.sft_share, config.seed)
    wanted = wanted_samples(gather(walked, revised.rows), plan)
    answers = await sample(wanted, context, config.generation, config.pairs.temperature)
    made = await label(gather(walked, revised.rows, answers.rows), plan, context, config.judge)
    keep("samples", answers.rows)
    keep("pairs", made.pairs)
    keep("sft_data", made.sft)
    keep("review", made.review)
    keep("failures", answers.failures + made.failures, "judge-")
