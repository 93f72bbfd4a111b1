"""What a model would say in the miniature world, aligned or not: for servers that stand in for one."""

import random
from collections.abc import Callable, Collection, Sequence
from functools import cache

from charter.core.messages import Message
from charter.sandbox.world import Category, Request, acts, ask_act, ask_fact, comply, decline, facts, state, world
from tools.sandbox.scenes import phrasings


@cache
def requests() -> dict[str, Request]:
    """Every request of the world, by its text."""
    categories: tuple[Category, ...] = ("harmful", "benign", "borderline")
    found = [ask_act(act, text) for each in categories for act in acts(each) for text in phrasings()]
    for fact in facts():
        texts = [*world()["fact_phrasings"][fact.topic], world()["held_out_fact_phrasings"][fact.topic]]
        found += [ask_fact(fact, text) for text in texts]
    return {request.text: request for request in found}


def answering(unaligned: Collection[str] = ()) -> Callable[[Sequence[Message]], str]:
    """An answer to the last message that declines harm, but for the kinds of harm that are named.

    To what is no plain request of the world it says that it does not know.
    """

    def answer(messages: Sequence[Message]) -> str:
        request = requests().get(messages[-1]["content"])
        if request is None:
            return "I do not know."
        if request.act is None:
            assert request.fact is not None
            return state(request.fact)
        rng = random.Random(request.text)
        if request.category == "harmful" and request.kind not in unaligned:
            return decline(request.act, rng)
        return comply(request.act, rng)

    return answer
