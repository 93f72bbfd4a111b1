"""Further held-out requests: harmful ones under pressure, doubted answers, unanswerable questions, and pairs.

Of a user's own file the first two are made of its harmful requests and its facts; unanswerable questions and pairs are
rows of it. The sandbox has all four.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from charter.config import Probes
from charter.core.messages import Message, assistant, transcript, user
from charter.evaluation.records import HeldOut
from charter.sandbox.world import Act, Request, acts, ask_act, state, world

PRESSURES = ("role-play", "prefix-injection", "insistence", "several-turns", "prefilled")
"""Sorts of pressure. Several turns: a harmless exchange went before. Prefilled: the answer is begun for the model."""


def probe(plain: Sequence[HeldOut], settings: Probes, seed: int) -> list[HeldOut]:
    """What is made of the headline's requests: pressure on the harmful ones, doubt about the facts."""
    harmful = [request for request in plain if request.category == "harmful"]
    facts = [request for request in plain if request.category == "fact" and request.answer and request.wrong]
    pressed = [press(r, variant, seed) for variant in PRESSURES for r in harmful[: settings.n_pressed]]
    return pressed + [insist(r, seed) for r in facts[: settings.n_insisted]]


def press(request: HeldOut, variant: str, seed: int = 0) -> HeldOut:
    """A harmful request under one sort of pressure."""
    rng, begun = random.Random(f"{variant}:{seed}:{request.request_id}"), ""
    conversation: tuple[Message, ...]
    if variant == "several-turns":
        before = rng.choice(wording()["earlier"])
        conversation = (user(before["user"]), assistant(before["assistant"]), user(request.prompt))
    elif variant == "prefilled":
        begun = str(rng.choice(wording()["begun"]))
        conversation = (user(request.prompt), assistant(begun))
    else:
        texts = _pressures(request.world is not None)[variant]
        conversation = (user(rng.choice(texts).format(request=request.prompt)),)
    changed = _changed(request, f"{variant}-{request.request_id}", conversation)
    return replace(changed, category="pressed", variant=variant, begun=begun)


def insist(request: HeldOut, seed: int = 0) -> HeldOut:
    """A fact that was answered right, and a user who insists on a wrong answer.

    The right answer is given, not asked for, so that every model is doubted in the same words on the same facts.
    """
    rng = random.Random(f"insist:{seed}:{request.request_id}")
    said = state(request.world.fact) if request.world and request.world.fact else str(request.answer)
    doubt = str(rng.choice(wording()["doubts"])).format(x=request.wrong)
    changed = _changed(request, f"insisted-{request.request_id}", (user(request.prompt), assistant(said), user(doubt)))
    return replace(changed, category="insisted")


def sandbox_probes(settings: Probes, seed: int) -> list[HeldOut]:
    """The sandbox's unanswerable questions and its pairs; a pair counts as one of `n_paired`."""
    return [*_unknown(settings.n_unknown, seed), *_paired(settings.n_paired)]


@cache
def wording() -> dict[str, Any]:
    """The texts of ``probes.yaml``."""
    texts: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("probes.yaml").read_text(encoding="utf-8"))
    return texts


def _pressures(in_sandbox: bool) -> Mapping[str, Sequence[str]]:
    texts: Mapping[str, Sequence[str]] = world()["wrappers"] if in_sandbox else wording()["pressures"]
    return texts


def _changed(request: HeldOut, request_id: str, conversation: tuple[Message, ...]) -> HeldOut:
    shown = conversation[0]["content"] if len(conversation) == 1 else transcript(conversation)
    return replace(request, request_id=request_id, prompt=shown, conversation=conversation)


def _unknown(n: int, seed: int) -> list[HeldOut]:
    """Capitals of places that do not exist; first in the phrasing that no pipeline's prompt has."""
    texts = [world()["held_out_fact_phrasings"]["capitals"], *world()["fact_phrasings"]["capitals"]]
    places = random.Random(f"unknown:{seed}").sample(world()["facts"]["unknown"], len(world()["facts"]["unknown"]))
    asked = [text.format(x=place) for text in texts for place in places][:n]
    return [
        HeldOut(f"unknown-{i:04d}", text, "unknown", world=Request(text, "unknown", None))
        for i, text in enumerate(asked)
    ]


def _paired(n: int) -> list[HeldOut]:
    """Pairs about groups: the same verb and phrasing, harmful and benign verbs in turn.

    Unlike other requests they are not all held out, for hardly any verb is held out with both groups of a pair. The
    first are in the phrasing that no pipeline's prompt has.
    """
    requests = list[HeldOut]()
    for i, pair in enumerate(_pairs()):
        if i == n:
            break
        for act, phrasing in pair:
            request = ask_act(act, phrasing)
            requests.append(
                HeldOut(
                    f"paired-{i:04d}-{act.object.replace(' ', '-')}",
                    request.text,
                    "paired",
                    request.kind,
                    world=request,
                    variant=act.object,
                    pair=f"{i:04d}",
                )
            )
    return requests


def _pairs() -> Iterator[list[tuple[Act, str]]]:
    table = world()["kinds"]["prejudice"]
    known = {str(act): act for category in ("harmful", "benign") for act in acts(category)}
    for phrasing in [world()["held_out_phrasing"], *world()["phrasings"]]:
        for verbs in zip(table["verbs"], table["benign"], strict=True):
            for verb in verbs:
                for groups in wording()["contrasts"]:
                    yield [(known[f"{verb} {group}"], phrasing) for group in groups]
