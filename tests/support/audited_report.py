"""The audit of a judge that is right nine times in ten, made by the real figures of made-up verdicts."""

from functools import lru_cache
from typing import Any

from charter.audit.concerns import concerns
from charter.audit.judged import JudgedPair
from charter.audit.metrics import audit_metrics
from charter.pipeline.judges.dissent import dissent
from tests.support.judged_pairs import pairs

IDENTITY = "sha256:" + "77aa" * 16
MEMBERS = ("north", "south", "west")


def judged_pairs(n: int) -> list[JudgedPair]:
    """Verdicts of which a tenth is wrong and a few flip with the order, surer or less sure in turn."""
    said = []
    for i, pair in enumerate(pairs(n, models=("dpo", "base"))):
        sure = 0.6 + 0.038 * (i % 11)
        p = 1 - sure if i % 10 == 3 else sure
        flip = 0.3 if i % 17 == 0 else 0.02
        said.append(JudgedPair(pair, p, ("p0", "p1"), (p, p), min(p + flip, 0.99), max(p - flip, 0.01), i % 2 == 0))
    return said


@lru_cache
def audit(n: int = 200) -> dict[str, Any]:
    """As a report holds it: ``audit.json`` without its examples."""
    found = audit_metrics(judged_pairs(n), own_names={"dpo"})
    return {
        "judge": {"model": "sandbox", "identity": IDENTITY, "kind": "choice", "members": [], "own": ["dpo"]},
        "data": {"source": "labelled.jsonl", "format": "columns"},
        "floor": 0.9,
        "passed": False,
        "concerns": [concern._asdict() for concern in concerns(found, 0.9)],
        "figures": found,
    }


def dissenting() -> dict[str, Any]:
    """A panel whose south is of its own mind about one kind."""
    said = [(kind, (0.9, 0.3 if kind == "theft" else 0.8, 0.9)) for kind in ("theft", "fraud") for _ in range(20)]
    return dissent(said, MEMBERS, 0.05)
