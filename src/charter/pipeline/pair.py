"""What the walked rows are good for, supervised rows or pairs, decided by the judge and the hash of the prompt."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from charter.constitution import ids_in
from charter.data.schema import LABEL
from charter.pipeline.rows import Row, failure


class Divided(NamedTuple):
    """Where the rows went: to SFT, to DPO, or out with a reason."""

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
            "drawn": [id for made in rounds[row["row_id"]] if made["changed"] for id in ids_in(made["principle_id"])],
        }
        for row in responses
        if row["row_id"] in rounds
    ]


def divide(walked: Sequence[Row], pairs: Sequence[Row], sft_share: float, lost: Collection[str] = ()) -> Divided:
    """Give every prompt to SFT or to DPO, by the hash of its words: no prompt serves both, a leak seen elsewhere.

    SFT learns the answer that the judge prefers, so that a revision made after a mistaken critique is not learnt;
    and the first answer where no critique found fault, which has no label. For DPO an answer that never changed
    makes no pair: it leaves as `unchanged`, unless another strategy made a pair of the row, or it is among the `lost`.
    """
    divided = Divided([], [], [])
    first = {row["row_id"]: row["first"] for row in walked}
    for pair in pairs:
        if in_sft_half(pair["prompt"], sft_share):
            source = "response" if pair["chosen"] == first[pair["row_id"]] else "revision"
            divided.sft.append(_sft_row(pair, pair["chosen"], source, {name: pair[name] for name in LABEL}))
        else:
            divided.pairs.append(dict(pair))
    ended = {row["row_id"] for row in divided.pairs} | set(lost)
    for row in walked:
        if row["first"] == row["last"]:
            if in_sft_half(row["prompt"], sft_share):
                divided.sft.append(_sft_row(row, row["first"], "response", dict.fromkeys(LABEL)))
            elif row["row_id"] not in ended:
                divided.failures.append(failure(row, "pair", "unchanged"))
    return divided


def in_sft_half(prompt: Sequence[Any], share: float) -> bool:
    """Whether a prompt belongs to supervised training."""
    text = json.dumps([[m["role"], m["content"]] for m in prompt], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") < share * 2**48


def _sft_row(row: Row, completion: str, source: str, label: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: row[name] for name in ("row_id", "prompt", "kind")}
    return {**named, "completion": completion, "source": source, **label}
