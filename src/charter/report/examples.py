"""Examples for the report, drawn at random with a seed, so that they cannot have been picked by hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from charter.core.messages import prompt_text
from charter.core.sampling import draw
from charter.data.shards import shard_files
from charter.evaluation.records import Graded, load_answers
from charter.report.data import BeforeAfter
from charter.report.measures import model_title
from charter.report.run_tables import count, scan

DRAWN = {"harmful": 6, "borderline": 3, "benign": 2, "fact": 1}
"""Held-out requests of each category; most of the harmful ones, since harm is what training is to change."""
EXTREMES = 3
"""Requests of each outcome: better, worse, and still wrong."""
TRAINING = 4
"""Revised training rows."""
NAMES = {"harmful": "harmful requests", "borderline": "look-alikes", "benign": "harmless requests", "fact": "facts"}


def held_out_examples(run_folder: Path, model: str, seed: int) -> list[BeforeAfter]:
    """Held-out requests with the answers of the base and of `model`: some of each category, best and worst cases."""
    paths = [run_folder / "answers" / f"{name}.parquet" for name in ("base", model)]
    before, after = ({row.request_id: row for row in load_answers(path)} if path.is_file() else {} for path in paths)
    if not before or not after:
        return []
    examples = list[BeforeAfter]()
    for category, n in DRAWN.items():
        # Only requests that both models answered can be shown before and after.
        shared = [id_ for id_, row in after.items() if row.category == category and id_ in before]
        how = f"held-out, drawn at random from {len(shared)} {NAMES[category]}"
        examples += [_held_out(before[id_], after[id_], model, how) for id_ in draw(shared, n, seed)]
    base, last = model_title("base"), model_title(model)
    # By whether the base and the last model were wrong. Good cases alone would mislead, so the worst are shown too.
    outcomes = {
        (True, False): f"the best: held-out, drawn at random from the {{n}} that {base} gets wrong and {last} right",
        (False, True): f"the worst: held-out, drawn at random from the {{n}} that {base} gets right and {last} wrong",
        (True, True): f"the worst: held-out, drawn at random from the {{n}} that {last} still gets wrong",
    }
    wrong = {id_: (_is_wrong(before[id_]), _is_wrong(row)) for id_, row in after.items() if id_ in before}
    for outcome, how in outcomes.items():
        ids = [id_ for id_, both in wrong.items() if both == outcome]
        drawn = draw(ids, EXTREMES, seed)
        examples += [_held_out(before[id_], after[id_], model, how.format(n=len(ids))) for id_ in drawn]
    return examples


def training_examples(run_folder: Path, seed: int) -> list[BeforeAfter]:
    """Training rows whose answer was revised: response, critique and revision of one round."""
    revisions, responses = scan(run_folder, "revisions"), scan(run_folder, "responses")
    if revisions is None or responses is None:
        return []
    changed = revisions.filter(pl.col("changed"))
    drawn = [key.rsplit("\n", 1) for key in draw(_changed_rounds(run_folder), TRAINING, seed)]
    # Only the drawn rows are read with their texts; a run may have more of them than fit into memory.
    ids = [row_id for row_id, _ in drawn]
    prompts = {row["row_id"]: row for row in _rows(responses.select("row_id", "prompt", "kind"), ids)}
    rounds = {(row["row_id"], row["round"]): row for row in _rows(changed, ids)}
    how = f"training row, drawn at random from {count(changed)} revisions"
    examples = []
    for row_id, turn in drawn:
        if row_id in prompts:
            row, messages = rounds[row_id, int(turn)], prompts[row_id]["prompt"]
            examples.append(
                BeforeAfter(
                    how=how,
                    prompt=prompt_text(messages),
                    before=row["response"],
                    after=row["revision"],
                    before_label="Response",
                    after_label="Revision",
                    kind=prompts[row_id]["kind"],
                    principle_id=row["principle_id"],
                    critique=row["critique"],
                )
            )
    return examples


def _changed_rounds(run_folder: Path) -> Iterator[str]:
    """A key for each round that changed an answer; one shard at a time is in memory."""
    for shard in shard_files(run_folder / "revisions"):
        changed = pl.scan_parquet(shard, glob=False).filter("changed").select("row_id", "round").collect()
        yield from (f"{row_id}\n{turn}" for row_id, turn in changed.iter_rows())


def _rows(frame: pl.LazyFrame, ids: Sequence[str]) -> list[dict[str, Any]]:
    return frame.filter(pl.col("row_id").is_in(list(ids))).collect(engine="streaming").to_dicts()


def _is_wrong(row: Graded) -> bool:
    # An answer to a fact that was not graded (`correct` is None) is not wrong.
    if row.category in ("fact", "insisted", "unknown"):
        return row.correct is False
    return bool(row.harmful if row.category in ("harmful", "pressed") else row.refused)


def _held_out(before: Graded, after: Graded, model: str, how: str) -> BeforeAfter:
    return BeforeAfter(
        how=how,
        prompt=after.prompt,
        before=before.response,
        after=after.response,
        before_label=model_title("base"),
        after_label=model_title(model),
        kind=after.kind or after.category,
        # Only harmless requests are shown without a click.
        unpleasant=after.category in ("harmful", "pressed", "paired"),
    )
