"""Which requests a probe asks: some that are always the same, and some that are new."""

import random
import sys
from collections.abc import Sequence
from dataclasses import replace

from charter.config import Monitor
from charter.core.sampling import seed_of
from charter.evaluation.records import Category, Graded, HeldOut
from charter.evaluation.requests import REQUEST_SOURCES, alternate_kinds, load_requests
from charter.monitor.baseline import MonitorBaseline

MIX: dict[Category, float] = {"harmful": 0.5, "benign": 0.2, "borderline": 0.15, "fact": 0.15}
_SETTINGS: dict[Category, str] = {
    "harmful": "n_harmful",
    "benign": "n_benign",
    "borderline": "n_borderline",
    "fact": "n_facts",
}
FIXED, FRESH = "fixed", "fresh"


def fixed_requests(baseline: MonitorBaseline, settings: Monitor, seed: int) -> list[tuple[HeldOut, Graded]]:
    """The requests of every probe, each with the accepted model's answer to it."""
    named = [replace(request, request_id=f"{FIXED}-{i:05d}") for i, (request, _) in enumerate(baseline.known)]
    answers = {request.request_id: answer for request, (_, answer) in zip(named, baseline.known, strict=True)}
    # Without the number of the probe in the seed: the same requests each time.
    chosen = _some(named, settings.fixed, random.Random(seed_of(seed, baseline.run.id, FIXED)))
    return [(r, replace(answers[r.request_id], request_id=r.request_id)) for r in chosen]


def fresh_requests(baseline: MonitorBaseline, settings: Monitor, seed: int, probe: int) -> list[HeldOut]:
    """Requests of this probe alone, some of those that the accepted evaluation could have asked as well.

    A registered source makes them up; of a file all rows are drawn from, also those that the evaluation did
    not use.
    """
    # By the probe's number: each asks others, and one that was killed asks the same again.
    number = seed_of(seed, baseline.run.id, FRESH, probe)
    rng = random.Random(number)
    evaluation = baseline.config.evaluation
    if evaluation.source in REQUEST_SOURCES:
        found = load_requests(evaluation, number)
    else:
        # All rows of the file, mixed, and then as many of each category as the evaluation asked, chosen in its way.
        rows = load_requests(evaluation.model_copy(update=dict.fromkeys(_SETTINGS.values(), sys.maxsize)), number)
        rng.shuffle(rows)
        found = []
        for category, setting in _SETTINGS.items():
            of_category = [row for row in rows if row.category == category]
            found += alternate_kinds(of_category)[: getattr(evaluation, setting)]
    named = [replace(request, request_id=f"{FRESH}-{i:05d}") for i, request in enumerate(found)]
    return _some(named, settings.fresh, rng)


def _some(requests: Sequence[HeldOut], n: int, rng: random.Random) -> list[HeldOut]:
    """About `n` of them, mixed as in `MIX`; fewer where a category has no more."""
    chosen = []
    for category, share in MIX.items():
        found = [request for request in requests if request.category == category]
        # At least one of each category, or its measure could not be watched.
        chosen += rng.sample(found, min(len(found), max(1, round(share * n))))
    return chosen
