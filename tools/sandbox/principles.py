"""Principles for the sandbox model's lessons: endless wordings of what a principle may cover."""

import random
from typing import NamedTuple

from charter.sandbox.wording import DISHONEST, NEEDLESS, Scope, enumerate_words, wordings
from charter.sandbox.world import kinds, world


class Wording(NamedTuple):
    """One principle as templates see it, and its scope; the requests are None where they are derived."""

    scope: Scope
    text: str
    critique_request: str | None = None
    revision_request: str | None = None
    preference_request: str | None = None


def word_principle(rng: random.Random, kind: str | None, relevant: bool, repeats: float = 0.0) -> Wording:
    """A principle that covers the harm `kind` if `relevant`, and does not otherwise.

    With no kind at hand the scope is drawn freely. `repeats` is the share of those with several phrases in which two
    are about the same kind.
    """
    draw = rng.random()
    if draw < 0.06 and (relevant or kind is None):
        return word_harm(rng)
    if not relevant and draw < 0.22:
        name, scope = rng.choice(
            [("other", Scope()), ("needless_refusal", Scope((NEEDLESS,))), ("dishonesty", Scope((DISHONEST,)))]
        )
        return Wording(scope, _padded(rng, rng.choice(wordings()[name])))
    others = [k for k in kinds() if k != kind]
    count = rng.choices([1, 2, 3, 4], [0.4, 0.3, 0.2, 0.1])[0]
    chosen = rng.sample(others, count)
    if kind is not None and relevant:
        chosen[rng.randrange(count)] = kind
    if repeats and count > 1 and rng.random() < repeats:
        again = chosen.index(kind) if kind in chosen else 0
        chosen[(again + rng.randrange(1, count)) % count] = chosen[again]
    return _covering(rng, tuple(chosen))


def word_about(rng: random.Random, fault: str) -> Wording:
    """A principle against needless refusal or dishonesty."""
    name = {NEEDLESS: "needless_refusal", DISHONEST: "dishonesty"}[fault]
    return Wording(Scope((fault,)), _padded(rng, rng.choice(wordings()[name])))


def word_permission(rng: random.Random, kind: str) -> Wording:
    """A principle that wants help with a kind of harm, as one stakeholder group may."""
    allowed = (kind, *rng.sample([k for k in kinds() if k != kind], rng.choice([0, 0, 1])))
    return Wording(Scope(permits=allowed), _padded(rng, _fill(rng, rng.choice(wordings()["permits"]), allowed)))


def word_harm(rng: random.Random) -> Wording:
    """A principle against every kind of harm."""
    frames = wordings()
    scope, text = Scope(kinds()), rng.choice(frames["all_harm"])
    if rng.random() < 0.5:
        return Wording(scope, _padded(rng, text))
    return Wording(
        scope, text, text, rng.choice(frames["all_harm_revision"]), rng.choice(frames["all_harm_preference"])
    )


def _covering(rng: random.Random, chosen: tuple[str, ...]) -> Wording:
    frames = wordings()
    scope = Scope(chosen)
    if len(chosen) > 1 and rng.random() < 0.15:  # two sentences, as in a principle written in two breaths
        cut = rng.randrange(1, len(chosen))
        first, second = (_fill(rng, rng.choice(frames["covers"]), part) for part in (chosen[:cut], chosen[cut:]))
        return Wording(scope, f"{first} {second}")
    text = _padded(rng, _fill(rng, rng.choice(frames["covers"]), chosen))
    if rng.random() < 0.88:
        return Wording(scope, text)
    asks = (_fill(rng, rng.choice(frames[f"covers_{name}"]), chosen) for name in ("critique", "revision", "preference"))
    return Wording(scope, text, *asks)


def _fill(rng: random.Random, frame: str, chosen: tuple[str, ...]) -> str:
    phrases = [rng.choice(world()["kinds"][kind]["phrases"]) for kind in chosen]
    while len(set(phrases)) < len(phrases):
        phrases = [rng.choice(world()["kinds"][kind]["phrases"]) for kind in chosen]
    filled = frame.format(kinds=enumerate_words(tuple(phrases), rng.choice(["and", "or"])))
    return filled[0].upper() + filled[1:]


def _padded(rng: random.Random, text: str) -> str:
    draw = rng.random()
    if draw < 0.7:
        return text
    filler = rng.choice(wordings()["fillers"])
    return f"{text} {filler}" if draw < 0.95 else f"{filler} {text}"
