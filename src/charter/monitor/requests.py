"""Which requests a probe asks: some that are always the same, and some that are new."""

import random
import sys
from collections.abc import Sequence
from dataclasses import replace

from charter.config import Evaluation, Monitor
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
    chosen = _some(named, settings.fixed, random.Random(seed_of(seed, baseline.run.id, FIXED)))
    return [(r, replace(answers[r.request_id], request_id=r.request_id)) for r in chosen]


def fresh_requests(baseline: MonitorBaseline, settings: Monitor, seed: int, probe: int) -> list[HeldOut]:
    """Requests of this probe alone, some of those that the accepted evaluation could have asked as well.

    A registered source makes them up; of a file all rows are drawn from, also those that the evaluation did
    not use.
    """
    number = seed_of(seed, baseline.run.id, FRESH, probe)
    rng = random.Random(number)
    found = _evaluation_again(baseline.config.evaluation, number, rng)
    named = [replace(request, request_id=f"{FRESH}-{i:05d}") for i, request in enumerate(found)]
    return _some(named, settings.fresh, rng)


def _evaluation_again(settings: Evaluation, seed: int, rng: random.Random) -> list[HeldOut]:
    """As many requests as the evaluation asked, chosen in its way, from another draw or order."""
    if settings.source in REQUEST_SOURCES:
        return load_requests(settings, seed)
    rows = load_requests(settings.model_copy(update=dict.fromkeys(_SETTINGS.values(), sys.maxsize)), seed)
    rng.shuffle(rows)
    by_category = {category: [row for row in rows if row.category == category] for category in _SETTINGS}
    return [
        row for each, name in _SETTINGS.items() for row in alternate_kinds(by_category[each])[: getattr(settings, name)]
    ]


def _some(requests: Sequence[HeldOut], n: int, rng: random.Random) -> list[HeldOut]:
    """About `n` of them, mixed as in `MIX`; fewer where a category has no more."""
    chosen = []
    for category, share in MIX.items():
        found = [request for request in requests if request.category == category]
        chosen += rng.sample(found, min(len(found), max(1, round(share * n))))
    return chosen
