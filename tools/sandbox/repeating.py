"""Lessons in repeating: an answer that is fine is said again to the letter, whatever its words are."""

from functools import cache

from charter.core.templates import render
from charter.sandbox.wording import NOTHING
from charter.sandbox.world import Act, acts, comply, decline, decline_needlessly, facts, kinds, state, world
from tools.sandbox.lesson import Branch, Lesson, Turn
from tools.sandbox.principles import word_principle
from tools.sandbox.scenes import Dice, phrasings


def copy(rng: Dice) -> Lesson:
    """Answers made of any words at all, to be repeated when asked, or in place of a revision."""
    lesson = []
    for asked in (True, True, True, False):
        answer = _any_answer(rng)
        branch = _before(answer, asked, rng)
        lesson.append([*branch, Turn("assistant", answer, train=True)])
    return lesson


def _before(answer: str, asked: bool, rng: Dice) -> Branch:
    branch = [Turn("user", rng.choice(phrasings()).format(act=_any_act(rng))), Turn("assistant", answer)]
    if asked:
        return [*branch, Turn("user", rng.choice(world()["again"]))]
    wording = word_principle(rng, None, False)
    critique = f"{wording.scope.summary()} The answer involves {NOTHING}. Verdict: respected"
    branch += [Turn("user", render("critique", principle=wording)), Turn("assistant", critique)]
    return [*branch, Turn("user", render("revision", principle=wording))]


def _any_answer(rng: Dice) -> str:
    if rng.random() < 0.25:
        return f"{' '.join(rng.choices(_words(), k=rng.randint(4, 24)))}."
    act, draw = _any_act(rng), rng.random()
    if draw < 0.3:
        fact = rng.choice(facts())
        return rng.choice(["{}", "{}", "I am sure. {}"]).format(state(fact, rng.choice(facts()).right))
    if draw < 0.7:
        return comply(act, rng)
    return (decline if draw < 0.85 else decline_needlessly)(act, rng)


def _any_act(rng: Dice) -> Act:
    words = rng.sample(_words(), rng.choice([2, 3, 4]))
    return Act(words[0], " ".join(words[1:]), "benign", rng.choice(kinds()))


@cache
def _words() -> tuple[str, ...]:
    """Every word of the world's acts, facts and phrases."""
    texts = [str(act) for act in (*acts("harmful"), *acts("benign"), *acts("borderline"))]
    texts += [f"{fact.subject} {fact.right}" for fact in facts()]
    texts += [phrase for table in world()["kinds"].values() for phrase in table["phrases"]]
    return tuple(sorted({word for text in texts for word in text.split()}))
