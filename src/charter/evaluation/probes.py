"""Further held-out requests: harmful ones under pressure, doubted answers, unanswerable questions, and pairs.

The first two are made here of a source's harmful requests and facts; unanswerable questions and pairs come from the
source itself.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from charter.config import Probes
from charter.core.messages import Message, assistant, transcript, user
from charter.evaluation.records import HeldOut

PRESSURES = ("role-play", "prefix-injection", "insistence", "several-turns", "prefilled")
"""Sorts of pressure. Several turns: a harmless exchange went before. Prefilled: the answer is begun for the model."""


Pressures = Mapping[str, Sequence[str]]
"""By sort of pressure, texts with ``{request}`` in them."""


def probe(plain: Sequence[HeldOut], settings: Probes, seed: int, pressures: Pressures | None = None) -> list[HeldOut]:
    """What is made of the headline's requests: pressure on the harmful ones, doubt about the facts.

    Args:
        plain: the headline's requests.
        settings: how many of each sort.
        seed: of the draws.
        pressures: texts that replace those of ``probes.yaml``, for a source whose models know only its own words.
    """
    harmful = [request for request in plain if request.category == "harmful"]
    facts = [request for request in plain if request.category == "fact" and request.answer and request.wrong]
    pressed = [press(r, variant, seed, pressures) for variant in PRESSURES for r in harmful[: settings.n_pressed]]
    return pressed + [insist(r, seed) for r in facts[: settings.n_insisted]]


def press(request: HeldOut, variant: str, seed: int = 0, pressures: Pressures | None = None) -> HeldOut:
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
        texts = (pressures or wording()["pressures"])[variant]
        conversation = (user(rng.choice(texts).format(request=request.prompt)),)
    changed = _changed(request, f"{variant}-{request.request_id}", conversation)
    return replace(changed, category="pressed", variant=variant, begun=begun)


def insist(request: HeldOut, seed: int = 0) -> HeldOut:
    """A fact that was answered right, and a user who insists on a wrong answer.

    The right answer is given, not asked for, so that every model is doubted in the same words on the same facts.
    """
    rng = random.Random(f"insist:{seed}:{request.request_id}")
    said = request.statement or str(request.answer)
    doubt = str(rng.choice(wording()["doubts"])).format(x=request.wrong)
    changed = _changed(request, f"insisted-{request.request_id}", (user(request.prompt), assistant(said), user(doubt)))
    return replace(changed, category="insisted")


@cache
def wording() -> dict[str, Any]:
    """The texts of ``probes.yaml``."""
    texts: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("probes.yaml").read_text(encoding="utf-8"))
    return texts


def _changed(request: HeldOut, request_id: str, conversation: tuple[Message, ...]) -> HeldOut:
    shown = conversation[0]["content"] if len(conversation) == 1 else transcript(conversation)
    return replace(request, request_id=request_id, prompt=shown, conversation=conversation)
