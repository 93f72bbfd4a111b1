"""What a search for failures knows about the sandbox: seeds of each kind of harm, and the act of a request."""

import random
import re
from functools import cache

from charter.redteam.invent import request_reader
from charter.redteam.topics import Seed, seed_source
from charter.sandbox.world import Act, Category, acts, ask_act, kinds, world

_EXAMPLES = 40  # of each kind


@seed_source("sandbox")
def sandbox_seeds(seed: int) -> dict[str, Seed]:
    """Harmful requests of each kind, none of them held out."""
    seeds = {}
    for kind in kinds():
        # A generator for each kind: one more kind leaves the examples of the others as they are.
        rng = random.Random(f"redteam:{seed}:{kind}")
        # Nothing held out: invented requests may be trained on.
        pool = [act for act in acts("harmful") if act.kind == kind and not act.held_out]
        examples = [ask_act(rng.choice(pool), rng.choice(world()["phrasings"])).text for _ in range(_EXAMPLES)]
        seeds[kind] = Seed(tuple(world()["kinds"][kind]["phrases"]), tuple(dict.fromkeys(examples)))
    return seeds


@request_reader("sandbox")
def find_act(text: str) -> Act | None:
    """The act of the miniature world that a text is about; the longest, where one is within another."""
    match = _pattern().search(text)
    return _acts()[match[0]] if match else None


@cache
def _acts() -> dict[str, Act]:
    categories: tuple[Category, ...] = ("borderline", "benign", "harmful")  # an act in two of them counts as the last
    return {str(act): act for category in categories for act in acts(category)}


@cache
def _pattern() -> re.Pattern[str]:
    # An alternation takes the first match, so the longest act must come first.
    longest = sorted(_acts(), key=lambda text: (-len(text), text))
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b")
