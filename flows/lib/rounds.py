"""Later rounds: the aligned model answers again, and DPO continues from it."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from charter.data.shards import count_rows
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.runs.manifest import write_manifest
from charter.runs.rounds import later_rounds, start_round
from flows.lib.flow_run import FlowRun
from flows.lib.progress import RunProgress
from flows.lib.serving import serve_generation_models, serve_trained
from flows.lib.tasks import answer_all, make_dataset, train_step


class LaterRounds(NamedTuple):
    """What the later rounds did, and the model of each by its name."""

    counts: list[StageCount]
    models: dict[str, EngineSpec]


async def align_again(run: FlowRun, model: Path) -> LaterRounds:
    """Run the rounds after the first, from the first one's model; each starts where the one before ended.

    A round that yields no pairs is the last: there is nothing left to learn. `training.rounds: 1` has no later rounds.
    """
    config, result = run.config, LaterRounds([], {})
    for later in later_rounds(config):
        here = replace(run, progress=RunProgress())  # its stages have the names of the first round's
        async with serve_generation_models(here, model) as models:
            counts = await make_dataset(here, models, start_round(config.run_folder, later))
        here.progress.close()
        write_manifest(later.folder, counts, {name: spec.identity for name, spec in models.items()})
        result.counts.extend(later.named(counts))
        if not count_rows(later.folder / "pairs"):
            run.progress.say(f"round {later.number}: no pairs, so nothing is left to learn, and it is the last")
            break
        model = (await train_step(run, "dpo", str(model), later)).model
        async with serve_trained(run, {later.model: model}) as served:
            result.counts.extend(await answer_all(run, served))
        result.models.update(served)
    return result
