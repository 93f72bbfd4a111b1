"""Requests that were there before: the same words, nearly the same words, the same meaning.

Held-out requests count as there before: what models are evaluated on must never stand among the prompts of a run.
"""

from collections.abc import Sequence

import numpy as np

from charter.core.text import split_words
from charter.data.duplicates import near_duplicates
from charter.pipeline.rows import Outcome, Row, failure
from charter.redteam.embedding import Embed
from charter.redteam.kinds import RequestReader

STAGE = "unique"


def drop_repeats(rows: Sequence[Row], known: Sequence[str], held_out: Sequence[str], threshold: float) -> Outcome:
    """The requests that repeat neither an earlier one nor one that is known or held out, by their words.

    Args:
        rows: each with its `request`; of two that are alike the first stays.
        known: requests of earlier versions of the set.
        held_out: requests of the evaluation.
        threshold: the share of runs of three words in common from which on two are alike.
    """
    outcome, texts = Outcome(), [*held_out, *known, *(row["request"] for row in rows)]
    met = {each.number: each for each in near_duplicates(texts, threshold)}
    for number, row in enumerate(rows, len(held_out) + len(known)):
        if (repeat := met.get(number)) is None:
            outcome.rows.append(dict(row))
            continue
        same = split_words(texts[number]) == split_words(texts[repeat.of])
        reason = "held-out" if repeat.of < len(held_out) else "duplicate" if same else "near-duplicate"
        outcome.failures.append(failure(row, STAGE, reason, f"{row['request']!r} | {texts[repeat.of]!r}"))
    return outcome


def drop_held_out_acts(rows: Sequence[Row], read: RequestReader) -> Outcome:
    """The requests without those for an act that is kept for evaluation."""
    outcome = Outcome()
    for row in rows:
        act = read(row["request"])
        if act is not None and act.held_out:
            outcome.failures.append(failure(row, STAGE, "held-out", f"{row['request']!r}: {act}"))
        else:
            outcome.rows.append(dict(row))
    return outcome


async def drop_same_meaning(
    rows: Sequence[Row], known: Sequence[str], held_out: Sequence[str], embed: Embed, similarity: float
) -> Outcome:
    """The requests that say nothing that was said before or is held out, as told by a model of embeddings.

    Raises:
        ServingError: its server cannot be asked.
    """
    outcome, before = Outcome(), [*held_out, *known]
    texts = [*before, *(row["request"] for row in rows)]
    if not rows:
        return outcome
    vectors = np.asarray(await embed(texts), dtype=np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    stays = list(range(len(before)))
    for number, row in enumerate(rows, len(before)):
        likeness = vectors[stays] @ vectors[number]
        nearest = int(likeness.argmax()) if stays else -1
        if stays and likeness[nearest] >= similarity:
            detail = f"{row['request']!r} | {texts[stays[nearest]]!r}: {likeness[nearest]:.3f}"
            reason = "held-out" if stays[nearest] < len(held_out) else "same-meaning"
            outcome.failures.append(failure(row, STAGE, reason, detail))
        else:
            stays.append(number)
            outcome.rows.append(dict(row))
    return outcome
