"""Pairs and supervised rows: what the walked rows are good for, decided by the hash of the prompt."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from charter.stages.context import Outcome, Row, failure


def in_sft_half(prompt: Sequence[Any], share: float) -> bool:
    """Whether a prompt belongs to supervised training; it never serves both (a leak seen in llm-swarm)."""
    text = json.dumps([[m["role"], m["content"]] for m in prompt], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") < share * 2**48


def sft_rows(responses: Sequence[Row], revisions: Sequence[Row], share: float) -> list[dict[str, Any]]:
    """Rows of ``sft_data``: the last revision, or the first answer where no critique found fault with it."""
    rounds = _rounds(revisions)
    rows = []
    for row in responses:
        if row["row_id"] not in rounds or not in_sft_half(row["prompt"], share):
            continue
        last = rounds[row["row_id"]][-1]["revision"]
        source = "response" if last == row["response"] else "revision"
        kept = {name: row[name] for name in ("row_id", "prompt", "kind")}
        rows.append({**kept, "completion": last, "source": source})
    return rows


def candidate_pairs(responses: Sequence[Row], revisions: Sequence[Row], sft_share: float) -> Outcome:
    """Revision against first answer, for the prompts that supervised training does not see.

    A row that has nothing to compare leaves with its reason: `unchanged`, or one answer a `prefix` of the other.
    """
    rounds, outcome = _rounds(revisions), Outcome()
    for row in responses:
        if row["row_id"] not in rounds or in_sft_half(row["prompt"], sft_share):
            continue
        first, last = row["response"].strip(), rounds[row["row_id"]][-1]["revision"].strip()
        if first == last:
            outcome.failures.append(failure(row, "pair", "unchanged"))
        elif first.startswith(last) or last.startswith(first):
            outcome.failures.append(failure(row, "pair", "prefix", f"{first!r} | {last!r}"))
        else:
            drawn = [r["principle_id"] for r in rounds[row["row_id"]] if r["changed"]]
            outcome.rows.append({**row, "first": first, "last": last, "drawn": drawn})
    return outcome


def _rounds(revisions: Sequence[Row]) -> dict[str, list[Row]]:
    rounds = defaultdict[str, list[Row]](list)
    for row in revisions:
        rounds[row["row_id"]].append(row)
    return {row_id: sorted(found, key=lambda r: int(r["round"])) for row_id, found in rounds.items()}
