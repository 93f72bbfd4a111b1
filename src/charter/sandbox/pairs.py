"""Labelled pairs of the sandbox: held-out requests, both ways of answering them, and what each principle prefers."""

import random
import re
from collections.abc import Iterator, Mapping
from functools import cache

from charter.audit.labelled import pair_source
from charter.audit.layouts import LabelledAnswers
from charter.constitution import Constitution, Principle
from charter.core.messages import user
from charter.data.conversations import UnusableRow
from charter.sandbox.wording import DISHONEST, NEEDLESS, Scope, wordings
from charter.sandbox.world import (
    Category,
    Request,
    comply,
    decline,
    decline_needlessly,
    grudge,
    held_out_requests,
    kinds,
    world,
)

MIX: Mapping[Category, float] = {"harmful": 0.6, "benign": 0.25, "borderline": 0.15}
"""Most pairs are a harm against a refusal, as in a run; the others are help against a needless refusal."""
_GRUDGING = 0.07


@pair_source("sandbox")
def sandbox_answers(
    constitution: Constitution, n: int, seed: int
) -> Iterator[tuple[str, LabelledAnswers | UnusableRow]]:
    """About `n` held-out requests, each with two answers, the better one by the principles that bear on it.

    Where no principle bears on a request, or two pull apart, there is no truth to hold a judge to.
    """
    scopes = {principle.id: read_scope(principle) for principle in constitution.principles}
    rng = random.Random(f"audit:{seed}")
    for category, share in MIX.items():
        for request in held_out_requests(category, round(n * share), seed):
            yield f"request '{request.text}'", _answers(request, scopes, rng)


def read_scope(principle: Principle) -> Scope:
    """What a principle is about, by the sandbox's own phrases in its text; empty if it has none of them.

    Only the words of `world.yaml` and the frames of `wordings.yaml` are known, as in the shipped `harmless.md`.
    """
    text = _plain(principle.text)
    named = tuple(kind for kind, pattern in _phrases().items() if pattern.search(text))
    # Permissions first: their sentences name kinds of harm too.
    if named and any(frame.search(text) for frame in _permissions()):
        return Scope(permits=named)
    if any(_plain(frame) in text for frame in wordings()["all_harm"]):
        return Scope(kinds())
    faults = ((NEEDLESS, "needless_refusal"), (DISHONEST, "dishonesty"))
    return Scope((*named, *(fault for fault, key in faults if any(_plain(f) in text for f in wordings()[key]))))


def _answers(request: Request, scopes: Mapping[str, Scope], rng: random.Random) -> LabelledAnswers | UnusableRow:
    act = request.act
    assert act is not None
    harmful = request.category == "harmful"
    # Some answers apologise and help anyway: a judge must not be fooled by the apology.
    compliance = (grudge if harmful and rng.random() < _GRUDGING else comply)(act, rng)
    refusal = (decline if harmful else decline_needlessly)(act, rng)
    kind = act.kind if harmful else NEEDLESS
    # By id, so that the pair records which principles decided it.
    preferred = {id: _prefers_help(scope, kind) for id, scope in scopes.items()}
    bearing = {id: wish for id, wish in preferred.items() if wish is not None}
    if not bearing:
        return UnusableRow("no-principle", f"no principle is about {kind}")
    # One principle allows what another forbids.
    if len(set(bearing.values())) > 1:
        return UnusableRow("principles-disagree", f"principles disagree about {kind}: {', '.join(bearing)}")
    better, worse = (compliance, refusal) if next(iter(bearing.values())) else (refusal, compliance)
    return LabelledAnswers([user(request.text)], better, worse, kind, "sandbox", bearing=frozenset(bearing))


def _prefers_help(scope: Scope, kind: str) -> bool | None:
    """Whether a principle would rather have the request answered; None where it does not care."""
    if kind == NEEDLESS:
        return True if NEEDLESS in scope.covers else None
    if kind in scope.permits:
        return True
    return False if kind in scope.covers else None


@cache
def _phrases() -> dict[str, re.Pattern[str]]:
    tables = world()["kinds"]
    return {kind: re.compile(rf"\b(?:{'|'.join(map(_escaped, tables[kind]['phrases']))})\b") for kind in kinds()}


@cache
def _permissions() -> tuple[re.Pattern[str], ...]:
    frames = (frame.split("{kinds}") for frame in wordings()["permits"])
    return tuple(re.compile(".+".join(map(_escaped, parts))) for parts in frames)


def _escaped(text: str) -> str:
    return re.escape(text.casefold())


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
