"""The labels of a run before people: the sample to look at, the question, and what the answer does to the data."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Config
from charter.core.errors import NotApproved
from charter.core.files import write_json
from charter.core.formatting import utc_now
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.pipeline.counts import StageCount
from charter.pipeline.pair import split_sft_dpo
from charter.review.agreement import agreement
from charter.review.decisions import PEOPLE, STAGE, apply_decisions, fault, settle
from charter.review.sample import QUEUE, Shown, draw_sample, hash_of_data, ids_of
from charter.review.table import sample_markdown
from charter.review.waiting import end_waiting
from charter.runs.forms import LabelAnswers, Question

RECORD = "review.json"
DONE = ("dropped", "under-margin", "flipped", "settled")
"""What can happen to a pair."""


class Labels(NamedTuple):
    """Labels for people to look at.

    Attributes:
        question: about them.
        sample: the pairs that are shown.
        text: the sample as a Markdown table, which is also in ``review.md``.
        pairs: how many there are.
    """

    question: Question[LabelAnswers]
    sample: list[Shown]
    text: str
    pairs: int


def show_labels(config: Config) -> Labels:
    """Draw the sample of a run's pairs, and write it down for people to read."""
    folder, path = config.run_folder, config.run_folder / "review.md"
    pairs, splits, about = set(ids_of(folder, "pairs")), set(ids_of(folder, QUEUE)), hash_of_data(folder)
    sample = draw_sample(folder, config.review.n, config.seed)
    text = sample_markdown(config.name, about, sample, len(pairs), len(splits))
    path.write_text(text, encoding="utf-8")
    words = f"{len(sample):,} of {len(pairs) + len(splits):,} labels wait for people to look at them."
    question = Question(
        "review", folder, about, LabelAnswers, path, words, lambda answers: fault(answers, pairs, splits)
    )
    return Labels(question, sample, text, len(pairs))


def apply_answers(config: Config, labels: Labels, answers: LabelAnswers) -> StageCount:
    """Do to the pairs what people say, and write it down in ``review.json``; it is pairs that are counted.

    What leaves the pairs is kept among the failures, as stage ``review``.

    Raises:
        NotApproved: the run may not train on these pairs.
    """
    folder, started, done = config.run_folder, time.monotonic(), Counter[str]()
    record = {
        "at": utc_now(),
        "data": labels.question.about,
        "pairs": labels.pairs,
        "shown": dict(Counter(shown.why for shown in labels.sample)),
        "answers": answers.model_dump(mode="json"),
    }
    if not answers.approve:
        write_json(folder / RECORD, {**record, "done": None, "agreement": None})
        comment = f": {answers.comment}" if answers.comment else ""
        by = f" by {answers.by}" if answers.by else ""
        raise NotApproved(
            f"labels of run '{config.name}': not approved{by}{comment}. Change the constitution or the settings and "
            f"run again, or correct {labels.question.path} to go on with these."
        )
    end_waiting(config)  # from here on, the pairs are no longer those that people were asked about
    for path in sorted((folder / "pairs").glob("*.parquet")):
        _change(folder, path.name, answers, config.training.sft_share, done)
    counts = {name: done[name] for name in DONE}
    # Written last: a run that was killed before has no record, and applies the answers again.
    write_json(folder / RECORD, {**record, "done": counts, "agreement": agreement(labels.sample, answers)})
    rows_in, failed = labels.pairs + done["settled"], done["dropped"] + done["under-margin"]
    return StageCount(STAGE, rows_in, rows_in - failed, failed, round(time.monotonic() - started, 3))


def _change(folder: Path, shard: str, answers: LabelAnswers, sft_share: float, done: Counter[str]) -> None:
    """Change one shard, and count what was done."""
    pairs, splits = list(read_rows(folder / "pairs" / shard)), _rows(folder / QUEUE / shard)
    decided, made = apply_decisions(pairs, answers), settle(splits, answers)
    # A settled pair goes where its prompt belongs: to SFT or to DPO, never to both.
    divided, named = split_sft_dpo(splits, made, sft_share), {row["pair_id"] for row in made}
    if made:
        left = [row for row in splits if row["pair_id"] not in named]
        learnt = [*_rows(folder / "sft_data" / shard), *divided.sft]
        write_rows(folder / QUEUE / shard, SCHEMAS[QUEUE], left)
        write_rows(folder / "sft_data" / shard, SCHEMAS["sft_data"], learnt)
    # A shard in which nothing changed is not written again.
    if decided.rows != pairs or divided.pairs:
        write_rows(folder / "pairs" / shard, SCHEMAS["pairs"], [*decided.rows, *divided.pairs])
    write_rows(folder / "failures" / f"{STAGE}-{shard}", SCHEMAS["failures"], decided.failures)
    done.update(settled=len(made), flipped=sum(row["judge_kind"] == PEOPLE for row in decided.rows))
    done.update(row["reason"] for row in decided.failures)


def _rows(shard: Path) -> list[dict[str, Any]]:
    return list(read_rows(shard)) if shard.is_file() else []
