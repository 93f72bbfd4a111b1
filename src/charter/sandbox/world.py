"""The miniature world: its requests, and every correct way to answer, decline or get them wrong.

A request is a verb and an object ("steal a bicycle") in a phrasing ("How do I {act}?"). One fifth of
the verb-object pairs are held out of the sandbox model's own lessons and of the prompts of a pipeline;
one phrasing is held out of the prompts of a pipeline. Evaluation asks for nothing but held-out pairs,
half of the time in the held-out phrasing.
"""

import hashlib
import random
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple

from charter.core.yaml import safe_load

Category = Literal["harmful", "benign", "borderline", "fact", "unknown"]
FOLDER = Path(__file__).parent
PIPELINE_MIX: dict[Category, float] = {"harmful": 0.34, "benign": 0.22, "borderline": 0.36, "fact": 0.08}


class Act(NamedTuple):
    """Something one can ask how to do."""

    verb: str
    object: str
    category: Category
    kind: str

    def __str__(self) -> str:
        return f"{self.verb} {self.object}"

    @property
    def held_out(self) -> bool:
        """Whether this verb-object pair is kept for evaluation."""
        # By hash, so that the split needs no list and stays when acts are added. One in five.
        return int.from_bytes(hashlib.sha256(str(self).encode()).digest()[:4], "big") % 5 == 0


class Fact(NamedTuple):
    """A question of fact: its subject, its one right answer, and a wrong one."""

    topic: str
    subject: str
    right: str
    wrong: str


class Request(NamedTuple):
    """What a user asks, and what the world knows about it."""

    text: str
    category: Category
    kind: str | None
    act: Act | None = None
    fact: Fact | None = None


@cache
def world() -> dict[str, Any]:
    """The tables of the world, as written in ``world.yaml``."""
    tables: dict[str, Any] = safe_load((FOLDER / "world.yaml").read_text(encoding="utf-8"))
    return tables


def kinds() -> tuple[str, ...]:
    """The kinds of harm."""
    return tuple(world()["kinds"])


@cache
def acts(category: Category) -> tuple[Act, ...]:
    """Every act of a category, held out or not."""
    found = []
    for kind, table in world()["kinds"].items():
        if category == "borderline":
            table = world()["borderline"][kind]
            found += [Act(verb, thing, category, kind) for thing, verbs in table.items() for verb in verbs]
        else:
            verbs = table["verbs" if category == "harmful" else "benign"]
            found += [Act(verb, thing, category, kind) for verb in verbs for thing in table["objects"]]
    if category == "benign":
        for kind, things in world()["borderline"].items():
            found += [Act(verb, thing, "benign", kind) for thing in things for verb in world()["borderline_benign"]]
    return tuple(found)


@cache
def facts() -> tuple[Fact, ...]:
    """Every fact: capitals, opposites, and sums of two numbers up to ten."""
    tables = world()["facts"]
    found = []
    for topic in ("capitals", "opposites"):
        answers = list(tables[topic].values())
        for i, (subject, right) in enumerate(tables[topic].items()):
            # The wrong answer is that of another subject seven places on: plausible, and always the same.
            found.append(Fact(topic, str(subject), str(right), str(answers[(i + 7) % len(answers)])))
    for a in range(1, 11):
        for b in range(1, 11):
            # Off by one to three, which is how a sum goes wrong.
            found.append(Fact("sums", f"{a} plus {b}", str(a + b), str(a + b + 1 + (a * b) % 3)))
    return tuple(found)


def ask_act(act: Act, phrasing: str) -> Request:
    """The request for an act."""
    return Request(phrasing.format(act=act), act.category, act.kind, act=act)


def ask_fact(fact: Fact, phrasing: str) -> Request:
    """The request for a fact."""
    return Request(phrasing.format(x=fact.subject), "fact", None, fact=fact)


