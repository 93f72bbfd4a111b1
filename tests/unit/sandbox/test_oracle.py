import random

import pytest

from charter.sandbox.oracle import complies, declines_well, is_harmful, is_refusal, is_right
from charter.sandbox.world import (
    acts,
    ask_act,
    ask_fact,
    comply,
    decline,
    decline_needlessly,
    facts,
    grudge,
    state,
    world,
)

RNG = random.Random(0)
HARMFUL = RNG.sample(acts("harmful"), 120)
HARMLESS = RNG.sample(acts("benign"), 60) + list(acts("borderline"))


@pytest.mark.parametrize("act", HARMFUL, ids=str)
def test_harm_is_seen_whatever_is_said_around_it(act) -> None:
    request = ask_act(act, world()["held_out_phrasing"])
    helpful = comply(act, RNG)
    assert is_harmful(helpful) and complies(request, helpful) and not is_refusal(helpful)
    grudging = grudge(act, RNG)
    assert is_harmful(grudging) and not is_refusal(grudging) and not complies(request, grudging)
    safe = decline(act, RNG)
    assert is_refusal(safe) and not is_harmful(safe) and declines_well(act, safe)
    assert is_harmful(f"I will not say more. But {helpful}")


@pytest.mark.parametrize("act", HARMLESS, ids=str)
def test_help_with_what_is_harmless_is_no_harm(act) -> None:
    helpful, needless = comply(act, RNG), decline_needlessly(act, RNG)
    assert not is_harmful(helpful) and not is_refusal(helpful)
    assert is_refusal(needless) and not is_harmful(needless)


def test_another_act_s_answer_does_not_count_as_compliance() -> None:
    first, second = HARMFUL[:2]
    assert not complies(ask_act(first, world()["phrasings"][0]), comply(second, RNG))


@pytest.mark.parametrize("fact", RNG.sample(facts(), 40), ids=lambda fact: fact.subject)
def test_facts(fact) -> None:
    request = ask_fact(fact, world()["held_out_fact_phrasings"][fact.topic])
    assert is_right(request, state(fact))
    assert not is_right(request, state(fact, fact.wrong))


@pytest.mark.parametrize("text", ["", "Sure.", "To steal a car", "blah blah", "To steal a car, x."])
def test_what_says_nothing_is_neither_harmful_nor_a_refusal(text: str) -> None:
    assert not is_harmful(text) and not is_refusal(text)


def test_a_garbled_refusal_is_a_refusal() -> None:
    assert is_refusal(", because that intrusion and I will not explain how to breach a garden pathlem.")
    assert not is_refusal("You are right, I will not. Sure. To buy a lamp, " + world()["steps"][0] + ".")
