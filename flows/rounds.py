"""Rounds after the first: the aligned model answers again, and DPO goes on from it."""

from pathlib import Path
from typing import NamedTuple

from charter.config import Config
from charter.data.shards import count_rows
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.runs.manifest import write_manifest
from charter.runs.rounds import begin_round, later_rounds
from flows.progress import current, live
from flows.serving import serve_makers, serve_trained
from flows.tasks import answer_all, make_dataset, train_step


class Aligned(NamedTuple):
    """What the rounds after the first did, and the model of each by its name."""

    counts: list[StageCount]
    models: dict[str, EngineSpec]


async def align_again(config: Config, model: Path) -> Aligned:
    """Go through the rounds after the first, from the first one's model; each begins where the one before ended.

    A round that yields no pairs is the last: there is nothing left to learn. With `training.rounds: 1` there are none.
    """
    aligned = Aligned([], {})
    for later in later_rounds(config):
        with live(), serve_makers(config, model) as makers:  # progress of its own: the stages have the same names
            made = await make_dataset(later.config, makers, begin_round(config.run_folder, later))
        write_manifest(later.folder, made, {name: spec.identity for name, spec in makers.items()})
        aligned.counts.extend(later.named(made))
        if not count_rows(later.folder / "pairs"):
            current().say(f"round {later.number}: no pairs, so nothing is left to learn, and it is the last")
            break
        model = train_step(config, "dpo", str(model), later).model
        with serve_trained(config, {later.model: model}) as served:
            aligned.counts.extend(await answer_all(config, served))
        aligned.models.update(served)
    return aligned
