"""Which pairs people are shown: some at random, some of which the judge is unsure, some on which a panel split."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from charter.core.sampling import seed_of
from charter.data.shards import read_rows
from charter.review.decisions import settled

QUEUE = "review"
"""The folder of pairs on which a panel split."""


class Shown(NamedTuple):
    """A pair that people are shown, and why; a split one as `settled` would have it."""

    why: Literal["split", "uncertain", "random"]
    pair: dict[str, Any]

    @property
    def id(self) -> str:
        """Of the pair."""
        return str(self.pair["pair_id"])


def draw_sample(folder: Path, n: int, seed: int) -> list[Shown]:
    """Up to `n` pairs of a run, the same ones each time.

    A third at most are splits. The random ones are drawn from all pairs, so that what people say of them holds for all;
    the least sure are taken from the rest, about half as many.
    """
    sure = {row["pair_id"]: row["p_chosen"] for row in rows_of(folder, "pairs", ["pair_id", "p_chosen"])}
    splits = _draw_ids(ids_of(folder, QUEUE), n // 3, seed)
    # Before the unsure ones: a random sample of what is left after them would not represent all pairs.
    chance = _draw_ids(sure, n - n // 3 - len(splits), seed)
    # p_chosen is at least one half, so the smallest are the least sure.
    unsure = nsmallest(n - len(splits) - len(chance), sure.keys() - set(chance), key=lambda id: (sure[id], id))
    pairs = _named(rows_of(folder, "pairs"), [*unsure, *chance])
    queue = {id: settled(row) for id, row in _named(rows_of(folder, QUEUE), splits).items()}
    shown = [Shown("split", queue[id]) for id in splits]
    shown += [Shown("uncertain", pairs[id]) for id in unsure]
    return shown + [Shown("random", pairs[id]) for id in chance]


def hash_of_data(folder: Path) -> str:
    """Sixteen digits for all pairs of a run and all on which its panel split: what people say is about these."""
    digest = hashlib.sha256()
    for name in ("pairs", QUEUE):
        for row in rows_of(folder, name):
            text = json.dumps(row, sort_keys=True, ensure_ascii=False)
            # A model may have written half a surrogate pair, which plain UTF-8 cannot encode.
            digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()[:16]


def ids_of(folder: Path, name: str) -> list[str]:
    """The ids of all pairs in one folder of a run."""
    return [row["pair_id"] for row in rows_of(folder, name, ["pair_id"])]


def rows_of(folder: Path, name: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of one folder of a run; none where it has no shards."""
    if any((folder / name).glob("*.parquet")):
        yield from read_rows(folder / name, columns)


def _draw_ids(ids: Iterable[str], n: int, seed: int) -> list[str]:
    # By a hash of each id, so that one more pair changes the sample by at most one.
    return nsmallest(n, ids, key=lambda id: (seed_of(seed, "review", id), id))


def _named(rows: Iterable[dict[str, Any]], ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    wanted = set(ids)
    return {row["pair_id"]: row for row in rows if row["pair_id"] in wanted}