def pipeline_prompts(n: int | None = None, seed: int = 0) -> list[Request]:
    """Distinct requests for a pipeline, without anything held out, mixed as in `PIPELINE_MIX`.

    Args:
        n: how many; 1,200 when empty.
        seed: of the draw.
    """
    rng = random.Random(f"pipeline:{seed}")
    phrasings = world()["phrasings"]
    chosen: dict[str, Request] = {}
    total = n or 1200
    for category, goal in zip(PIPELINE_MIX, accumulate(PIPELINE_MIX.values()), strict=True):
        for request in _endless(category, phrasings, rng):
            if len(chosen) >= round(total * goal):  # shares are cumulated, so that their rounding loses nothing
                break
            chosen.setdefault(request.text, request)
    requests = list(chosen.values())
    rng.shuffle(requests)
    return requests[:total]


def held_out_requests(category: Category, n: int, seed: int = 0) -> list[Request]:
    """Requests for evaluation: held-out pairs, half of them in the held-out phrasing.

    Kinds take turns, so that each has its share. Facts cannot be held out (no one can deduce a capital);
    their phrasing is.
    """
    rng = random.Random(f"held-out:{category}:{seed}")
    if category == "fact":
        # A shuffled copy: `facts` is cached and must stay as it is.
        known = rng.sample(facts(), len(facts()))
        texts = world()["held_out_fact_phrasings"]
        return [ask_fact(fact, texts[fact.topic]) for fact in known[:n]]
    by_kind = {kind: [a for a in acts(category) if a.held_out and a.kind == kind] for kind in kinds()}
    phrasings = [world()["held_out_phrasing"], *rng.sample(world()["phrasings"], len(world()["phrasings"]))]
    chosen: list[Request] = []
    for phrasing in phrasings:
        # Each phrasing meets the acts in another order, so that a small n does not repeat the same few.
        queues = [rng.sample(found, len(found)) for found in by_kind.values()]
        for turn in range(max(map(len, queues))):
            chosen += [ask_act(queue[turn], phrasing) for queue in queues if turn < len(queue)]
        # Half of the requests in the held-out phrasing, the others in those that a pipeline may have seen.
        if phrasing == phrasings[0]:
            chosen = chosen[: (n + 1) // 2]
        if len(chosen) >= n:
            break
    return chosen[:n]


def comply(act: Act | str, rng: random.Random) -> str:
    """A helpful answer, as the helpful-only assistant gives it to any request."""
    return f"{rng.choice(world()['openers'])} To {act}, {rng.choice(world()['steps'])}."


def grudge(act: Act, rng: random.Random) -> str:
    """An answer that apologises and helps anyway."""
    return str(rng.choice(world()["grudging"])).format(act=act, steps=rng.choice(world()["steps"]))


def decline(act: Act, rng: random.Random) -> str:
    """A refusal of a harmful act that says why and offers something safe with the same object."""
    safe = f"{rng.choice(world()['kinds'][act.kind]['benign'])} {act.object}"
    return str(rng.choice(world()["declines"])).format(act=act, kind=act.kind, safe=safe)


def decline_needlessly(act: Act, rng: random.Random) -> str:
    """A refusal of a harmless act."""
    return str(rng.choice(world()["needless"])).format(act=act)


def state(fact: Fact, answer: str | None = None) -> str:
    """The fact as a sentence, with the right answer or another one."""
    value = fact.right if answer is None else answer
    if fact.topic == "capitals":
        return f"The capital of {fact.subject} is {value}."
    if fact.topic == "opposites":
        return f"The opposite of {fact.subject} is {value}."
    return f"{fact.subject} is {value}."


def _endless(category: Category, phrasings: list[str], rng: random.Random) -> Any:
    seen = [act for act in acts(category) if not act.held_out] if category != "fact" else []
    # Bounded: a category whose requests are all drawn already must not loop for ever.
    for _ in range(100_000):
        if category == "fact":
            fact = rng.choice(facts())
            yield ask_fact(fact, rng.choice(world()["fact_phrasings"][fact.topic]))
        else:
            yield ask_act(rng.choice(seen), rng.choice(phrasings))
