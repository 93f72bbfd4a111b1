"""Join the rounds of each row, and split rows into supervised rows and pairs, by the judge and the prompt's hash."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from charter.constitution import ids_in
from charter.data.schema import LABEL
from charter.pipeline.rows import Row, failure


class SplitRows(NamedTuple):
    """Rows for SFT, pairs for DPO, and failures."""

    sft: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    failures: list[dict[str, Any]]


def walked_rows(responses: Sequence[Row], revisions: Sequence[Row]) -> list[dict[str, Any]]:
    """Each response that went through its rounds, with its `first` and `last` answer.

    `drawn` holds the ids of the principles under which it was changed.
    """
    rounds = defaultdict[str, list[Row]](list)
    for row in sorted(revisions, key=lambda row: int(row["round"])):
        rounds[row["row_id"]].append(row)
    return [
        {
            **row,
            "first": row["response"].strip(),
            "last": rounds[row["row_id"]][-1]["revision"].strip(),
            "drawn": [
                id for round in rounds[row["row_id"]] if round["changed"] for id in ids_in(round["principle_id"])
            ],
        }
        for row in responses
        if row["row_id"] in rounds
    ]


def split_sft_dpo(
    walked: Sequence[Row], pairs: Sequence[Row], sft_share: float, lost: Collection[str] = ()
) -> SplitRows:
    """Give every prompt to SFT or to DPO.

    SFT learns the answer that the judge prefers. For DPO, an answer that never changed makes no pair: its row fails as
    `unchanged`, unless another strategy made a pair of the row, or its id is among the `lost`.
    """
    split = SplitRows([], [], [])
    first = {row["row_id"]: row["first"] for row in walked}

    def add_to_sft(row: Row, completion: str, source: str, label: Row) -> None:
        columns = {name: row[name] for name in ("row_id", "prompt", "kind")}
        split.sft.append({**columns, "completion": completion, "source": source, **label})

    for pair in pairs:
        if in_sft_half(pair["prompt"], sft_share):
            # The chosen answer, not always the revision: a mistaken critique can make an answer worse.
            source = "response" if pair["chosen"] == first[pair["row_id"]] else "revision"
            add_to_sft(pair, pair["chosen"], source, {name: pair[name] for name in LABEL})
        else:
            split.pairs.append(dict(pair))
    ended = {row["row_id"] for row in split.pairs} | set(lost)
    for row in walked:
        if row["first"] == row["last"]:
            if in_sft_half(row["prompt"], sft_share):
                # No critique found fault, so nothing was compared: a row without a label.
                add_to_sft(row, row["first"], "response", dict.fromkeys(LABEL))
            elif row["row_id"] not in ended:
                split.failures.append(failure(row, "pair", "unchanged"))
    return split


def in_sft_half(prompt: Sequence[Any], share: float) -> bool:
    """Whether a prompt belongs to supervised training; `share` is the fraction of prompts that do."""
    # By the hash of the prompt, so that equal prompts in different rows never serve both trainings: that would leak.
    text = json.dumps([[m["role"], m["content"]] for m in prompt], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") < share * 2**48
