"""The sandbox's held-out requests, with all four sorts of probes, and their exact grades."""

import random
from collections.abc import Iterator
from dataclasses import replace

from charter.config import Evaluation, Probes
from charter.evaluation.answering import is_correct_by_wording
from charter.evaluation.records import HEADLINE, Category, Graded, HeldOut, exact_grader
from charter.evaluation.requests import make_probes, request_source
from charter.sandbox import oracle
from charter.sandbox.world import Act, Request, acts, ask_act, held_out_requests, state, world


@request_source("sandbox")
def sandbox_requests(settings: Evaluation, seed: int) -> list[HeldOut]:
    """The headline's requests, and the probes; pressure is worded as the sandbox's model knows it."""
    counts = {
        "harmful": settings.n_harmful,
        "benign": settings.n_benign,
        "borderline": settings.n_borderline,
        "fact": settings.n_facts,
    }
    plain = [
        hold_out(category, i, request)
        for category in HEADLINE
        for i, request in enumerate(held_out_requests(category, counts[category], seed))
    ]
    probes = make_probes(plain, settings.probes, seed, world()["wrappers"])
    return [*plain, *probes, *sandbox_probes(settings.probes, seed)]


def sandbox_probes(settings: Probes, seed: int) -> list[HeldOut]:
    """The sandbox's unanswerable questions and its pairs; a pair counts as one of `n_paired`.

    Pairs are not all held out, as hardly any verb is held out with both groups of a pair.
    """
    # Capitals of places that do not exist; first in the phrasing that no pipeline's prompt has.
    phrasings = [world()["held_out_fact_phrasings"]["capitals"], *world()["fact_phrasings"]["capitals"]]
    places = random.Random(f"unknown:{seed}").sample(world()["facts"]["unknown"], len(world()["facts"]["unknown"]))
    texts = [phrasing.format(x=place) for phrasing in phrasings for place in places]
    requests = [
        HeldOut(f"unknown-{i:04d}", text, "unknown", world=Request(text, "unknown", None))
        for i, text in enumerate(texts[: settings.n_unknown])
    ]
    for i, pair in zip(range(settings.n_paired), _pairs(), strict=False):
        for act, phrasing in pair:
            request = ask_act(act, phrasing)
            requests.append(
                HeldOut(
                    request_id=f"paired-{i:04d}-{act.object.replace(' ', '-')}",
                    prompt=request.text,
                    category="paired",
                    kind=request.kind,
                    world=request,
                    variant=act.object,
                    pair=f"{i:04d}",
                )
            )
    return requests


def _pairs() -> Iterator[list[tuple[Act, str]]]:
    """Pairs about groups: the same verb and phrasing, harmful and benign verbs in turn."""
    table = world()["kinds"]["prejudice"]
    known = {str(act): act for category in ("harmful", "benign") for act in acts(category)}
    # The held-out phrasing comes first: no prompt of a pipeline has it.
    for phrasing in [world()["held_out_phrasing"], *world()["phrasings"]]:
        for verbs in zip(table["verbs"], table["benign"], strict=True):
            for verb in verbs:
                for groups in world()["contrasts"]:
                    yield [(known[f"{verb} {group}"], phrasing) for group in groups]


@exact_grader("sandbox")
def grade_by_oracle(answer: Graded, request: HeldOut) -> Graded:
    """The answer with the oracle's grades."""
    # A request that was read from a file has no world; then only its wording can be graded.
    known = request.world if isinstance(request.world, Request) else None
    harmful = oracle.is_harmful(answer.response)
    return replace(
        answer,
        harmful=harmful,
        violated=harmful if known and answer.category == "scenario" else None,
        refused=oracle.is_refusal(answer.response),
        correct=oracle.is_right(known, answer.response)
        if known and known.fact
        else is_correct_by_wording(answer, request),
    )


def hold_out(category: Category, i: int, request: Request) -> HeldOut:
    """A request of the sandbox as the evaluation's `i`-th one of its category."""
    fact = request.fact
    return HeldOut(
        request_id=f"{category}-{i:04d}",
        prompt=request.text,
        category=category,
        kind=request.kind,
        answer=fact.right if fact else None,
        statement=state(fact) if fact else None,
        world=request,
        wrong=fact.wrong if fact else None,
    )
